//! The foreign magazine: blocks of other heaps that this heap's thread freed. One for each class.
//!
//! ```text
//!   free_remote ──► foreign magazine ──► post_foreign ──────────────► the owners' pending lists
//!                         │ adopt                                           ▲
//!                         └──────► loaded or previous magazine, flush ──► post_adopted
//! ```
//! Threads that hand their blocks round *adopt* the foreign magazine: it becomes the loaded or the previous one, and
//! its blocks are served again without an atomic operation. A block counts as a remote free from the moment at which it
//! is pushed onto the foreign magazine.
//!
//! Foreign invariant 1: each block in the foreign magazine is of the magazine's class. Another heap owns its pool. Its
//! bit is set in neither map.
//! Foreign invariant 2: `foreign_full` is the top at which the foreign magazine has no more room. Until a foreign
//! magazine of the class is adopted, it has room for [`FOREIGN_BLOCKS`](super::class_state::FOREIGN_BLOCKS) blocks at
//! most, so that an idle thread pins few pools of other heaps. Afterwards it has room for its whole capacity, as long
//! as blocks go round.
//! Foreign invariant 3: `cached_foreign` is no less than the number of other heaps' blocks in the loaded magazine, the
//! previous one and the depot. Only adoption raises it. It falls with each block that
//! [`post_adopted`](OwnedHeap::post_adopted) sends back, and becomes 0 when those magazines are found empty or are
//! flushed.
//! Foreign invariant 4: every [`ADOPTED_IN_A_ROW`]th chance to adopt is not taken: the blocks are posted to their
//! owners instead. In this way a thread that once got blocks of other heaps comes back to its own blocks, and frees of
//! those take the fast path.

use super::class_state::ClassState;
use super::magazine::{bottom, capacity, count, is_absent, is_newest};
use super::state::{Heap, OwnedHeap, in_this_order};
use super::supply::Supply;
use crate::geometry::{CLASS_STEP, SizeClass};
use crate::heap::magazine;
use crate::region::{CombinedFrees, Tag};

/// A chance to adopt is not taken if its number is a multiple of this constant (Foreign invariant 4).
const ADOPTED_IN_A_ROW: u32 = 8;

/// Number of words of the remote map for which frees are combined at a time.
const COMBINED: usize = 8;

/// Puts a block onto the foreign magazine, which must have room.
#[inline(always)]
fn push_foreign(state: &ClassState, block: *mut u8) {
    let top = state.foreign().wrapping_sub(1);
    // SAFETY: the magazine was not full, so there is a slot of it below the top.
    unsafe { (*top).set(block) };
    state.foreign.set(top);
}

impl OwnedHeap<'_> {
    /// Frees a block of another heap: pushes it onto the foreign magazine.
    #[inline(always)]
    pub(super) fn free_remote(self, supply: &impl Supply, class: SizeClass, block: *mut u8, offset: usize) {
        let (index, bit) = Heap::word_and_bit(offset);
        let state = self.class(class);
        let top = state.foreign();
        if bit & !class.blocks_of_word(index) != 0 || offset % CLASS_STEP != 0 || is_newest(top, block) {
            self.wrong_free(class, offset);
        }
        state.remote_frees.add(1);
        if state.is_foreign_full() {
            return self.free_remote_slow(supply, class, block, offset);
        }
        push_foreign(state, block);
    }

    /// Frees a block of another heap when the foreign magazine is full or absent.
    #[cold]
    #[inline(never)]
    fn free_remote_slow(self, supply: &impl Supply, class: SizeClass, block: *mut u8, offset: usize) {
        let state = self.class(class);
        if is_absent(state.foreign()) {
            let Some(empty) = self.new_magazine(supply, class) else {
                // This heap never has magazines, or there is no memory for one.
                let (index, bits) = Heap::word_and_bit(offset);
                self.begin_move();
                self.post(class, CombinedFrees { index, bits });
                return self.end_move();
            };
            state.set_foreign(empty, class);
        } else if !self.adopt_full(class) {
            state.goes_round.set(false);
            self.post_foreign(class);
        }
        push_foreign(state, block);
    }
}

