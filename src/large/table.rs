//! A table of large blocks by address, and a set of blocks that one thread keeps.

use crate::figures::Address;
use crate::os::MappedSlice;
use crate::traces::TraceId;

/// A large block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LargeBlock {
    pub(crate) start: usize,
    pub(crate) bytes: usize,
    pub(crate) sample: Option<Sample>,
}

/// What a sampled block stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) trace: TraceId,
    /// So many blocks like this one.
    pub(crate) weight: f64,
}

const FREE: usize = 0;

/// Words of an entry.
pub(super) const WORDS: usize = 4;

/// Open addressing, at most half full.
pub(super) struct AddressTable {
    /// Start, bytes, trace and weight, one behind the other.
    pub(super) entries: MappedSlice<u64>,
    pub(super) used: usize,
}

impl AddressTable {
    pub(super) const fn new() -> Self {
        Self { entries: MappedSlice::new(), used: 0 }
    }

    fn places(&self) -> usize {
        self.entries.len() / WORDS
    }

    /// Where a block is, or would be. The table must have a free place.
    fn place(&self, start: usize) -> usize {
        let mask = self.places() - 1;
        let mut place = (start >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20 & mask;
        while self.start(place) != FREE && self.start(place) != start {
            place = (place + 1) & mask;
        }
        place
    }

    fn start(&self, place: usize) -> usize {
        self.entries[WORDS * place] as usize
    }

    /// The block at a place, unless that is free.
    fn at(&self, place: usize) -> Option<LargeBlock> {
        let [start, bytes, trace, weight] = self.entries[WORDS * place..][..WORDS] else { return None };
        let sample = TraceId::new(trace as u32).map(|trace| Sample { trace, weight: f64::from_bits(weight) });
        (start as usize != FREE).then_some(LargeBlock { start: start as usize, bytes: bytes as usize, sample })
    }

    fn set(&mut self, place: usize, large: Option<LargeBlock>) {
        let entry = large.map_or([FREE as u64; WORDS], |large| {
            let (trace, weight) = large.sample.map_or((0, 0.0), |sample| (sample.trace.get(), sample.weight));
            [large.start as u64, large.bytes as u64, trace.into(), weight.to_bits()]
        });
        self.entries[WORDS * place..][..WORDS].copy_from_slice(&entry);
    }

    /// Adds a block. `None`, and it is not there, without memory.
    pub(super) fn insert(&mut self, large: LargeBlock) -> Option<()> {
        if (self.used + 1) * 2 > self.places() {
            self.grow()?;
        }
        let place = self.place(large.start);
        self.used += usize::from(self.start(place) == FREE);
        self.set(place, Some(large));
        Some(())
    }

    fn grow(&mut self) -> Option<()> {
        let entries = MappedSlice::zeros((self.entries.len() * 2).max(WORDS * 1024))?;
        let mut larger = Self { entries, used: self.used };
        for old in self.iter() {
            let place = larger.place(old.start);
            larger.set(place, Some(old));
        }
        *self = larger;
        Some(())
    }

    /// The block that begins there.
    pub(super) fn block(&self, start: usize) -> Option<LargeBlock> {
        if self.used == 0 {
            return None;
        }
        self.at(self.place(start))
    }

    /// Returns what was known of the block.
    pub(super) fn remove(&mut self, start: usize) -> Option<LargeBlock> {
        if self.used == 0 {
            return None;
        }
        let hole = self.place(start);
        let removed = self.at(hole)?;
        self.used -= 1;
        // Those behind it that could not lie where they belong come forward.
        let mask = self.places() - 1;
        self.set(hole, None);
        let mut next = (hole + 1) & mask;
        while let Some(moved) = self.at(next) {
            self.set(next, None);
            let place = self.place(moved.start);
            self.set(place, Some(moved));
            next = (next + 1) & mask;
        }
        Some(removed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = LargeBlock> {
        (0..self.places()).filter_map(|place| self.at(place))
    }
}

/// A set of blocks that one thread keeps, in memory of its own. It leads to none of them: it holds the addresses'
/// complements.
pub(crate) struct BlockSet {
    table: AddressTable,
    is_whole: bool,
}

impl BlockSet {
    pub(crate) const fn new() -> Self {
        Self { table: AddressTable::new(), is_whole: true }
    }

    /// Adds a block. Without memory the set is no longer whole.
    pub(crate) fn insert(&mut self, block: *mut u8) {
        self.is_whole &= self
            .table
            .insert(LargeBlock { start: Address::from(block.addr()).hidden(), bytes: 0, sample: None })
            .is_some();
    }

    pub(crate) fn remove(&mut self, block: *mut u8) {
        self.table.remove(Address::from(block.addr()).hidden());
    }

    pub(crate) fn has(&self, block: Address) -> bool {
        let hidden = block.hidden();
        self.table.used > 0 && self.table.start(self.table.place(hidden)) == hidden
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.used == 0
    }

    /// Whether none is missing for want of memory.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }
}
