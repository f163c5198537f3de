//! The worker under jemalloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    versus::worker::main("jemalloc", &chosen::WORKLOADS, None)
}
