//! One heap: its front, magazines and lists.

use super::sums::HeapSums;
use super::violation::{Violation, ViolationPlace, demand};
use crate::geometry::{CLASS_STEP, POOLS_PER_ARENA, SizeClass, WORD_BYTES, WORDS_PER_POOL};
use crate::heap::{Heap, capacity, is_absent, magazine};
use crate::process::View;
use crate::region::{ArenaId, END, NONE, PoolId, PoolState, RemoteMap, Slot};
use crate::sync::Ordering;

/// Most magazines of a class in a heap: the loaded one, the previous one, the foreign one and the depot's.
const MAGAZINES: usize = 3 + magazine::DEPOT_SLOTS;

/// Number of the previous magazine among a class's magazines. Number 0 is the loaded one.
const PREVIOUS: usize = 1;

/// Number of the foreign magazine. The magazines of the depot have the numbers behind it.
const FOREIGN: usize = 2;

const TWO_THREADS: &str = "two threads have freed a block: freed twice";

/// Room for the blocks of all magazines of a class, and some more: a power of two.
const ROOM: usize = (MAGAZINES * magazine::SLOTS).next_power_of_two();

/// The set of blocks that were found in magazines, by their number in the region.
struct MagazineBlocks {
    /// Open addressing; 0 is a free place, another value a block's number plus 1.
    numbers: [usize; ROOM],
    length: usize,
}

impl MagazineBlocks {
    fn new() -> Self {
        Self { numbers: [0; ROOM], length: 0 }
    }

    /// The place of a block, or the free place where it would go.
    fn place(&self, number: usize) -> usize {
        let mut place = spread(number) % ROOM;
        while self.numbers[place] != 0 && self.numbers[place] != number + 1 {
            place = (place + 1) % ROOM;
        }
        place
    }

    fn has(&self, number: usize) -> bool {
        self.numbers[self.place(number)] != 0
    }

    /// Adds a block. Returns false if it is there already.
    ///
    /// Leaves the block out if there is no more room, since a search needs a free place to end at. That can happen only
    /// while other threads run.
    fn add(&mut self, number: usize) -> bool {
        let place = self.place(number);
        let is_new = self.numbers[place] == 0;
        if is_new && self.length < ROOM - 1 {
            self.numbers[place] = number + 1;
            self.length += 1;
        }
        is_new
    }
}

