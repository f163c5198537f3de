//! Every size and alignment gives a block that is aligned as requested, shares no byte with another block and keeps its
//! content.
//!
//! To see it fail: round the block size up by the size alone and not by the alignment; make the free map's first word
//! of a pool one bit too long; serve 256 bytes by the backend; return an unzeroed block from `alloc_zeroed`; count an
//! empty request.
//!
//! `cargo test --test blocks sizes::`

use std::alloc::{GlobalAlloc, alloc, dealloc};
use std::hint::black_box;

use poolmalloc::stats;

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::matrix::{align_matrix, every_small_size_and_alignment, powers_of_two, size_matrix};
use poolmalloc_support::oracle::{CLASSES, assert_nothing_left, block_bytes, class_of, consistent_stats, large_bytes};
use poolmalloc_support::{Test, not_in_debug, tests};

use crate::ALLOC;

/// The statistics show that the class named in the documentation serves a request, or the backend if the documentation
/// names no class.
fn boundary_256() {
    for align in powers_of_two(512) {
        for size in (1..=24).chain(121..=136).chain(240..=272) {
            let layout = layout(size, align);
            let before = consistent_stats();
            let block = Block::new(layout, size);
            let during = consistent_stats();
            block.free();
            let after = consistent_stats();

            let mut expected = before;
            if let Some(class) = class_of(layout) {
                expected.classes[class].allocations += 1;
                assert_eq!(during.small.live_bytes - before.small.live_bytes, block_bytes(class) as u64, "{layout:?}");
            } else {
                expected.large.allocations += 1;
                assert_eq!(during.large.live_bytes - before.large.live_bytes, large_bytes(layout), "{layout:?}");
            }
            let allocations = |stats: &poolmalloc::Stats| stats.classes.map(|class| class.allocations);
            let frees = |stats: &poolmalloc::Stats| stats.classes.map(|class| class.frees);
            assert_eq!(allocations(&during), allocations(&expected), "{layout:?}");
            assert_eq!(during.large.allocations, expected.large.allocations, "{layout:?}");
            assert_eq!(frees(&during), frees(&before), "{layout:?}");
            assert_eq!(allocations(&after), allocations(&during), "{layout:?}");
            for class in 0..CLASSES {
                let freed = u64::from(class_of(layout) == Some(class));
                assert_eq!(after.classes[class].frees - before.classes[class].frees, freed, "{layout:?}");
            }
            let freed = u64::from(class_of(layout).is_none());
            assert_eq!(after.large.frees - before.large.frees, freed, "{layout:?}");
            assert_eq!(after.small.live_bytes, before.small.live_bytes, "{layout:?}");
            assert_eq!(after.large.live_bytes, before.large.live_bytes, "{layout:?}");
        }
    }
}

/// `alloc_zeroed` returns 10^5 blocks of zeros from memory that was full of 0xAA when it was freed. It does so for one
/// block at a time, and for waves of blocks that go through the magazines to the pools and back.
fn zeroed_after_dirty() {
    const WAVE: usize = 125;
    const WAVES_PER_SIZE: usize = 25;

    let make_dirty = |layout| {
        // SAFETY: the size is not zero.
        let start = black_box(unsafe { alloc(layout) });
        assert!(!start.is_null());
        // SAFETY: the block is as long as its layout says.
        unsafe { start.write_bytes(0xAA, layout.size()) };
        start
    };
    assert_nothing_left(|| {
        for size in (1..=CLASSES).map(|words| 8 * words - 3) {
            let layout = layout(size, 1);
            for wave in 0..WAVES_PER_SIZE {
                let live = if wave % 5 == 0 { WAVE } else { 1 };
                for _ in 0..WAVE / live {
                    let dirty: Vec<*mut u8> = (0..live).map(|_| make_dirty(layout)).collect();
                    for start in dirty {
                        // SAFETY: allocated above with this layout.
                        unsafe { dealloc(start, layout) };
                    }
                    let zeroed: Vec<Block> = (0..live).map(|seed| Block::zeroed(layout, seed)).collect();
                    zeroed.into_iter().for_each(Block::free);
                }
            }
        }
        for size in [257, 1000, 4096, 100_000, 1 << 20] {
            for seed in 0..20 {
                Block::new(layout(size, 1), seed).free();
                Block::zeroed(layout(size, 1), seed).free();
            }
        }
    });
}

/// Values that hold no bytes never reach the allocator.
fn zst_and_empty() {
    let before = stats();
    let mut nothings: Vec<()> = black_box(Vec::new());
    for _ in 0..1000 {
        nothings.push(());
    }
    let empty_box = black_box(Box::new(()));
    let empty_string = black_box(String::new());
    let empty_bytes = black_box(Vec::<u8>::with_capacity(0)).into_boxed_slice();
    let empty_clone = black_box(empty_string.clone());
    drop((nothings, empty_box, empty_string, empty_bytes, empty_clone));
    assert_eq!(stats(), before);

    drop(black_box(Box::new(1_u8)));
    assert_ne!(stats(), before, "a box of one byte was not counted: this test sees nothing");
}

/// A free writes nothing into the block. So a freed block holds no pointer of the allocator's, which an overrun could
/// change.
fn freed_blocks_hold_no_pointers() {
    for size in [8_usize, 24, 48, 100, 256] {
        let layout = layout(size, 8);
        // SAFETY: the size is not zero.
        let blocks: Vec<*mut u8> = (0..1000).map(|_| unsafe { ALLOC.alloc(layout) }).collect();
        for &block in &blocks {
            // SAFETY: the block is live and has `size` bytes.
            unsafe { block.write_bytes(0xA5, size) };
        }
        for &block in &blocks {
            // SAFETY: the block is live, and is not used as a live block after this.
            unsafe { ALLOC.dealloc(block, layout) };
        }
        for &block in &blocks {
            let bytes = (0..size).map(|byte| {
                // SAFETY: pools stay mapped, and no thread writes to the block: there is no request in between.
                unsafe { block.wrapping_add(byte).read_volatile() }
            });
            assert!(bytes.eq(std::iter::repeat_n(0xA5, size)), "a freed block of {size} bytes was written to");
        }
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let tests = tests![
        every_small_size_and_alignment,
        size_matrix,
        align_matrix,
        boundary_256,
        zeroed_after_dirty,
        zst_and_empty,
        freed_blocks_hold_no_pointers,
    ];
    not_in_debug(tests, &["freed_blocks_hold_no_pointers"], "the debug mode overwrites freed blocks")
}
