//! The worker under snmalloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

fn main() -> ExitCode {
    versus::worker::main("snmalloc", &chosen::WORKLOADS, None)
}
