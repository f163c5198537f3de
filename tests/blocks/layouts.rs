//! A wrong `Layout` does no harm: the library frees and resizes the blocks of its pools by their address.
//!
//! Real crates free with the wrong size or alignment and get away with it under malloc. These tests free and resize
//! blocks of every class, each between filled neighbors, with every kind of wrong layout. The neighbors must keep their
//! content, the memory must serve again, and the statistics must count the class that the block really had.
//!
//! To see it fail: look the class up from the layout in `dealloc` or `realloc`; ask the layout whether a block is a
//! small one; copy as many bytes as the layout claims.
//!
//! `cargo test --test blocks layouts::`

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::Mutex;

use poolmalloc::stats;

use crate::ALLOC;
use poolmalloc_support::block::{Block, assert_disjoint, is_filled, layout};
use poolmalloc_support::oracle::{CLASSES, assert_nothing_left, block_bytes, class_of, consistent_stats};
use poolmalloc_support::{Test, raw_thread, tests};

/// Number of blocks of one class: more than a magazine or a pool holds.
const BLOCKS: usize = 600;

/// Layouts that a block of `class` never had: another size or another alignment, each small or large.
fn wrong_layouts(class: usize) -> impl Iterator<Item = Layout> {
    let size = block_bytes(class);
    [
        layout(0, 1),
        layout(1, 1),
        layout(size / 2 + 1, 8),
        layout(size - 1, 1),
        layout(size + 1, 1),
        layout(2 * size, 8),
        layout(256, 8),
        layout(257, 1),
        layout(1000, 16),
        layout(1 << 20, 4096),
        layout(isize::MAX as usize, 1),
        layout(size, 1),
        layout(size, 64),
        layout(size, 256),
        layout(size, 512),
        layout(size, 4096),
        layout(size, 1 << 21),
    ]
    .into_iter()
}

fn blocks_of(class: usize, seeds: std::ops::Range<usize>) -> Vec<Block> {
    seeds.map(|seed| Block::new(layout(block_bytes(class), 8), seed)).collect()
}

/// Splits `blocks` into every second one and its neighbors.
fn split(blocks: Vec<Block>) -> (Vec<Block>, Vec<Block>) {
    let (mut wronged, mut neighbours) = (Vec::new(), Vec::new());
    for (i, block) in blocks.into_iter().enumerate() {
        if i % 2 == 0 { &mut wronged } else { &mut neighbours }.push(block);
    }
    (wronged, neighbours)
}

fn free_with(block: Block, wrong: Layout) {
    block.check();
    // SAFETY: the block is live and given up here. The library allows a wrong layout for blocks of its pools.
    unsafe { ALLOC.dealloc(block.start().as_ptr(), wrong) };
}

/// Frees every second one of `BLOCKS` blocks by `free_all`, which frees with `wrong`. Fails unless the statistics count
/// these frees in `class` and no others, the neighbors keep their content, and new blocks share no byte with them.
fn assert_frees(class: usize, wrong: Layout, free_all: impl Fn(Vec<Block>)) {
    let blocks = blocks_of(class, 0..BLOCKS);
    let (wronged, neighbours) = split(blocks);
    let before = consistent_stats();
    let count = wronged.len() as u64;
    free_all(wronged);
    let after = consistent_stats();
    // The free of the vector that held the blocks is a large one.
    assert_eq!(after.large.frees - before.large.frees, 1, "class {class}, {wrong:?}");
    for other in 0..CLASSES {
        let frees = after.classes[other].frees - before.classes[other].frees;
        assert_eq!(frees, if other == class { count } else { 0 }, "class {other} for class {class}, {wrong:?}");
    }
    neighbours.iter().for_each(Block::check);
    let mut all = neighbours;
    all.extend(blocks_of(class, BLOCKS..2 * BLOCKS));
    assert_disjoint(&all);
    all.into_iter().for_each(Block::free);
}

/// The thread that owns the blocks frees them with wrong layouts.
fn wrong_free() {
    assert_nothing_left(|| {
        for class in 0..CLASSES {
            for wrong in wrong_layouts(class) {
                assert_frees(class, wrong, |blocks| blocks.into_iter().for_each(|block| free_with(block, wrong)));
            }
        }
    });
}

/// Another thread frees the blocks with wrong layouts.
fn wrong_remote_free() {
    assert_nothing_left(|| {
        for class in 0..CLASSES {
            for wrong in wrong_layouts(class).step_by(3) {
                assert_frees(class, wrong, |blocks| {
                    let blocks = Mutex::new(blocks);
                    raw_thread::run(1, &|_| {
                        let mut blocks = blocks.lock().expect("no panic while it was held");
                        blocks.drain(..).for_each(|block| free_with(block, wrong));
                    });
                });
            }
        }
    });
}

/// Resizes blocks with wrong old layouts to small and large sizes. The content must be kept, up to the smaller of the
/// true and the new size. The statistics must count the true classes of the block before and after.
fn wrong_realloc() {
    assert_nothing_left(|| {
        for class in 0..CLASSES {
            let size = block_bytes(class);
            for wrong in wrong_layouts(class).filter(|wrong| wrong.align() <= 4096) {
                for target in [1, 8, size.saturating_sub(8).max(1), size, size + 8, 200, 256, 257, 1000, 5000] {
                    assert_resizes(class, wrong, target);
                }
            }
        }
    });
}

fn assert_resizes(class: usize, wrong: Layout, target: usize) {
    const NEIGHBOURS: usize = 5;
    let context = format!("class {class}, {wrong:?} to {target} bytes");
    let size = block_bytes(class);
    let mut neighbours = blocks_of(class, 0..NEIGHBOURS);
    let block = neighbours.swap_remove(NEIGHBOURS / 2);
    let target_layout = layout(target, wrong.align());
    let before = stats();
    // SAFETY: the block is live, `target` is not zero and far below `isize::MAX`. The old layout may be wrong.
    let resized = unsafe { ALLOC.realloc(block.start().as_ptr(), wrong, target) };
    let after = stats();
    let resized = NonNull::new(resized).unwrap_or_else(|| panic!("out of memory: {context}"));
    assert_eq!(resized.addr().get() % wrong.align(), 0, "{context}");
    let kept = size.min(target);
    // SAFETY: the block is `target` bytes long, `kept` of them written.
    let content = unsafe { std::slice::from_raw_parts(resized.as_ptr(), kept) };
    assert!(is_filled(content, block.seed()), "the first {kept} bytes lost: {context}");

    let has_moved = resized != block.start();
    assert!(!has_moved || class_of(target_layout) != Some(class), "moved within a class: {context}");
    for other in 0..CLASSES {
        let (before, after) = (&before.classes[other], &after.classes[other]);
        let freed = u64::from(has_moved && other == class);
        assert_eq!(after.frees - before.frees, freed, "class {other}: {context}");
        let allocated = u64::from(has_moved && class_of(target_layout) == Some(other));
        assert_eq!(after.allocations - before.allocations, allocated, "class {other}: {context}");
    }
    let allocated = u64::from(class_of(target_layout).is_none());
    assert_eq!(after.large.allocations - before.large.allocations, allocated, "{context}");

    // SAFETY: the block is live with this layout.
    unsafe { ALLOC.dealloc(resized.as_ptr(), target_layout) };
    neighbours.into_iter().for_each(Block::free);
}

pub(crate) fn tests() -> Vec<Test> {
    let tests = tests![wrong_free, wrong_remote_free, wrong_realloc];
    tests.into_iter().map(|test| test.not_in_debug("a wrong layout is reported: see tests/errors/debug.rs")).collect()
}
