//! The worker under mnemosyne.

use std::process::ExitCode;

#[global_allocator]
static ALLOC: mnemosyne::Mnemosyne = mnemosyne::Mnemosyne;

fn main() -> ExitCode {
    versus::worker::main("mnemosyne", None)
}
