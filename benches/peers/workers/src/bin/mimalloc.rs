//! The worker under mimalloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    versus::worker::main("mimalloc", &chosen::WORKLOADS, None)
}
