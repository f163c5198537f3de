//! The index of large blocks: a table by address, in memory of its own.
//!
//! It has the blocks that were served while the leak finder was armed (in debug mode it always is), and the samples of
//! the profiler.
//!
//! Index invariant 1: only the holder of the lock touches the table. Meanwhile it asks the allocator for no memory.
//! Index invariant 2: a block in the table is live. It is put in after the backend has served it, and taken out before
//! the backend gets it back. So the holder of the lock may read the block.

#[cfg(feature = "profile")]
use super::table::Sample;
use super::table::{AddressTable, LargeBlock};
use crate::os;
use crate::os::MappedSlice;
#[cfg(feature = "profile")]
use crate::sync::Counter;
use crate::sync::{LockCell, LockCellGuard};
#[cfg(feature = "profile")]
use crate::traces::TRACES;
use core::ptr::{self};
use core::sync::atomic::{AtomicBool, Ordering};

/// Answer of the index about an address.
pub(crate) enum Lookup {
    /// A block of this many bytes begins at the address.
    Block(usize),
    /// The address lies inside the block that begins here.
    Inside(usize),
    /// The address lies in no block of the index.
    None,
    /// Unknown: a fork may have lost blocks of the index of this process.
    Lost,
}

/// The table behind its lock, and flags that say whether it is in use.
pub(crate) struct Index {
    /// Whether all large blocks are noted. Relaxed: a block that is served while the flag changes may be missing in the
    /// table, and then counts as a root.
    is_armed: AtomicBool,
    /// Whether the table may have blocks. Relaxed: as above.
    is_in_use: AtomicBool,
    #[cfg(feature = "profile")]
    samples: Samples,
    table: LockCell<AddressTable>,
    /// Whether a fork came in the middle of a change, so that blocks may be missing. Relaxed: used under the lock.
    is_lost: AtomicBool,
}

/// The index of the process.
pub(crate) static LARGE: Index = Index::new();

/// Access to the table, for the holder of the lock.
pub(crate) struct IndexGuard<'a> {
    table: LockCellGuard<'a, AddressTable>,
    #[cfg(feature = "profile")]
    samples: &'a Samples,
}

impl Index {
    const fn new() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
            is_in_use: AtomicBool::new(false),
            #[cfg(feature = "profile")]
            samples: Samples::new(),
            table: LockCell::new(AddressTable::new()),
            is_lost: AtomicBool::new(false),
        }
    }

    /// Begins to note all large blocks.
    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
        self.use_it();
    }

    /// Declares that blocks may be noted from now on.
    pub(crate) fn use_it(&self) {
        self.is_in_use.store(true, Ordering::Relaxed);
    }

    /// Whether large blocks may have been noted.
    #[inline]
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_in_use.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::Relaxed)
    }

    /// Waits for the lock and takes it. In the child of a fork, the table is given up if another thread held the lock
    /// at the fork. The blocks of that table count as roots in the child.
    pub(crate) fn hold(&self) -> IndexGuard<'_> {
        let table = self.table.hold(|table| {
            // Not dropped: the other thread may have been replacing its memory.
            core::mem::forget(core::mem::replace(table, AddressTable::new()));
            self.is_lost.store(true, Ordering::Relaxed);
        });
        IndexGuard {
            table,
            #[cfg(feature = "profile")]
            samples: &self.samples,
        }
    }

    /// Notes a block that the backend has served. Returns `None` if there is no memory for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn insert(&self, start: *mut u8, bytes: usize) -> Option<()> {
        self.put(LargeBlock { start: start.expose_provenance(), bytes, sample: None })
    }

    /// Notes a block of the backend with its sample, and adds the sample to the counts of its backtrace. Returns
    /// `None`, and counts nothing, without memory.
    #[cfg(feature = "profile")]
    pub(crate) fn insert_sample(&self, start: *mut u8, bytes: usize, sample: Sample) -> Option<()> {
        let mut held = self.hold();
        held.put(LargeBlock { start: start.expose_provenance(), bytes, sample: Some(sample) })?;
        TRACES.count(sample.trace, sample.weight, sample.weight * bytes as f64);
        Some(())
    }

    /// Notes a block. Does not count its sample: if it has one, that was counted before. Returns `None` without memory.
    pub(crate) fn put(&self, large: LargeBlock) -> Option<()> {
        self.hold().put(large)
    }

    /// Looks an address up. Goes through all noted blocks, unless one begins at the address.
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

    /// The sample that the block at `start` is, if it is one.
    #[cfg(feature = "profile")]
    pub(crate) fn sample_of(&self, start: *mut u8) -> Option<Sample> {
        if self.samples.of(start.addr()).value() == 0 {
            return None;
        }
        self.hold().table.block(start.addr())?.sample
    }

    /// Takes out a block that the backend is about to get back. Returns its bytes, if it was noted.
    pub(crate) fn remove(&self, start: *mut u8) -> Option<usize> {
        self.take_out(start).map(|large| large.bytes)
    }

    /// Takes out a block, as [`remove`](Self::remove) does. Returns all that was noted of it.
    pub(crate) fn take_out(&self, start: *mut u8) -> Option<LargeBlock> {
        #[cfg(feature = "profile")]
        if !self.is_armed() && self.samples.of(start.addr()).value() == 0 {
            return None;
        }
        self.hold().remove(start.addr())
    }
}

