//! `realloc` keeps the content and the alignment, and is counted exactly, whether the block is in a pool or with the
//! backend before and after.
//!
//! To see it fail: copy one byte too few; move although the class stays the same; find the new class by the size alone;
//! free the old block before a failed allocation is noticed; count a `realloc` in place.
//!
//! `cargo test --test blocks realloc::`

use std::alloc::{Layout, alloc, alloc_zeroed};
use std::hint::black_box;

use poolmalloc::{Stats, stats};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use poolmalloc_support::block::{Block, assert_disjoint, layout};
use poolmalloc_support::oracle::{
    CLASSES, assert_nothing_left, block_bytes, class_of, consistent_stats, is_large_resized, large_bytes, mode,
};
use poolmalloc_support::{Test, not_in_debug, scaled, tests};

/// Fails unless the figures changed from `before` to `after` as a `realloc` from `old` to `new` must change them.
fn assert_counted(before: &Stats, after: &Stats, old: Layout, new: Layout, has_moved: bool) {
    let context = format!("{old:?} to {new:?}, moved: {has_moved}");
    let (from, to) = (class_of(old), class_of(new));
    if from.is_some() && from == to && !mode::is_debug() {
        assert!(!has_moved, "the class is the same: {context}");
    }
    for class in 0..CLASSES {
        let (before, after) = (&before.classes[class], &after.classes[class]);
        let is_small_move = has_moved || from.is_none() || to.is_none();
        let allocated = u64::from(is_small_move && to == Some(class));
        let freed = u64::from(is_small_move && from == Some(class));
        assert_eq!(after.allocations - before.allocations, allocated, "allocations of class {class}: {context}");
        assert_eq!(after.frees - before.frees, freed, "frees of class {class}: {context}");
    }
    let (before, after) = (&before.large, &after.large);
    let is_resized = is_large_resized(old, new);
    assert_eq!(after.reallocations - before.reallocations, u64::from(is_resized), "{context}");
    assert_eq!(after.allocations - before.allocations, u64::from(to.is_none() && !is_resized), "{context}");
    assert_eq!(after.frees - before.frees, u64::from(from.is_none() && !is_resized), "{context}");
    let live = |layout: Layout, class: Option<usize>| {
        if class.is_none() { large_bytes(layout) } else { 0 }
    };
    assert_eq!(after.live_bytes + live(old, from), before.live_bytes + live(new, to), "{context}");
}

/// Resizes a block, and checks its content, its alignment and the counts.
fn checked_resize(block: &mut Block, size: usize) {
    let (old, address) = (block.layout(), block.address());
    let before = stats();
    block.resize(size);
    assert_counted(&before, &stats(), old, block.layout(), block.address() != address);
}

/// Resizes sixteen live blocks again and again, to random sizes up to 4096. Each block keeps its alignment.
fn walk(aligns: &[usize], steps: usize) {
    assert_nothing_left(|| {
        let mut random = SmallRng::seed_from_u64(steps as u64);
        let mut blocks: Vec<Block> =
            (0..16).map(|i| Block::new(layout(1 + 37 * i, aligns[i % aligns.len()]), i)).collect();
        for step in 0..steps {
            let index = random.random_range(0..blocks.len());
            // Half of the targets lie near or below the limit of the pools: a uniform choice would hardly cross it.
            let most = if random.random() { 300 } else { 4096 };
            blocks[index].resize(random.random_range(1..=most));
            if step % 256 == 0 {
                assert_disjoint(&blocks);
                blocks.iter().for_each(Block::check);
            }
        }
        blocks.into_iter().for_each(Block::free);
    });
}

/// Resizes blocks with alignments up to 16.
fn realloc_preserves() {
    walk(&[1, 2, 4, 8, 16], scaled(400_000, 10));
}

/// Resizes blocks with alignments above that of any word.
fn realloc_over_aligned() {
    walk(&[32, 64, 128, 256, 512, 1024, 4096], scaled(400_000, 10));
}

