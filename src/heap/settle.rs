//! What a heap gives up when it need not keep it: cached blocks, wholly free arenas, memory of free pools.

use super::class_state::FIRST_FILL;
use super::magazine::{absent, is_absent};
use super::state::OwnedHeap;
use super::supply::Supply;
use crate::geometry::SizeClass;
use crate::region::END;

/// Words that a parked heap collects at a time when it settles: those of sixteen arenas.
const COLLECTED_BY_SETTLING: usize = 16 * 512;

/// Pools that a settling heap's search may look at for each block freed since the last one.
const POOLS_LOOKED_AT_A_FREE: usize = 8;

impl OwnedHeap<'_> {
    /// Gives up what a parked heap can: nothing stays cached, and what is wholly free goes back to `supply`. If
    /// there are many remote frees it collects a part of them only: whoever calls does so for an arena of its own, and
    /// should not pay for all.
    pub(crate) fn settle(self, supply: &impl Supply) {
        self.give_up_cached();
        self.begin_move();
        self.collect(COLLECTED_BY_SETTLING);
        self.end_move();
        if self.own.taken.get() != END {
            return;
        }
        // A search looks at every partly used pool: frees have to pay for it here too.
        if self.own.since_search.get().freed_blocks * POOLS_LOOKED_AT_A_FREE >= self.own.pools.get() {
            self.search_wholly_free_pools(supply);
        }
        self.give_arenas(supply, 0);
    }

    /// Gives up all that holds no live block: nothing stays cached, what is wholly free goes back to `supply`, and the
    /// memory of the pools that are left without a class to the system. Returns the bytes of that memory.
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

    /// Gives up all that is cached: to its pools, and to the heaps that others' blocks are of.
    pub(crate) fn give_up_cached(self) {
        self.begin_move();
        for class in SizeClass::all() {
            self.empty_class(class);
        }
        self.end_move();
    }

    /// Caches nothing from now on.
    pub(crate) fn without_magazines(self) -> Self {
        self.own.has_magazines.set(false);
        self
    }
}
