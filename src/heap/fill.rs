//! From pools to magazines: the slow half of an allocation.

use super::{FOREIGN_BLOCKS, OwnedHeap, SinceSearch, Supply, TAG_FREE, in_this_order};
use crate::magazine::{self, Slot, capacity, count, is_absent, start};
use crate::pool::{self, PoolState};
use crate::region::PoolId;
use crate::size_class::{POOL_BYTES, POOLS_PER_ARENA, SizeClass};
use crate::sync::Ordering;
use core::ptr;

/// Words of remote frees collected before a fill looks again: it stops when it has found enough, so that it does not
/// pay at once for all that another thread has freed.
const COLLECTED_AT_ONCE: usize = 64;
/// How often a fill looks, if what comes back is of other classes. So a fill that takes a fresh pool has collected the
/// words of a hundred pools: what waits shrinks faster than the heap grows.
const COLLECTS_A_FILL: usize = 16;

/// Blocks of a class's first fill in a heap. It doubles with each fill up to a whole magazine, so that a thread of a
/// hundred allocations takes few more blocks than it uses.
pub(super) const FIRST_FILL: u32 = 4;

/// Times that a heap does without a magazine after it got none: to ask takes the lock that all share.
const WAIT_FOR_MAGAZINE: u32 = 63;

/// One in so many chances to load the foreign magazine is left, and its blocks go back to their owners.
const ADOPTED_IN_A_ROW: u32 = 8;

