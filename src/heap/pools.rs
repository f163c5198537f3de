//! A heap's pools: where they come from, when the heap searches for wholly free ones, and how those go back.

use super::state::{CountsSinceSearch, OwnedHeap, in_this_order};
use super::supply::Supply;
use crate::geometry::{POOL_BYTES, POOLS_PER_ARENA, SizeClass};
use crate::region::{PoolId, PoolState, Tag, pool};

impl OwnedHeap<'_> {
    /// A pool without a class. It comes from the heap's arenas; else, if a search is worthwhile, it is one that has
    /// become wholly free; else it comes from an arena without an owner.
    pub(super) fn take_pool(self, supply: &impl Supply) -> Option<PoolId> {
        let arenas = &self.own.arenas;
        if let Some(pool) = arenas.take_pool(&self.region) {
            return Some(pool);
        }
        if self.is_search_worthwhile() {
            self.search_wholly_free_pools(supply);
        }
        if let Some(pool) = arenas.take_pool(&self.region) {
            return Some(pool);
        }
        let Some(arena) = supply.take_arena(arenas.count()) else {
            // The last resort is a search, if at least one block was freed for every 16 pools.
            let (since, pools) = (self.own.since_search.get(), self.own.pools.get());
            if since.freed_blocks == 0 || since.freed_blocks * 16 < pools {
                return None;
            }
            self.search_wholly_free_pools(supply);
            return arenas.take_pool(&self.region);
        };
        arenas.add(&self.region, arena);
        let mut since = self.own.since_search.get();
        since.new_arenas += 1;
        self.own.since_search.set(since);
        arenas.take_pool(&self.region)
    }

    /// Whether to search for wholly free pools before another arena is taken. A search visits every partly used pool.
    /// So it must be paid for: by two frees for each pool, or by one free and growth of the heap by an eighth.
    fn is_search_worthwhile(self) -> bool {
        let (since, pools) = (self.own.since_search.get(), self.own.pools.get());
        since.freed_blocks >= 2 * pools.max(1)
            || (since.freed_blocks > 0 && since.new_arenas * POOLS_PER_ARENA * 8 >= pools)
    }

    /// Searches for wholly free pools if half of the bytes of the heap's pools have been freed since the last search.
    /// So a thread that frees much gives arenas to others. A heap of at most [`POOLS_PER_ARENA`] pools does not search
    /// here; it searches only when it needs a pool.
    pub(super) fn search_if_much_was_freed(self, supply: &impl Supply) {
        let pools = self.own.pools.get();
        if pools > POOLS_PER_ARENA && self.own.since_search.get().freed_bytes >= pools * (POOL_BYTES / 2) {
            self.search_wholly_free_pools(supply);
        }
    }

    /// Gives wholly free pools back to their arenas, and all wholly free arenas except one to `supply`.
    pub(super) fn search_wholly_free_pools(self, supply: &impl Supply) {
        self.own.since_search.set(CountsSinceSearch::default());
        for class in SizeClass::all() {
            debug_assert!(self.is_balanced(class), "Class equations 1 and 2");
            let state = self.class(class);
            let mut next = state.partial.first();
            while let Some(pool) = next {
                next = state.partial.after(&self.region, pool);
                if pool::is_wholly_free(&self.region, pool) {
                    state.partial.unlink(&self.region, pool);
                    self.give_pool(pool, class);
                }
            }
        }
        self.give_arenas(supply, 1);
    }

    /// Gives all wholly free arenas except `keep` of them to `supply`.
    pub(super) fn give_arenas(self, supply: &impl Supply, keep: usize) {
        while let Some(arena) = self.own.arenas.take_wholly_free(&self.region, keep) {
            supply.give_arena(&self.region, arena);
        }
    }

    /// Gives a wholly free pool, which is on no list, back to its arena.
    fn give_pool(self, pool: PoolId, class: SizeClass) {
        debug_assert_eq!(self.region.pool_record(pool).state(), PoolState::Taken);
        self.check_none_waits(class, pool);
        // The tag is cleared before the maps. Otherwise the leak finder could see a tag with zero maps, and would take
        // all blocks of the pool for live ones. No thread has a block of the pool (Region invariant 3).
        self.region.set_tag(pool, Tag::FREE);
        in_this_order();
        pool::give_up(&self.region, pool);
        self.own.pools.set(self.own.pools.get() - 1);
        self.class(class).pools.subtract(1);
        self.own.arenas.put_pool(&self.region, pool);
    }
}
