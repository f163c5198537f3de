//! What a heap gives up when it need not keep it: cached blocks, wholly free arenas, memory of free pools.

use super::class_state::FIRST_FILL;
use super::magazine::{absent, is_absent};
use super::state::OwnedHeap;
use super::supply::Supply;
use crate::geometry::SizeClass;
use crate::region::END;

/// Words that a parked heap collects when it settles: those of sixteen arenas.
const COLLECTED_BY_SETTLING: usize = 16 * 512;

/// Pools that the search of a settling heap may visit for each block freed since the last search.
const POOLS_LOOKED_AT_A_FREE: usize = 8;

impl OwnedHeap<'_> {
    /// Settles a parked heap: flushes all magazines, collects remote frees, and gives wholly free arenas to `supply`.
    /// Of many remote frees it collects a part only, since the calling thread wants one arena and should not pay for
    /// all.
    pub(crate) fn settle(self, supply: &impl Supply) {
        self.give_up_cached();
        self.begin_move();
        self.collect(COLLECTED_BY_SETTLING);
        self.end_move();
        if self.own.taken.get() != END {
            return;
        }
        // A search visits every partly used pool, so frees must pay for it here too.
        if self.own.since_search.get().freed_blocks * POOLS_LOOKED_AT_A_FREE >= self.own.pools.get() {
            self.search_wholly_free_pools(supply);
        }
        self.give_arenas(supply, 0);
    }

    /// Gives up all memory without live blocks: flushes all magazines, gives wholly free arenas to `supply`, and the
    /// memory of pools without a class to the system. Returns the bytes of that memory.
    pub(crate) fn release(self, supply: &impl Supply) -> usize {
        self.give_up_cached();
        self.begin_move();
        self.collect(usize::MAX);
        self.end_move();
        self.search_wholly_free_pools(supply);
        self.give_arenas(supply, 0);
        // SAFETY: Heap invariant 1.
        unsafe { self.own.arenas.release(&self.region) }
    }

    /// Flushes all magazines of a class; the loaded one stays, empty.
    fn empty_class(self, class: SizeClass) {
        let state = self.class(class);
        let head = self.head(class);
        if !is_absent(state.foreign()) {
            self.post_foreign(class);
            self.keep_spare(state.foreign());
            state.set_foreign(absent(), class);
        }
        if is_absent(head.top()) {
            return;
        }
        head.load(self.flush_magazine(class, head.top()));
        if !is_absent(state.previous()) {
            self.keep_spare(self.flush_magazine(class, state.previous()));
            state.set_previous(absent());
        }
        while let Some(oldest) = state.depot.pop_oldest() {
            self.keep_spare(self.flush_magazine(class, oldest));
        }
        state.cached_foreign.set(0);
        state.next_fill.set(FIRST_FILL);
    }

    /// Gives up all cached blocks, each to its pool: those of this heap directly, those of other heaps by a post to
    /// their owner.
    pub(crate) fn give_up_cached(self) {
        self.begin_move();
        for class in SizeClass::all() {
            self.empty_class(class);
        }
        self.end_move();
    }

    /// From now on this heap caches no block.
    pub(crate) fn without_magazines(self) -> Self {
        self.own.has_magazines.set(false);
        self
    }
}
