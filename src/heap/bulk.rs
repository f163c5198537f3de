//! Frees all blocks of a private heap at once: at the end of its handle, and in `reset`.
//!
//! No block is visited. Magazines are emptied in place, pools lose their class, and the number of live blocks follows
//! from the counts. So the cost depends only on the number of the heap's arenas.

use super::magazine::{bottom, is_absent};
use super::state::{CountsSinceSearch, OwnedHeap, in_this_order};
use super::supply::Supply;
use crate::check::check;
use crate::geometry::{POOLS_PER_ARENA, SizeClass, WORDS_PER_POOL};
use crate::region::{ArenaId, END, PoolState, RemoteMap, Tag, pool};
use crate::sync::Ordering;

/// Remote frees that other threads may have left in the remote map when they were done with the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RemoteLeftovers {
    /// Every word with bits is on the pending list.
    Queued,
    /// Some words with bits may not be on the list: a fork may have come after a thread set a bit and before it queued
    /// the word.
    Anywhere,
}

impl OwnedHeap<'_> {
    /// Frees every block of the heap and gives all its arenas to `supply`. No thread may use a block of the heap any
    /// more.
    pub(crate) fn free_all(self, supply: &impl Supply, posted: RemoteLeftovers) {
        self.begin_move();
        self.collect(usize::MAX);
        for class in SizeClass::all() {
            self.forget_class(class);
        }
        self.own.arenas.clear_all(&self.region, |arena| self.forget_arena(arena, posted));
        self.own.pools.set(0);
        self.own.since_search.set(CountsSinceSearch::default());
        self.own.taken.set(END);
        self.end_move();
        self.give_arenas(supply, 0);
    }

    /// Empties the magazines of a class and counts its live blocks as freed.
    fn forget_class(self, class: SizeClass) {
        let (head, state) = (self.head(class), self.class(class));
        let in_magazines = self.cached_blocks(class) as u64;
        if !is_absent(head.top()) {
            head.load(bottom(head.top(), class));
        }
        if !is_absent(state.previous()) {
            state.set_previous(bottom(state.previous(), class));
        }
        while let Some(top) = state.depot.pop_oldest() {
            self.keep_spare(top);
        }
        let (filled, remote_frees) = (state.filled.value(), state.remote_frees.value());
        let out = filled.wrapping_sub(state.flushed.value());
        let live = out.wrapping_sub(in_magazines).wrapping_sub(remote_frees) as i64;
        check!(live >= 0, "more blocks of a private heap were freed than it had given out");
        head.count_frees(live as u64);
        // All blocks are back: some by remote frees, the others by this thread.
        state.collected.add(remote_frees.wrapping_sub(state.collected.value()) as usize);
        state.flushed.add(out.wrapping_sub(remote_frees) as usize);
        state.pools.subtract(state.pools.value() as usize);
        state.partial.clear();
    }

    /// Takes the class away from all pools of an arena.
    fn forget_arena(self, arena: ArenaId, posted: RemoteLeftovers) {
        let region = &self.region;
        for pool in (0..POOLS_PER_ARENA as u32).map(|position| arena.pool(position)) {
            let record = region.pool_record(pool);
            if record.state() == PoolState::Free {
                continue;
            }
            // The tag is cleared before the maps. Otherwise the leak finder could see a tag with zero maps, and would
            // take all blocks of the pool for live ones. No thread has a block of the pool (Region invariant 3).
            region.set_tag(pool, Tag::FREE);
            in_this_order();
            if record.state() == PoolState::Listed {
                pool::give_up(region, pool);
            } else {
                record.give_up();
            }
            if posted == RemoteLeftovers::Anywhere {
                // Relaxed: a thread that set a bit is gone, or was done with the heap before this.
                (pool.first_word()..)
                    .take(WORDS_PER_POOL)
                    .for_each(|index| region.word(index).store(0, Ordering::Relaxed));
            }
        }
    }
}
