//! Tests of programs with errors. A child makes each error. Most children end with the report of their error.
//!
//! `cargo test --test errors`; for one module `cargo test --test errors misuse::`

mod misuse;
mod debug;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_support::main(&[
        Module::with_children("misuse", misuse::tests, misuse::child),
        Module::with_children("debug", debug::tests, debug::child),
    ]);
}