/// Resizes blocks from each of these sizes to each other and back, at several alignments, and checks the counts. The
/// sizes are the smallest and the largest of every third class, and some around the limit of the pools and above it.
fn every_pair_of_classes() {
    let sizes: Vec<usize> = (1..=CLASSES)
        .step_by(3)
        .flat_map(|words| [8 * words - 7, 8 * words])
        .chain([255, 256, 257, 264, 300, 1000, 5000])
        .collect();
    for align in [1, 16, 64, 256, 512] {
        for &from in &sizes {
            for &to in &sizes {
                let mut block = Block::new(layout(from, align), from);
                checked_resize(&mut block, to);
                checked_resize(&mut block, from);
                block.free();
            }
        }
    }
    consistent_stats();
}

/// A `realloc` within a class keeps the address and changes no figure.
fn in_place_within_a_class() {
    for class in 0..CLASSES {
        let most = block_bytes(class);
        let mut block = Block::new(layout(most - 7, 1), class);
        let address = block.address();
        let before = stats();
        for size in (most - 7..=most).chain((most - 7..most).rev()) {
            block.resize(size);
            assert_eq!(block.address(), address, "class {class}, {size} bytes");
        }
        assert_eq!(stats(), before, "class {class}");
        block.free();
    }
}

/// Grows a vector from 1 byte to 1 MiB, as programs do, and shrinks it by halves.
fn vector_grows_and_shrinks() {
    assert_nothing_left(|| {
        let mut vector = Vec::new();
        for i in 0..1_usize << 20 {
            vector.push(i as u8);
        }
        while vector.len() > 1 {
            vector.truncate(vector.len() / 2);
            vector.shrink_to_fit();
            assert!(vector.iter().enumerate().all(|(i, byte)| *byte == i as u8), "{} bytes", vector.len());
        }
    });
}

/// Fails unless `alloc` and `alloc_zeroed` return null and count nothing.
fn assert_refused(huge: Layout) {
    let before = stats();
    // SAFETY: the size is not zero.
    let block = black_box(unsafe { alloc(huge) });
    // SAFETY: the size is not zero.
    let zeroed = black_box(unsafe { alloc_zeroed(huge) });
    assert!(block.is_null() && zeroed.is_null(), "{huge:?}");
    assert_eq!(stats(), before, "a request that fails counts nothing: {huge:?}");
}

/// Makes requests that no machine can serve: every entry point must return null and change nothing. The sizes go up to
/// the largest that a `Layout` may have, at every alignment that it may have.
fn huge_request() {
    for align in (0..usize::BITS - 1).map(|power| 1_usize << power) {
        let largest = isize::MAX as usize - (align - 1);
        // The largest size and some just below it, where rounding up comes close to overflow, and one of half that
        // size.
        let sizes = [0, 1, 7, 8, 9, 255, 256, 257, 4096].map(|less| largest - less);
        for size in sizes.into_iter().chain([largest / 2 + 1]) {
            assert_refused(layout(size, align));
        }
        // No process has an address with such an alignment.
        if align >= 1 << 57 {
            for size in [1, 8, 256, 257, 1 << 20] {
                assert_refused(layout(size, align));
            }
        }
    }
    for align in (0..=26).map(|power| 1_usize << power) {
        let huge = layout(isize::MAX as usize - (align - 1), align);
        for size in [1, 8, 100, 256, 257, 4096, 1 << 20] {
            let mut block = Block::new(layout(size, align), size);
            for less in [0, 1, 8, 255, 256, 257, huge.size() / 2] {
                let (address, before) = (block.address(), stats());
                assert!(!block.try_resize(huge.size() - less), "{size} bytes to {huge:?} less {less}");
                assert_eq!(block.address(), address);
                assert_eq!(stats(), before, "a realloc that fails counts nothing: {size} bytes to {huge:?}");
            }
            block.resize(2 * size);
            block.free();
        }
    }
    consistent_stats();
}

pub(crate) fn tests() -> Vec<Test> {
    let tests = tests![
        realloc_preserves,
        realloc_over_aligned,
        every_pair_of_classes,
        in_place_within_a_class,
        vector_grows_and_shrinks,
        huge_request,
    ];
    not_in_debug(tests, &["in_place_within_a_class"], "every realloc moves the block")
}
