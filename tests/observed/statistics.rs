//! Every figure is exact and means what the documentation says, and reading the figures allocates nothing.
//!
//! The global allocator of this binary counts each request that it has passed on. These counts are the oracle.
//!
//! To see it fail: count a free twice, or only when a magazine is flushed; leave combined remote frees out until their
//! thread ends; take a fresh pool before remote frees are collected; build the report in a `String`.
//!
//! `cargo test --test observed statistics::`

use std::alloc::{GlobalAlloc, Layout};
use std::fmt::{self, Write};
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::{ptr, thread};

use poolmalloc::{Stats, check_heap, stats};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{
    CLASSES, assert_nothing_left, block_bytes, class_of, consistent_stats, is_large_resized, large_bytes, live,
    size_of_class,
};
use poolmalloc_support::{Test, not_in_debug, raw_thread, scaled, tests};

/// Counts every request that succeeds, by the documented rules.
pub(crate) struct Counting<A>(pub(crate) A);

/// Allocations by class. The last element is that of the backend.
static ALLOCATIONS: [AtomicU64; CLASSES + 1] = [const { AtomicU64::new(0) }; CLASSES + 1];
static FREES: [AtomicU64; CLASSES + 1] = [const { AtomicU64::new(0) }; CLASSES + 1];
static REALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Index of a layout in the counts.
fn place(layout: Layout) -> usize {
    class_of(layout).unwrap_or(CLASSES)
}

fn count(counts: &[AtomicU64; CLASSES + 1], layout: Layout) {
    counts[place(layout)].fetch_add(1, Ordering::Relaxed);
}

/// Counts an allocation, unless `block` is null. Returns `block`.
fn count_block(layout: Layout, block: *mut u8) -> *mut u8 {
    if !block.is_null() {
        count(&ALLOCATIONS, layout);
    }
    block
}

// SAFETY: every call goes on to the allocator under test unchanged.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        count_block(layout, unsafe { self.0.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        count_block(layout, unsafe { self.0.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(&FREES, layout);
        // SAFETY: the caller's promises are the same.
        unsafe { self.0.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        let new_block = unsafe { self.0.realloc(block, old, size) };
        let new = layout(size, old.align());
        if new_block.is_null() {
            return new_block;
        }
        if is_large_resized(old, new) {
            REALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        } else if new_block != block {
            count(&ALLOCATIONS, new);
            count(&FREES, old);
        }
        new_block
    }
}

fn counted(counts: &[AtomicU64; CLASSES + 1]) -> [u64; CLASSES + 1] {
    std::array::from_fn(|place| counts[place].load(Ordering::Relaxed))
}

/// Fails unless the statistics are equal to the counts of [`Counting`] since the process began. The other threads must
/// be quiet.
fn assert_matches_counts() -> Stats {
    let stats = consistent_stats();
    let (allocations, frees) = (counted(&ALLOCATIONS), counted(&FREES));
    for (class, figures) in stats.classes.iter().enumerate() {
        let found = (figures.allocations, figures.frees);
        assert_eq!(found, (allocations[class], frees[class]), "class {class}: {figures:?}");
    }
    let large = &stats.large;
    let found = (large.allocations, large.frees, large.reallocations);
    let expected = (allocations[CLASSES], frees[CLASSES], REALLOCATIONS.load(Ordering::Relaxed));
    assert_eq!(found, expected, "{large:?}");
    stats
}

/// Checks the figures after every single operation of one thread, `realloc` included. They count from the first request
/// of the process on.
fn stats_exact_single() {
    let mut random = SmallRng::seed_from_u64(19);
    let mut blocks = Vec::with_capacity(1000);
    for _ in 0..scaled(20_000, 4) {
        let layout = layout(random.random_range(1..=300), 1 << random.random_range(0..6));
        match random.random_range(0..4) {
            0 => blocks.push(Block::new(layout, blocks.len())),
            1 => blocks.push(Block::zeroed(layout, blocks.len())),
            _ if blocks.is_empty() => {}
            2 => {
                let index = random.random_range(0..blocks.len());
                blocks[index].resize(layout.size());
            }
            _ => blocks.swap_remove(random.random_range(0..blocks.len())).free(),
        }
        assert_matches_counts();
    }
    blocks.into_iter().for_each(Block::free);
    assert_matches_counts();
}

