//! The worker under tcmalloc.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc;

fn main() -> ExitCode {
    versus::worker::main("tcmalloc", &chosen::WORKLOADS, None)
}
