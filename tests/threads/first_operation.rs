//! Whatever a thread asks of the allocator first is answered as it would be later.
//!
//! Every operation, on every class and beyond, is the first act of a raw thread (the standard library's have allocated before their
//! closure runs), and for those in between, of several threads at the same moment.
//!
//! To see it fail: let a path other than `alloc` assume that the thread has a heap; skip the fill that follows the making of a heap; forget to
//! arm the key for a thread that only frees (the heaps grow).
//!
//! `cargo test --test threads first_operation::`

use std::sync::Mutex;

use poolmalloc::{Stats, stats};

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{CLASSES, assert_nothing_left, block_bytes, consistent_stats, heaps};
use poolmalloc_support::{Test, raw_thread, tests};

/// Sizes of every class, and beyond.
fn sizes() -> impl Iterator<Item = usize> {
    (0..CLASSES).map(block_bytes).chain([257, 1000, 4096, 100_000, 1 << 20])
}

/// Runs `first` as the first act of raw threads, one alone and four together, for each size. Each takes the block that `prepare` made for
/// it and leaves one, or none, which the main thread checks and frees.
fn in_fresh_threads(
    prepare: impl Fn(usize) -> Option<Block>,
    first: impl Fn(usize, Option<Block>) -> Option<Block> + Sync,
) {
    const TOGETHER: usize = 4;

    assert_nothing_left(|| {
        let before = consistent_stats();
        for size in sizes() {
            for threads in [1, TOGETHER] {
                // A mutex of this kind allocates nothing.
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
    // Dirty memory of every class lies ready in the parked heaps.
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

/// Growing, shrinking, and keeping the size of, a block of the main thread.
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
