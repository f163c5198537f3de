//! Arenas: which of their pools are free, and a heap's arenas in the order in which it uses them.
//!
//! A heap takes each pool from the fullest arena that has a free one, as CPython does. So the emptiest arenas may
//! become wholly free. The drawback: a heap needs one list for every possible number of free pools.

use super::ids::{ArenaId, PoolId};
use super::list;
use super::list::NONE;
use super::tables::{Region, SplitChunks};
use crate::geometry::POOLS_PER_ARENA;
use crate::sync::{WatchedU32, WatchedU64};

/// A heap's arenas, by how many free pools they have.
pub(crate) struct Arenas {
    /// `first[n]`: the first arena with `n` free pools.
    first: [WatchedU32; POOLS_PER_ARENA + 1],
    /// Bit `n - 1` is set if there is an arena with `n` free pools.
    nonempty: WatchedU64,
    /// Number of arenas.
    count: WatchedU32,
}

impl Arenas {
    pub(crate) const fn new() -> Self {
        Self {
            first: [const { WatchedU32::new(NONE) }; POOLS_PER_ARENA + 1],
            nonempty: WatchedU64::new(0),
            count: WatchedU32::new(0),
        }
    }

    /// Adds a wholly free arena that no other heap owns.
    pub(crate) fn add(&self, region: &Region, arena: ArenaId) {
        region.arena_record(arena).set_wholly_free();
        self.link(region, arena, POOLS_PER_ARENA);
        self.count.set(self.count.get() + 1);
    }

    /// Takes the lowest free pool of the fullest arena that has a free pool.
    pub(crate) fn take_pool(&self, region: &Region) -> Option<PoolId> {
        if self.nonempty.get() == 0 {
            return None;
        }
        let free = self.nonempty.get().trailing_zeros() as usize + 1;
        let arena = ArenaId(self.first[free].get());
        let record = region.arena_record(arena);
        debug_assert_eq!(record.free_count(), free, "Arena invariant 2");
        self.unlink(region, arena, free);
        let pool = arena.pool(record.free_pools.get().trailing_zeros());
        record.free_pools.set(record.free_pools.get() & (record.free_pools.get() - 1));
        self.link(region, arena, free - 1);
        Some(pool)
    }

    /// Puts a pool back into its arena.
    pub(crate) fn put_pool(&self, region: &Region, pool: PoolId) {
        let record = region.arena_record(pool.arena());
        let bit = 1 << pool.position();
        debug_assert!(record.free_pools.get() & bit == 0, "Arena invariant 1");
        let free = record.free_count();
        self.unlink(region, pool.arena(), free);
        record.free_pools.set(record.free_pools.get() | bit);
        self.link(region, pool.arena(), free + 1);
    }

    /// Takes a wholly free arena out of the heap if there are more than `keep` of them.
    pub(crate) fn take_wholly_free(&self, region: &Region, keep: usize) -> Option<ArenaId> {
        let mut arena = self.first[POOLS_PER_ARENA].get();
        for _ in 0..keep {
            if arena == NONE {
                return None;
            }
            arena = region.arena_record(ArenaId(arena)).next().get();
        }
        if arena == NONE {
            return None;
        }
        self.unlink(region, ArenaId(arena), POOLS_PER_ARENA);
        self.count.set(self.count.get() - 1);
        Some(ArenaId(arena))
    }

    /// Makes every arena wholly free. Calls `clear` first with each arena that is not: `clear` must take the blocks and
    /// the class of its pools away.
    pub(crate) fn clear_all(&self, region: &Region, clear: impl Fn(ArenaId)) {
        for free in 0..POOLS_PER_ARENA {
            while self.first[free].get() != NONE {
                let arena = ArenaId(self.first[free].get());
                clear(arena);
                self.unlink(region, arena, free);
                region.arena_record(arena).set_wholly_free();
                self.link(region, arena, POOLS_PER_ARENA);
            }
        }
    }

    /// Number of arenas of the heap.
    pub(crate) fn count(&self) -> usize {
        self.count.get() as usize
    }

    /// Gives the memory of free pools back to the system. Returns the bytes of it that were in memory.
    ///
    /// # Safety
    /// * The caller owns the arenas.
    pub(crate) unsafe fn release(&self, region: &Region) -> usize {
        let mut bytes = 0;
        self.each_with_free_pools(region, |arena, mut free| {
            while free != 0 {
                let start = free.trailing_zeros();
                let length = (free >> start).trailing_ones();
                // SAFETY: the caller owns the arena, and a set bit is a pool without a class (Arena invariant 1).
                bytes += unsafe { region.release(arena.pool(start), length as usize) };
                free &= u64::MAX.checked_shl(start + length).unwrap_or(0);
            }
        });
        // After all of this heap's: a huge page that is released as a whole need not be split.
        let mut done = SplitChunks::new();
        self.each_with_free_pools(region, |arena, _| region.split_huge_page(arena, &mut done));
        bytes
    }

