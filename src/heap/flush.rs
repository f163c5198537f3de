//! Flushes: blocks go from a magazine back to their pools.

use super::magazine::{SLOTS, bottom};
use super::state::OwnedHeap;
use crate::geometry::{CLASS_STEP, SizeClass, WORD_BYTES};
use crate::heap::magazine;
use crate::region::{CombinedFrees, PoolId, Slot, Tag};
use core::mem::MaybeUninit;

/// The words of the free map that were zero before a flush: at most one for each block of a magazine. Adding takes no
/// branch.
struct NewlyFreeWords {
    words: [MaybeUninit<u32>; SLOTS],
    length: usize,
    /// Number of blocks in the flush that other heaps own. They were posted instead.
    foreign_blocks: usize,
}

impl NewlyFreeWords {
    fn new() -> Self {
        Self { words: [const { MaybeUninit::uninit() }; SLOTS], length: 0, foreign_blocks: 0 }
    }

    /// Adds a word if `is_new`. There must be room for one more.
    #[inline(always)]
    fn add_if(&mut self, is_new: bool, index: u32) {
        self.words[self.length % SLOTS].write(index);
        self.length += usize::from(is_new);
    }

    fn words(&self) -> impl Iterator<Item = u32> {
        // SAFETY: every word below the length has been written.
        self.words[..self.length].iter().map(|word| unsafe { word.assume_init() })
    }
}

impl OwnedHeap<'_> {
    /// Moves a magazine's blocks to their pools; returns the top of the empty magazine.
    pub(super) fn flush_magazine(self, class: SizeClass, top: *mut Slot) -> *mut Slot {
        // SAFETY: the magazine is the heap's own, and its top is not used before the slice is dead.
        self.flush(class, unsafe { magazine::blocks(top, class) });
        bottom(top, class)
    }

    /// Moves blocks back to their pools: sets their bits in the free map. Posts those that other heaps own. `blocks`
    /// has at most as many blocks as a magazine has slots.
    pub(super) fn flush(self, class: SizeClass, blocks: &[Slot]) {
        let Some(oldest) = blocks.last() else { return };
        let base = self.region.base().addr().get();
        let own = self.front.tag(class);
        let mut low_bits = 0;
        // Pools are listed at the end. The processor cannot predict whether a word was zero, so a branch on that here
        // would hold up the next words, which may be cache misses.
        let mut newly_free = NewlyFreeWords::new();
        // Neighboring blocks share one word. The region is aligned to the bytes of a word, so addresses can stand for
        // offsets.
        let first_word = base / WORD_BYTES;
        let index = |place: usize| (place - first_word) as u32;
        let (mut place, mut bits) = (oldest.get().addr() / WORD_BYTES, 0_u64);
        // The oldest block first: then the pool of the newest block is listed last and used again first.
        for block in blocks.iter().rev() {
            let address = block.get().addr();
            low_bits |= address;
            if address / WORD_BYTES != place {
                self.put_back(class, own, CombinedFrees { index: index(place), bits }, &mut newly_free);
                (place, bits) = (address / WORD_BYTES, 0);
            }
            let bit = address / CLASS_STEP % 64;
            if bits >> bit & 1 == 1 {
                self.wrong_free(class, address - base);
            }
            bits |= 1 << bit;
        }
        self.put_back(class, own, CombinedFrees { index: index(place), bits }, &mut newly_free);
        newly_free.words().for_each(|index| self.list_pool(class, index));
        if low_bits % CLASS_STEP != 0 {
            self.unaligned_free(class, blocks);
        }
        let own_blocks = blocks.len() - newly_free.foreign_blocks;
        self.class(class).flushed.add(own_blocks);
        self.count_freed(class, own_blocks);
    }

    /// Sets the bits of blocks that were in a magazine of this class. Blocks whose pool has another tag than `own` are
    /// posted.
    #[inline(always)]
    fn put_back(
        self,
        class: SizeClass,
        own: Tag,
        CombinedFrees { index, bits }: CombinedFrees,
        newly_free: &mut NewlyFreeWords,
    ) {
        let tag = self.region.tag(PoolId::of_word(index));
        if tag != own {
            newly_free.foreign_blocks += self.post_adopted(class, tag, CombinedFrees { index, bits });
            return;
        }
        newly_free.add_if(self.set_free(class, index, bits), index);
    }
}
