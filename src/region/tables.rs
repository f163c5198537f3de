//! The region: one reserved range of addresses that all arenas are carved from, and the dense tables beside it that
//! say everything about them.
//!
//! ```text
//! reservation | heaps | magazines | arenas' records | pools' records | tags | links | remote map | free map | region
//! ```
//! Each table has one entry for so many bytes of the region, so every entry is found by a shift of a block's offset:
//! no header lies in the region, no pointer to one in a block. All of it is reserved without rights; arenas are opened
//! from the front in growing steps, and each table as far as the open arenas need it.
//!
//! Region invariant 1: the tables' entries for arenas below the carved count are open, zero at first. All other tags
//! can be read too, and are zero, that of a free pool: so a fast path needs no test for a free of a pointer that nobody
//! has.
//! Region invariant 2: entries of the free map, the records of pools and the record of an arena belong to the heap that
//! owns the arena, or to the holder of the shared lock while the arena is on the shared list.
//! Region invariant 3: a tag changes only while its pool holds no live and no waiting block.

use super::ids::{ArenaId, PoolId};
use super::layout::{
    BYTES_PER_HEAP, BYTES_PER_MAGAZINE, Layouter, MAGAZINE_BYTES, OpaqueTable, REGION_ALIGN, REGION_MAX, REGION_MIN,
    RegionTable, Slot,
};
use super::records::{ArenaRecord, PoolRecord};
use super::remote::RemoteMap;
use super::tag::{MOST_HEAPS, Tag};
use crate::geometry::{ARENA_BYTES, POOL_BYTES, POOLS_PER_ARENA, WORD_BYTES, WORDS_PER_POOL};
use crate::os;
use crate::sync::{AtomicU32, AtomicU64, Exclusive, Ordering, WatchedU64};
use core::ptr::NonNull;
use static_assertions::const_assert_eq;

/// Room for a magazine.
#[repr(C, align(1024))]
struct MagazineRoom([u8; MAGAZINE_BYTES]);

const_assert_eq!(align_of::<MagazineRoom>(), MAGAZINE_BYTES);

/// Where everything is. A plain value: each heap has a copy, so that the slow paths read nothing shared.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    blocks: RegionTable<u8>,
    /// [`Tag`]s. Relaxed everywhere: a tag changes only while its pool has no live and no waiting block (Region
    /// invariant 3), and who has a block got it from a thread that had set or seen the tag before.
    tags: RegionTable<AtomicU32>,
    free_map: RegionTable<WatchedU64>,
    remote_map: RegionTable<AtomicU64>,
    links: RegionTable<Exclusive>,
    pools: RegionTable<PoolRecord>,
    arenas: RegionTable<ArenaRecord>,
    heaps: OpaqueTable,
    magazines: RegionTable<MagazineRoom>,
    page: usize,
}

