//! The worker under poolmalloc.

use std::process::ExitCode;

#[global_allocator]
static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();

fn main() -> ExitCode {
    versus::worker::main("poolmalloc", None)
}
