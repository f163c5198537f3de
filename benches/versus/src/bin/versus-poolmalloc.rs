//! The worker under poolmalloc.

use std::process::ExitCode;

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() -> ExitCode {
    versus::worker::main("poolmalloc", Some(|| println!("{}", poolmalloc::stats())))
}