/// Counts of samples, one for each value of a hash of their addresses. While the leak finder is not armed, most frees
/// find 0 here and do not take the lock.
///
/// The holder of the lock writes. Relaxed: the thread that frees a block got it from the thread that noted it, and the
/// hand-over orders the two.
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

impl IndexGuard<'_> {
    fn put(&mut self, large: LargeBlock) -> Option<()> {
        self.table.insert(large)?;
        #[cfg(feature = "profile")]
        if large.sample.is_some() {
            self.samples.of(large.start).add(1);
        }
        Some(())
    }

    fn remove(&mut self, start: usize) -> Option<LargeBlock> {
        let removed = self.table.remove(start)?;
        #[cfg(feature = "profile")]
        if removed.sample.is_some() {
            self.samples.of(start).subtract(1);
        }
        Some(removed)
    }

    /// Bytes and sample of each block that is a sample. `None` without memory.
    #[cfg(feature = "profile")]
    pub(crate) fn samples(&self) -> Option<MappedSlice<(usize, Sample)>> {
        let mut samples = MappedSlice::new();
        for large in self.table.iter() {
            if let Some(sample) = large.sample {
                samples.push((large.bytes, sample))?;
            }
        }
        Some(samples)
    }

    /// All blocks, sorted by address. `None` without memory.
    pub(crate) fn sorted(&self) -> Option<MappedSlice<LargeBlock>> {
        let mut sorted = MappedSlice::new();
        for large in self.table.iter() {
            sorted.push(large)?;
        }
        sorted.sort_unstable_by_key(|large| large.start);
        Some(sorted)
    }

    /// Start and end address of the memory of the table.
    pub(crate) fn range(&self) -> (usize, usize) {
        self.table.entries.range()
    }
}

/// Takes a large block out of the index. If the leak finder is armed, also wipes the block: its pointers must not make
/// other blocks look reachable once it is freed.
///
/// # Safety
/// * The caller owns the block.
#[cold]
#[inline(never)]
pub(crate) unsafe fn forget_large(block: *mut u8) {
    /// From this size on, the whole pages of a block are given back to the system instead of overwritten: the program
    /// may never have touched most of them.
    const SPARSE: usize = 32 * 1024;
    if let (Some(bytes), true) = (LARGE.remove(block), LARGE.is_armed()) {
        let (before, pages) = pages_within(block.addr(), bytes, os::page_bytes());
        // SAFETY: whole pages inside a block that the caller owns.
        let is_given_back = bytes >= SPARSE && unsafe { os::give_back(block.wrapping_add(before), pages) };
        let (first, rest) = if is_given_back { (before, bytes - before - pages) } else { (bytes, 0) };
        // SAFETY: the index says that the block has at least `first` bytes, and the caller owns it.
        unsafe { ptr::write_bytes(block, 0, first) };
        // SAFETY: as above; these are the last bytes of the block.
        unsafe { ptr::write_bytes(block.wrapping_add(bytes - rest), 0, rest) };
        // Otherwise the compiler would leave the writes out: nothing reads the block before it is freed.
        core::hint::black_box(block);
    }
}

/// Bytes of a block before the first page that begins in it, and bytes of the whole pages from there on. If no page
/// begins in the block, which may be smaller than a page, the first number is all its bytes.
fn pages_within(address: usize, bytes: usize, page: usize) -> (usize, usize) {
    let before = (address.next_multiple_of(page) - address).min(bytes);
    (before, (bytes - before) & !(page - 1))
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

    #[test]
    fn what_is_wiped_of_a_block_is_the_block() {
        assert_eq!(pages_within(0x1_0010, 40_000, 0x1000), (0xFF0, 0x8000));
        assert_eq!(pages_within(0x1_0000, 0x1_0000, 0x1000), (0, 0x1_0000));
        for page in [0x1000, 0x4000, 0x1_0000] {
            for address in (0x10_0000..0x10_0000 + page).step_by(16) {
                for bytes in [1, page - 1, page, 32 * 1024, 40_000, 65_000, 2 * page, 3 * page + 8] {
                    let (before, pages) = pages_within(address, bytes, page);
                    assert!(before + pages <= bytes, "{bytes} bytes at {address:#x}");
                    assert!(pages == 0 || (address + before) % page == 0 && pages % page == 0);
                }
            }
        }
    }
}
