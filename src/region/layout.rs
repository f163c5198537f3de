//! How the reservation is divided into tables.

use crate::check::check;
use crate::geometry::{ARENA_BYTES, WORD_BYTES};
use crate::os;
use crate::sync::WatchedPtr;
use core::ptr::NonNull;

/// Alignment of the region: that of a huge page, so that huge pages can be used where they pay.
pub(crate) const REGION_ALIGN: usize = 2 * 1024 * 1024;

/// Bytes of a chunk: arenas that lie in one huge page. A chunk is aligned to its size.
pub(crate) const CHUNK_BYTES: usize = REGION_ALIGN;

/// Number of arenas of a chunk.
pub(crate) const ARENAS_PER_CHUNK: usize = CHUNK_BYTES / ARENA_BYTES;

/// Smallest region that is worth reserving: four arenas.
pub(crate) const REGION_MIN: usize = 4 * ARENA_BYTES;

/// Largest region. Pools and words of the maps have 32-bit indices, and the largest index marks the end of a list.
pub(crate) const REGION_MAX: usize = 1 << 40;

/// Bytes of the region for each place in the table of heaps. The ratio limits the number of heaps, and so of threads.
/// Memory is no reason for this limit: a heap itself takes few pages.
pub(super) const BYTES_PER_HEAP: usize = 512 * 1024;

/// Bytes of a magazine, and its alignment.
pub(crate) const MAGAZINE_BYTES: usize = 1024;

/// A place for the address of a block, in a magazine.
pub(crate) type Slot = WatchedPtr<u8>;

/// Bytes of the region for each place in the table of magazines.
pub(super) const BYTES_PER_MAGAZINE: usize = 16 * 1024;

const _: () = assert!(REGION_MAX / WORD_BYTES <= u32::MAX as usize, "the index of a word fits into 32 bits");
const _: () = assert!(REGION_ALIGN % ARENA_BYTES == 0, "a region is aligned for arenas too");

/// A dense table.
pub(super) struct RegionTable<T> {
    pub(super) start: NonNull<T>,
    /// Number of entries.
    pub(super) entries: usize,
}

// Not derived: a derive would require `T: Clone`, although the table only points to its entries.
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
        // SAFETY: the table has `entries` entries, and every index is below that: it comes from an offset in the
        // region, or it is the number of a magazine.
        unsafe { self.start.add(index) }
    }

    /// Bytes that the first `entries` of the table take, in whole system pages.
    pub(super) fn prefix(entries: usize, page: usize) -> usize {
        (entries * size_of::<T>()).next_multiple_of(page)
    }

    /// Address and bytes of the first `entries`, which are open. The bytes are whole system pages.
    pub(super) fn opened(&self, entries: usize, page: usize) -> (NonNull<u8>, usize) {
        (self.start.cast(), Self::prefix(entries, page))
    }

    /// Opens the entries `from..to`. The entries before `from` must be open already. Returns false if the system
    /// refuses.
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
    /// Number of entries: at most [`MOST_HEAPS`](super::tag::MOST_HEAPS), of a few KiB each. So this field and the next
    /// fit into one word, which keeps the copy in each heap small.
    entries: u32,
    entry_bytes: u32,
}

impl OpaqueTable {
    /// Number of entries.
    pub(super) fn entries(&self) -> usize {
        self.entries as usize
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The entry with this index. `T` must have the size that the table was made for. After inlining that size is a
    /// constant.
    #[inline(always)]
    pub(super) fn entry<T>(&self, index: usize) -> NonNull<T> {
        debug_assert!(size_of::<T>() == self.entry_bytes as usize && index < self.entries());
        // SAFETY: the index is that of a heap, and no more heaps are made than the table has entries.
        unsafe { self.start.cast::<T>().add(index) }
    }

    /// Address and bytes of the first `entries`, which are open. The bytes are whole system pages.
    pub(super) fn opened(&self, entries: usize, page: usize) -> (NonNull<u8>, usize) {
        self.memory().opened(self.bytes(entries), page)
    }

    /// Opens the entries `from..to`. The entries before `from` must be open already. Returns false if the system
    /// refuses.
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

    /// A table of entries with `entry_bytes` bytes each.
    pub(super) fn opaque(&mut self, entries: usize, entry_bytes: usize) -> OpaqueTable {
        let RegionTable { start, .. } = self.table(entries * entry_bytes);
        OpaqueTable { start, entries: entries as u32, entry_bytes: entry_bytes as u32 }
    }
}
