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

/// A sample: the backtrace of a block, and its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) trace: TraceId,
    /// Number of blocks like this one that the sample stands for.
    pub(crate) weight: f64,
}

const FREE: usize = 0;

/// Words of an entry.
pub(super) const WORDS: usize = 4;

/// A hash table with open addressing, at most half full.
pub(super) struct AddressTable {
    /// Four words for each place: start, bytes, trace and weight.
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

    /// The place of the block that begins at `start`, else the free place where it would go. The table must have a free
    /// place.
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

    /// The block at a place. `None` if the place is free.
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

    /// Adds a block, in place of one with the same start. Returns `None`, and changes nothing, if there is no memory
    /// for it.
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

    /// The block that begins at `start`, if it is in the table.
    pub(super) fn block(&self, start: usize) -> Option<LargeBlock> {
        if self.used == 0 {
            return None;
        }
        self.at(self.place(start))
    }

    /// Takes out the block that begins at `start`. Returns its entry, if there was one.
    pub(super) fn remove(&mut self, start: usize) -> Option<LargeBlock> {
        if self.used == 0 {
            return None;
        }
        let hole = self.place(start);
        let removed = self.at(hole)?;
        self.used -= 1;
        // A block behind the hole may lie there only because the places before it were taken. So each block up to the
        // next free place is put in again.
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

/// A set of blocks that one thread keeps, in memory of its own. It holds the complements of the addresses, so the leak
/// finder finds no pointers to the blocks there.
pub(crate) struct BlockSet {
    table: AddressTable,
    is_whole: bool,
}

impl BlockSet {
    pub(crate) const fn new() -> Self {
        Self { table: AddressTable::new(), is_whole: true }
    }

    /// Adds a block. If there is no memory for it, the set is no longer whole.
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

    /// Whether the set has every block that was added: there was always memory for it.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }
}
