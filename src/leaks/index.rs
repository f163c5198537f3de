//! The large blocks that were served while the finder was armed: a table by address, beside the heap as all tables are.
//!
//! Index invariant 1: the holder of the lock alone touches the table. No body under it asks for memory of the allocator.
//! Index invariant 2: a block that is in the table is live: it comes in after the backend has served it, and goes out before
//! the backend gets it back. So whoever holds the lock may read it.

use super::mapped::Mapped;
use crate::generation::Generation;
use crate::lock::{Guard, Lock};
use crate::sync::AtomicU32;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A large block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    pub(crate) start: usize,
    pub(crate) bytes: usize,
}

const FREE: usize = 0;

/// Open addressing, at most half full.
struct Table {
    /// Start and bytes, one behind the other.
    entries: Mapped<u64>,
    used: usize,
}

impl Table {
    const fn new() -> Self {
        Self { entries: Mapped::new(), used: 0 }
    }

    fn places(&self) -> usize {
        self.entries.len() / 2
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
        self.entries[2 * place] as usize
    }

    fn set(&mut self, place: usize, start: usize, bytes: usize) {
        (self.entries[2 * place], self.entries[2 * place + 1]) = (start as u64, bytes as u64);
    }

    /// Adds a block. `None`, and it is not there, without memory.
    fn insert(&mut self, large: Large) -> Option<()> {
        if (self.used + 1) * 2 > self.places() {
            self.grow()?;
        }
        let place = self.place(large.start);
        self.used += usize::from(self.start(place) == FREE);
        self.set(place, large.start, large.bytes);
        Some(())
    }

    fn grow(&mut self) -> Option<()> {
        let entries = Mapped::zeros((self.entries.len() * 2).max(2 * 1024))?;
        let mut larger = Self { entries, used: self.used };
        for old in self.iter() {
            let place = larger.place(old.start);
            larger.set(place, old.start, old.bytes);
        }
        *self = larger;
        Some(())
    }

    /// The bytes of the block that begins there.
    fn bytes_at(&self, start: usize) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let place = self.place(start);
        (self.start(place) != FREE).then(|| self.entries[2 * place + 1] as usize)
    }

    /// Returns the bytes of the block that was there.
    fn remove(&mut self, start: usize) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        let hole = self.place(start);
        if self.start(hole) == FREE {
            return None;
        }
        let removed = self.entries[2 * hole + 1] as usize;
        self.used -= 1;
        // Those behind it that could not lie where they belong come forward.
        let mask = self.places() - 1;
        self.set(hole, FREE, 0);
        let mut next = (hole + 1) & mask;
        while self.start(next) != FREE {
            let (moved, bytes) = (self.start(next), self.entries[2 * next + 1] as usize);
            self.set(next, FREE, 0);
            let place = self.place(moved);
            self.set(place, moved, bytes);
            next = (next + 1) & mask;
        }
        Some(removed)
    }

    fn iter(&self) -> impl Iterator<Item = Large> {
        self.entries
            .chunks_exact(2)
            .filter(|entry| entry[0] as usize != FREE)
            .map(|entry| Large { start: entry[0] as usize, bytes: entry[1] as usize })
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
        self.is_whole &= self.table.insert(Large { start: !block.addr(), bytes: 0 }).is_some();
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
    _guard: Guard<'a>,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
            lock: Lock::new(AtomicU32::new(0)),
            table: UnsafeCell::new(Table::new()),
            generation: Generation::new(),
            is_lost: AtomicBool::new(false),
        }
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
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
        Held { table, _guard: guard }
    }

    /// Notes a block that the backend has served. `None` if there was no memory for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn insert(&self, start: *mut u8, bytes: usize) -> Option<()> {
        self.hold().table.insert(Large { start: start.expose_provenance(), bytes })
    }

    /// What is known of an address. Looks at all blocks unless one begins there.
    pub(crate) fn look_up(&self, address: usize) -> Lookup {
        let held = self.hold();
        if let Some(bytes) = held.table.bytes_at(address) {
            return Lookup::Block(bytes);
        }
        match held.table.iter().find(|large| address.wrapping_sub(large.start) < large.bytes) {
            Some(large) => Lookup::Inside(large.start),
            None if self.is_lost.load(Ordering::Relaxed) => Lookup::Lost,
            None => Lookup::None,
        }
    }

    /// Forgets a block that the backend is about to get back; returns its bytes, if it was noted.
    pub(crate) fn remove(&self, start: *mut u8) -> Option<usize> {
        self.hold().table.remove(start.addr())
    }
}

impl Held<'_> {
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
        let index = Index::new();
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
