//! The work in one module. The compiler may still split the program into several units.

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

poolmalloc_own_crate::work!(6);

fn main() {
    work(100);
}