impl OwnedHeap<'_> {
    /// A block of this class when the loaded magazine has none; null if there is no memory.
    pub(crate) fn alloc(self, supply: &impl Supply, class: SizeClass) -> *mut u8 {
        let head = self.head(class);
        let state = self.class(class);
        let loaded = head.top();
        if count(loaded, class) > 0 {
            // A request of 0 bytes comes here though its class has blocks.
            return head.pop();
        }
        if is_absent(loaded) {
            match self.new_magazine(supply, class) {
                Some(empty) => head.load(empty),
                None => return self.alloc_one(supply, class),
            }
        } else if count(state.previous(), class) > 0 {
            head.load(state.previous());
            in_this_order();
            state.set_previous(loaded);
            return head.pop();
        } else if let Some(full) = state.depot.newest() {
            if !is_absent(state.previous()) {
                self.keep_spare(state.previous());
            }
            // The full magazine is somewhere at any moment.
            head.load(full);
            in_this_order();
            state.set_previous(loaded);
            state.depot.pop_newest();
            return head.pop();
        } else {
            // Nothing is cached now.
            state.cached_foreign.set(0);
            if count(state.foreign(), class) >= capacity(class).min(FOREIGN_BLOCKS) / 2 && self.may_adopt(class) {
                self.adopt(class);
                return head.pop();
            }
        }
        self.fill(supply, class);
        let block = head.pop();
        if block.is_null() && count(state.foreign(), class) > 0 {
            // There is no other memory.
            self.count_adopted(class);
            self.adopt(class);
            return head.pop();
        }
        block
    }

    /// Loads the foreign magazine in place of the loaded one, which is empty: threads that hand their blocks round then need
    /// no atomic operation.
    fn adopt(self, class: SizeClass) {
        let (head, state) = (self.head(class), self.class(class));
        let empty = head.top();
        // The magazine is somewhere at any moment.
        head.load(state.foreign());
        in_this_order();
        state.set_foreign(empty, class);
    }

    /// Makes the foreign magazine the previous one if it is full and that is empty. False if it cannot.
    pub(super) fn adopt_full(self, class: SizeClass) -> bool {
        let state = self.class(class);
        let (foreign, previous) = (state.foreign(), state.previous());
        let is_full = count(foreign, class) == capacity(class);
        if !is_full || is_absent(previous) || count(previous, class) > 0 || !self.may_adopt(class) {
            return false;
        }
        state.set_previous(foreign);
        in_this_order();
        state.set_foreign(previous, class);
        true
    }

    /// Counts the foreign magazine's blocks as adopted. Now and then it posts them instead, and returns false, so that a
    /// thread which got blocks of others once does not pass them through the slow half of a free for ever.
    fn may_adopt(self, class: SizeClass) -> bool {
        let state = self.class(class);
        let chances = state.chances.get().wrapping_add(1);
        state.chances.set(chances);
        if chances % ADOPTED_IN_A_ROW == 0 {
            self.post_foreign(class);
            return false;
        }
        self.count_adopted(class);
        true
    }

    fn count_adopted(self, class: SizeClass) {
        let state = self.class(class);
        let blocks = count(state.foreign(), class);
        state.adopted.add(blocks);
        // Of what was cached before there are no more than that.
        let before = state.cached_foreign().min(self.cached_blocks(class));
        state.cached_foreign.set((before + blocks) as u32);
        state.goes_round.set(true);
    }

    /// Fills the loaded magazine, empty, in such a way that the lowest address comes out first.
    fn fill(self, supply: &impl Supply, class: SizeClass) {
        let state = self.class(class);
        let head = self.head(class);
        let wanted = state.next_fill.get() as usize;
        state.next_fill.set((wanted * 2).min(capacity(class)) as u32);
        let empty = head.top();
        let first = empty.wrapping_sub(wanted);
        // SAFETY: the `wanted` slots below the bottom of the heap's own magazine, which is empty.
        let taken = unsafe { self.take(supply, class, first, wanted) };
        if taken < wanted {
            // They lie too low; the slot below the bottom is where the last belongs.
            let (mut from, mut to) = (first.wrapping_add(taken), empty);
            while !ptr::eq(from, first) {
                (from, to) = (from.wrapping_sub(1), to.wrapping_sub(1));
                // SAFETY: slots of the magazine, two of the wanted ones; so for the next line.
                let block = unsafe { (*from).get() };
                // SAFETY: as above.
                unsafe { (*to).set(block) };
            }
        }
        head.load(empty.wrapping_sub(taken));
        self.end_move();
    }

    /// A block without a magazine: the stragglers' way, and the last one when no magazine can be had.
    fn alloc_one(self, supply: &impl Supply, class: SizeClass) -> *mut u8 {
        let slot = Slot::null();
        // SAFETY: one slot, on this stack.
        unsafe { self.take(supply, class, (&raw const slot).cast_mut(), 1) };
        self.end_move();
        slot.get()
    }

    /// Takes up to `wanted` blocks out of pools, written from `first` upwards: from the class's partly used pools,
    /// then from what other threads freed, then from a fresh pool. Returns how many, 0 if there is no memory. They are under
    /// way: the caller ends the move when they have arrived.
    ///
    /// # Safety
    /// * `first` and the `wanted - 1` slots above it are the caller's to write.
    unsafe fn take(self, supply: &impl Supply, class: SizeClass, first: *mut Slot, wanted: usize) -> usize {
        let state = self.class(class);
        let mut taken = 0;
        self.begin_move();
        for look in 0..=COLLECTS_A_FILL {
            while let Some(pool) = state.partial.first() {
                // SAFETY: the heap owns its pools; the caller promises the slots.
                let (count, empty) =
                    unsafe { pool::take_blocks(&self.region, pool, first.wrapping_add(taken), wanted - taken) };
                taken += count;
                if empty {
                    state.partial.unlink(&self.region, pool);
                }
                if taken == wanted {
                    state.filled.add(taken);
                    return taken;
                }
            }
            if look == COLLECTS_A_FILL || !self.collect(COLLECTED_AT_ONCE) {
                break;
            }
        }
        if taken == 0 {
            // Here the thread may wait for a lock.
            self.end_move();
            let pool = self.take_pool(supply);
            self.begin_move();
            if let Some(pool) = pool {
                // SAFETY: the slots are the caller's.
                taken = unsafe { self.take_fresh(pool, class, first, wanted) };
            }
        }
        state.filled.add(taken);
        taken
    }

    /// As `take`, from a pool of the heap's that has no class yet.
    ///
    /// # Safety
    /// * As for `take`.
    unsafe fn take_fresh(self, pool: PoolId, class: SizeClass, first: *mut Slot, wanted: usize) -> usize {
        self.region.pool_record(pool).take(class);
        // Relaxed: Region invariant 3; whoever reads it has a block of the pool, handed out later.
        self.region.tag(pool).store(self.front.tag(class), Ordering::Relaxed);
        self.own.pools.set(self.own.pools.get() + 1);
        let state = self.class(class);
        state.pools.add(1);
        let taken = wanted.min(class.blocks_per_pool());
        let (mut block, mut slot) = (self.region.block(pool.0 as usize * POOL_BYTES), first);
        let end = first.wrapping_add(taken);
        while !ptr::eq(slot, end) {
            // SAFETY: `taken` is at most `wanted`, and the caller promises so many slots.
            unsafe { (*slot).set(block) };
            (block, slot) = (block.wrapping_add(class.bytes()), slot.wrapping_add(1));
        }
        if taken < class.blocks_per_pool() {
            pool::free_blocks_from(&self.region, pool, taken);
            state.partial.link(&self.region, pool);
        }
        taken
    }

    /// A pool without a class: from the heap's arenas; else, if it is worth a search, one that has become wholly free;
    /// else from an arena that nobody owns.
    fn take_pool(self, supply: &impl Supply) -> Option<PoolId> {
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
        let Some(arena) = supply.take_arena() else {
            // The last resort, if it can be expected to help.
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

    /// Whether to look for wholly free pools before another arena is taken: a search looks at every partly used pool, so
    /// it has to be paid for by as many frees, or by the growth of the heap by an eighth.
    fn is_search_worthwhile(self) -> bool {
        let (since, pools) = (self.own.since_search.get(), self.own.pools.get());
        since.freed_blocks >= 2 * pools.max(1)
            || (since.freed_blocks > 0 && since.new_arenas * POOLS_PER_ARENA * 8 >= pools)
    }

    /// Looks for wholly free pools if half of what the heap's pools hold has been freed since the last search, so that
    /// a thread which drops much does not keep it from the others. Small heaps wait until they need a pool.
    pub(super) fn search_if_much_was_freed(self, supply: &impl Supply) {
        let pools = self.own.pools.get();
        if pools > POOLS_PER_ARENA && self.own.since_search.get().freed_bytes >= pools * (POOL_BYTES / 2) {
            self.search_wholly_free_pools(supply);
        }
    }

    /// Gives the pools that have become wholly free back to their arenas, and all wholly free arenas but one to `supply`.
    pub(super) fn search_wholly_free_pools(self, supply: &impl Supply) {
        self.own.since_search.set(SinceSearch::default());
        for class in SizeClass::all() {
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

    /// Gives all wholly free arenas but `keep` of them to `supply`.
    pub(super) fn give_arenas(self, supply: &impl Supply, keep: usize) {
        while let Some(arena) = self.own.arenas.take_wholly_free(&self.region, keep) {
            supply.give_arena(&self.region, arena);
        }
    }

    fn give_pool(self, pool: PoolId, class: SizeClass) {
        debug_assert_eq!(self.region.pool_record(pool).state(), PoolState::Taken);
        self.check_none_waits(class, pool);
        // Before the maps are zero, lest its blocks look live. Relaxed: Region invariant 3; nobody has a block of the pool.
        self.region.tag(pool).store(TAG_FREE, Ordering::Relaxed);
        in_this_order();
        pool::give_up(&self.region, pool);
        self.own.pools.set(self.own.pools.get() - 1);
        self.class(class).pools.subtract(1);
        self.own.arenas.put_pool(&self.region, pool);
    }

    /// The top of an empty magazine; `None` if the heap has none by design or there is no memory.
    pub(super) fn new_magazine(self, supply: &impl Supply, class: SizeClass) -> Option<*mut Slot> {
        if !self.own.has_magazines.get() {
            return None;
        }
        if self.own.spare.get().is_null() {
            if let Some(less) = self.own.wait.get().checked_sub(1) {
                self.own.wait.set(less);
                return None;
            }
            supply.take_magazines(&mut |empty| self.keep_spare(empty));
        }
        let spare = self.own.spare.get();
        if spare.is_null() {
            self.own.wait.set(WAIT_FOR_MAGAZINE);
            return None;
        }
        // SAFETY: a spare magazine is the heap's own; slot 0 links it to the next.
        let next = unsafe { (*spare).get() };
        self.own.spare.set(next.cast());
        // SAFETY: a spare magazine is the heap's own and holds no block.
        Some(unsafe { magazine::empty(spare, class) })
    }

    /// Keeps the magazine that a top lies in, whose blocks are gone, for later.
    pub(super) fn keep_spare(self, top: *mut Slot) {
        let spare = start(top);
        // SAFETY: the magazine is the heap's own and holds no block.
        unsafe { (*spare).set(self.own.spare.get().cast()) };
        self.own.spare.set(spare);
    }
}
