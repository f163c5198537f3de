//! How a heap gives memory up: cached blocks, wholly free arenas, and the memory of free pools.

use super::class_state::FIRST_FILL;
use super::magazine::{absent, is_absent};
use super::state::OwnedHeap;
use super::supply::Supply;
use crate::geometry::SizeClass;
use crate::region::END;

/// Most words of remote frees that a parked heap collects when it settles: as many as sixteen arenas have.
const COLLECTED_BY_SETTLING: usize = 16 * 512;

/// Number of pools that the search of a settling heap may visit for each block freed since the last search.
const POOLS_LOOKED_AT_A_FREE: usize = 8;

impl OwnedHeap<'_> {
    /// Settles a parked heap: flushes all magazines, collects remote frees, and gives wholly free arenas to `supply`.
    /// If there are many remote frees, it collects only a part and gives no arena yet, because the calling thread wants
    /// one arena and should not pay for all.
    pub(crate) fn settle(self, supply: &impl Supply) {
        self.give_up_cached();
        self.begin_move();
        self.collect(COLLECTED_BY_SETTLING);
        self.end_move();
        if self.own.taken.get() != END {
            return;
        }
        // A search visits every partly used pool. So it runs only if there was at least one free since the last search
        // for each `POOLS_LOOKED_AT_A_FREE` pools.
        if self.own.since_search.get().freed_blocks * POOLS_LOOKED_AT_A_FREE >= self.own.pools.get() {
            self.search_wholly_free_pools(supply);
        }
        self.give_arenas(supply, 0);
    }

    /// Gives up all pools and arenas without live blocks: flushes all magazines, collects all remote frees, gives
    /// wholly free arenas to `supply`, and gives the memory of pools without a class to the system. Returns the bytes
    /// of those pools that were in memory.
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

    /// Flushes all magazines of a class. The heap keeps the loaded one, which is empty afterwards; the others become
    /// spare.
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

    /// Gives up all cached blocks. Blocks of this heap go to their pools, and blocks of other heaps are posted to their
    /// owners.
    pub(crate) fn give_up_cached(self) {
        self.begin_move();
        for class in SizeClass::all() {
            self.empty_class(class);
        }
        self.end_move();
    }

    /// Makes this heap cache no block from now on. Returns the heap.
    pub(crate) fn without_magazines(self) -> Self {
        self.own.has_magazines.set(false);
        self
    }
}