/// Takes known steps in each class and with a large block, and checks how each figure changes.
fn every_figure() {
    for class in 0..CLASSES {
        let Some(size) = size_of_class(class) else { continue };
        let bytes = block_bytes(class) as u64;
        let mut blocks = Vec::with_capacity(1000);
        let before = assert_matches_counts();
        blocks.extend((0..1000).map(|seed| Block::new(layout(size - 3, 1), seed)));
        let full = assert_matches_counts();
        blocks.drain(400..).for_each(Block::free);
        let after = assert_matches_counts();

        let mut expected = before.classes[class];
        expected.allocations += 1000;
        expected.live_blocks += 1000;
        let found = full.classes[class];
        assert_eq!(found.allocations, expected.allocations);
        assert_eq!((found.frees, found.remote_frees), (expected.frees, expected.remote_frees));
        assert_eq!(found.live_blocks, expected.live_blocks);
        assert!(found.pools * (4096 / bytes) >= found.live_blocks);
        assert_eq!(full.small.live_bytes - before.small.live_bytes, 1000 * bytes);
        assert_eq!((full.large, full.heaps), (before.large, before.heaps));

        expected.frees += 600;
        expected.live_blocks -= 600;
        let found = after.classes[class];
        assert_eq!((found.allocations, found.frees), (expected.allocations, expected.frees));
        assert_eq!((found.live_blocks, found.remote_frees), (expected.live_blocks, expected.remote_frees));
        assert_eq!(after.small.live_bytes - before.small.live_bytes, 400 * bytes);
        assert_eq!((after.large, after.heaps), (before.large, before.heaps));
        for other in (0..CLASSES).filter(|other| *other != class) {
            assert_eq!(after.classes[other].live_blocks, before.classes[other].live_blocks);
        }
        blocks.into_iter().for_each(Block::free);
    }

    let before = assert_matches_counts();
    let mut block = Block::new(layout(1000, 8), 1);
    assert_eq!(stats().large.live_bytes, before.large.live_bytes + large_bytes(block.layout()));
    block.resize(3000);
    assert_eq!(stats().large.live_bytes, before.large.live_bytes + large_bytes(block.layout()));
    assert_eq!(stats().large.live_blocks, before.large.live_blocks + 1);
    block.free();
    let after = assert_matches_counts();
    assert_eq!(live(&after), live(&before));

    assert!(after.region.reserved_bytes.is_power_of_two(), "{:?}", after.region);
    assert!(after.region.open_bytes > 0 && after.region.metadata_bytes > 0, "{:?}", after.region);
    assert!(after.heaps.in_use > 0, "{:?}", after.heaps);
}

/// Blocks that another thread freed wait until their owner needs some. Then the owner takes all of them before it takes
/// a fresh pool.
fn waiting_blocks_come_first() {
    const CLASS: usize = 28;
    const BLOCKS: usize = 500;
    assert_nothing_left(|| {
        let layout = layout(block_bytes(CLASS), 8);
        let blocks: Vec<Block> = (0..BLOCKS).map(|seed| Block::new(layout, seed)).collect();
        let before = assert_matches_counts();
        let blocks = Mutex::new(blocks);
        raw_thread::run(1, &|_| {
            let mut blocks = blocks.lock().expect("no panic while it was held");
            blocks.drain(..).for_each(Block::free);
        });
        let after = assert_matches_counts();
        let (before, figures) = (before.classes[CLASS], after.classes[CLASS]);
        assert_eq!(figures.remote_frees - before.remote_frees, BLOCKS as u64);
        assert_eq!(figures.waiting_blocks - before.waiting_blocks, BLOCKS as u64);
        assert_eq!(figures.cached_blocks - before.cached_blocks, BLOCKS as u64);
        assert_eq!(figures.live_blocks + BLOCKS as u64, before.live_blocks);
        assert_eq!((figures.pools, figures.free_blocks), (before.pools, before.free_blocks));

        let at_hand = figures.cached_blocks + figures.free_blocks;
        let taken: Vec<Block> = (0..at_hand as usize).map(|seed| Block::new(layout, seed)).collect();
        let exhausted = assert_matches_counts().classes[CLASS];
        assert!(exhausted.pools <= figures.pools, "{figures:?}, then {exhausted:?}");
        assert_eq!(exhausted.waiting_blocks, 0, "{exhausted:?}");
        taken.into_iter().for_each(Block::free);
    });
}

