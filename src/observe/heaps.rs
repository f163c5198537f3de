//! The figures of private heaps, collected from their counts.

use crate::figures::{Name, PrivateHeapFigures, PrivateHeapReport, Stats};
use crate::heap::{Heap, LargeCounters, OwnedHeap};

impl PrivateHeapReport {
    /// The report on a private heap, for its handle. `unpooled` has the counts of a handle that got no heap.
    pub(crate) fn of(name: Name, heap: Option<OwnedHeap<'_>>, unpooled: &LargeCounters) -> Self {
        let mut stats = Stats::new();
        let (mut arenas, mut pools) = (0, 0);
        match heap {
            Some(heap) => {
                stats.add_heap(&heap);
                (arenas, pools) = (heap.arenas().count() as u64, heap.pools() as u64);
                stats.subtract_earlier(&heap.counts_at_start());
            }
            None => stats.add_large(unpooled),
        }
        stats.sum();
        let Stats { small, large, moved, classes, .. } = stats;
        Self { name, small, large, moved, arenas, pools, classes }
    }
}

impl PrivateHeapFigures {
    /// The figures of one private heap.
    pub(super) fn of(heap: &Heap) -> Self {
        let mut alone = Stats::new();
        alone.add_heap(heap);
        alone.sum();
        Self {
            heaps: 1,
            arenas: heap.arenas().count() as u64,
            pools: heap.pools() as u64,
            live_blocks: alone.small.live_blocks,
            live_bytes: alone.small.live_bytes,
            large_blocks: alone.large.live_blocks,
            large_bytes: alone.large.live_bytes,
        }
    }
}