// SAFETY: a plain value. It only says where the tables are; who may use which entry, Region invariants 1 and 2 say.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Reserves a region of `bytes`, a power of two; if that is refused, of half as much, and so on down to
    /// [`REGION_MIN`]. `None` if even that is refused. A heap takes `heap_bytes`.
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

    /// The size to ask for: the machine's memory, and with its tables no more than a quarter of the process's limit on
    /// addresses, which the program needs for its large blocks, threads and files.
    pub(crate) fn bytes_wanted() -> usize {
        if cfg!(test) {
            // Some unit tests limit the addresses of their process, in which the others have such a region.
            return 1 << 30;
        }
        let memory = os::physical_memory().unwrap_or(64 << 30).min(REGION_MAX).next_power_of_two();
        match os::address_space_limit() {
            // The tables take a tenth more, so a fifth for the region.
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
        // SAFETY: the whole of it lies within `total`.
        let end = unsafe { start.add(tables + bytes) };
        if slack > 0 {
            // SAFETY: before everything that is used.
            unsafe { os::unreserve(reservation, slack) };
        }
        if REGION_ALIGN > slack {
            // SAFETY: behind everything that is used.
            unsafe { os::unreserve(end, REGION_ALIGN - slack) };
        }
        // The tables are sparse, and a small program uses less than one huge page of the region.
        // SAFETY: within the reservation, the region being no smaller than its minimum.
        unsafe { os::prefer_huge_pages(start, tables + bytes.min(REGION_ALIGN), false) };
        let (mut region, _) = Self::layout(Some(start), bytes, heap_bytes, page);
        // SAFETY: the tables take at most `tables` bytes.
        region.blocks.start = unsafe { start.add(tables) };
        let tags = RegionTable::<AtomicU32>::prefix(region.tags.entries, page);
        // Only a broken program notices if this is refused.
        // SAFETY: the table lies in the reservation, and nothing of it is open yet.
        unsafe { os::let_read(region.tags.start.cast(), tags) };
        Some(region)
    }

    /// Asks for no huge pages at all.
    pub(crate) fn prefer_small_pages(&self) {
        // SAFETY: the region.
        unsafe { os::prefer_huge_pages(self.blocks.start, self.blocks.entries, false) };
    }

    /// Asks for huge pages for what lies beyond the first `small` bytes, a multiple of [`REGION_ALIGN`].
    pub(crate) fn prefer_huge_pages(&self, small: usize) {
        if let Some(bytes) = self.blocks.entries.checked_sub(small) {
            // SAFETY: within the region.
            let rest = unsafe { self.blocks.start.add(small) };
            // SAFETY: the rest of the region.
            unsafe { os::prefer_huge_pages(rest, bytes, true) };
        }
    }

    /// Gives all of it back to the system.
    ///
    /// # Safety
    /// * Nobody uses it any more.
    pub(crate) unsafe fn unreserve(self) {
        // The heaps' table comes first, the blocks last.
        let start = self.heaps.start();
        let bytes = self.blocks.start.addr().get() + self.blocks.entries - start.addr().get();
        // SAFETY: all that `reserve_exactly` kept; unused, as the caller promises.
        unsafe { os::unreserve(start, bytes) };
    }

    /// All that is reserved, tables and blocks: where it begins and ends.
    pub(crate) fn reservation(&self) -> (usize, usize) {
        (self.heaps.start().addr().get(), self.blocks.start.addr().get() + self.blocks.entries)
    }

    /// Places the tables for a region of `bytes`; returns the bytes that they take.
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
        };
        (region, tables.offset)
    }

    /// Bytes of addresses for blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.entries
    }

    /// Where the region begins.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.blocks.start
    }

    /// The tags, for a fast path.
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

    /// Opens arenas `from..to` and what the tables say of them; those before are open. False if the system refuses;
    /// what has been opened by then does no harm and is opened again the next time.
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

    /// Opens the memory of the heaps `from..to`; those before are open.
    pub(crate) fn open_heaps(&self, from: usize, to: usize) -> bool {
        self.heaps.open(from, to, self.page)
    }

    /// Opens the memory of the magazines `from..to`; those before are open.
    pub(crate) fn open_magazines(&self, from: usize, to: usize) -> bool {
        self.magazines.open(from, to, self.page)
    }

    /// The opened parts of the tables when so many `arenas`, `heaps` and `magazines` are open: where each begins, and
    /// its bytes.
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

    /// Gives the memory of a run of `pools` back to the system, as far as they are whole system pages. Returns the
    /// bytes that were in memory.
    ///
    /// # Safety
    /// * The caller owns the pools, and they have no class.
    pub(crate) unsafe fn release(&self, first: PoolId, pools: usize) -> usize {
        let start = (first.0 as usize * POOL_BYTES).next_multiple_of(self.page);
        let end = (first.0 as usize + pools) * POOL_BYTES / self.page * self.page;
        if start >= end {
            return 0;
        }
        // SAFETY: inside the region, and the pools are in use, hence open; nobody has a block of them.
        unsafe { os::release(self.blocks.entry(start), end - start) }
    }

    /// Bytes of the first `arenas` arenas.
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
        // SAFETY: Region invariant 1: every tag can be read, and they are atomics.
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

    /// A word of the free map. Region invariant 2 says whose it is.
    #[inline]
    pub(crate) fn free_word(&self, index: u32) -> &WatchedU64 {
        // SAFETY: Region invariants 1 and 2.
        unsafe { self.free_map.entry(index as usize).as_ref() }
    }

    /// A pool's words of the free map. Region invariant 2 says whose they are.
    #[inline]
    pub(crate) fn free_words(&self, pool: PoolId) -> &[WatchedU64; WORDS_PER_POOL] {
        // SAFETY: Region invariants 1 and 2; a pool's words lie one behind the other.
        unsafe { self.free_map.entry(pool.first_word() as usize).cast().as_ref() }
    }

    /// A pool's words of the remote map.
    #[inline]
    pub(crate) fn remote_words(&self, pool: PoolId) -> &[AtomicU64; WORDS_PER_POOL] {
        // SAFETY: Region invariant 1; the words are atomics, and a pool's lie one behind the other.
        unsafe { self.remote_map.entry(pool.first_word() as usize).cast().as_ref() }
    }

    /// What is known of a pool. Region invariant 2 says whose it is.
    #[inline]
    pub(crate) fn pool_record(&self, pool: PoolId) -> &PoolRecord {
        // SAFETY: Region invariants 1 and 2.
        unsafe { self.pools.entry(pool.0 as usize).as_ref() }
    }

    /// What is known of an arena. Region invariant 2 says whose it is.
    #[inline]
    pub(crate) fn arena_record(&self, arena: ArenaId) -> &ArenaRecord {
        // SAFETY: Region invariants 1 and 2.
        unsafe { self.arenas.entry(arena.0 as usize).as_ref() }
    }

    /// The memory of a heap, open if its index is below the number made. `T` has the bytes that
    /// [`reserve`](Self::reserve) was given.
    #[inline]
    pub(crate) fn heap<T>(&self, index: usize) -> NonNull<T> {
        self.heaps.entry(index)
    }

    /// Number of the magazine that an address, a multiple of 8, lies in.
    pub(crate) fn magazine_of(&self, address: usize) -> Option<usize> {
        let number = address.wrapping_sub(self.magazines.start.addr().get()) / MAGAZINE_BYTES;
        (number < self.magazines.entries && address % size_of::<Slot>() == 0).then_some(number)
    }

    /// The top of an empty magazine, open if its index is below the number made.
    pub(crate) fn magazine(&self, index: usize) -> *mut Slot {
        self.magazines.entry(index).as_ptr().cast()
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
        // SAFETY: Region invariant 1; who uses it is settled by Remote invariant 3.
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
                // SAFETY: nobody else knows the region.
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
