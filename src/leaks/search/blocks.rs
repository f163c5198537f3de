//! The block that an address lies in, and the words of a block.

use super::found::Node;
use super::read::read_word;
use super::scan::{LARGE_NODE, Scan, WORD};
use crate::debug;
use crate::debug::{BlockFacts, PoolBlockState};
use crate::geometry::{CLASS_STEP, POOL_BYTES, WORD_BYTES};
use crate::region::PoolId;

impl Scan<'_> {
    /// Returns the live block that an address lies in; `None` if it lies in none.
    pub(super) fn node_of(&self, address: usize) -> Option<Node> {
        let region = &self.view.region;
        let Some(offset) = region.offset_of(address) else { return self.large_of(address) };
        if offset / WORD_BYTES >= self.live.len() {
            return None;
        }
        let bytes = region.tag(PoolId::of_offset(offset)).block_bytes() as u32;
        if bytes == 0 {
            return None;
        }
        let within = (offset % POOL_BYTES) as u32;
        let start = offset - (within % bytes) as usize;
        let is_live = self.live[start / WORD_BYTES] >> (start / CLASS_STEP % 64) & 1 == 1;
        let node = is_live.then_some((start / CLASS_STEP) as Node)?;
        if self.is_debug {
            // The debug layer's bytes around the program's bytes are no part of the program's block.
            let (start, bytes) = self.block(node);
            return (address.wrapping_sub(start) < bytes.max(1)).then_some(node);
        }
        Some(node)
    }

    /// The debug layer's answer about a pool's block at an offset of the region. `None` if the debug layer is off.
    pub(super) fn inside(&self, offset: usize) -> Option<PoolBlockState> {
        let region = &self.view.region;
        let bytes = || region.tag(PoolId::of_offset(offset)).block_bytes();
        self.is_debug.then(|| debug::inside(region.block(offset), offset, bytes()))
    }

    /// The debug layer's facts about a block. `None` if that layer is off or does not know the block.
    pub(super) fn facts(&self, node: Node) -> Option<BlockFacts> {
        if !self.is_debug {
            return None;
        }
        if node & LARGE_NODE != 0 {
            let start = self.large[(node & !LARGE_NODE) as usize].start;
            // SAFETY: the block is in the index, and the index's lock is held.
            return unsafe { debug::facts_of_large(core::ptr::with_exposed_provenance_mut(start)) };
        }
        match self.inside(node as usize * CLASS_STEP) {
            Some(PoolBlockState::Live { facts, .. }) => Some(facts),
            _ => None,
        }
    }

    pub(super) fn large_of(&self, address: usize) -> Option<Node> {
        let (first, last) = (self.large.first()?, self.large.last()?);
        if address < first.start || address >= last.start + last.bytes {
            return None;
        }
        let number = self.large.partition_point(|large| large.start <= address).checked_sub(1)?;
        let large = self.large[number];
        (address - large.start < large.bytes).then_some(LARGE_NODE | number as u64)
    }

    /// Returns the address of a block's first byte, and its bytes.
    pub(super) fn block(&self, node: Node) -> (usize, usize) {
        if node & LARGE_NODE != 0 {
            let large = self.large[(node & !LARGE_NODE) as usize];
            return (large.start, large.bytes);
        }
        let offset = node as usize * CLASS_STEP;
        if let Some(PoolBlockState::Live { start, facts }) = self.inside(offset) {
            return (start, facts.bytes);
        }
        let tag = self.view.region.tag(PoolId::of_offset(offset));
        (self.view.region.block(offset).expose_provenance(), tag.block_bytes())
    }

    /// Calls `each` with the address and the value of each word of a block.
    pub(super) fn words(&self, node: Node, mut each: impl FnMut(usize, u64)) {
        let (start, bytes) = self.block(node);
        let (from, to) = (start.next_multiple_of(WORD), start + bytes);
        if node & LARGE_NODE != 0 {
            // The program may have made a page of it unreadable, or may never have touched one.
            return self.read_used(from, to, self.mapping_of(start), &mut each);
        }
        for address in (from..).step_by(WORD).take_while(|at| at + WORD <= to) {
            each(address, read_word(address));
        }
    }

    /// Calls `each` with each live block, small ones first, by address.
    pub(super) fn each_live(&self, mut each: impl FnMut(Node) -> Option<()>) -> Option<()> {
        for (word, bits) in self.live.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                each(word as u64 * 64 + u64::from(bits.trailing_zeros()))?;
                bits &= bits - 1;
            }
        }
        (0..self.large.len() as u64).try_for_each(|number| each(LARGE_NODE | number))
    }
}
