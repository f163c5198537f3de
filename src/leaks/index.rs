//! The large blocks that were served while the finder was armed, and those that are samples of the profiler: a table by address,
//! beside the heap as all tables are.
//!
//! Index invariant 1: the holder of the lock alone touches the table. No body under it asks for memory of the allocator.
//! Index invariant 2: a block that is in the table is live: it comes in after the backend has served it, and goes out before
//! the backend gets it back. So whoever holds the lock may read it.

use super::mapped::Mapped;
#[cfg(feature = "profile")]
use crate::counter::Counter;
use crate::generation::Generation;
use crate::lock::{Guard, Lock};
#[cfg(feature = "profile")]
use crate::statics::TRACES;
use crate::sync::AtomicU32;
use crate::traces::TraceId;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A large block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Large {
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
const WORDS: usize = 4;

/// Open addressing, at most half full.
struct Table {
    /// Start, bytes, trace and weight, one behind the other.
    entries: Mapped<u64>,
    used: usize,
}

impl Table {
    const fn new() -> Self {
        Self { entries: Mapped::new(), used: 0 }
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
    fn at(&self, place: usize) -> Option<Large> {
        let [start, bytes, trace, weight] = self.entries[WORDS * place..][..WORDS] else { return None };
        let sample = TraceId::new(trace as u32).map(|trace| Sample { trace, weight: f64::from_bits(weight) });
        (start as usize != FREE).then_some(Large { start: start as usize, bytes: bytes as usize, sample })
    }

    fn set(&mut self, place: usize, large: Option<Large>) {
        let entry = large.map_or([FREE as u64; WORDS], |large| {
            let (trace, weight) = large.sample.map_or((0, 0.0), |sample| (sample.trace.get(), sample.weight));
            [large.start as u64, large.bytes as u64, trace.into(), weight.to_bits()]
        });
        self.entries[WORDS * place..][..WORDS].copy_from_slice(&entry);
    }

    /// Adds a block. `None`, and it is not there, without memory.
    fn insert(&mut self, large: Large) -> Option<()> {
        if (self.used + 1) * 2 > self.places() {
            self.grow()?;
        }
        let place = self.place(large.start);
        self.used += usize::from(self.start(place) == FREE);
        self.set(place, Some(large));
        Some(())
    }

    fn grow(&mut self) -> Option<()> {
        let entries = Mapped::zeros((self.entries.len() * 2).max(WORDS * 1024))?;
        let mut larger = Self { entries, used: self.used };
        for old in self.iter() {
            let place = larger.place(old.start);
            larger.set(place, Some(old));
        }
        *self = larger;
        Some(())
    }

    /// The block that begins there.
    fn block(&self, start: usize) -> Option<Large> {
        if self.used == 0 {
            return None;
        }
        self.at(self.place(start))
    }

    /// Returns what was known of the block.
    fn remove(&mut self, start: usize) -> Option<Large> {
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

    fn iter(&self) -> impl Iterator<Item = Large> {
        (0..self.places()).filter_map(|place| self.at(place))
    }
}

/// A set of blocks that one thread keeps, in memory of its own. It leads to none of them: it holds the addresses' complements.
pub(crate) struct Blocks {
    table: Table,
    is_whole: bool,
}

impl Blocks {
    pub(crate) const fn new() -> Self {
        Self { table: Table::new(), is_whole: true }
    }

    /// Without memory the set is no longer whole.
    pub(crate) fn insert(&mut self, block: *mut u8) {
        self.is_whole &= self.table.insert(Large { start: !block.addr(), bytes: 0, sample: None }).is_some();
    }

    pub(crate) fn remove(&mut self, block: *mut u8) {
        self.table.remove(!block.addr());
    }

    pub(crate) fn has<T>(&self, block: *mut T) -> bool {
        self.has_hidden(!block.addr())
    }

    /// As [`has`](Self::has), of the complement of an address.
    pub(crate) fn has_hidden(&self, hidden: usize) -> bool {
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

/// The table with its lock, and whether it is kept at all.
pub(crate) struct Index {
    /// Relaxed: a block that is served while it changes may be missed, and is part of the roots then.
    is_armed: AtomicBool,
    /// Whether there may be any block in it. Relaxed: as above.
    is_in_use: AtomicBool,
    #[cfg(feature = "profile")]
    samples: Samples,
    lock: Lock,
    table: UnsafeCell<Table>,
    generation: Generation,
    /// Whether a fork has come in the middle of a change: blocks may be missing. Relaxed: under the lock.
    is_lost: AtomicBool,
}

/// What the index knows of an address.
pub(crate) enum Lookup {
    /// A block of so many bytes begins there.
    Block(usize),
    /// It lies in the block that begins at this address.
    Inside(usize),
    /// It is no part of a block.
    None,
    /// Nobody can say: blocks are missing from the index of this process.
    Lost,
}

// SAFETY: Index invariant 1.
unsafe impl Sync for Index {}

/// The table in the hands of the lock's holder.
pub(crate) struct Held<'a> {
    table: &'a mut Table,
    #[cfg(feature = "profile")]
    samples: &'a Samples,
    _guard: Guard<'a>,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
            is_in_use: AtomicBool::new(false),
            #[cfg(feature = "profile")]
            samples: Samples::new(),
            lock: Lock::new(AtomicU32::new(0)),
            table: UnsafeCell::new(Table::new()),
            generation: Generation::new(),
            is_lost: AtomicBool::new(false),
        }
    }

    /// From now on all large blocks are noted.
    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
        self.use_it();
    }

    /// From now on some large blocks may be noted.
    pub(crate) fn use_it(&self) {
        self.is_in_use.store(true, Ordering::Relaxed);
    }

    /// Whether any large block may be noted.
    #[inline]
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_in_use.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::Relaxed)
    }

    /// Takes the lock. In the child of a fork the table is given up if another thread was just changing it: its blocks are
    /// part of the roots there.
    pub(crate) fn hold(&self) -> Held<'_> {
        let guard = self.lock.lock(|| self.generation.number());
        // SAFETY: Index invariant 1.
        let table = unsafe { &mut *self.table.get() };
        if guard.is_inherited {
            // Not dropped: it may have been in the middle of being replaced.
            core::mem::forget(core::mem::replace(table, Table::new()));
            self.is_lost.store(true, Ordering::Relaxed);
        }
        Held {
            table,
            #[cfg(feature = "profile")]
            samples: &self.samples,
            _guard: guard,
        }
    }

    /// Notes a block that the backend has served. `None` if there was no memory for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn insert(&self, start: *mut u8, bytes: usize) -> Option<()> {
        self.put(Large { start: start.expose_provenance(), bytes, sample: None })
    }

    /// Notes a block that the backend has served and that is a sample, and counts it. `None` as above.
    #[cfg(feature = "profile")]
    pub(crate) fn insert_sample(&self, start: *mut u8, bytes: usize, sample: Sample) -> Option<()> {
        let mut held = self.hold();
        held.put(Large { start: start.expose_provenance(), bytes, sample: Some(sample) })?;
        TRACES.count(sample.trace, sample.weight, sample.weight * bytes as f64);
        Some(())
    }

    /// Notes a block as it was noted before. `None` as above.
    pub(crate) fn put(&self, large: Large) -> Option<()> {
        self.hold().put(large)
    }

    /// What is known of an address. Looks at all blocks unless one begins there.
    pub(crate) fn look_up(&self, address: usize) -> Lookup {
        let held = self.hold();
        if let Some(large) = held.table.block(address) {
            return Lookup::Block(large.bytes);
        }
        match held.table.iter().find(|large| address.wrapping_sub(large.start) < large.bytes) {
            Some(large) => Lookup::Inside(large.start),
            None if self.is_lost.load(Ordering::Relaxed) => Lookup::Lost,
            None => Lookup::None,
        }
    }

    /// What the block that begins there stands for, if it is a sample.
    #[cfg(feature = "profile")]
    pub(crate) fn sample_of(&self, start: *mut u8) -> Option<Sample> {
        if self.samples.of(start.addr()).value() == 0 {
            return None;
        }
        self.hold().table.block(start.addr())?.sample
    }

    /// Forgets a block that the backend is about to get back; returns its bytes, if it was noted.
    pub(crate) fn remove(&self, start: *mut u8) -> Option<usize> {
        self.take_out(start).map(|large| large.bytes)
    }

    /// As [`remove`](Self::remove), but that all is returned that was known of the block.
    pub(crate) fn take_out(&self, start: *mut u8) -> Option<Large> {
        #[cfg(feature = "profile")]
        if !self.is_armed() && self.samples.of(start.addr()).value() == 0 {
            return None;
        }
        self.hold().remove(start.addr())
    }
}

