//! The quarantine: a queue of blocks that the program has freed. Their memory is not used again for a while, so that
//! the layer notices if such a block is written to, or freed again.
//!
//! Quarantine invariant 1: only the holder of the lock touches the ring. Under the lock no code asks the allocator for
//! memory, and no code reports.
//! Quarantine invariant 2: a block in the ring belongs to the quarantine alone. The thread that takes it out owns it.

use super::block::{HeaderFacts, Shape};
use crate::figures::Address;
use crate::os::MappedSlice;
use crate::sync::{LockCell, LockCellGuard};
use core::alloc::Layout;

/// Most blocks kept.
pub(crate) const MOST_BLOCKS: usize = 16 * 1024;

/// Most bytes kept, headers and forbidden bytes included. A block of more bytes is not kept at all.
pub(crate) const MOST_BYTES: usize = 8 << 20;

/// Where a block came from, and how it goes back.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    /// A pool.
    Pool,
    /// A backend that has no state of its own. This function gives the block back.
    Backend(unsafe fn(*mut u8, Layout)),
}

/// A block that was freed, with a copy of the facts in its header: the program may overwrite the header.
#[derive(Clone, Copy)]
pub(crate) struct QuarantinedBlock {
    /// Address of the program's first byte. It is hidden, so that the leak finder does not take it for a pointer to a
    /// later block there.
    address: Address,
    pub(crate) known: HeaderFacts,
    pub(crate) origin: Origin,
}

impl QuarantinedBlock {
    pub(crate) fn new(address: *mut u8, known: HeaderFacts, origin: Origin) -> Self {
        Self { address: Address::from(address.expose_provenance()), known, origin }
    }

    pub(crate) fn address(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.address.get())
    }

    fn bytes(&self) -> usize {
        bytes(self.known.shape)
    }
}

fn bytes(shape: Shape) -> usize {
    shape.whole().map_or(usize::MAX, |whole| whole.size())
}

/// A ring of blocks. It grows to its full length once, and never shrinks.
struct QuarantineRing {
    kept: MappedSlice<QuarantinedBlock>,
    oldest: usize,
    blocks: usize,
    bytes: usize,
}

impl QuarantineRing {
    const fn new() -> Self {
        Self { kept: MappedSlice::new(), oldest: 0, blocks: 0, bytes: 0 }
    }

    /// Adds a block. `None`, with nothing done, if there is no memory.
    fn push(&mut self, kept: QuarantinedBlock) -> Option<()> {
        let place = (self.oldest + self.blocks) % MOST_BLOCKS;
        // Places are taken in order. So a place that the ring does not have yet is the next one behind its end.
        match self.kept.get_mut(place) {
            Some(old) => *old = kept,
            None => self.kept.push(kept)?,
        }
        self.blocks += 1;
        self.bytes += kept.bytes();
        Some(())
    }

    fn pop(&mut self) -> Option<QuarantinedBlock> {
        if self.blocks == 0 {
            return None;
        }
        let kept = self.kept[self.oldest];
        self.oldest = (self.oldest + 1) % MOST_BLOCKS;
        self.blocks -= 1;
        self.bytes -= kept.bytes();
        Some(kept)
    }
}

/// The ring with its lock.
pub(crate) struct Quarantine {
    row: LockCell<QuarantineRing>,
}

/// The quarantine of the process.
pub(super) static QUARANTINE: Quarantine = Quarantine::new();

impl Quarantine {
    pub(crate) const fn new() -> Self {
        Self { row: LockCell::new(QuarantineRing::new()) }
    }

