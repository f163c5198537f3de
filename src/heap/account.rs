//! The account of a heap: the counts of its threads, computed from the counters of the slow paths and from `frees`, the
//! one counter of the fast paths. [`ClassState`](super::class_state::ClassState) has the equations.

use super::counts::Counts;
use super::state::{Heap, OwnedHeap};
use crate::geometry::SizeClass;

impl OwnedHeap<'_> {
    /// Notes the present counts when a new thread or handle gets the heap. The counts of that thread or handle are the
    /// difference to these.
    pub(crate) fn begin_thread(self) {
        self.own.counts_at_start.set(self.counts());
    }
}

impl Heap {
    /// Number of blocks of a class that the heap has served to its threads (Class equation 1).
    fn allocations(&self, class: SizeClass) -> u64 {
        let state = self.class(class);
        let came = state.filled.value().wrapping_add(state.adopted.value()).wrapping_add(self.head(class).frees());
        came.wrapping_sub(state.flushed.value().wrapping_add(self.cached_blocks(class) as u64))
    }

    /// The counts of all threads that have had this heap. Exact for the heap's owner (Class equation 1): frees by other
    /// threads and settling do not change them. (In a private heap, frees by other threads do.)
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::ZERO;
        for class in SizeClass::all() {
            let state = self.class(class);
            let (filled, remote_frees) = (state.filled.value(), state.remote_frees.value());
            let own_frees = self.head(class).frees();
            let [kept, kept_remote] = self.kept(class);
            if filled | remote_frees | own_frees | kept | kept_remote == 0 {
                continue;
            }
            // Blocks in the quarantine count as frees, because the program has freed them.
            let frees = (own_frees + remote_frees).wrapping_add(kept);
            counts.classes[class.index()] = [self.allocations(class), frees, remote_frees.wrapping_add(kept_remote)];
        }
        let large = &self.large;
        counts.large =
            [&large.allocations, &large.frees, &large.reallocations, &large.bytes_in, &large.bytes_out, &large.moved]
                .map(|counter| counter.value());
        let [kept, kept_bytes] = large.kept.value();
        counts.large[1] = counts.large[1].wrapping_add(kept);
        counts.large[4] = counts.large[4].wrapping_add(kept_bytes);
        counts
    }
}

impl OwnedHeap<'_> {
    /// Whether Class equations 1 and 2 hold for a class. Visits every partly used pool, so only debug builds call it.
    pub(super) fn is_balanced(self, class: SizeClass) -> bool {
        let state = self.class(class);
        let (mut free, mut next) = (0, state.partial.first());
        while let Some(pool) = next {
            free += self.region.free_words(pool).iter().map(|word| u64::from(word.get().count_ones())).sum::<u64>();
            next = state.partial.after(&self.region, pool);
        }
        let back = state.flushed.value().wrapping_add(state.collected.value());
        let out = state.filled.value().wrapping_sub(back);
        out.wrapping_add(free) == state.pools.value() * class.blocks_per_pool() as u64
            && (self.allocations(class) as i64) >= 0
    }

    /// Counts blocks that came back to pools, for the decision when to search next.
    pub(super) fn count_freed(self, class: SizeClass, count: usize) {
        let mut since = self.own.since_search.get();
        since.freed_blocks += count;
        since.freed_bytes += count * class.bytes();
        self.own.since_search.set(since);
    }
}
