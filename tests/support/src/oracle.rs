//! The documented rules, restated here so that the library is not its own judge.

use poolmalloc::{ClassStats, LargeStats, Stats, check_heap, stats};
use poolmalloc_oracle::Counts;
pub use poolmalloc_oracle::mode;
pub use poolmalloc_oracle::shadow::{
    CLASSES, block_bytes, class_of, is_large_resized, large_bytes, size_of_class, usual_class_of,
};

/// Bytes of a pool.
pub const POOL_BYTES: u64 = 4096;
/// Pools of an arena.
pub const POOLS_PER_ARENA: u64 = 64;
/// Bytes of an arena.
pub const ARENA_BYTES: u64 = POOL_BYTES * POOLS_PER_ARENA;

/// Fails unless the figures add up as the documentation says. The other threads must be quiet.
pub fn assert_consistent(stats: &Stats) {
    let mut pools = 0;
    let mut sums = small_figures(stats);
    for (class, figures) in stats.classes.iter().enumerate() {
        let at = || format!("class {class}: {figures:?}");
        assert_eq!(figures.block_bytes, block_bytes(class) as u64, "{}", at());
        assert_eq!(
            figures.live_blocks + figures.cached_blocks + figures.free_blocks,
            figures.pools * (POOL_BYTES / figures.block_bytes),
            "live + cached + free is not what the pools hold: {}",
            at()
        );
        assert_eq!(figures.allocations - figures.frees, figures.live_blocks, "{}", at());
        assert!(figures.waiting_blocks <= figures.cached_blocks, "{}", at());
        assert!(figures.remote_frees <= figures.frees, "{}", at());
        pools += figures.pools;
        for (sum, figure) in sums.iter_mut().zip([
            figures.allocations,
            figures.frees,
            figures.remote_frees,
            figures.live_blocks,
            figures.live_blocks * figures.block_bytes,
            figures.cached_blocks,
            figures.cached_blocks * figures.block_bytes,
            figures.waiting_blocks,
            figures.free_blocks,
            figures.free_blocks * figures.block_bytes,
        ]) {
            *sum -= i128::from(figure);
        }
    }
    assert_eq!(sums, [0; 10], "the sums are not the sums of the classes: {stats:?}");
    let large = &stats.large;
    assert_eq!(large.allocations - large.frees, large.live_blocks, "{large:?}");
    assert!(large.live_blocks <= large.live_bytes, "{large:?}");
    assert!(stats.arenas.free <= stats.arenas.open, "{:?}", stats.arenas);
    assert!(pools <= (stats.arenas.open - stats.arenas.free) * POOLS_PER_ARENA, "{pools} pools in {:?}", stats.arenas);
    assert!(stats.arenas.open * ARENA_BYTES <= stats.region.open_bytes, "{:?} {:?}", stats.arenas, stats.region);
    assert!(stats.region.open_bytes <= stats.region.reserved_bytes, "{:?}", stats.region);
}

/// The figures of `stats.small`, in the order in which [`assert_consistent`] subtracts the figures of the classes.
fn small_figures(stats: &Stats) -> [i128; 10] {
    let small = &stats.small;
    [
        small.allocations,
        small.frees,
        small.remote_frees,
        small.live_blocks,
        small.live_bytes,
        small.cached_blocks,
        small.cached_bytes,
        small.waiting_blocks,
        small.free_blocks,
        small.free_bytes,
    ]
    .map(i128::from)
}

/// Returns `stats()`. Fails unless the heap is valid and the figures add up.
pub fn consistent_stats() -> Stats {
    if let Err(violation) = check_heap() {
        panic!("{violation}");
    }
    let stats = stats();
    assert_consistent(&stats);
    stats
}

/// Heaps that exist: those of running threads and those that wait for the next thread.
pub fn heaps(stats: &Stats) -> u64 {
    stats.heaps.in_use + stats.heaps.parked
}

/// Arenas that some heap holds.
pub fn held_arenas(stats: &Stats) -> u64 {
    stats.arenas.open - stats.arenas.free
}

/// Blocks and bytes that the program holds: small blocks, small bytes, large blocks, large bytes.
pub fn live(stats: &Stats) -> [u64; 4] {
    [stats.small.live_blocks, stats.small.live_bytes, stats.large.live_blocks, stats.large.live_bytes]
}

/// The figures of the statistics in the type of the engine of random programs.
pub fn counted(stats: &Stats) -> Counts {
    counts_of(&stats.classes, &stats.large)
}

/// The figures of size classes and of large blocks in the type of the engine of random programs.
pub fn counts_of(classes: &[ClassStats; CLASSES], large: &LargeStats) -> Counts {
    Counts {
        small_blocks: classes.map(|class| class.live_blocks),
        small_frees: classes.map(|class| class.frees),
        large_blocks: large.live_blocks,
        large_bytes: large.live_bytes,
        large_frees: large.frees,
    }
}

/// Starts a thread and waits for its end, so that the standard library makes its one-time allocations now. With musl
/// the start of the first thread allocates 544 bytes, for the map that knows where the threads' stacks end.
pub fn start_a_thread() {
    // A small stack is enough, and in some tests address space is scarce.
    let small = std::thread::Builder::new().stack_size(64 << 10);
    small.spawn(|| ()).expect("starting a thread").join().expect("an empty thread");
}

/// Fails unless `test` frees all that it allocates. One-time allocations of the standard library are made before `test`
/// runs, so they do not count.
///
/// `test` must join the threads that it starts.
pub fn assert_nothing_left(test: impl FnOnce()) {
    start_a_thread();
    let before = consistent_stats();
    test();
    let after = consistent_stats();
    assert_eq!(live(&before), live(&after), "live blocks and bytes, small and large");
}
