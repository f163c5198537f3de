//! The first request of a thread is served like any later one, whichever operation it is.
//!
//! Each test makes one operation the first act of raw threads: of one thread alone, and of four threads at the same
//! moment, for every class and for larger sizes. Threads of the standard library would not do, since they allocate
//! before their closure runs.
//!
//! To see it fail: let a path other than `alloc` assume that the thread has a heap; skip the fill that follows the
//! making of a heap; forget to arm the key for a thread that only frees (then the number of heaps grows).
//!
//! `cargo test --test threads first_operation::`

use std::sync::Mutex;

use poolmalloc::{Stats, stats};

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{CLASSES, assert_nothing_left, block_bytes, consistent_stats, heaps};
use poolmalloc_support::{Test, raw_thread, tests};

/// One size of every class, and larger sizes.
fn sizes() -> impl Iterator<Item = usize> {
    (0..CLASSES).map(block_bytes).chain([257, 1000, 4096, 100_000, 1 << 20])
}

/// Runs `first` as the first act of raw threads, one alone and four together, for each size. `first` takes the block
/// that `prepare` made for the thread, if any. The main thread checks and frees the block that `first` returns, if any.
fn in_fresh_threads(
    prepare: impl Fn(usize) -> Option<Block>,
    first: impl Fn(usize, Option<Block>) -> Option<Block> + Sync,
) {
    const TOGETHER: usize = 4;

    assert_nothing_left(|| {
        let before = consistent_stats();
        for size in sizes() {
            for threads in [1, TOGETHER] {
                // Such a mutex allocates nothing.
                let places: [Mutex<Option<Block>>; TOGETHER] = std::array::from_fn(|_| Mutex::new(prepare(size)));
                raw_thread::run(threads, &|index| {
                    let given = places[index].lock().expect("no panic while it was held").take();
                    let left = first(size, given);
                    *places[index].lock().expect("no panic while it was held") = left;
                });
                for place in places {
                    let left = place.into_inner().expect("no panic while it was held");
                    left.into_iter().for_each(Block::free);
                }
            }
        }
        let after = consistent_stats();
        assert_eq!(after.heaps.in_use, before.heaps.in_use);
        assert!(heaps(&after) <= heaps(&before) + TOGETHER as u64, "{:?}, then {:?}", before.heaps, after.heaps);
    });
}

fn filled(size: usize) -> Option<Block> {
    Some(Block::new(layout(size, 8), size))
}

fn alloc_first() {
    in_fresh_threads(|_| None, |size, _| filled(size));
}

fn over_aligned_alloc_first() {
    for align in [64, 256, 4096] {
        in_fresh_threads(|_| None, move |size, _| Some(Block::new(layout(size, align), size)));
    }
}

fn zeroed_first() {
    // Leaves dirty memory of every class in the parked heaps.
    alloc_first();
    in_fresh_threads(|_| None, |size, _| Some(Block::zeroed(layout(size, 8), size)));
}

fn free_first() {
    let free = |_, block: Option<Block>| {
        block.expect("a block of the main thread").free();
        None
    };
    in_fresh_threads(filled, free);
}

/// Resizes a block of the main thread: keeps its size, makes it a little larger, halves it, or makes it a large block.
fn realloc_first() {
    let targets: [fn(usize) -> usize; 4] =
        [|size| size, |size| size + 8, |size| size.div_ceil(2), |size| 300 + size / 2];
    for target in targets {
        in_fresh_threads(filled, move |size, block| {
            let mut block = block.expect("a block of the main thread");
            block.resize(target(size));
            Some(block)
        });
    }
}

fn stats_first() {
    in_fresh_threads(
        |_| None,
        |_, _| {
            assert_ne!(stats(), Stats::default());
            None
        },
    );
}

pub(crate) fn tests() -> Vec<Test> {
    tests![alloc_first, over_aligned_alloc_first, zeroed_first, free_first, realloc_first, stats_first]
}
