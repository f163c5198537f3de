//! From magazines to pools, and to and from other threads: the slow half of a free, and the end of a thread.

use super::fill::FIRST_FILL;
use super::{
    ClassState, Heap, OwnedHeap, Supply, TAG_FREE, heap_of_tag, in_this_order, is_free_or_private, size_class_of_tag,
    tag_block_bytes,
};
use crate::check::{Misuse, misuse};
use crate::magazine::{self, Depot, SLOTS, Slot, absent, bottom, count, is_absent, is_newest};
use crate::pool::PoolState;
use crate::region::PoolId;
use crate::remote::{self, Combined, END};
use crate::size_class::{CLASS_STEP, SizeClass, WORD_BYTES, is_block_at};
use crate::sync::Ordering;
use core::mem::MaybeUninit;

/// Words that a parked heap collects at a time when it settles: those of sixteen arenas.
const COLLECTED_BY_SETTLING: usize = 16 * 512;

/// Words whose remote frees are combined at a time.
const COMBINED: usize = 8;

/// Pools that a settling heap's search may look at for each block freed since the last one.
const POOLS_LOOKED_AT_A_FREE: usize = 8;

/// The words of the free map that were zero before a flush, at most one for each block of a magazine. Added to without a
/// branch.
struct NewlyFree {
    words: [MaybeUninit<u32>; SLOTS],
    length: usize,
    foreign_blocks: usize,
}

impl NewlyFree {
    fn new() -> Self {
        Self { words: [const { MaybeUninit::uninit() }; SLOTS], length: 0, foreign_blocks: 0 }
    }

    /// Adds a word if `is_new`. There must be room for one more.
    #[inline(always)]
    fn add_if(&mut self, is_new: bool, index: u32) {
        self.words[self.length % SLOTS].write(index);
        self.length += usize::from(is_new);
    }

    fn words(&self) -> impl Iterator<Item = u32> {
        // SAFETY: every word below the length has been written.
        self.words[..self.length].iter().map(|word| unsafe { word.assume_init() })
    }
}

impl Heap {
    /// Word of the maps and bit in it for the block at an offset.
    #[inline]
    pub(crate) fn word_and_bit(offset: usize) -> (u32, u64) {
        ((offset / WORD_BYTES) as u32, 1 << (offset / CLASS_STEP % 64))
    }

    /// Offset of the first of the blocks of `bits` in a word of the maps.
    fn offset_of_bits(index: u32, bits: u64) -> usize {
        index as usize * WORD_BYTES + bits.trailing_zeros() as usize * CLASS_STEP
    }

    /// Aborts for the free of a block of this class at an offset that cannot be freed: none begins there, or it is free.
    #[cold]
    #[inline(never)]
    fn wrong_free(&self, class: SizeClass, offset: usize) -> ! {
        let (address, block_bytes) = (self.region.block(offset).addr(), class.bytes());
        misuse(&if is_block_at(offset, block_bytes) {
            Misuse::DoubleFree { address, block_bytes }
        } else {
            Misuse::InteriorPointer { address, block_bytes }
        })
    }

    /// Gives a block of this private heap, at `offset` of the region, back for a thread that does not own the heap now.
    pub(crate) fn post_private(&self, block: *mut u8, offset: usize) {
        // Relaxed: the pool of a live block has had its tag since before the block was handed out.
        let tag = self.region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed);
        if tag == TAG_FREE || tag != self.front.tag(size_class_of_tag(tag)) {
            refuse(block, tag);
        }
        let (class, (index, bit)) = (size_class_of_tag(tag), Self::word_and_bit(offset));
        if bit & !class.blocks_of_word(index) != 0 || offset % CLASS_STEP != 0 {
            self.wrong_free(class, offset);
        }
        // Many threads add to it, and the owner does not: a private heap's owner frees no block of others.
        self.class(class).remote_frees.add_shared(1);
        if remote::post(&self.region, index, bit, || self.pending()).is_err() {
            self.wrong_free(class, offset);
        }
    }
}

/// Puts a block onto the foreign magazine, which must have room.
#[inline(always)]
fn push_foreign(state: &ClassState, block: *mut u8) {
    let top = state.foreign().wrapping_sub(1);
    // SAFETY: the magazine was not full, so there is a slot of it below the top.
    unsafe { (*top).set(block) };
    state.foreign.set(top);
}

