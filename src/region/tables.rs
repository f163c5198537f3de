//! The region: one reserved range of addresses that all arenas are carved from. Dense tables beside it hold the
//! metadata of arenas, pools and blocks.
//!
//! ```text
//! reservation | heaps | magazines | arenas' records | pools' records | tags | links | remote map | free map | region
//! ```
//! Each table from the records to the free map has one entry for a fixed number of bytes of the region. So a shift of a
//! block's offset finds the entry: the region holds no headers, and blocks hold no pointers to headers. The whole
//! reservation begins without access rights. Arenas are opened from the front, in growing steps, and these tables as
//! far as the open arenas need them. The tables of heaps and magazines are indexed by number, and opened as heaps and
//! magazines are made.
//!
//! Region invariant 1: the table entries of all arenas that were carved are open, and were zero at first. All other
//! tags can be read too, and are zero, which is the tag of a free pool. So a fast path needs no test for a wrong
//! pointer into the rest of the region.
//! Region invariant 2: the free map's words of an arena, the records of its pools and its own record belong to the heap
//! that owns the arena. While the arena is on the shared list, they belong to the holder of the shared lock.
//! Region invariant 3: a tag changes only while its pool holds no live and no waiting block.

use super::ids::{ArenaId, PoolId};
use super::layout::{
    ARENAS_PER_CHUNK, BYTES_PER_HEAP, BYTES_PER_MAGAZINE, CHUNK_BYTES, Layouter, MAGAZINE_BYTES, OpaqueTable,
    REGION_ALIGN, REGION_MAX, REGION_MIN, RegionTable, Slot,
};
use super::records::{ArenaRecord, PoolRecord};
use super::remote::RemoteMap;
use super::tag::{MOST_HEAPS, Tag};
use crate::geometry::{ARENA_BYTES, POOL_BYTES, POOLS_PER_ARENA, WORD_BYTES, WORDS_PER_POOL};
use crate::os;
use crate::sync::{AtomicU32, AtomicU64, Exclusive, Ordering, WatchedU64};
use core::ptr::NonNull;

/// Memory of a magazine.
#[repr(C, align(1024))]
struct MagazineRoom([u8; MAGAZINE_BYTES]);

const _: () = assert!(align_of::<MagazineRoom>() == MAGAZINE_BYTES, "a magazine is aligned to its size");

/// Addresses of the region and its tables. A plain value: each heap has a copy, so that the slow paths read nothing
/// shared.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    blocks: RegionTable<u8>,
    /// [`Tag`]s. Relaxed everywhere: a tag changes only while its pool has no live and no waiting block (Region
    /// invariant 3). The thread that has a block got it from a thread that had set or seen the tag before.
    tags: RegionTable<AtomicU32>,
    free_map: RegionTable<WatchedU64>,
    remote_map: RegionTable<AtomicU64>,
    links: RegionTable<Exclusive>,
    pools: RegionTable<PoolRecord>,
    arenas: RegionTable<ArenaRecord>,
    heaps: OpaqueTable,
    magazines: RegionTable<MagazineRoom>,
    page: usize,
    /// Whether heaps choose between small and huge pages for their chunks.
    has_huge_chunks: bool,
}