/// How many samples there are for each hash of an address, so that most frees need not look them up under the lock.
///
/// Written by the lock's holder. Relaxed: who frees a block got it from the thread that noted it, by what orders both.
#[cfg(feature = "profile")]
struct Samples([Counter; 1 << Self::BITS]);

#[cfg(feature = "profile")]
impl Samples {
    const BITS: u32 = 14;

    const fn new() -> Self {
        Self([const { Counter::new() }; 1 << Self::BITS])
    }

    fn of(&self, start: usize) -> &Counter {
        &self.0[(start >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (usize::BITS - Self::BITS)]
    }
}

impl Held<'_> {
    fn put(&mut self, large: Large) -> Option<()> {
        self.table.insert(large)?;
        #[cfg(feature = "profile")]
        if large.sample.is_some() {
            self.samples.of(large.start).add(1);
        }
        Some(())
    }

    fn remove(&mut self, start: usize) -> Option<Large> {
        let removed = self.table.remove(start)?;
        #[cfg(feature = "profile")]
        if removed.sample.is_some() {
            self.samples.of(start).subtract(1);
        }
        Some(removed)
    }

    /// The samples among the blocks: their bytes, and what they stand for. `None` without memory.
    #[cfg(feature = "profile")]
    pub(crate) fn samples(&self) -> Option<Mapped<(usize, Sample)>> {
        let mut samples = Mapped::new();
        for large in self.table.iter() {
            if let Some(sample) = large.sample {
                samples.push((large.bytes, sample))?;
            }
        }
        Some(samples)
    }

