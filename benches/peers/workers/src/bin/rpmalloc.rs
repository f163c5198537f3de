//! The worker under rpmalloc.

use std::process::ExitCode;

#[global_allocator]
static ALLOC: rpmalloc::RpMalloc = rpmalloc::RpMalloc;

fn main() -> ExitCode {
    versus::worker::main("rpmalloc", None)
}
