//! The worker under rpmalloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: rpmalloc::RpMalloc = rpmalloc::RpMalloc;

fn main() -> ExitCode {
    versus::worker::main("rpmalloc", &chosen::WORKLOADS, None)
}