    /// Calls `each` with each arena that has free pools, and a bit for each of these pools.
    fn each_with_free_pools(&self, region: &Region, mut each: impl FnMut(ArenaId, u64)) {
        for first in &self.first[1..] {
            let mut next = first.get();
            while next != NONE {
                let record = region.arena_record(ArenaId(next));
                each(ArenaId(next), record.free_pools.get());
                next = record.next().get();
            }
        }
    }

    /// The first arena with `free` free pools, else [`NONE`]; and whether `nonempty` says that there is one. `nonempty`
    /// has no bit for 0: for 0 the list itself gives the second answer.
    pub(crate) fn with_free(&self, free: usize) -> (u32, bool) {
        let first = self.first[free].get();
        (first, if free == 0 { first != NONE } else { self.nonempty.get() & mark(free) != 0 })
    }

    fn link(&self, region: &Region, arena: ArenaId, free: usize) {
        list::link(&self.first[free], arena.0, |number| &region.arena_record(ArenaId(number)).links);
        self.nonempty.set(self.nonempty.get() | mark(free));
    }

    fn unlink(&self, region: &Region, arena: ArenaId, free: usize) {
        list::unlink(&self.first[free], arena.0, |number| &region.arena_record(ArenaId(number)).links);
        if self.first[free].get() == NONE {
            self.nonempty.set(self.nonempty.get() & !mark(free));
        }
    }
}

/// The bit of `nonempty` for arenas with `free` free pools; 0 for arenas without free pools.
fn mark(free: usize) -> u64 {
    if free == 0 { 0 } else { 1 << (free - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_arena_serves_first_and_lowest_pools_go_first() {
        let region = Region::reserve(1 << 20, 4096).unwrap();
        assert!(region.open_arenas(0, 3));
        let arenas = Arenas::new();
        assert_eq!(arenas.take_pool(&region), None);
        for arena in 0..3 {
            arenas.add(&region, ArenaId(arena));
        }
        // The arena that was added last serves first, until it is full.
        let pools: Vec<_> = (0..64).map(|_| arenas.take_pool(&region).unwrap()).collect();
        assert_eq!(pools, (0..64).map(|n| ArenaId(2).pool(n)).collect::<Vec<_>>());
        let second: Vec<_> = (0..10).map(|_| arenas.take_pool(&region).unwrap()).collect();
        assert!(second.iter().all(|pool| pool.arena() == second[0].arena()));
        // With two free pools, and then with one, the arena that was full is the fullest that can serve.
        arenas.put_pool(&region, pools[5]);
        arenas.put_pool(&region, pools[3]);
        assert_eq!(arenas.take_pool(&region), Some(pools[3]));
        assert_eq!(arenas.take_pool(&region), Some(pools[5]));
        assert_eq!(arenas.take_pool(&region), Some(second[0].arena().pool(10)));
    }

    #[test]
    fn an_arena_leaves_the_middle_of_a_list() {
        let order = |more: &[u32], taken: usize| -> Vec<u32> {
            let region = Region::reserve(1 << 20, 4096).unwrap();
            assert!(region.open_arenas(0, 3));
            let arenas = Arenas::new();
            (0..3).for_each(|arena| arenas.add(&region, ArenaId(arena)));
            while arenas.take_pool(&region).is_some() {}
            // Each has one free pool, so they are on one list: 2, 1, 0.
            (0..3).for_each(|arena| arenas.put_pool(&region, ArenaId(arena).pool(7)));
            more.iter().for_each(|&arena| arenas.put_pool(&region, ArenaId(arena).pool(8)));
            (0..taken).map_while(|_| Some(arenas.take_pool(&region)?.arena().0)).collect()
        };
        // The middle arena leaves the list, then the last one.
        assert_eq!(order(&[1], 5), [2, 0, 1, 1]);
        assert_eq!(order(&[1, 0], 6), [2, 0, 0, 1, 1]);
    }

    #[test]
    fn wholly_free_arenas_can_be_taken_out() {
        let region = Region::reserve(1 << 20, 4096).unwrap();
        assert!(region.open_arenas(0, 3));
        let arenas = Arenas::new();
        for arena in 0..3 {
            arenas.add(&region, ArenaId(arena));
        }
        let pool = arenas.take_pool(&region).unwrap();
        assert!(arenas.take_wholly_free(&region, 1).is_some());
        assert_eq!(arenas.take_wholly_free(&region, 1), None);
        arenas.put_pool(&region, pool);
        assert!(arenas.take_wholly_free(&region, 1).is_some());
        assert!(arenas.take_wholly_free(&region, 0).is_some());
        assert_eq!(arenas.take_wholly_free(&region, 0), None);
        assert_eq!(arenas.take_pool(&region), None);
    }
}
