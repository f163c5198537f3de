//! This crate defines the allocator, and another crate allocates.

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_forms_program::run();
}