// SAFETY: a plain value, which only holds the addresses of the tables. Region invariants 1 and 2 say which thread may
// use which entry.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves a region of `bytes`, rounded up to a power of two between [`REGION_MIN`] and [`REGION_MAX`]. If the
    /// system refuses, tries half as much, and so on down to [`REGION_MIN`]. `None` if the system refuses that too.
    /// `heap_bytes` is the size of a heap.
    pub(crate) fn reserve(bytes: usize, heap_bytes: usize) -> Option<Self> {
        let page = os::page_bytes();
        let mut bytes = bytes.next_power_of_two().clamp(REGION_MIN, REGION_MAX);
        loop {
            if let Some(region) = Self::reserve_exactly(bytes, heap_bytes, page) {
                return Some(region);
            }
            if bytes == REGION_MIN {
                return None;
            }
            bytes /= 2;
        }
    }

    /// Bytes of the region to ask for: the memory of the machine (64 GiB if the system does not say), at most
    /// [`REGION_MAX`], rounded up to a power of two. If the process has a limit on its addresses, region and tables
    /// take a quarter of it at most. The program needs the rest for large blocks, threads and files.
    pub(crate) fn bytes_wanted() -> usize {
        if cfg!(test) {
            // Some unit tests limit the addresses of their process, which the regions of other tests share.
            return 1 << 30;
        }
        let memory = os::physical_memory().unwrap_or(64 << 30).min(REGION_MAX).next_power_of_two();
        match os::address_space_limit() {
            // The tables add about an eighth of the region's bytes. So a region of a fifth of the limit stays below a
            // quarter.
            Some(limit) => memory.min(1 << (limit / 5).max(1).ilog2()),
            None => memory,
        }
    }

    fn reserve_exactly(bytes: usize, heap_bytes: usize, page: usize) -> Option<Self> {
        let tables = Self::layout(None, bytes, heap_bytes, page).1.next_multiple_of(REGION_ALIGN);
        let total = tables + bytes + REGION_ALIGN;
        let reservation = os::reserve(total)?;
        // The region begins at the first multiple of its alignment that leaves room for the tables before it.
        let slack =
            (reservation.addr().get() + tables).next_multiple_of(REGION_ALIGN) - reservation.addr().get() - tables;
        // SAFETY: `slack` is below the alignment, which `total` has room for.
        let start = unsafe { reservation.add(slack) };
        // SAFETY: `slack`, tables and region together are at most `total` bytes.
        let end = unsafe { start.add(tables + bytes) };
        if slack > 0 {
            // SAFETY: before everything that is used.
            unsafe { os::unreserve(reservation, slack) };
        }
        if REGION_ALIGN > slack {
            // SAFETY: behind everything that is used.
            unsafe { os::unreserve(end, REGION_ALIGN - slack) };
        }
        // No huge pages unless heaps ask for them: the tables are sparse, and many heaps use less than one huge page of
        // the region.
        // SAFETY: within the reservation, which holds the tables and the whole region.
        unsafe { os::prefer_huge_pages(start, tables + bytes, false) };
        let (mut region, _) = Self::layout(Some(start), bytes, heap_bytes, page);
        // SAFETY: the tables take at most `tables` bytes.
        region.blocks.start = unsafe { start.add(tables) };
        let tags = RegionTable::<AtomicU32>::prefix(region.tags.entries, page);
        // If the system refuses this, only a program that frees a wrong pointer notices.
        // SAFETY: the table lies in the reservation, and none of it is open yet.
        unsafe { os::let_read(region.tags.start.cast(), tags) };
        Some(region)
    }

    /// Lets heaps ask for huge pages for their chunks, unless the system's setting is that there are none. Also not if
    /// the system's pages are not of 4 KiB: then its huge pages may be larger than a chunk.
    pub(crate) fn let_chunks_be_huge(&mut self) {
        self.has_huge_chunks = self.page == 4096 && !os::are_huge_pages_off();
    }

    /// Whether heaps choose between small and huge pages for their chunks.
    pub(crate) fn has_huge_chunks(&self) -> bool {
        self.has_huge_chunks
    }

    /// Puts a huge page under a chunk, if the system has one to give.
    ///
    /// # Safety
    /// * `first` is the first arena of a chunk, whose arenas are open. `first` is the caller's, and was never used.
    pub(crate) unsafe fn put_huge_page(&self, first: ArenaId) {
        debug_assert!(first.0 as usize % ARENAS_PER_CHUNK == 0 && self.has_huge_chunks);
        let start = self.blocks.entry(first.0 as usize * ARENA_BYTES);
        // SAFETY: inside the region, which is aligned to huge pages. Open, as the caller promises, who owns its start.
        unsafe { os::put_huge_page(start, CHUNK_BYTES) };
    }

    /// Joins the small pages of a chunk to a huge page, if the system can.
    ///
    /// # Safety
    /// * `first` is the first arena of a chunk, whose arenas are open.
    pub(crate) unsafe fn join_pages(&self, first: ArenaId) {
        debug_assert!(first.0 as usize % ARENAS_PER_CHUNK == 0 && self.has_huge_chunks);
        let start = self.blocks.entry(first.0 as usize * ARENA_BYTES);
        // SAFETY: inside the region, which is aligned to huge pages. Open, as the caller promises.
        unsafe { os::join_pages(start, CHUNK_BYTES) };
    }

    /// Forbids the system again to make huge pages by itself, in the child of a fork: another thread of the parent may
    /// have been putting a huge page into a chunk, or joining one.
    pub(crate) fn forbid_huge_pages_again(&self) {
        if self.has_huge_chunks {
            // SAFETY: the region.
            unsafe { os::prefer_huge_pages(self.blocks.start, self.blocks.entries, false) };
        }
    }

    /// Asks for huge pages in the region behind its first `small` bytes. `small` is a multiple of [`REGION_ALIGN`].
    pub(crate) fn prefer_huge_pages(&self, small: usize) {
        if let Some(bytes) = self.blocks.entries.checked_sub(small) {
            // SAFETY: within the region.
            let rest = unsafe { self.blocks.start.add(small) };
            // SAFETY: the rest of the region.
            unsafe { os::prefer_huge_pages(rest, bytes, true) };
        }
    }

    /// Gives the whole reservation back to the system.
    ///
    /// # Safety
    /// * No thread uses the region or its tables any more.
    pub(crate) unsafe fn unreserve(self) {
        // The heaps' table comes first, the blocks last.
        let start = self.heaps.start();
        let bytes = self.blocks.start.addr().get() + self.blocks.entries - start.addr().get();
        // SAFETY: all that `reserve_exactly` kept; unused, as the caller promises.
        unsafe { os::unreserve(start, bytes) };
    }

    /// Start and end address of the whole reservation, tables and blocks.
    pub(crate) fn reservation(&self) -> (usize, usize) {
        (self.heaps.start().addr().get(), self.blocks.start.addr().get() + self.blocks.entries)
    }

    /// Places the tables for a region of `bytes`, whose blocks are not placed yet. Also returns the bytes of the
    /// tables.
    fn layout(reservation: Option<NonNull<u8>>, bytes: usize, heap_bytes: usize, page: usize) -> (Self, usize) {
        let pools = bytes / POOL_BYTES;
        let words = bytes / WORD_BYTES;
        let mut tables = Layouter { reservation, offset: 0, page };
        let region = Self {
            heaps: tables.opaque((bytes / BYTES_PER_HEAP).clamp(64, MOST_HEAPS), heap_bytes),
            magazines: tables.table((bytes / BYTES_PER_MAGAZINE).max(1024)),
            arenas: tables.table(bytes / ARENA_BYTES),
            pools: tables.table(pools),
            tags: tables.table(pools),
            links: tables.table(words),
            remote_map: tables.table(words),
            free_map: tables.table(words),
            blocks: RegionTable { start: NonNull::dangling(), entries: bytes },
            page,
            has_huge_chunks: false,
        };
        (region, tables.offset)
    }

    /// Bytes of addresses for blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.entries
    }

    /// Start of the region.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.blocks.start
    }

    /// Start of the tags, for a fast path.
    pub(crate) fn tags(&self) -> NonNull<AtomicU32> {
        self.tags.start
    }

    pub(crate) fn max_arenas(&self) -> usize {
        self.arenas.entries
    }

    pub(crate) fn max_heaps(&self) -> usize {
        self.heaps.entries()
    }

    pub(crate) fn max_magazines(&self) -> usize {
        self.magazines.entries
    }

    /// Opens the arenas `from..to` and their table entries. The arenas before `from` must be open already. Returns
    /// false if the system refuses. What this call opened before the refusal does no harm, and the next call opens it
    /// again.
    pub(crate) fn open_arenas(&self, from: usize, to: usize) -> bool {
        let pools = (from * POOLS_PER_ARENA, to * POOLS_PER_ARENA);
        let words = (pools.0 * WORDS_PER_POOL, pools.1 * WORDS_PER_POOL);
        self.arenas.open(from, to, self.page)
            && self.pools.open(pools.0, pools.1, self.page)
            && self.tags.open(pools.0, pools.1, self.page)
            && self.links.open(words.0, words.1, self.page)
            && self.remote_map.open(words.0, words.1, self.page)
            && self.free_map.open(words.0, words.1, self.page)
            && self.blocks.open(from * ARENA_BYTES, to * ARENA_BYTES, self.page)
    }

    /// Opens the memory of the heaps `from..to`. The heaps before `from` must be open already. Returns false if the
    /// system refuses.
    pub(crate) fn open_heaps(&self, from: usize, to: usize) -> bool {
        self.heaps.open(from, to, self.page)
    }

    /// Opens the memory of the magazines `from..to`. The magazines before `from` must be open already. Returns false if
    /// the system refuses.
    pub(crate) fn open_magazines(&self, from: usize, to: usize) -> bool {
        self.magazines.open(from, to, self.page)
    }

    /// Start and bytes of the open part of each table. The parameters are the numbers of open arenas, heaps and
    /// magazines.
    pub(crate) fn open_tables(&self, arenas: usize, heaps: usize, magazines: usize) -> [(NonNull<u8>, usize); 8] {
        let pools = arenas * POOLS_PER_ARENA;
        let words = pools * WORDS_PER_POOL;
        [
            self.heaps.opened(heaps, self.page),
            self.magazines.opened(magazines, self.page),
            self.arenas.opened(arenas, self.page),
            self.pools.opened(pools, self.page),
            self.tags.opened(pools, self.page),
            self.links.opened(words, self.page),
            self.remote_map.opened(words, self.page),
            self.free_map.opened(words, self.page),
        ]
    }

    /// Gives the memory of a run of `pools` back to the system, as far as it consists of whole system pages. Returns
    /// the bytes of these pages that were in memory.
    ///
    /// # Safety
    /// * The caller owns the pools, and they have no class.
    pub(crate) unsafe fn release(&self, first: PoolId, pools: usize) -> usize {
        let start = (first.0 as usize * POOL_BYTES).next_multiple_of(self.page);
        let end = (first.0 as usize + pools) * POOL_BYTES / self.page * self.page;
        if start >= end {
            return 0;
        }
        // SAFETY: inside the region, in a carved arena, hence open. The pools have no class, so no thread has a block
        // of them.
        unsafe { os::release(self.blocks.entry(start), end - start) }
    }

    /// Splits the huge page that an arena lies in, if the arena's free pools were released and the rest is in use.
    /// `done` are chunks for which this was done.
    pub(crate) fn split_huge_page(&self, arena: ArenaId, done: &mut SplitChunks) {
        let chunk = arena.0 as usize / ARENAS_PER_CHUNK;
        // Where the system's pages are larger, its huge pages are larger than a chunk.
        if self.page == 4096 && done.is_new(chunk) {
            let start = chunk * CHUNK_BYTES;
            // SAFETY: inside the region, which is aligned to huge pages.
            unsafe { os::split_huge_pages(self.blocks.entry(start), CHUNK_BYTES.min(self.blocks.entries - start)) };
        }
    }

    /// Start and bytes of the first `arenas` arenas.
    pub(crate) fn open_blocks(&self, arenas: usize) -> (NonNull<u8>, usize) {
        (self.blocks.start, arenas * ARENA_BYTES)
    }

    /// Offset of an address in the region; `None` if it lies elsewhere.
    #[inline]
    pub(crate) fn offset_of(&self, address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.blocks.start.addr().get());
        (offset < self.blocks.entries).then_some(offset)
    }

    /// The block at an offset.
    #[inline]
    pub(crate) fn block(&self, offset: usize) -> *mut u8 {
        self.blocks.entry(offset).as_ptr()
    }

    #[inline]
    fn tag_word(&self, pool: PoolId) -> &AtomicU32 {
        // SAFETY: Region invariant 1: every tag can be read; tags are atomics.
        unsafe { self.tags.entry(pool.0 as usize).as_ref() }
    }

    /// The tag of a pool.
    #[inline]
    pub(crate) fn tag(&self, pool: PoolId) -> Tag {
        // Relaxed: see the field.
        Tag::of_bits(self.tag_word(pool).load(Ordering::Relaxed))
    }

    /// Gives a pool another tag. Only the owner of its arena may call this (Tag invariant 1).
    #[inline]
    pub(crate) fn set_tag(&self, pool: PoolId, tag: Tag) {
        // Relaxed: see the field.
        self.tag_word(pool).store(tag.bits(), Ordering::Relaxed);
    }

    /// A word of the free map. Region invariant 2 names its owner.
    #[inline]
    pub(crate) fn free_word(&self, index: u32) -> &WatchedU64 {
        // SAFETY: Region invariants 1 and 2.
        unsafe { self.free_map.entry(index as usize).as_ref() }
    }

    /// A pool's words of the free map. Region invariant 2 names their owner.
    #[inline]
    pub(crate) fn free_words(&self, pool: PoolId) -> &[WatchedU64; WORDS_PER_POOL] {
        // SAFETY: Region invariants 1 and 2; the words of a pool are contiguous.
        unsafe { self.free_map.entry(pool.first_word() as usize).cast().as_ref() }
    }

    /// A pool's words of the remote map.
    #[inline]
    pub(crate) fn remote_words(&self, pool: PoolId) -> &[AtomicU64; WORDS_PER_POOL] {
        // SAFETY: Region invariant 1; the words are atomics, and those of a pool are contiguous.
        unsafe { self.remote_map.entry(pool.first_word() as usize).cast().as_ref() }
    }

    /// The record of a pool. Region invariant 2 names its owner.
    #[inline]
    pub(crate) fn pool_record(&self, pool: PoolId) -> &PoolRecord {
        // SAFETY: Region invariants 1 and 2.
        unsafe { self.pools.entry(pool.0 as usize).as_ref() }
    }

    /// The record of an arena. Region invariant 2 names its owner.
    #[inline]
    pub(crate) fn arena_record(&self, arena: ArenaId) -> &ArenaRecord {
        // SAFETY: Region invariants 1 and 2.
        unsafe { self.arenas.entry(arena.0 as usize).as_ref() }
    }

    /// The memory of the heap with this index, open if [`open_heaps`](Self::open_heaps) has opened that index. `T` must
    /// have the `heap_bytes` that [`reserve`](Self::reserve) got.
    #[inline]
    pub(crate) fn heap<T>(&self, index: usize) -> NonNull<T> {
        self.heaps.entry(index)
    }

    /// Number of the magazine that has a slot at this address. `None` if the address lies outside the table of
    /// magazines, or is not a multiple of 8.
    pub(crate) fn magazine_of(&self, address: usize) -> Option<usize> {
        let number = address.wrapping_sub(self.magazines.start.addr().get()) / MAGAZINE_BYTES;
        (number < self.magazines.entries && address % size_of::<Slot>() == 0).then_some(number)
    }

    /// The first slot of the magazine with this index, open if [`open_magazines`](Self::open_magazines) has opened that
    /// index.
    pub(crate) fn magazine(&self, index: usize) -> *mut Slot {
        self.magazines.entry(index).as_ptr().cast()
    }
}

