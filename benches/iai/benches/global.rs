//! Instructions of the common paths with the allocator installed, called as a program calls it: through `std::alloc`,
//! and through the functions that the compiler puts between `std::alloc` and the allocator.
//!
//! `cost of one operation = count of the row / operations`, with the operations of [`poolmalloc_iai`]'s table. The cost
//! includes the loop and a [`black_box`]; without the `black_box` the compiler would remove the whole pair.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::hint::black_box;
use std::rc::Rc;

use iai_callgrind::{library_benchmark, library_benchmark_group, main};
use poolmalloc::{PoolMalloc, Reuse, SyncTypedPool, TypedPool};
use poolmalloc_iai::*;

#[global_allocator]
static GLOBAL: PoolMalloc = PoolMalloc::new();

/// Layout of `size` bytes, at the alignment of a pointer. Blocks of that size are cached. The compiler does not know
/// the size.
fn warm(size: usize, row: Row) -> (Layout, Row) {
    assert!(size > 0);
    let layout = Layout::from_size_align(size, align_of::<*mut u8>()).unwrap();
    // SAFETY: the layout has a size above zero.
    let block = unsafe { alloc(layout) };
    assert!(!block.is_null());
    // SAFETY: allocated above.
    unsafe { dealloc(block, layout) };
    black_box((layout, row))
}

// Allocates one block and frees it.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc_8(args = (8, GLOBAL_HIT_8), config = GLOBAL_HIT_8.limited())]
#[bench::poolmalloc_48(args = (48, GLOBAL_HIT_48), config = GLOBAL_HIT_48.limited())]
#[bench::poolmalloc_256(args = (256, GLOBAL_HIT_256), config = GLOBAL_HIT_256.limited())]
#[bench::poolmalloc_1024(args = (1024, GLOBAL_LARGE), config = GLOBAL_LARGE.limited())]
fn global_hit((layout, row): (Layout, Row)) {
    for _ in 0..row.operations {
        // SAFETY: `warm` makes no layout of size zero.
        let block = black_box(unsafe { alloc(layout) });
        // SAFETY: allocated by the line above.
        unsafe { dealloc(block, layout) };
    }
}

// The same through functions that the compiler cannot inline into the loop, as when other crates of a program call the
// allocator.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc_48(args = (48, GLOBAL_CALL_48), config = GLOBAL_CALL_48.limited())]
fn global_call((layout, row): (Layout, Row)) {
    let alloc: unsafe fn(Layout) -> *mut u8 = black_box(alloc);
    let dealloc: unsafe fn(*mut u8, Layout) = black_box(dealloc);
    for _ in 0..row.operations {
        // SAFETY: `warm` makes no layout of size zero.
        let block = unsafe { alloc(layout) };
        // SAFETY: allocated by the line above.
        unsafe { dealloc(block, layout) };
    }
}

// Allocates one block of zeros and frees it.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc(args = (48, GLOBAL_ZEROED_48), config = GLOBAL_ZEROED_48.limited())]
fn global_zeroed((layout, row): (Layout, Row)) {
    for _ in 0..row.operations {
        // SAFETY: `warm` makes no layout of size zero.
        let block = black_box(unsafe { alloc_zeroed(layout) });
        // SAFETY: allocated by the line above.
        unsafe { dealloc(block, layout) };
    }
}

// Reallocates one block in place, from 41 bytes to 48 and back.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc(args = (41, GLOBAL_REALLOC), config = GLOBAL_REALLOC.limited())]
fn global_realloc((small, row): (Layout, Row)) {
    let large = black_box(Layout::from_size_align(48, small.align()).unwrap());
    // SAFETY: `warm` makes no layout of size zero.
    let mut block = unsafe { alloc(small) };
    for _ in 0..row.operations / 2 {
        // SAFETY: `block` has the layout `small`, from the allocation or from the round before.
        block = black_box(unsafe { realloc(block, small, large.size()) });
        // SAFETY: the line above gave the block the layout `large`.
        block = black_box(unsafe { realloc(block, large, small.size()) });
    }
    // SAFETY: each round ends with the layout `small`.
    unsafe { dealloc(block, small) };
}

/// A value of 48 bytes.
type Value = [u64; 6];

// Makes a box and drops it, to compare with a typed pool.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc(args = (48, BOX_48), config = BOX_48.limited())]
fn boxed((_, row): (Layout, Row)) {
    for number in 0..row.operations {
        drop(black_box(Box::<Value>::new([number as u64; 6])));
    }
}

/// A typed pool with a ready block.
fn pool(row: Row) -> (Rc<TypedPool<Value>>, Row) {
    let pool = Rc::new(TypedPool::new());
    drop(pool.get([0; 6]));
    (pool, row)
}

// Takes a box from a typed pool and drops it.
#[library_benchmark(setup = pool)]
#[bench::poolmalloc(args = (POOL_48), config = POOL_48.limited())]
fn pooled((pool, row): (Rc<TypedPool<Value>>, Row)) -> Rc<TypedPool<Value>> {
    for number in 0..row.operations {
        drop(black_box(pool.get([number as u64; 6])));
    }
    pool
}

// The same with boxes that share the ownership of the pool.
#[library_benchmark(setup = pool)]
#[bench::poolmalloc(args = (POOL_OWNED_48), config = POOL_OWNED_48.limited())]
fn pooled_owned((pool, row): (Rc<TypedPool<Value>>, Row)) -> Rc<TypedPool<Value>> {
    for number in 0..row.operations {
        drop(black_box(pool.get_owned([number as u64; 6])));
    }
    pool
}

/// A typed pool with a ready vector.
fn reusing_pool(row: Row) -> (TypedPool<Vec<u64>, Reuse>, Row) {
    let pool = TypedPool::new().reusing();
    drop(pool.get_ready_or(|| Vec::with_capacity(6)));
    (pool, row)
}

// Takes a vector from a typed pool, fills it and drops it.
#[library_benchmark(setup = reusing_pool)]
#[bench::poolmalloc(args = (POOL_REUSED), config = POOL_REUSED.limited())]
fn reused((pool, row): (TypedPool<Vec<u64>, Reuse>, Row)) -> TypedPool<Vec<u64>, Reuse> {
    for number in 0..row.operations {
        let mut vector = pool.get_ready_or(Vec::new);
        vector.extend([number as u64; 6]);
        drop(black_box(vector));
    }
    pool
}

/// A typed pool for several threads, with a ready block.
fn sync_pool(row: Row) -> (SyncTypedPool<Value>, Row) {
    let pool = SyncTypedPool::new();
    drop(pool.get([0; 6]));
    (pool, row)
}

// Takes a box from a typed pool for several threads and drops it.
#[library_benchmark(setup = sync_pool)]
#[bench::poolmalloc(args = (SYNC_POOL_48), config = SYNC_POOL_48.limited())]
fn sync_pooled((pool, row): (SyncTypedPool<Value>, Row)) -> SyncTypedPool<Value> {
    for number in 0..row.operations {
        drop(black_box(pool.get([number as u64; 6])));
    }
    pool
}

library_benchmark_group!(name = installed; benchmarks = global_hit, global_call, global_zeroed, global_realloc);
library_benchmark_group!(name = typed; benchmarks = boxed, pooled, pooled_owned, reused, sync_pooled);

main!(
    config = instructions_only();
    library_benchmark_groups = installed, typed
);
