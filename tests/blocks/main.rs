//! Tests that need nothing special of their process. They run one after another on its main thread, and compare figures
//! before and after.
//!
//! `cargo test --test blocks`; for one module `cargo test --test blocks sizes::`

mod sizes;
mod realloc;
mod layouts;
mod heap_map;
mod private_heaps;
mod typed_pools;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_support::main(&[
        Module::new("sizes", sizes::tests),
        Module::new("realloc", realloc::tests),
        Module::new("layouts", layouts::tests),
        Module::new("heap_map", heap_map::tests),
        Module::with_children("private_heaps", private_heaps::tests, private_heaps::child),
        Module::with_children("typed_pools", typed_pools::tests, typed_pools::child),
    ]);
}