    /// All blocks, by address. `None` without memory.
    pub(crate) fn sorted(&self) -> Option<Mapped<Large>> {
        let mut sorted = Mapped::new();
        for large in self.table.iter() {
            sorted.push(large)?;
        }
        sorted.sort_unstable_by_key(|large| large.start);
        Some(sorted)
    }

    /// Where the table lies.
    pub(crate) fn range(&self) -> (usize, usize) {
        self.table.entries.range()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_came_and_has_not_gone() {
        let index: &'static Index = Box::leak(Box::new(Index::new()));
        index.arm();
        let mut shadow = BTreeMap::new();
        let mut random = 1_u64;
        for round in 0..40_000_usize {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let start = (random >> 50) as usize * 16 + 16;
            if round % 5 < 3 {
                index.insert(core::ptr::without_provenance_mut(start), round + 1).unwrap();
                shadow.insert(start, round + 1);
            } else {
                assert_eq!(index.remove(core::ptr::without_provenance_mut(start)), shadow.remove(&start));
            }
            if round % 4000 == 0 {
                let held: Vec<_> =
                    index.hold().sorted().unwrap().iter().map(|large| (large.start, large.bytes)).collect();
                assert_eq!(held, shadow.iter().map(|(start, bytes)| (*start, *bytes)).collect::<Vec<_>>());
            }
        }
        for (start, bytes) in shadow {
            assert_eq!(index.remove(core::ptr::without_provenance_mut(start)), Some(bytes));
        }
        assert!(index.hold().sorted().unwrap().is_empty());
    }
}