/// Aborts for the free of a block whose pool has no class, of a private heap's block through something else, or of another
/// block through a private heap.
#[cold]
#[inline(never)]
pub(crate) fn refuse(block: *mut u8, tag: u32) -> ! {
    let (address, block_bytes) = (block.addr(), tag_block_bytes(tag));
    misuse(&if tag == TAG_FREE { Misuse::FreePool { address } } else { Misuse::WrongHeap { address, block_bytes } })
}

impl OwnedHeap<'_> {
    /// Frees the block, at `offset` of the region, when the loaded magazine has no room or another heap owns the block.
    ///
    /// Both are passed: as long as the block is nowhere else, some register has its address, for whoever looks for those.
    pub(crate) fn free(self, supply: &impl Supply, block: *mut u8, offset: usize) {
        // Relaxed: the pool of a live block has had its tag since before the block was handed out.
        let tag = self.region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed);
        if is_free_or_private(tag) {
            // A private heap's block would come into a foreign magazine, and be handed out from there when its heap is gone.
            refuse(block, tag);
        }
        let class = size_class_of_tag(tag);
        if tag == self.front.tag(class) {
            self.free_own(supply, class, block);
        } else {
            self.free_remote(supply, class, block, offset);
        }
    }

    /// As [`free`](Self::free), of a private heap, whose handle frees no block of others.
    pub(crate) fn free_private(self, supply: &impl Supply, block: *mut u8, offset: usize) {
        // Relaxed: as for `free`.
        let tag = self.region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed);
        if tag == TAG_FREE || tag != self.front.tag(size_class_of_tag(tag)) {
            refuse(block, tag);
        }
        self.free_own(supply, size_class_of_tag(tag), block);
    }

    #[inline(never)]
    fn free_own(self, supply: &impl Supply, class: SizeClass, block: *mut u8) {
        let head = self.head(class);
        if head.push(block) {
            return;
        }
        let state = self.class(class);
        let full = head.top();
        if is_newest(full, block) {
            self.wrong_free(class, block.addr() - self.region.base().addr().get());
        }
        let previous = state.previous();
        if is_absent(full) {
            match self.new_magazine(supply, class) {
                Some(empty) => head.load(empty),
                None => {
                    // No magazine by design, or none to be had: straight to the pool.
                    head.count_free();
                    self.begin_move();
                    self.flush(class, &[Slot::new(block)]);
                    self.end_move();
                    self.search_if_much_was_freed(supply);
                    return;
                }
            }
        } else if is_absent(previous) {
            match self.new_magazine(supply, class) {
                Some(empty) => {
                    state.set_previous(full);
                    in_this_order();
                    head.load(empty);
                }
                None => {
                    self.begin_move();
                    head.load(self.flush_magazine(class, full));
                    self.end_move();
                    self.search_if_much_was_freed(supply);
                }
            }
        } else if count(previous, class) == 0 {
            // The full magazine is somewhere at any moment.
            state.set_previous(full);
            in_this_order();
            head.load(previous);
        } else {
            let empty = self.empty_magazine(supply, class);
            state.set_previous(full);
            head.load(empty);
            self.end_move();
            self.search_if_much_was_freed(supply);
        }
        head.push(block);
    }

    /// An empty magazine when the loaded and the previous one are full; the previous one goes to the depot. Blocks are under
    /// way: the caller ends the move when it has put the loaded one in place of the previous one.
    fn empty_magazine(self, supply: &impl Supply, class: SizeClass) -> *mut Slot {
        let state = self.class(class);
        let has_room = state.depot.length() < Depot::bound(class);
        let new = if has_room { self.new_magazine(supply, class) } else { None };
        self.begin_move();
        let empty = match new {
            Some(new) => new,
            None => match state.depot.pop_oldest() {
                Some(oldest) => self.flush_magazine(class, oldest),
                None => return self.flush_magazine(class, state.previous()),
            },
        };
        state.depot.push_newest(state.previous());
        empty
    }

    /// Moves a magazine's blocks to their pools; returns the top of the empty magazine.
    fn flush_magazine(self, class: SizeClass, top: *mut Slot) -> *mut Slot {
        // SAFETY: the magazine is the heap's own, and its top is not used before the slice is dead.
        self.flush(class, unsafe { magazine::blocks(top, class) });
        bottom(top, class)
    }

    /// Sets the blocks' bits in the free map. There are no more blocks than a magazine has slots.
    fn flush(self, class: SizeClass, blocks: &[Slot]) {
        let Some(oldest) = blocks.last() else { return };
        let base = self.region.base().addr().get();
        let own = self.front.tag(class);
        let mut low_bits = 0;
        // Pools are listed at the end: whether a word was zero is a branch that nobody can foresee, and would hold up the
        // next words, which may be cache misses.
        let mut newly_free = NewlyFree::new();
        // Neighbours share one word. The region begins where a word's bytes do, so addresses serve as offsets do.
        let first_word = base / WORD_BYTES;
        let index = |place: usize| (place - first_word) as u32;
        let (mut place, mut bits) = (oldest.get().addr() / WORD_BYTES, 0_u64);
        // The oldest first: the pool of the newest is then the first to be used again.
        for block in blocks.iter().rev() {
            let address = block.get().addr();
            low_bits |= address;
            if address / WORD_BYTES != place {
                self.put_back(class, own, Combined { index: index(place), bits }, &mut newly_free);
                (place, bits) = (address / WORD_BYTES, 0);
            }
            let bit = address / CLASS_STEP % 64;
            if bits >> bit & 1 == 1 {
                self.wrong_free(class, address - base);
            }
            bits |= 1 << bit;
        }
        self.put_back(class, own, Combined { index: index(place), bits }, &mut newly_free);
        newly_free.words().for_each(|index| self.list_pool(class, index));
        if low_bits % CLASS_STEP != 0 {
            self.unaligned_free(class, blocks);
        }
        let own_blocks = blocks.len() - newly_free.foreign_blocks;
        self.class(class).flushed.add(own_blocks);
        self.count_freed(class, own_blocks);
    }

    /// Sets the bits of blocks that were in a magazine of this class. Those whose pools have not the tag `own` are posted.
    #[inline(always)]
    fn put_back(self, class: SizeClass, own: u32, Combined { index, bits }: Combined, newly_free: &mut NewlyFree) {
        // Relaxed: the pool of a block that is not free keeps its tag.
        let tag = self.region.tag(PoolId::of_word(index)).load(Ordering::Relaxed);
        if tag != own {
            newly_free.foreign_blocks += self.post_adopted(class, tag, Combined { index, bits });
            return;
        }
        newly_free.add_if(self.set_free(class, index, bits), index);
    }

    /// Posts blocks that were in a magazine of this class, whose pool has a tag of another heap. Returns how many.
    #[cold]
    #[inline(never)]
    fn post_adopted(self, class: SizeClass, tag: u32, ready: Combined) -> usize {
        let state = self.class(class);
        let blocks = ready.bits.count_ones() as usize;
        let is_of_class = tag != TAG_FREE && size_class_of_tag(tag) == class;
        // The owner's map, in which no block is free that is in a magazine.
        let free = self.region.free_word(ready.index).get() | !class.blocks_of_word(ready.index);
        if !is_of_class || state.cached_foreign() < blocks || free & ready.bits != 0 {
            let offset = Heap::offset_of_bits(ready.index, ready.bits);
            self.wrong_free(class, offset);
        }
        self.post(class, ready);
        state.adopted.subtract(blocks);
        state.cached_foreign.set((state.cached_foreign() - blocks) as u32);
        blocks
    }

    /// Sets bits of a word of the free map. Returns whether it was zero: then the caller must call [`list_pool`], before
    /// anything else looks at the pool.
    ///
    /// [`list_pool`]: Self::list_pool
    #[inline(always)]
    #[must_use]
    fn set_free(self, class: SizeClass, index: u32, bits: u64) -> bool {
        let word = self.region.free_word(index);
        let before = word.get();
        // Pool invariant 1.
        let wrong = (before | !class.blocks_of_word(index)) & bits;
        if wrong != 0 {
            self.wrong_free(class, Heap::offset_of_bits(index, wrong));
        }
        word.set(before | bits);
        // A word that was not zero is one of a pool on the list (Pool invariant 2).
        before == 0
    }

    /// Puts the pool of a word that is no longer zero on the class's list if it is on none (Pool invariant 2).
    fn list_pool(self, class: SizeClass, index: u32) {
        let pool = PoolId::of_word(index);
        if self.region.pool_record(pool).state() != PoolState::Listed {
            self.class(class).partial.link(&self.region, pool);
        }
    }

    /// Aborts for the first of these that is not aligned as blocks are.
    #[cold]
    #[inline(never)]
    fn unaligned_free(self, class: SizeClass, blocks: &[Slot]) {
        let base = self.region.base().addr().get();
        let mut offsets = blocks.iter().map(|block| block.get().addr() - base);
        if let Some(offset) = offsets.find(|offset| offset % CLASS_STEP != 0) {
            self.wrong_free(class, offset);
        }
    }

    /// Aborts if another thread freed a block of a pool that is wholly free: that block was freed twice. Once the pool
    /// had another class or owner, nobody could tell.
    pub(super) fn check_none_waits(self, class: SizeClass, pool: PoolId) {
        for (index, word) in (pool.first_word()..).zip(self.region.remote_words(pool)) {
            // Relaxed: the bits of a correct program are zero since before the pool's blocks came back.
            let waiting = word.load(Ordering::Relaxed);
            if waiting != 0 {
                self.wrong_free(class, Heap::offset_of_bits(index, waiting));
            }
        }
    }

    fn count_freed(self, class: SizeClass, count: usize) {
        let mut since = self.own.since_search.get();
        since.freed_blocks += count;
        since.freed_bytes += count * class.bytes();
        self.own.since_search.set(since);
    }

    /// Frees a block of another heap: onto the foreign magazine.
    #[inline(always)]
    fn free_remote(self, supply: &impl Supply, class: SizeClass, block: *mut u8, offset: usize) {
        let (index, bit) = Heap::word_and_bit(offset);
        let state = self.class(class);
        let top = state.foreign();
        if bit & !class.blocks_of_word(index) != 0 || offset % CLASS_STEP != 0 || is_newest(top, block) {
            self.wrong_free(class, offset);
        }
        state.remote_frees.add(1);
        if state.is_foreign_full() {
            return self.free_remote_slow(supply, class, block, offset);
        }
        push_foreign(state, block);
    }

    /// As [`free_remote`](Self::free_remote), when the foreign magazine is full or absent.
    #[cold]
    #[inline(never)]
    fn free_remote_slow(self, supply: &impl Supply, class: SizeClass, block: *mut u8, offset: usize) {
        let state = self.class(class);
        if is_absent(state.foreign()) {
            let Some(empty) = self.new_magazine(supply, class) else {
                // No magazine by design, or none to be had.
                let (index, bits) = Heap::word_and_bit(offset);
                self.begin_move();
                self.post(class, Combined { index, bits });
                return self.end_move();
            };
            state.set_foreign(empty, class);
        } else if !self.adopt_full(class) {
            state.goes_round.set(false);
            self.post_foreign(class);
        }
        push_foreign(state, block);
    }

    /// Posts the blocks of the foreign magazine, which is empty afterwards.
    pub(super) fn post_foreign(self, class: SizeClass) {
        let state = self.class(class);
        let top = state.foreign();
        if is_absent(top) {
            return;
        }
        self.begin_move();
        let base = self.region.base().addr().get();
        let mut words = [Combined::NONE; COMBINED];
        // SAFETY: the magazine is the heap's own, and its top is not used before the slice is dead.
        for block in unsafe { magazine::blocks(top, class) }.iter().rev() {
            let (index, bit) = Heap::word_and_bit(block.get().addr() - base);
            match words[index as usize % COMBINED].add(index, bit) {
                Ok(None) => {}
                Ok(Some(ready)) => self.post(class, ready),
                Err(_) => self.wrong_free(class, block.get().addr() - base),
            }
        }
        for ready in words.iter_mut().filter_map(Combined::take) {
            self.post(class, ready);
        }
        state.set_foreign(bottom(top, class), class);
        self.end_move();
    }

    fn post(self, class: SizeClass, ready: Combined) {
        let region = &self.region;
        let owner = || {
            // Relaxed: Remote invariant 2 keeps the pool and its tag; the bits just posted were its live blocks.
            let tag = region.tag(PoolId::of_word(ready.index)).load(Ordering::Relaxed);
            if tag == TAG_FREE {
                self.wrong_free(class, Heap::offset_of_bits(ready.index, ready.bits));
            }
            // SAFETY: a tag names a heap that was made, and heaps are never unmapped; this uses only its shared part.
            unsafe { region.heap(heap_of_tag(tag)).as_ref() }.pending()
        };
        if let Err(already) = remote::post(region, ready.index, ready.bits, owner) {
            self.wrong_free(class, Heap::offset_of_bits(ready.index, already.0));
        }
    }

    /// Posts every remote free that this heap's thread still holds back.
    pub(crate) fn post_all(self) {
        for class in SizeClass::all() {
            self.post_foreign(class);
        }
    }

    /// Takes what other threads have freed of this heap's blocks into the free map: `most` words of it. Returns whether
    /// there were any.
    pub(crate) fn collect(self, most: usize) -> bool {
        let mut found = false;
        let mut taken = self.own.taken.get();
        self.pending().collect(&self.region, &mut taken, most, |index, bits| {
            found = true;
            let class = self.region.pool_record(PoolId::of_word(index)).class();
            if self.set_free(class, index, bits) {
                self.list_pool(class, index);
            }
            let count = bits.count_ones() as usize;
            self.class(class).collected.add(count);
            self.count_freed(class, count);
        });
        self.own.taken.set(taken);
        found
    }

    /// Gives up what a parked heap can: nothing stays cached, and what is wholly free goes back to `supply`. If
    /// there are many remote frees it collects a part of them only: whoever calls does so for an arena of its own, and
    /// should not pay for all.
    pub(crate) fn settle(self, supply: &impl Supply) {
        self.give_up_cached();
        self.begin_move();
        self.collect(COLLECTED_BY_SETTLING);
        self.end_move();
        if self.own.taken.get() != END {
            return;
        }
        // A search looks at every partly used pool: frees have to pay for it here too.
        if self.own.since_search.get().freed_blocks * POOLS_LOOKED_AT_A_FREE >= self.own.pools.get() {
            self.search_wholly_free_pools(supply);
        }
        self.give_arenas(supply, 0);
    }

    /// Gives up all that holds no live block: nothing stays cached, what is wholly free goes back to `supply`, and the
    /// memory of the pools that are left without a class to the system. Returns the bytes of that memory.
    pub(crate) fn release(self, supply: &impl Supply) -> usize {
        self.give_up_cached();
        self.begin_move();
        self.collect(usize::MAX);
        self.end_move();
        self.search_wholly_free_pools(supply);
        self.give_arenas(supply, 0);
        // SAFETY: Heap invariant 1.
        unsafe { self.own.arenas.release(&self.region) }
    }

    /// Whether there are remote frees to collect.
    pub(crate) fn has_waiting(self) -> bool {
        self.own.taken.get() != END || !self.pending().is_empty()
    }

    /// Flushes all magazines of a class; the loaded one stays, empty.
    fn empty_class(self, class: SizeClass) {
        let state = self.class(class);
        let head = self.head(class);
        if !is_absent(state.foreign()) {
            self.post_foreign(class);
            self.keep_spare(state.foreign());
            state.set_foreign(absent(), class);
        }
        if is_absent(head.top()) {
            return;
        }
        head.load(self.flush_magazine(class, head.top()));
        if !is_absent(state.previous()) {
            self.keep_spare(self.flush_magazine(class, state.previous()));
            state.set_previous(absent());
        }
        while let Some(oldest) = state.depot.pop_oldest() {
            self.keep_spare(self.flush_magazine(class, oldest));
        }
        state.cached_foreign.set(0);
        state.next_fill.set(FIRST_FILL);
    }

    /// Gives up all that is cached: to its pools, and to the heaps that others' blocks are of.
    pub(crate) fn give_up_cached(self) {
        self.begin_move();
        for class in SizeClass::all() {
            self.empty_class(class);
        }
        self.end_move();
    }

    /// Caches nothing from now on.
    pub(crate) fn without_magazines(self) -> Self {
        self.own.has_magazines.set(false);
        self
    }
}