/// Eight threads allocate, free, and free each other's blocks. As soon as they are quiet, and before any of them ends,
/// the statistics are equal to the counts. After their ends nothing is live.
fn stats_sum_threads() {
    const THREADS: usize = 8;
    const STEPS: usize = scaled(200_000, 20);
    const ROUNDS: usize = 5;
    static SLOTS: [AtomicPtr<u64>; 100] = [const { AtomicPtr::new(ptr::null_mut()) }; 100];
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static QUIET: AtomicUsize = AtomicUsize::new(0);

    fn one_round(random: &mut SmallRng) {
        for _ in 0..STEPS {
            let block = poolmalloc_support::words::make(poolmalloc_support::words::some_words(random));
            let slot = &SLOTS[random.random_range(0..SLOTS.len())];
            let found = slot.swap(block.as_ptr(), Ordering::AcqRel);
            ptr::NonNull::new(found).into_iter().for_each(poolmalloc_support::words::free);
        }
    }

    assert_nothing_left(|| {
        let before = assert_matches_counts();
        BEGUN.store(0, Ordering::Relaxed);
        QUIET.store(0, Ordering::Relaxed);
        let threads: [_; THREADS] = std::array::from_fn(|index| {
            thread::spawn(move || {
                let mut random = SmallRng::seed_from_u64(index as u64);
                for round in 1..=ROUNDS {
                    while BEGUN.load(Ordering::Acquire) < round {
                        thread::yield_now();
                    }
                    one_round(&mut random);
                    QUIET.fetch_add(1, Ordering::Release);
                }
                // The thread stays, and is quiet, until the figures of the last round were read.
                while BEGUN.load(Ordering::Acquire) <= ROUNDS {
                    thread::yield_now();
                }
            })
        });
        for round in 1..=ROUNDS {
            BEGUN.store(round, Ordering::Release);
            while QUIET.load(Ordering::Acquire) < round * THREADS {
                thread::yield_now();
            }
            let stats = assert_matches_counts();
            assert_eq!(stats.heaps.in_use, before.heaps.in_use + THREADS as u64);
        }
        BEGUN.store(ROUNDS + 1, Ordering::Release);
        for thread in threads {
            thread.join().expect("a counting thread");
        }
        assert_matches_counts();
        for slot in &SLOTS {
            let left = slot.swap(ptr::null_mut(), Ordering::AcqRel);
            ptr::NonNull::new(left).into_iter().for_each(poolmalloc_support::words::free);
        }
        assert_eq!(assert_matches_counts().heaps.in_use, before.heaps.in_use);
    });
}

/// A buffer of fixed size for text.
struct Page {
    text: [u8; 32 << 10],
    length: usize,
}

impl Write for Page {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        self.text.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Reading the statistics and printing the report make no request to the allocator. The same is true if reading is a
/// thread's first act.
fn stats_no_alloc() {
    let mut page = Page { text: [0; _], length: 0 };
    let requests = || (counted(&ALLOCATIONS), counted(&FREES), REALLOCATIONS.load(Ordering::Relaxed));
    let before = requests();
    let first = stats();
    for _ in 0..1000 {
        assert_eq!(stats(), first);
    }
    write!(page, "{first}").expect("room for the report");
    raw_thread::run(4, &|_| {
        let _ = stats();
    });
    assert_eq!(requests(), before);
    let report = std::str::from_utf8(&page.text[..page.length]).expect("UTF-8");
    assert!(report.contains(&first.small.live_blocks.to_string()), "{report}");
    assert_ne!(requests(), before, "the last line allocated a string: this test sees nothing");
}

/// The check of the heap makes no request to the allocator.
fn check_heap_no_alloc() {
    let requests = || (counted(&ALLOCATIONS), counted(&FREES), REALLOCATIONS.load(Ordering::Relaxed));
    let before = requests();
    for _ in 0..10 {
        check_heap().expect("a valid heap");
    }
    assert_eq!(requests(), before);
    drop(black_box(vec![1]));
    assert_ne!(requests(), before, "the vector was not counted: this test sees nothing");
}

/// The parts of the report stand in the order of CPython's `sys._debugmallocstats()`: the threshold, the classes, the
/// arenas, the bytes and their sum.
fn report_in_the_order_of_cpython() {
    let report = stats().to_string();
    let parts = [
        "Small block threshold = 256, in 32 size classes.",
        "class  size    pools",
        "arenas open",
        "arenas * 262144 bytes",
        "bytes in live blocks",
        "unused pools * 4096 bytes",
        "bytes lost to rounding at the ends of pools",
        "total ",
    ];
    let places = parts.map(|part| report.find(part).unwrap_or_else(|| panic!("no `{part}` in\n{report}")));
    assert!(places.is_sorted(), "{places:?} in\n{report}");
}

pub(crate) fn tests() -> Vec<Test> {
    let tests = tests![
        stats_exact_single,
        every_figure,
        waiting_blocks_come_first,
        stats_sum_threads,
        stats_no_alloc,
        check_heap_no_alloc,
        report_in_the_order_of_cpython,
    ];
    let waits = "a block that another thread frees is kept a while before it is a remote free";
    not_in_debug(tests, &["waiting_blocks_come_first"], waits)
}
