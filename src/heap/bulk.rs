//! All blocks of a private heap at once, whatever they are: the end of a handle, and its `reset`.
//!
//! Nothing is done for each block. Magazines are emptied where they stand, pools lose their class, and what was live
//! follows from the counts. So the cost is that of the heap's arenas.

use super::magazine::{bottom, is_absent};
use super::state::{OwnedHeap, SinceSearch, in_this_order};
use super::supply::Supply;
use crate::check::check;
use crate::geometry::{POOLS_PER_ARENA, SizeClass, WORDS_PER_POOL};
use crate::region::{ArenaId, END, PoolState, RemoteMap, Tag, pool};
use crate::sync::Ordering;

/// What other threads can have left in the remote map when they are all done with the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Posted {
    /// Every word with bits is on the pending list.
    Queued,
    /// A fork may have come between a thread's setting a bit and its queueing the word.
    Anywhere,
}

impl OwnedHeap<'_> {
    /// Frees every block of the heap and gives all its arenas to `supply`. No thread has a block of it in hand any
    /// more.
    pub(crate) fn free_all(self, supply: &impl Supply, posted: Posted) {
        self.begin_move();
        self.collect(usize::MAX);
        for class in SizeClass::all() {
            self.forget_class(class);
        }
        self.own.arenas.clear_all(&self.region, |arena| self.forget_arena(arena, posted));
        self.own.pools.set(0);
        self.own.since_search.set(SinceSearch::default());
        self.own.taken.set(END);
        self.end_move();
        self.give_arenas(supply, 0);
    }

    /// Empties a class's magazines, and counts what was live as freed.
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
        // All are back: those that others freed by way of them, the rest by this thread.
        state.collected.add(remote_frees.wrapping_sub(state.collected.value()) as usize);
        state.flushed.add(out.wrapping_sub(remote_frees) as usize);
        state.pools.subtract(state.pools.value() as usize);
        state.partial.clear();
    }

    /// Makes all pools of an arena ones without a class.
    fn forget_arena(self, arena: ArenaId, posted: Posted) {
        let region = &self.region;
        for pool in (0..POOLS_PER_ARENA as u32).map(|position| arena.pool(position)) {
            let record = region.pool_record(pool);
            if record.state() == PoolState::Free {
                continue;
            }
            // Before the maps are zero, lest its blocks look live. Nobody has a block of the pool (Region invariant 3).
            region.set_tag(pool, Tag::FREE);
            in_this_order();
            if record.state() == PoolState::Listed {
                pool::give_up(region, pool);
            } else {
                record.give_up();
            }
            if posted == Posted::Anywhere {
                // Relaxed: whoever set a bit is not there any more, or was done before this.
                (pool.first_word()..)
                    .take(WORDS_PER_POOL)
                    .for_each(|index| region.word(index).store(0, Ordering::Relaxed));
            }
        }
    }
}
