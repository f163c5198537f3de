//! Finds the live blocks.

use super::found::Node;
use super::scan::Scan;
use crate::debug::PoolBlockState;
use crate::geometry::{CLASS_STEP, POOLS_PER_ARENA, SizeClass, WORD_BYTES};
use crate::heap::{Heap, SLOTS, capacity, is_absent, magazine};
use crate::region::{PoolId, RemoteMap, Slot};
use crate::sync::Ordering;

impl Scan<'_> {
    /// Fills the live map and counts the live blocks. Blocks of heaps in the middle of a change count as live and as
    /// reached.
    pub(super) fn find_live(&mut self) -> Option<()> {
        self.find_out_of_pools()?;
        self.leave_out_cached();
        self.mark_under_way()?;
        self.leave_out_quarantined();
        self.sums.live_blocks += self.large.len() as u64;
        self.sums.live_bytes += self.large.iter().map(|large| large.bytes as u64).sum::<u64>();
        Some(())
    }

    /// Enters into the live map the blocks that are in neither the free map nor the remote map. If their heap is in the
    /// middle of a change, or may have been when the process was forked, they are marked as reached.
    fn find_out_of_pools(&mut self) -> Option<()> {
        let (view, region) = (self.view, self.view.region);
        for pool in (0..(view.carved * POOLS_PER_ARENA) as u32).map(PoolId) {
            let tag = region.tag(pool);
            if tag.is_free() {
                continue;
            }
            let is_changing = view.heap(tag.heap()).is_none_or(Heap::is_moving);
            for (word, mask) in (pool.first_word()..).zip(tag.class().block_mask()) {
                let free = region.free_word(word).get() | region.word(word).load(Ordering::Relaxed);
                self.live[word as usize] = mask & !free;
                if is_changing {
                    self.mark_bits(word, mask & !free)?;
                }
            }
        }
        Some(())
    }

    /// Takes the blocks in magazines out of the live map. Leaves out the heaps in the middle of a change, since another
    /// thread may already have got one of their magazines.
    fn leave_out_cached(&mut self) {
        let view = self.view;
        let heaps = (0..view.heaps).filter_map(|index| view.heap(index));
        for heap in heaps.filter(|heap| !heap.is_moving()) {
            for class in SizeClass::all() {
                for top in heap.magazines(class).filter(|top| !is_absent(*top) && view.is_magazine(*top)) {
                    for block in magazine::held(top, magazine::count(top, class).min(capacity(class))) {
                        if let Some(offset) = view.region.offset_of(block.addr()) {
                            let word = &mut self.live[offset / WORD_BYTES];
                            *word &= !(1 << (offset / CLASS_STEP % 64));
                        }
                    }
                }
            }
        }
    }

    /// Marks as reached the blocks that are under way. In the child of a fork, also marks those in magazines of heaps
    /// that belonged to other threads of the parent.
    fn mark_under_way(&mut self) -> Option<()> {
        let (view, region) = (self.view, self.view.region);
        if view.is_moving() {
            for magazine in 0..view.magazines {
                self.mark_slots(region.magazine(magazine))?;
            }
        }
        for index in (0..view.heaps).filter(|index| view.is_beyond_us(*index)) {
            // SAFETY: heaps below `view.heaps` stay open for ever. Only atomics are read, and fields that never change.
            let Some(heap) = (unsafe { Heap::in_place(region.heap(index)) }) else { continue };
            for top in SizeClass::all().flat_map(|class| heap.magazines(class)) {
                if !is_absent(top) && view.is_magazine(top) {
                    self.mark_slots(magazine::start(top))?;
                }
            }
        }
        Some(())
    }

    /// Takes the blocks in the debug layer's quarantine out of the live map. Counts the others.
    fn leave_out_quarantined(&mut self) {
        for word in 0..self.live.len() {
            let mut bits = self.live[word];
            while bits != 0 {
                let offset = (word * 64 + bits.trailing_zeros() as usize) * CLASS_STEP;
                if matches!(self.inside(offset), Some(PoolBlockState::Free)) {
                    // In the quarantine, or on its way from there.
                    self.live[word] &= !(bits & bits.wrapping_neg());
                } else {
                    self.sums.live_blocks += 1;
                    self.sums.live_bytes += self.block((offset / CLASS_STEP) as Node).1 as u64;
                }
                bits &= bits - 1;
            }
        }
    }

    /// Marks the blocks in all slots of a magazine, in use or not. A block on its way was in such a slot before.
    fn mark_slots(&mut self, first: *mut Slot) -> Option<()> {
        for block in magazine::held(first, SLOTS) {
            if let Some(node) = self.node_of(block.addr()) {
                self.sums.undecided_blocks += u64::from(self.mark(node)?);
            }
        }
        Some(())
    }

    fn mark_bits(&mut self, word: u32, mut bits: u64) -> Option<()> {
        while bits != 0 {
            self.sums.undecided_blocks +=
                u64::from(self.mark(u64::from(word) * 64 + u64::from(bits.trailing_zeros()))?);
            bits &= bits - 1;
        }
        Some(())
    }
}
