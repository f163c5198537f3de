//! The worker under poolmalloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();

fn main() -> ExitCode {
    versus::worker::main("poolmalloc", &chosen::WORKLOADS, None)
}
