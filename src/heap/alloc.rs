//! The slow half of an allocation: an empty magazine is swapped with the previous one, with one of the depot or with
//! the foreign one; else it is filled from pools.

use super::class_state::FOREIGN_BLOCKS;
use super::magazine::{capacity, count, is_absent};
use super::state::{OwnedHeap, in_this_order};
use super::supply::Supply;
use crate::geometry::{POOL_BYTES, SizeClass};
use crate::region::{PoolId, Slot, pool};
use core::ptr;

/// Most words of remote frees that a fill collects before it looks for blocks again. It stops when it has enough, so
/// that one fill does not pay for all that other threads have freed.
const COLLECTED_AT_ONCE: usize = 64;

/// Largest number of times that one fill collects. It collects again as long as too few of the blocks that came back
/// are of its class. It takes a fresh pool only after it has collected as many words as 128 pools have, or all that
/// were there. So the number of waiting words shrinks faster than the heap grows.
const COLLECTS_A_FILL: usize = 16;

impl OwnedHeap<'_> {
    /// A block of this class when the loaded magazine is empty. Null without memory.
    pub(crate) fn alloc(self, supply: &impl Supply, class: SizeClass) -> *mut u8 {
        let head = self.head(class);
        let state = self.class(class);
        let loaded = head.top();
        if count(loaded, class) > 0 {
            // Some requests come here although the magazine of their class has blocks: those of 0 bytes, and those of a
            // thread whose front is a sampling one, a detour's, or `BYPASS`.
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
            // The leak finder may stop this thread anywhere here, and must find the full magazine in some place.
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
            // No other memory is left.
            self.count_adopted(class);
            self.adopt(class);
            return head.pop();
        }
        block
    }

    /// Fills the loaded magazine, which is empty. Blocks will be served in the order in which they leave the pools:
    /// each pool gives its lowest address first.
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
            // `take` has filled the lowest of the wanted slots. Moves the blocks up, so that the last one is in the
            // slot below the bottom.
            let (mut from, mut to) = (first.wrapping_add(taken), empty);
            while !ptr::eq(from, first) {
                (from, to) = (from.wrapping_sub(1), to.wrapping_sub(1));
                // SAFETY: both slots are among the wanted ones, which are the heap's own.
                let block = unsafe { (*from).get() };
                // SAFETY: as above.
                unsafe { (*to).set(block) };
            }
        }
        head.load(empty.wrapping_sub(taken));
        self.end_move();
    }

    /// A block straight from a pool: for the stragglers' heap, and for a heap that can get no magazine.
    fn alloc_one(self, supply: &impl Supply, class: SizeClass) -> *mut u8 {
        let slot = Slot::null();
        // SAFETY: one slot, on this stack.
        unsafe { self.take(supply, class, (&raw const slot).cast_mut(), 1) };
        self.end_move();
        slot.get()
    }

    /// Takes up to `wanted` blocks out of pools: first out of the class's partly used pools, then out of pools that get
    /// blocks back when remote frees are collected. If it finds no block at all, it takes a fresh pool. Writes the
    /// blocks to the slots from `first` upwards. Returns their number; 0 without memory. This function begins a
    /// move, which the caller ends when the blocks have arrived.
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
            // The thread may wait for a lock in `take_pool`, so no move may be under way.
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

    /// Gives this class to a pool of the heap that has no class. Takes up to `wanted` blocks out of it, writes them to
    /// the slots from `first` upwards, and returns their number.
    ///
    /// # Safety
    /// * `first` and the `wanted - 1` slots above it are the caller's to write.
    unsafe fn take_fresh(self, pool: PoolId, class: SizeClass, first: *mut Slot, wanted: usize) -> usize {
        self.region.pool_record(pool).take(class);
        // A thread that reads the tag has a block of this pool. No block of it is served before the tag is set (Region
        // invariant 3).
        self.region.set_tag(pool, self.front.tag(class));
        self.own.pools.set(self.own.pools.get() + 1);
        let state = self.class(class);
        state.pools.add(1);
        let taken = wanted.min(class.blocks_per_pool());
        let (mut block, mut slot) = (self.region.block(pool.0 as usize * POOL_BYTES), first);
        let end = first.wrapping_add(taken);
        while !ptr::eq(slot, end) {
            // SAFETY: `taken` is at most `wanted`, and the caller promises that many slots.
            unsafe { (*slot).set(block) };
            (block, slot) = (block.wrapping_add(class.bytes()), slot.wrapping_add(1));
        }
        if taken < class.blocks_per_pool() {
            pool::free_blocks_from(&self.region, pool, taken);
            state.partial.link(&self.region, pool);
        }
        taken
    }
}
