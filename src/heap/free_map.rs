//! The free map of a heap's pools: sets the bits of blocks that come back, and lists their pools.

use super::state::{Heap, OwnedHeap};
use crate::geometry::SizeClass;
use crate::region::{PoolId, PoolState};

impl OwnedHeap<'_> {
    /// Sets bits of a word of the free map. Returns whether the word was zero before. If it was, the caller must call
    /// [`list_pool`] before the next search for free blocks.
    ///
    /// [`list_pool`]: Self::list_pool
    #[inline(always)]
    #[must_use]
    pub(super) fn set_free(self, class: SizeClass, index: u32, bits: u64) -> bool {
        let word = self.region.free_word(index);
        let before = word.get();
        // Pool invariant 1.
        let wrong = (before | !class.blocks_of_word(index)) & bits;
        if wrong != 0 {
            self.wrong_free(class, Heap::offset_of_bits(index, wrong));
        }
        word.set(before | bits);
        // If the word was not zero, its pool is on the list (Pool invariant 2).
        before == 0
    }

    /// Puts the pool of a word that is no longer zero on the class's list, unless it is there already (Pool invariant
    /// 2).
    pub(super) fn list_pool(self, class: SizeClass, index: u32) {
        let pool = PoolId::of_word(index);
        if self.region.pool_record(pool).state() != PoolState::Listed {
            self.class(class).partial.link(&self.region, pool);
        }
    }
}