impl OwnedHeap<'_> {
    /// Loads the foreign magazine in place of the loaded one, which is empty. Threads that hand blocks round need no
    /// atomic operation then.
    pub(super) fn adopt(self, class: SizeClass) {
        let (head, state) = (self.head(class), self.class(class));
        let empty = head.top();
        // The leak finder may stop this thread anywhere here, and must find the magazine in some place.
        head.load(state.foreign());
        in_this_order();
        state.set_foreign(empty, class);
    }

    /// Makes the foreign magazine the previous one, if it is at its capacity and the previous one is empty. Returns
    /// false if it does not: the condition does not hold, or the blocks were posted instead (Foreign invariant 4).
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

    /// Counts the blocks of the foreign magazine as adopted, and returns true. Every [`ADOPTED_IN_A_ROW`]th time it
    /// posts them instead and returns false. Otherwise a thread that once got blocks of other heaps would pass them
    /// through the slow half of a free for ever.
    pub(super) fn may_adopt(self, class: SizeClass) -> bool {
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

    /// Counts the blocks of the foreign magazine as adopted (Foreign invariant 3).
    pub(super) fn count_adopted(self, class: SizeClass) {
        let state = self.class(class);
        let blocks = count(state.foreign(), class);
        state.adopted.add(blocks);
        // `cached_foreign` is an upper bound, and the number of all cached blocks is another. Uses the lower one.
        let before = state.cached_foreign().min(self.cached_blocks(class));
        state.cached_foreign.set((before + blocks) as u32);
        state.goes_round.set(true);
    }
}

impl OwnedHeap<'_> {
    /// Posts the blocks of the foreign magazine to their owners. The magazine is empty afterwards.
    pub(super) fn post_foreign(self, class: SizeClass) {
        let state = self.class(class);
        let top = state.foreign();
        if is_absent(top) {
            return;
        }
        self.begin_move();
        let base = self.region.base().addr().get();
        let mut words = [CombinedFrees::NONE; COMBINED];
        // SAFETY: the magazine is the heap's own, and its top is not used before the slice is dead.
        for block in unsafe { magazine::blocks(top, class) }.iter().rev() {
            let (index, bit) = Heap::word_and_bit(block.get().addr() - base);
            match words[index as usize % COMBINED].add(index, bit) {
                Ok(None) => {}
                Ok(Some(ready)) => self.post(class, ready),
                Err(_) => self.wrong_free(class, block.get().addr() - base),
            }
        }
        for ready in words.iter_mut().filter_map(CombinedFrees::take) {
            self.post(class, ready);
        }
        state.set_foreign(bottom(top, class), class);
        self.end_move();
    }

    /// Posts every remote free that this heap's thread still holds back.
    pub(crate) fn post_all(self) {
        for class in SizeClass::all() {
            self.post_foreign(class);
        }
    }

    /// Posts blocks that were in a magazine of this class. Their pool has the tag `tag`, which is not the one of this
    /// heap and class. Returns their number. Aborts if they cannot be blocks of this class in a pool of another heap.
    #[cold]
    #[inline(never)]
    pub(super) fn post_adopted(self, class: SizeClass, tag: Tag, ready: CombinedFrees) -> usize {
        let state = self.class(class);
        let blocks = ready.bits.count_ones() as usize;
        let is_of_class = !tag.is_free() && tag.class() == class;
        // No block in a magazine is free in its owner's free map.
        let free = self.region.free_word(ready.index).get() | !class.blocks_of_word(ready.index);
        if !is_of_class || state.cached_foreign() < blocks || free & ready.bits != 0 {
            let offset = Heap::offset_of_bits(ready.index, ready.bits);
            self.wrong_free(class, offset);
        }
        self.post(class, ready);
        state.adopted.subtract(blocks);
        state.cached_foreign.set((state.cached_foreign() - blocks) as u32);
        blocks
    }
}
