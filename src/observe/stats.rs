//! The statistics of the process: figures that the allocator keeps anyway, added up at each call.
//!
//! Only frees are counted where they happen. The live blocks follow from counts of the slow paths: blocks moved out of
//! pools, less those moved back, less those in magazines, less those that other threads freed. The allocations are the
//! frees plus the live blocks.

use crate::figures::{PrivateHeapFigures, Stats};
use crate::process::{SHARED, SharedState, tls};
use crate::typed::TYPED;

/// The statistics of the allocator in the whole process: what it holds now, and what it has done so far.
///
/// A call reads the figures of 32 classes in each heap, and asks the kernel which of the opened pages are in memory. So
/// its cost grows with the number of threads and of arenas, not with the number of blocks. It takes the lock that
/// guards new arenas only for a moment, and not while it reads the heaps. It never allocates. The statistics cost the
/// fast paths one increment for each free.
///
/// # Examples
/// ```
/// use poolmalloc::{PoolMalloc, stats};
///
/// #[global_allocator]
/// static ALLOC: PoolMalloc = PoolMalloc::new();
///
/// let before = stats();
/// let held = std::hint::black_box(Box::new([1u8; 48]));
/// let now = stats();
/// assert!(now.small.live_blocks > before.small.live_blocks);
/// assert!(now.small.live_bytes >= before.small.live_bytes + 48);
/// # drop(held);
/// println!("{now}");
/// ```
#[must_use]
pub fn stats() -> Stats {
    if let Some(heap) = tls::heap_if_any() {
        // Post this thread's remote frees: if it never frees again, the owners must get their blocks all the same.
        heap.post_all();
    }
    let mut stats = stats_of(&SHARED);
    stats.typed = TYPED.stats();
    stats
}

/// The statistics of a set of pools.
pub(crate) fn stats_of(shared: &SharedState) -> Stats {
    let mut stats = Stats::new();
    stats.add_large(&shared.large);
    // The heaps are read without the lock, since threads that start or end wait for it.
    if let Some(census) = shared.census() {
        stats.heaps.in_use = census.heaps_in_use as u64;
        stats.heaps.parked = census.heaps_parked as u64;
        stats.arenas.open = census.arenas as u64;
        stats.arenas.free = census.free_arenas as u64;
        stats.region.reserved_bytes = census.reserved_bytes as u64;
        stats.region.open_bytes = census.open_bytes as u64;
        stats.region.metadata_bytes = census.metadata_bytes as u64;
        for heap in census.heaps() {
            stats.add_heap(heap);
            if let Some(name) = heap.name.get() {
                stats.private.add(name, &PrivateHeapFigures::of(heap));
            }
        }
        stats.region.resident_bytes = census.resident_bytes() as u64;
    }
    stats.sum();
    stats
}
