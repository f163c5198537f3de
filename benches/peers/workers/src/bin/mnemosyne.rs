//! The worker under mnemosyne.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: mnemosyne::Mnemosyne = mnemosyne::Mnemosyne;

fn main() -> ExitCode {
    versus::worker::main("mnemosyne", &chosen::WORKLOADS, None)
}
