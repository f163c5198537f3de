//! The worker under poolmalloc.

use std::process::ExitCode;

use poolmalloc::PoolMalloc;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() -> ExitCode {
    versus::worker::main("poolmalloc", &chosen::WORKLOADS, Some(|| println!("{}", poolmalloc::stats())))
}
