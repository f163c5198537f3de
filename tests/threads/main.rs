//! Tests of threads, and of copies of the process. No thread of another test runs at the same time, and pthread keys
//! are made before the first request of the process.
//!
//! `cargo test --test threads`; for one module `cargo test --test threads fork::`

mod first_operation;
mod traffic;
mod thread_exit;
mod fork;
mod signals;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_support::main(&[
        Module::new("first_operation", first_operation::tests),
        Module::new("traffic", traffic::tests),
        Module::new("thread_exit", thread_exit::tests),
        Module::new("fork", fork::tests),
        Module::new("signals", signals::tests),
    ]);
}
