//! How the reservation is divided into tables.

use crate::check::check;
use crate::geometry::{ARENA_BYTES, POOL_BYTES, WORD_BYTES, WORDS_PER_POOL};
use crate::os;
use crate::sync::WatchedPtr;
use core::ptr::NonNull;
use static_assertions::{const_assert, const_assert_eq};

/// Alignment of the region: that of a huge page, so that huge pages can be used where they pay.
pub(crate) const REGION_ALIGN: usize = 2 * 1024 * 1024;

/// Least region worth having: four arenas.
pub(crate) const REGION_MIN: usize = 4 * ARENA_BYTES;

/// Largest region: pools and words of the maps have 32-bit indices, of which the largest marks an end.
pub(crate) const REGION_MAX: usize = 1 << 40;

/// Bytes of the region for each heap that there may be. A heap's own pages are few, so this bounds threads, not memory.
pub(super) const BYTES_PER_HEAP: usize = 512 * 1024;

/// Bytes of a magazine, and its alignment.
pub(crate) const MAGAZINE_BYTES: usize = 1024;

/// A place for the address of a block, in a magazine.
pub(crate) type Slot = WatchedPtr<u8>;

/// Bytes of the region for each magazine that there may be.
pub(super) const BYTES_PER_MAGAZINE: usize = 16 * 1024;

const_assert!(REGION_MAX / WORD_BYTES <= u32::MAX as usize);

const_assert!(REGION_ALIGN % ARENA_BYTES == 0);

const_assert_eq!(WORDS_PER_POOL * WORD_BYTES, POOL_BYTES);

/// A dense table.
pub(super) struct RegionTable<T> {
    pub(super) start: NonNull<T>,
    /// How many entries there are.
    pub(super) entries: usize,
}

// By hand: a derive would ask it of `T`, of which a table only points to.
impl<T> Clone for RegionTable<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for RegionTable<T> {}

impl<T> RegionTable<T> {
    #[inline(always)]
    pub(super) fn entry(&self, index: usize) -> NonNull<T> {
        debug_assert!(index < self.entries);
        // SAFETY: every index comes from an offset into the region, which has `entries` of them.
        unsafe { self.start.add(index) }
    }

    /// Bytes that the first `entries` of the table take, in whole system pages.
    pub(super) fn prefix(entries: usize, page: usize) -> usize {
        (entries * size_of::<T>()).next_multiple_of(page)
    }

    /// Where the first `entries`, which are open, lie, and their bytes in whole system pages.
    pub(super) fn opened(&self, entries: usize, page: usize) -> (NonNull<u8>, usize) {
        (self.start.cast(), Self::prefix(entries, page))
    }

    /// Opens the entries `from..to`; those before are open. False if the system refuses.
    pub(super) fn open(&self, from: usize, to: usize, page: usize) -> bool {
        check!(to <= self.entries, "a table was opened beyond its end");
        let (start, end) = (Self::prefix(from, page), Self::prefix(to, page));
        // SAFETY: the prefix lies in the table, which `layout` gave whole pages.
        let first = unsafe { self.start.cast::<u8>().add(start) };
        // SAFETY: the table lies in the reservation.
        start == end || unsafe { os::open(first, end - start) }
    }
}

/// A dense table whose entries are of a type that only upper layers know.
#[derive(Clone, Copy)]
pub(super) struct OpaqueTable {
    start: NonNull<u8>,
    /// How many entries there are. This and the next fit into one word, since each heap has a copy: there are at most
    /// [`MOST_HEAPS`](super::tag::MOST_HEAPS) entries, of a few KiB.
    entries: u32,
    entry_bytes: u32,
}

impl OpaqueTable {
    /// How many entries there are.
    pub(super) fn entries(&self) -> usize {
        self.entries as usize
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The entry of this index, as the type whose size the table was made for. Inlined, that size is a constant.
    #[inline(always)]
    pub(super) fn entry<T>(&self, index: usize) -> NonNull<T> {
        debug_assert!(size_of::<T>() == self.entry_bytes as usize && index < self.entries());
        // SAFETY: every index is that of a heap, of which there are no more than entries.
        unsafe { self.start.cast::<T>().add(index) }
    }

    /// Where the first `entries`, which are open, lie, and their bytes in whole system pages.
    pub(super) fn opened(&self, entries: usize, page: usize) -> (NonNull<u8>, usize) {
        self.memory().opened(self.bytes(entries), page)
    }

    /// Opens the entries `from..to`; those before are open. False if the system refuses.
    pub(super) fn open(&self, from: usize, to: usize, page: usize) -> bool {
        self.memory().open(self.bytes(from), self.bytes(to), page)
    }

    fn bytes(&self, entries: usize) -> usize {
        entries * self.entry_bytes as usize
    }

    /// The table as bytes.
    fn memory(&self) -> RegionTable<u8> {
        RegionTable { start: self.start, entries: self.bytes(self.entries()) }
    }
}

/// Hands out the parts of a reservation from front to back.
pub(super) struct Layouter {
    pub(super) reservation: Option<NonNull<u8>>,
    pub(super) offset: usize,
    pub(super) page: usize,
}

impl Layouter {
    pub(super) fn table<T>(&mut self, entries: usize) -> RegionTable<T> {
        let offset = self.offset;
        self.offset += RegionTable::<T>::prefix(entries, self.page);
        let start = match self.reservation {
            // SAFETY: the reservation was made as large as the sum of all tables.
            Some(start) => unsafe { start.add(offset) },
            None => NonNull::dangling(),
        };
        RegionTable { start: start.cast(), entries }
    }

    /// A table whose entries have so many bytes each.
    pub(super) fn opaque(&mut self, entries: usize, entry_bytes: usize) -> OpaqueTable {
        let RegionTable { start, .. } = self.table(entries * entry_bytes);
        OpaqueTable { start, entries: entries as u32, entry_bytes: entry_bytes as u32 }
    }
}
