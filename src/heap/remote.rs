//! Remote frees: a heap posts blocks to their owners, and collects what others have posted to it. `region/remote` has
//! the protocol.

use super::misuse::refuse;
use super::state::{Heap, OwnedHeap};
use crate::geometry::{CLASS_STEP, SizeClass};
use crate::region::{CombinedFrees, END, PoolId, remote};

impl Heap {
    /// Posts the block at `offset` of the region, for a thread that frees it and does not own this private heap now.
    pub(crate) fn post_private(&self, block: *mut u8, offset: usize) {
        let tag = self.region.tag(PoolId::of_offset(offset));
        if tag.is_free() || tag != self.front.tag(tag.class()) {
            refuse(block, tag);
        }
        let (class, (index, bit)) = (tag.class(), Self::word_and_bit(offset));
        if bit & !class.blocks_of_word(index) != 0 || offset % CLASS_STEP != 0 {
            self.wrong_free(class, offset);
        }
        // Many threads add to this counter, but not the owner: it frees no block of other heaps.
        self.class(class).remote_frees.add_shared(1);
        if remote::post(&self.region, index, bit, || self.pending()).is_err() {
            self.wrong_free(class, offset);
        }
    }
}

impl OwnedHeap<'_> {
    /// Posts the blocks of one word to the owner of their pool.
    pub(super) fn post(self, class: SizeClass, ready: CombinedFrees) {
        let region = &self.region;
        let owner = || {
            // The blocks just posted were live and are not collected yet. So the pool keeps its class, owner and tag
            // (Remote invariant 2).
            let tag = region.tag(PoolId::of_word(ready.index));
            if tag.is_free() {
                self.wrong_free(class, Heap::offset_of_bits(ready.index, ready.bits));
            }
            // SAFETY: a tag names a heap that was made, and heaps are never unmapped. This uses only the list that
            // threads share.
            unsafe { Heap::at(region, tag.heap()) }.pending()
        };
        if let Err(already) = remote::post(region, ready.index, ready.bits, owner) {
            self.wrong_free(class, Heap::offset_of_bits(ready.index, already.0));
        }
    }

    /// Collects remote frees: moves up to `most` words of them into the free map. Returns whether it moved any.
    pub(crate) fn collect(self, most: usize) -> bool {
        let mut found = false;
        let mut taken = self.own.taken.get();
        self.pending().collect(&self.region, &mut taken, most, |index, bits| {
            found = true;
            let class = self.region.pool_record(PoolId::of_word(index)).class();
            if self.set_free(class, index, bits) {
                self.list_pool(class, index);
            }
            let count = bits.count_ones() as usize;
            self.class(class).collected.add(count);
            self.count_freed(class, count);
        });
        self.own.taken.set(taken);
        found
    }

    /// Whether there are remote frees to collect.
    pub(crate) fn has_waiting(self) -> bool {
        self.own.taken.get() != END || !self.pending().is_empty()
    }
}
