//! As tests/unload.rs, in a program that has this allocator too: two copies of it, or many, live side by side.
//!
//! `cargo test --test unload_among_pools`

#[path = "unload.rs"]
mod unload;

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    unload::main();
}
