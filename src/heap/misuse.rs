//! Frees that cannot be right, and their reports.

use super::state::{Heap, OwnedHeap};
use crate::check::{Misuse, misuse};
use crate::geometry::{CLASS_STEP, SizeClass, WORD_BYTES, is_block_at};
use crate::region::{PoolId, Slot, Tag};
use crate::sync::Ordering;

impl Heap {
    /// The index of the word in the maps and the bit in this word, for the block at an offset.
    #[inline]
    pub(crate) fn word_and_bit(offset: usize) -> (u32, u64) {
        ((offset / WORD_BYTES) as u32, 1 << (offset / CLASS_STEP % 64))
    }

    /// The offset of the first block of `bits` in a word of the maps.
    pub(super) fn offset_of_bits(index: u32, bits: u64) -> usize {
        index as usize * WORD_BYTES + bits.trailing_zeros() as usize * CLASS_STEP
    }

    /// Reports a free of a block of this class at an offset where no block begins or the block is free already, and
    /// aborts.
    #[cold]
    #[inline(never)]
    pub(super) fn wrong_free(&self, class: SizeClass, offset: usize) -> ! {
        let (address, block_bytes) = (self.region.block(offset).addr(), class.bytes());
        misuse(&if is_block_at(offset, block_bytes) {
            Misuse::DoubleFree { address, block_bytes }
        } else {
            Misuse::InteriorPointer { address, block_bytes }
        })
    }
}

/// Reports a wrong free and aborts: the pool has no class, or a private heap's block was not freed through that heap,
/// or a private heap was given a block of another one.
#[cold]
#[inline(never)]
pub(crate) fn refuse(block: *mut u8, tag: Tag) -> ! {
    let (address, block_bytes) = (block.addr(), tag.block_bytes());
    misuse(&if tag.is_free() { Misuse::FreePool { address } } else { Misuse::WrongHeap { address, block_bytes } })
}

impl OwnedHeap<'_> {
    /// Reports the first of these blocks that is not aligned to 8 bytes, and aborts.
    #[cold]
    #[inline(never)]
    pub(super) fn unaligned_free(self, class: SizeClass, blocks: &[Slot]) {
        let base = self.region.base().addr().get();
        let mut offsets = blocks.iter().map(|block| block.get().addr() - base);
        if let Some(offset) = offsets.find(|offset| offset % CLASS_STEP != 0) {
            self.wrong_free(class, offset);
        }
    }

    /// Aborts if a block of a wholly free pool waits as a remote free: that block was freed twice. Once the pool has
    /// another class or owner, this can no longer be seen.
    pub(super) fn check_none_waits(self, class: SizeClass, pool: PoolId) {
        for (index, word) in (pool.first_word()..).zip(self.region.remote_words(pool)) {
            // Relaxed: in a correct program these bits were zero before the last block of the pool came back.
            let waiting = word.load(Ordering::Relaxed);
            if waiting != 0 {
                self.wrong_free(class, Heap::offset_of_bits(index, waiting));
            }
        }
    }
}
