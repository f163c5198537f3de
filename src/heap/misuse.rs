//! Frees that cannot be right, and their reports.

use super::state::{Heap, OwnedHeap};
use crate::check::{Misuse, misuse};
use crate::geometry::{CLASS_STEP, SizeClass, WORD_BYTES, is_block_at};
use crate::region::{PoolId, Slot, Tag};
use crate::sync::Ordering;

impl Heap {
    /// Word of the maps and bit in it for the block at an offset.
    #[inline]
    pub(crate) fn word_and_bit(offset: usize) -> (u32, u64) {
        ((offset / WORD_BYTES) as u32, 1 << (offset / CLASS_STEP % 64))
    }

    /// Offset of the first of the blocks of `bits` in a word of the maps.
    pub(super) fn offset_of_bits(index: u32, bits: u64) -> usize {
        index as usize * WORD_BYTES + bits.trailing_zeros() as usize * CLASS_STEP
    }

    /// Aborts for the free of a block of this class at an offset that cannot be freed: none begins there, or it is
    /// free.
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

/// Aborts for the free of a block whose pool has no class, of a private heap's block through something else, or of
/// another block through a private heap.
#[cold]
#[inline(never)]
pub(crate) fn refuse(block: *mut u8, tag: Tag) -> ! {
    let (address, block_bytes) = (block.addr(), tag.block_bytes());
    misuse(&if tag.is_free() { Misuse::FreePool { address } } else { Misuse::WrongHeap { address, block_bytes } })
}

impl OwnedHeap<'_> {
    /// Aborts for the first of these that is not aligned as blocks are.
    #[cold]
    #[inline(never)]
    pub(super) fn unaligned_free(self, class: SizeClass, blocks: &[Slot]) {
        let base = self.region.base().addr().get();
        let mut offsets = blocks.iter().map(|block| block.get().addr() - base);
        if let Some(offset) = offsets.find(|offset| offset % CLASS_STEP != 0) {
            self.wrong_free(class, offset);
        }
    }

    /// Aborts if another thread freed a block of a pool that is wholly free: that block was freed twice. Once the pool
    /// had another class or owner, nobody could tell.
    pub(super) fn check_none_waits(self, class: SizeClass, pool: PoolId) {
        for (index, word) in (pool.first_word()..).zip(self.region.remote_words(pool)) {
            // Relaxed: the bits of a correct program are zero since before the pool's blocks came back.
            let waiting = word.load(Ordering::Relaxed);
            if waiting != 0 {
                self.wrong_free(class, Heap::offset_of_bits(index, waiting));
            }
        }
    }
}
