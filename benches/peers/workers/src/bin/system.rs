//! The worker under the allocator that Rust programs have by default: the system's malloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

fn main() -> ExitCode {
    versus::worker::main("system", &chosen::WORKLOADS, None)
}
