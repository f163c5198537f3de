//! Checks of arenas and the pools in them: records, tags, and words of the two maps.

use super::sums::HeapSums;
use super::violation::{Violation, ViolationPlace, demand};
use crate::geometry::{POOL_BYTES, POOLS_PER_ARENA, SizeClass, WORDS_PER_POOL};
use crate::process::View;
use crate::region::{ArenaId, PoolId, PoolState, RemoteMap, Tag};
use crate::sync::Ordering;

impl View<'_> {
    /// Checks one arena in use.
    pub(super) fn check_arena(&self, arena: ArenaId, sums: &mut HeapSums) -> Result<(), Violation> {
        let free_pools = self.region.arena_record(arena).free_pools();
        let tags = || (0..POOLS_PER_ARENA as u32).map(|position| self.tag(arena.pool(position)));
        let owner = tags().find(|tag| !tag.is_free()).map(Tag::heap);
        if owner.map_or(self.heaps_before_fork > 0, |owner| self.is_beyond_us(owner)) {
            return Ok(());
        }
        for (position, tag) in (0..).zip(tags()) {
            let (pool, is_free) = (arena.pool(position), free_pools >> position & 1 == 1);
            let place = self.pool_place(pool);
            demand(is_free == tag.is_free(), "Arena invariant 1: a pool has a class and is free, or neither", place)?;
            if is_free {
                self.check_free_pool(pool)?;
                continue;
            }
            let heap = tag.heap();
            let Some(of) = self.heap(heap) else {
                return Err(Violation::new("a tag names a heap that was never made", place));
            };
            demand(tag.is_private() == of.front.is_private(), "a tag is wrong about whose heap it names", place)?;
            demand(owner == Some(heap), "two heaps own pools of an arena", self.arena_place(arena))?;
            self.check_pool(pool, tag, heap, sums)?;
        }
        Ok(())
    }

    fn check_free_pool(&self, pool: PoolId) -> Result<(), Violation> {
        let place = self.pool_place(pool);
        demand(self.region.pool_record(pool).state() == PoolState::Free, "a pool without a class has a state", place)?;
        for word in self.words(pool) {
            let bits = self.region.free_word(word).get() | self.region.word(word).load(Ordering::Relaxed);
            demand(bits == 0, "a pool without a class has blocks in a map", place)?;
        }
        Ok(())
    }

    fn check_pool(&self, pool: PoolId, tag: Tag, heap: usize, sums: &mut HeapSums) -> Result<(), Violation> {
        let (record, place) = (self.region.pool_record(pool), self.pool_place(pool));
        let Some(class) = record.known_class() else {
            return Err(Violation::new("a pool's record has a class that there is not", place));
        };
        demand(tag.is_of(heap, class), "a pool's tag and record have two classes", place)?;
        let (mut free, mut waiting) = (0, 0);
        for (word, mask) in self.words(pool).zip(class.block_mask()) {
            let free_bits = self.region.free_word(word).get();
            let remote_bits = self.region.word(word).load(Ordering::Relaxed);
            demand(free_bits & !mask == 0, "Pool invariant 1: the free map has a bit where no block begins", place)?;
            demand(
                remote_bits & !mask == 0,
                "the remote map has a bit where no block begins: free of an interior pointer",
                place,
            )?;
            demand(free_bits & remote_bits == 0, "a block is free and waits as a remote free: freed twice", place)?;
            free += u64::from(free_bits.count_ones());
            waiting += u64::from(remote_bits.count_ones());
            sums.waiting_words[0] += usize::from(remote_bits != 0);
        }
        let expected = if free > 0 { PoolState::Listed } else { PoolState::Taken };
        demand(record.state() == expected, "Pool invariant 2: a pool's state is not that of its free blocks", place)?;
        sums.listed_pools[0] += usize::from(free > 0);
        let class_sums = &mut sums.classes[class.index()];
        class_sums.pools[0] += 1;
        class_sums.taken[0] += class.blocks_per_pool() as u64 - free;
        class_sums.waiting[0] += waiting;
        Ok(())
    }

    fn tag(&self, pool: PoolId) -> Tag {
        self.region.tag(pool)
    }

    /// The words of the maps that cover a pool.
    fn words(&self, pool: PoolId) -> impl Iterator<Item = u32> + use<> {
        (pool.first_word()..).take(WORDS_PER_POOL)
    }

    pub(super) fn pool_place(&self, pool: PoolId) -> ViolationPlace {
        ViolationPlace::Pool { address: self.region.block(pool.0 as usize * POOL_BYTES).addr() }
    }

    /// Whether a pool is in use, has this class, and belongs to this heap.
    pub(super) fn is_pool_of(&self, pool: PoolId, heap: usize, class: SizeClass) -> bool {
        (pool.0 as usize) < self.carved * POOLS_PER_ARENA && self.tag(pool).is_of(heap, class)
    }
}
