//! Tests of the leak finder. Each program that leaks, or seems to, is a new process: any word that earlier work leaves
//! in a process may look like a pointer.
//!
//! `cargo test --test leaks`; for one module `cargo test --test leaks roots::`

mod planted;
mod roots;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_support::main(&[
        Module::with_children("planted", planted::tests, planted::child),
        Module::with_children("roots", roots::tests, roots::child),
    ]);
}