    /// Takes the lock. In the child of a fork the ring is given up if another thread was just changing it. Then its
    /// blocks stay freed, and the child does not use them again.
    fn hold(&self) -> LockCellGuard<'_, QuarantineRing> {
        // The old ring is forgotten and not dropped: it may be half-changed.
        self.row.hold(|row| core::mem::forget(core::mem::replace(row, QuarantineRing::new())))
    }

    /// Adds a block. Returns the oldest block if it had to leave to make room, or `kept` itself if the quarantine
    /// cannot keep `kept`. The caller then calls [`pop_beyond`](Self::pop_beyond) until that returns `None`.
    pub(crate) fn push(&self, kept: QuarantinedBlock) -> Option<QuarantinedBlock> {
        if kept.bytes() > MOST_BYTES {
            return Some(kept);
        }
        let mut held = self.hold();
        let row = &mut *held;
        let oldest = if row.blocks == MOST_BLOCKS { row.pop() } else { None };
        // If the oldest block was taken out, its place was free: then this `push` does not fail, and `oldest` is not
        // lost.
        if row.push(kept).is_none() { Some(kept) } else { oldest.or_else(|| Self::beyond(row)) }
    }

    /// Takes the oldest block out, if more than [`MOST_BYTES`] are kept.
    pub(crate) fn pop_beyond(&self) -> Option<QuarantinedBlock> {
        Self::beyond(&mut self.hold())
    }

    fn beyond(row: &mut QuarantineRing) -> Option<QuarantinedBlock> {
        if row.bytes > MOST_BYTES { row.pop() } else { None }
    }

    /// Takes the oldest block out.
    pub(crate) fn pop(&self) -> Option<QuarantinedBlock> {
        self.hold().pop()
    }

    /// Number of blocks in the quarantine.
    pub(crate) fn blocks(&self) -> usize {
        self.hold().blocks
    }

    /// The facts about the block that begins at an address. Looks at all blocks.
    pub(crate) fn find(&self, address: usize) -> Option<HeaderFacts> {
        let row = self.hold();
        let place = (0..row.blocks).map(|number| (row.oldest + number) % MOST_BLOCKS);
        place.map(|place| row.kept[place]).find(|kept| kept.address == Address::from(address)).map(|kept| kept.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::without_provenance_mut;
    use std::collections::VecDeque;

    fn kept(number: usize, size: usize) -> QuarantinedBlock {
        let known =
            HeaderFacts { shape: Shape { size, align: 8 }, serial: number as u64, allocated: None, freed: None };
        QuarantinedBlock::new(without_provenance_mut(number * 8), known, Origin::Pool)
    }

    /// Adds a block. Returns the serial numbers of the blocks that come out.
    fn push(quarantine: &Quarantine, block: QuarantinedBlock) -> Vec<u64> {
        let first = quarantine.push(block);
        core::iter::successors(first, |_| quarantine.pop_beyond()).map(|kept| kept.known.serial).collect()
    }

    #[test]
    fn it_is_a_queue_with_bounds() {
        let (quarantine, mut shadow, mut bytes) = (Quarantine::new(), VecDeque::new(), 0);
        let mut random = 3_u64;
        for number in 1..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size =
                if random >> 60 == 0 { (random >> 40) as usize % 100_000 } else { (random >> 40) as usize % 200 };
            let block = kept(number, size);
            shadow.push_back((number as u64, block.bytes()));
            bytes += block.bytes();
            for gone in push(&quarantine, block) {
                let (oldest, of_it) = shadow.pop_front().unwrap();
                assert_eq!(gone, oldest);
                bytes -= of_it;
            }
            assert!(shadow.len() <= MOST_BLOCKS && bytes <= MOST_BYTES);
            if random >> 50 & 0x3FF == 0 {
                let count = (random >> 20) as usize % shadow.len();
                for _ in 0..count {
                    let (oldest, of_it) = shadow.pop_front().unwrap();
                    assert_eq!(quarantine.pop().unwrap().known.serial, oldest);
                    bytes -= of_it;
                }
            }
            assert_eq!(quarantine.blocks(), shadow.len());
        }
        let youngest = shadow.back().unwrap().0;
        assert_eq!(quarantine.find(youngest as usize * 8).unwrap().serial, youngest);
        assert_eq!(quarantine.find(4), None);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let quarantine = Quarantine::new();
        assert!(push(&quarantine, kept(1, 100)).is_empty());
        assert_eq!(push(&quarantine, kept(2, MOST_BYTES)), [2]);
        assert_eq!(push(&quarantine, kept(3, MOST_BYTES - 100)), [1]);
        assert_eq!(push(&quarantine, kept(4, 100)), [3]);
        assert_eq!(quarantine.blocks(), 1);
    }
}