/// A hash of a block's number, so that neighboring blocks get places far apart.
fn spread(number: usize) -> usize {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

impl View<'_> {
    /// Checks one heap.
    pub(super) fn check_one_heap(&self, index: usize, heap: &Heap, sums: &mut HeapSums) -> Result<(), Violation> {
        let place = ViolationPlace::Heap { index };
        demand(heap.front.is_of(&self.region, index), "Front invariant 1: the front has changed", place)?;
        let mut pools = 0;
        for class in SizeClass::all() {
            self.check_magazines(index, heap, class, sums)?;
            self.check_partial(index, heap, class, sums)?;
            pools += heap.class(class).pools.value();
            count(heap, class, sums);
        }
        demand(pools == heap.pools() as u64, "the pools of all classes are not the pools of the heap", place)?;
        self.check_arenas(index, heap, sums)?;
        self.check_pending(index, heap, sums)?;
        self.check_spare(index, heap, sums)
    }

    /// Checks the magazines of a class: each block in them is there once and nowhere else. Blocks of other heaps are
    /// only in magazines that may hold them.
    fn check_magazines(
        &self,
        index: usize,
        heap: &Heap,
        class: SizeClass,
        sums: &mut HeapSums,
    ) -> Result<(), Violation> {
        let place = ViolationPlace::Class { heap: index, block_bytes: class.bytes() };
        let state = heap.class(class);
        let mut found = MagazineBlocks::new();
        let has_loaded = !is_absent(heap.head(class).top());
        demand(has_loaded || is_absent(state.previous()), "a heap has a previous magazine and no loaded one", place)?;
        demand(state.depot.length() <= magazine::DEPOT_SLOTS, "a depot holds more than it has room for", place)?;
        for (number, top) in heap.magazines(class).enumerate() {
            if is_absent(top) {
                demand(number <= FOREIGN, "a depot holds no magazine where it should", place)?;
                continue;
            }
            demand(self.is_magazine(top), "a magazine is none of the table's", place)?;
            let is_below = top.addr() <= magazine::bottom(top, class).addr();
            demand(is_below, "Magazine invariant 1: a top is beyond the bottom", place)?;
            let held = magazine::count(top, class);
            let is_previous_right = number != PREVIOUS || held == 0 || held == capacity(class);
            demand(is_previous_right, "a previous magazine is neither full nor empty", place)?;
            demand(
                number <= FOREIGN || held == capacity(class),
                "Depot invariant 1: a magazine in a depot is not full",
                place,
            )?;
            // SAFETY: it is a slot of a magazine in use. Slots are atomics, and are never unmapped.
            let bottom = unsafe { (*magazine::bottom(top, class)).get() };
            demand(bottom.is_null(), "Magazine invariant 1: the slot at the bottom of a magazine is not null", place)?;
            sums.magazines += 1;
            let may_be_own = number != FOREIGN;
            let may_be_foreign = number == FOREIGN || state.cached_foreign() > 0;
            for block in magazine::held(top, held) {
                let place = ViolationPlace::Block { address: block.addr(), block_bytes: class.bytes() };
                let owner = self.check_cached_block(block, class, place)?;
                let is_expected = if owner == index { may_be_own } else { may_be_foreign };
                demand(is_expected, "a magazine holds a block of another heap or class", place)?;
                demand(found.add(self.number(block)), "a block is in magazines twice: freed twice", place)?;
            }
        }
        sums.classes[class.index()].cached += heap.cached_blocks(class) as u64;
        Ok(())
    }

    /// Checks a pointer in a magazine: it points to a block of this class that is neither free in its pool nor waiting.
    /// Returns the index of the heap that owns the pool.
    fn check_cached_block(&self, block: *mut u8, class: SizeClass, place: ViolationPlace) -> Result<usize, Violation> {
        let Some(offset) = self.region.offset_of(block.addr()) else {
            return Err(Violation::new("a magazine holds what is no block", place));
        };
        let (word, bit) = Heap::word_and_bit(offset);
        let pool = PoolId::of_word(word);
        let owner = self.owner_of(word).filter(|owner| self.is_pool_of(pool, *owner, class));
        let Some(owner) = owner else {
            return Err(Violation::new("a magazine holds a block of another heap or class", place));
        };
        let mask = class.block_mask()[word as usize % WORDS_PER_POOL];
        let begins = mask & bit != 0 && offset % CLASS_STEP == 0;
        demand(begins, "a magazine holds a pointer into a block: free of an interior pointer", place)?;
        let free = self.region.free_word(word).get() & bit == 0;
        demand(free, "a block is in a magazine and free in its pool: freed twice", place)?;
        let waits = self.region.word(word).load(Ordering::Relaxed) & bit == 0;
        demand(waits, "a block is in a magazine and waits as a remote free: freed twice", place)?;
        Ok(owner)
    }

    /// Checks that no block is in the magazines of two heaps.
    pub(super) fn check_between_heaps(&self, class: SizeClass) -> Result<(), Violation> {
        let heaps = || (0..self.heaps).filter_map(|index| Some((index, self.heap(index)?)));
        let of_others = || {
            let may_hold = |heap: &Heap| {
                let state = heap.class(class);
                state.cached_foreign() > 0 || magazine::count(state.foreign(), class) > 0
            };
            let is_foreign = move |index, block| self.owner_of(self.word(block)) != Some(index);
            let all = heaps().filter(move |(_, heap)| may_hold(heap));
            all.flat_map(move |(index, heap)| self.cached(heap, class).filter(move |block| is_foreign(index, *block)))
        };
        // Each round takes as many blocks as the set has room for.
        let parts = of_others().count().div_ceil(ROOM / 2);
        for part in 0..parts {
            let is_in_part = |block: &*mut u8| (spread(self.number(*block)) / ROOM) % parts == part;
            let place = |block: *mut u8| ViolationPlace::Block { address: block.addr(), block_bytes: class.bytes() };
            let mut found = MagazineBlocks::new();
            for block in of_others().filter(is_in_part) {
                demand(found.add(self.number(block)), TWO_THREADS, place(block))?;
            }
            for (index, heap) in heaps() {
                for block in self.cached(heap, class).filter(is_in_part) {
                    let is_only = !found.has(self.number(block)) || self.owner_of(self.word(block)) != Some(index);
                    demand(is_only, TWO_THREADS, place(block))?;
                }
            }
        }
        Ok(())
    }

    /// The blocks in a class's magazines, the foreign one included. Pointers that are no blocks are left out: other
    /// threads may have changed a magazine since it passed the checks.
    fn cached(&self, heap: &Heap, class: SizeClass) -> impl Iterator<Item = *mut u8> {
        let is_one =
            move |top: &*mut Slot| self.is_magazine(*top) && top.addr() <= magazine::bottom(*top, class).addr();
        let blocks =
            heap.magazines(class).filter(is_one).flat_map(move |top| magazine::held(top, magazine::count(top, class)));
        blocks.filter(|block| self.region.offset_of(block.addr()).is_some())
    }

    /// The number of a block in the region, in steps of 8 bytes.
    fn number(&self, block: *mut u8) -> usize {
        (block.addr() - self.region.base().addr().get()) / CLASS_STEP
    }

    /// The word of the maps that a block's bit is in.
    fn word(&self, block: *mut u8) -> u32 {
        (self.number(block) / (WORD_BYTES / CLASS_STEP)) as u32
    }

    /// Index of the heap that owns the pool of a word in use.
    fn owner_of(&self, word: u32) -> Option<usize> {
        let pool = PoolId::of_word(word);
        if pool.0 as usize >= self.carved * POOLS_PER_ARENA {
            return None;
        }
        let tag = self.region.tag(pool);
        (!tag.is_free()).then(|| tag.heap())
    }

    /// Checks the class's list of pools with free blocks.
    fn check_partial(&self, index: usize, heap: &Heap, class: SizeClass, sums: &mut HeapSums) -> Result<(), Violation> {
        let place = ViolationPlace::Class { heap: index, block_bytes: class.bytes() };
        let list = heap.partial(class);
        let (mut previous, mut next) = (NONE, list.first());
        for _ in 0..=self.carved * POOLS_PER_ARENA {
            let Some(pool) = next else { return Ok(()) };
            demand(self.is_pool_of(pool, index, class), "a class's list names a pool of another heap or class", place)?;
            let record = self.region.pool_record(pool);
            demand(
                record.state() == PoolState::Listed,
                "Pool invariant 2: a pool on a class's list has no free block",
                place,
            )?;
            demand(
                record.previous() == previous,
                "a class's list of pools is not linked backwards as forwards",
                place,
            )?;
            sums.listed_pools[1] += 1;
            previous = pool.0;
            next = list.after(&self.region, pool);
        }
        Err(Violation::new("a class's list of pools does not end", place))
    }

    /// Checks the heap's lists of arenas: one list for each number of free pools.
    fn check_arenas(&self, index: usize, heap: &Heap, sums: &mut HeapSums) -> Result<(), Violation> {
        let place = ViolationPlace::Heap { index };
        let mut arenas = 0;
        for free in 0..=POOLS_PER_ARENA {
            let (first, is_marked) = heap.arenas().with_free(free);
            demand(is_marked == (first != NONE), "a list of arenas is empty and marked as not, or the reverse", place)?;
            let (mut previous, mut next, mut length) = (NONE, first, 0);
            while next != NONE {
                demand((next as usize) < self.carved && length < self.carved, "a list of arenas does not end", place)?;
                let record = self.region.arena_record(ArenaId(next));
                let place = self.arena_place(ArenaId(next));
                demand(
                    record.free_count() == free,
                    "Arena invariant 2: an arena is on the list for another number of pools",
                    place,
                )?;
                demand(record.previous() == previous, "a list of arenas is not linked backwards as forwards", place)?;
                let taken = record.free_pools().trailing_ones();
                let is_own =
                    free == POOLS_PER_ARENA || self.owner_of(ArenaId(next).pool(taken).first_word()) == Some(index);
                demand(is_own, "Arena invariant 2: an arena is on the list of a heap that does not own it", place)?;
                sums.listed_arenas += 1;
                length += 1;
                (previous, next) = (next, record.next().get());
            }
            arenas += length;
        }
        demand(arenas == heap.arenas().count(), "the count of a heap's arenas is not that of its lists", place)
    }

    /// Checks the two lists of words with remote frees for the heap: the pending list, and the words already taken off
    /// it.
    fn check_pending(&self, index: usize, heap: &Heap, sums: &mut HeapSums) -> Result<(), Violation> {
        let place = ViolationPlace::Heap { index };
        let words = self.carved * POOLS_PER_ARENA * WORDS_PER_POOL;
        for first in [heap.taken_words(), heap.pending().first()] {
            let (mut next, mut length) = (first, 0);
            while next != END {
                demand((next as usize) < words && length < words, "a pending list does not end", place)?;
                let waits = self.region.word(next).load(Ordering::Relaxed) != 0;
                demand(waits, "Remote invariant 1: a word on a pending list is zero", place)?;
                demand(self.owner_of(next) == Some(index), "a pending list has a word of another heap", place)?;
                sums.waiting_words[1] += 1;
                length += 1;
                next = self.region.link(next).peek();
            }
        }
        Ok(())
    }

    /// Checks the list of spare magazines. Each is linked to the next by its slot 0.
    fn check_spare(&self, index: usize, heap: &Heap, sums: &mut HeapSums) -> Result<(), Violation> {
        let place = ViolationPlace::Heap { index };
        let (mut next, mut length) = (heap.spare(), 0);
        while !next.is_null() {
            demand(self.is_magazine(next), "a spare magazine is none of the table's", place)?;
            demand(length < self.magazines, "the list of spare magazines does not end", place)?;
            sums.magazines += 1;
            length += 1;
            // SAFETY: it is a slot of a magazine in use. Slots are atomics, and are never unmapped.
            next = unsafe { (*magazine::start(next)).get() }.cast();
        }
        Ok(())
    }
}

/// Adds the counts that a heap keeps of a class.
fn count(heap: &Heap, class: SizeClass, sums: &mut HeapSums) {
    let state = heap.class(class);
    let sums = &mut sums.classes[class.index()];
    sums.pools[1] += state.pools.value() as usize;
    // Until all heaps are added, a sum may be below zero, and wraps: a block may have been taken out under one owner of
    // its pool, and have come back under the next owner.
    let back = state.flushed.value().wrapping_add(state.collected.value());
    sums.taken[1] = sums.taken[1].wrapping_add(state.filled.value()).wrapping_sub(back);
    let gone = state.collected.value().wrapping_add(state.adopted.value());
    sums.waiting[1] = sums.waiting[1].wrapping_add(state.remote_frees.value()).wrapping_sub(gone);
    sums.waiting[0] += magazine::count(state.foreign(), class) as u64;
}
