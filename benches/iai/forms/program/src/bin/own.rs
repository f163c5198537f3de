//! The crate that defines the allocator also allocates.

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

poolmalloc_forms_program::operations!();

fn main() {
    run();
}
