//! The worker under mimalloc.

use std::process::ExitCode;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    versus::worker::main("mimalloc", None)
}
