//! The worker under rusty_alloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: rusty_alloc_api::RustyAlloc = rusty_alloc_api::RustyAlloc;

fn main() -> ExitCode {
    versus::worker::main("rusty_alloc", &chosen::WORKLOADS, None)
}