/// Chunks that a release has seen lately: the latest for each remainder of the chunk's number.
pub(crate) struct SplitChunks([usize; 64]);

impl SplitChunks {
    pub(crate) fn new() -> Self {
        Self([usize::MAX; 64])
    }

    /// Adds a chunk. Returns false if it was there.
    fn is_new(&mut self, chunk: usize) -> bool {
        let place = &mut self.0[chunk % 64];
        let is_new = *place != chunk;
        *place = chunk;
        is_new
    }
}

impl RemoteMap for Region {
    #[inline]
    fn word(&self, index: u32) -> &AtomicU64 {
        // SAFETY: Region invariant 1; the words are atomics.
        unsafe { self.remote_map.entry(index as usize).as_ref() }
    }

    #[inline]
    fn link(&self, index: u32) -> &Exclusive {
        // SAFETY: Region invariant 1; Remote invariant 3 says which thread may use the link.
        unsafe { self.links.entry(index as usize).as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_is_aligned_and_opens_in_steps() {
        let region = Region::reserve(4 << 20, 4096).unwrap();
        assert_eq!(region.bytes(), 4 << 20);
        assert_eq!(region.base().addr().get() % REGION_ALIGN, 0);
        assert_eq!(region.max_arenas(), 16);
        for (from, to) in [(0, 1), (1, 5), (5, 16)] {
            assert!(region.open_arenas(from, to));
            for arena in [from, to - 1] {
                let pool = ArenaId(arena as u32).pool(63);
                let word = pool.first_word() + 7;
                assert_eq!(region.free_word(word).get(), 0);
                assert_eq!(region.word(word).load(Ordering::Relaxed), 0);
                // SAFETY: no other thread knows the region.
                assert_eq!(unsafe { region.link(word).get() }, 0);
                assert_eq!(region.tag(pool), Tag::FREE);
                assert_eq!(pool.arena().0 as usize, arena);
                assert_eq!(PoolId::of_word(word), pool);
                let last = region.block((arena + 1) * ARENA_BYTES - 1);
                // SAFETY: the last byte of an open arena.
                unsafe { last.write(1) };
                assert_eq!(region.offset_of(last.addr()), Some((arena + 1) * ARENA_BYTES - 1));
            }
        }
        assert_eq!(region.offset_of(region.base().addr().get() - 1), None);
        assert_eq!(region.offset_of(region.base().addr().get() + (4 << 20)), None);
    }

    #[test]
    fn a_refused_size_is_halved() {
        // Other tests of this process need far less.
        let limit = |bytes| libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        let set = |limit: libc::rlimit| {
            // SAFETY: `limit` is readable.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        };
        set(limit(8 << 30));
        let region = Region::reserve(REGION_MAX, 4096);
        set(limit(libc::RLIM_INFINITY));
        let bytes = region.unwrap().bytes();
        assert!(bytes == 4 << 30 || bytes == 2 << 30, "{bytes}");
    }

    #[test]
    fn the_tables_cost_at_most_four_and_a_half_percent() {
        let arenas = 4096;
        let region = Region::reserve(arenas * ARENA_BYTES, 4096).unwrap();
        let tables: usize = region.open_tables(arenas, 0, 0).iter().map(|(_, bytes)| bytes).sum();
        assert!(tables * 1000 <= arenas * ARENA_BYTES * 45, "{tables}");
    }
}
