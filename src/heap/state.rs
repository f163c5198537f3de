//! Heaps: a thread's magazines, pools and arenas.
//!
//! A heap is made when its thread first needs one. It is parked when the thread ends, and the next thread that needs a
//! heap takes it over. It is never unmapped, so a late free of one of its blocks always finds it.
//!
//! Heap invariant 1: a heap has at most one owner at a time: the thread that has it (TLS invariants 1 and 2), the
//! thread that has taken it off a list of parked heaps, the holder of the stragglers' lock (Shared invariant 2), or the
//! user of a private heap's handle (Private invariant 1). The owner alone writes `own`, `classes`, the magazines, and
//! the table entries that Region invariant 2 gives to the heap. There is one exception: other threads add to
//! `remote_frees` of a private heap's class. Other threads touch only atomics and fields that never change. Apart
//! from the exception, the figures of `own` and `classes` that they read for statistics have one writer each. All are
//! relaxed: each figure stands for itself.
//! Heap invariant 2: `front` is complete before another thread can see the heap. Afterwards only its heads change.

use super::class_state::ClassState;
use super::counters::{LargeCounters, SmallInQuarantine};
use super::counts::Counts;
use super::front::Front;
use super::label::Label;
use super::magazine::{Head, capacity, count};
#[cfg(feature = "profile")]
use super::sampler::Sampler;
use crate::geometry::{CLASSES, SizeClass};
#[cfg(feature = "profile")]
use crate::region::SAMPLING;
use crate::region::{Arenas, END, HeapKind, PendingList, PoolList, Region, Slot, Tag};
use crate::sync::{WatchedPtr, WatchedU32, WatchedUsize};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};
use crossbeam_utils::CachePadded;

/// Counts since the last search of a heap for wholly free pools.
#[derive(Clone, Copy, Default)]
pub(super) struct CountsSinceSearch {
    /// Blocks returned to pools.
    pub(super) freed_blocks: usize,
    /// Bytes of those blocks.
    pub(super) freed_bytes: usize,
    /// Arenas that the heap has got.
    pub(super) new_arenas: usize,
}

/// The part of a heap that belongs to no single class. Only its owner writes it.
pub(super) struct OwnerPart {
    pub(super) arenas: Arenas,
    /// The first of the empty magazines, else null. Slot 0 of each is the link to the next.
    pub(super) spare: WatchedPtr<Slot>,
    /// Number of pools that have a class.
    pub(super) pools: WatchedUsize,
    /// Counts since the last search for wholly free pools.
    pub(super) since_search: Cell<CountsSinceSearch>,
    /// The first word taken off the pending list and not collected yet, else [`END`].
    pub(super) taken: WatchedU32,
    /// The counts of the heap's earlier threads or handles.
    pub(super) counts_at_start: Cell<Counts>,
    /// Number of requests for a new magazine that the heap still refuses without asking the supply, after there was no
    /// memory for one.
    pub(super) wait: Cell<u32>,
    /// Above 0 while blocks are under way between pools, magazines and other heaps. A thread that looks at all of those
    /// may then miss a block. It may also find a block in a magazine although another thread has got it.
    pub(super) moves: WatchedU32,
    /// Decides which requests are sampled.
    #[cfg(feature = "profile")]
    pub(super) sampler: Sampler,
    /// Whether the heap caches blocks. The stragglers' heap caches none, because its caller changes with every call.
    pub(super) has_magazines: Cell<bool>,
}

/// A thread's heap.
#[repr(C)]
pub(crate) struct Heap {
    /// The sampling front, [`SAMPLING`] bytes before `front` (Front invariant 2). The heap's thread uses it in place of
    /// `front` while its requests are sampled.
    #[cfg(feature = "profile")]
    pub(super) sampling: Front,
    #[cfg(feature = "profile")]
    pub(super) _gap: [u8; SAMPLING - size_of::<Front>()],
    pub(crate) front: Front,
    pub(crate) region: Region,
    pub(crate) classes: [ClassState; CLASSES],
    pub(crate) large: LargeCounters,
    pub(super) own: OwnerPart,
    /// The name of a private heap, while it has a handle.
    pub(crate) name: Label,
    /// The next heap on this heap's list of parked heaps. Only the holder of the shared lock uses it.
    pub(crate) parked_next: Cell<Option<NonNull<Heap>>>,
    /// Counts of the blocks in the quarantine, for each class. The program has freed these blocks, but they are not
    /// counted as frees yet. [`create`](Self::create) does not write this field, because fresh memory is zero.
    pub(super) kept: [SmallInQuarantine; CLASSES],
    /// Words with remote frees for this heap. Other threads write this part, so it has cache lines of its own. (In a
    /// private heap they also write `remote_frees` of a class.)
    pub(super) pending: CachePadded<PendingList>,
}

// README.md promises that a heap takes three pages of 4 KiB.
const _: () = assert!(size_of::<Heap>() <= 3 * 4096, "a heap takes at most three pages of 4 KiB");

#[cfg(feature = "profile")]
const _: () = assert!(offset_of!(Heap, front) == SAMPLING, "Front invariant 2: the distance of the two fronts");

// SAFETY: Heap invariant 1: other threads touch only atomics and fields that never change. The shared lock guards
// `parked_next`.
unsafe impl Sync for Heap {}

impl Heap {
    /// Makes the heap with this index in its region.
    ///
    /// # Safety
    /// * The heap's memory is open, no other thread uses it, and `index` was never used before in this region.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "each line goes to a field and writes it")]
    pub(crate) unsafe fn create(region: &Region, index: usize, kind: HeapKind) -> NonNull<Self> {
        let place = region.heap::<Self>(index);
        let heap = place.as_ptr();
        // Written field by field: a whole heap would not fit on the stack of a small thread.
        // SAFETY: the caller promises that the place is open, fresh and unused. This holds for each write below too.
        unsafe { (&raw mut (*heap).front).write(Front::new(region, index, kind)) };
        #[cfg(feature = "profile")]
        {
            // SAFETY: as above.
            unsafe { (&raw mut (*heap).sampling).write(Front::sampling(region, index, kind)) };
            // Front invariant 2.
            place.as_ptr().expose_provenance();
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*heap).region).write(*region) };
        for class in SizeClass::all() {
            // SAFETY: as above.
            unsafe { (&raw mut (*heap).classes[class.index()]).write(ClassState::new()) };
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*heap).large).write(LargeCounters::new()) };
        let own = OwnerPart {
            arenas: Arenas::new(),
            spare: WatchedPtr::null(),
            pools: WatchedUsize::new(0),
            since_search: Cell::new(CountsSinceSearch::default()),
            taken: WatchedU32::new(END),
            counts_at_start: Cell::new(Counts::ZERO),
            wait: Cell::new(0),
            moves: WatchedU32::new(0),
            #[cfg(feature = "profile")]
            sampler: Sampler::new(index),
            has_magazines: Cell::new(true),
        };
        // SAFETY: as above.
        unsafe { (&raw mut (*heap).own).write(own) };
        // SAFETY: as above.
        unsafe { (&raw mut (*heap).name).write(Label::new()) };
        // SAFETY: as above.
        unsafe { (&raw mut (*heap).parked_next).write(Cell::new(None)) };
        // SAFETY: as above.
        unsafe { (&raw mut (*heap).pending).write(CachePadded::new(PendingList::new())) };
        place
    }

    /// Clears a place whose heap was never finished, so that statistics skip it.
    ///
    /// # Safety
    /// * The place is open, and no thread uses it.
    pub(crate) unsafe fn clear(place: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::front_in(place).write(Front::without_heap()) };
    }

    /// The front of the heap in a place.
    fn front_in(place: NonNull<Self>) -> NonNull<Front> {
        // SAFETY: places are as large as heaps.
        unsafe { place.cast::<Front>().byte_add(offset_of!(Self, front)) }
    }

    /// The front that the heap's thread uses: the sampling front if `is_sampling`.
    pub(crate) fn front_of(place: NonNull<Self>, is_sampling: bool) -> *const Front {
        let front = if cfg!(feature = "profile") && is_sampling { place.cast() } else { Self::front_in(place) };
        front.as_ptr().cast_const()
    }

    /// The heap that a front belongs to. The front must have a heap.
    ///
    /// # Safety
    /// * `front` is a result of [`front_of`](Self::front_of), whose `place` was a pointer to the whole heap.
    #[inline]
    pub(crate) unsafe fn of_front<'h>(front: *const Front) -> &'h Self {
        // SAFETY: the caller's promise.
        let is_sampling = unsafe { (*front).is_sampling() };
        let before = if is_sampling { 0 } else { offset_of!(Self, front) };
        // SAFETY: the caller's promise: the front is a field of a heap, at this offset.
        let heap = unsafe { front.byte_sub(before) }.cast::<Self>();
        // SAFETY: heaps are never unmapped.
        unsafe { &*heap }
    }

    /// The heap of this index in its region.
    ///
    /// # Safety
    /// * A heap has been made there.
    pub(super) unsafe fn at(region: &Region, index: usize) -> &Self {
        // SAFETY: the caller's promise, and heaps are never unmapped.
        unsafe { region.heap::<Self>(index).as_ref() }
    }

    /// The heap in an open place, if there is one.
    ///
    /// # Safety
    /// * The place is open: zero, or made by [`create`](Self::create), or cleared.
    pub(crate) unsafe fn in_place<'h>(place: NonNull<Self>) -> Option<&'h Self> {
        // SAFETY: zero is a front without a heap.
        if !unsafe { Self::front_in(place).as_ref() }.has_heap() {
            return None;
        }
        // SAFETY: a heap has been made there, and heaps are never unmapped.
        Some(unsafe { place.as_ref() })
    }

    /// The heap for its owner.
    ///
    /// # Safety
    /// * The caller is the owner (Heap invariant 1) as long as the result lives.
    #[inline]
    pub(crate) unsafe fn owned(&self) -> OwnedHeap<'_> {
        OwnedHeap { heap: self, _not_send: PhantomData }
    }

    /// The heap at this address, for its owner.
    ///
    /// # Safety
    /// * `heap` points to the whole of a heap that has been made.
    /// * The caller is the owner (Heap invariant 1) as long as the result lives.
    #[inline]
    pub(crate) unsafe fn owned_at<'h>(heap: NonNull<Self>) -> OwnedHeap<'h> {
        // SAFETY: the caller promises that a heap is there, and heaps are never unmapped.
        let heap = unsafe { heap.as_ref() };
        // SAFETY: the caller's promise.
        unsafe { heap.owned() }
    }

    /// The head of a class.
    #[inline]
    pub(crate) fn head(&self, class: SizeClass) -> &Head {
        self.front.head_of_class(class)
    }

    #[inline]
    pub(crate) fn class(&self, class: SizeClass) -> &ClassState {
        &self.classes[class.index()]
    }

    /// The pools of a class with blocks in the free map.
    pub(crate) fn partial(&self, class: SizeClass) -> &PoolList {
        &self.class(class).partial
    }

    /// Number of blocks of a class in magazines. The foreign magazine is left out: its blocks count as remote frees.
    pub(crate) fn cached_blocks(&self, class: SizeClass) -> usize {
        let state = self.class(class);
        count(self.head(class).top(), class) + count(state.previous(), class) + state.depot.length() * capacity(class)
    }

    /// Two counts of the quarantine of the debug mode, for a class: the blocks that this heap's threads have put in
    /// minus those that they have taken out, and the part of them that other heaps own. A count below zero wraps.
    pub(crate) fn kept(&self, class: SizeClass) -> [u64; 2] {
        let kept = &self.kept[class.index()];
        [&kept.blocks, &kept.remote].map(|figure| figure.load(Ordering::Relaxed))
    }

    /// Adds `change` to the counts of the quarantine: 1 for a block that came in, -1 for a block that leaves. `tag` is
    /// the tag of the block's pool.
    pub(crate) fn count_kept(&self, tag: Tag, change: i64) {
        let class = tag.class();
        let kept = &self.kept[class.index()];
        kept.blocks.fetch_add(change as u64, Ordering::Relaxed);
        if tag != self.front.tag(class) {
            kept.remote.fetch_add(change as u64, Ordering::Relaxed);
        }
    }

    /// The arenas with free pools.
    pub(crate) fn arenas(&self) -> &Arenas {
        &self.own.arenas
    }

    /// Number of pools that have a class.
    pub(crate) fn pools(&self) -> usize {
        self.own.pools.get()
    }

    /// The first word taken off the pending list and not collected yet, else [`END`].
    pub(crate) fn taken_words(&self) -> u32 {
        self.own.taken.get()
    }

    /// The first of the empty magazines, else null.
    pub(crate) fn spare(&self) -> *mut Slot {
        self.own.spare.get()
    }

    /// Whether blocks of the heap may be under way. Such a block is in no map and no magazine, or it is in a magazine
    /// although another thread has already got it.
    pub(crate) fn is_moving(&self) -> bool {
        self.own.moves.get() > 0
    }

    /// The tops of a class's magazines, absent ones too.
    pub(crate) fn magazines(&self, class: SizeClass) -> impl Iterator<Item = *mut Slot> {
        let state = self.class(class);
        let in_depot = (0..state.depot.length()).map(|position| state.depot.top(position));
        [self.head(class).top(), state.previous(), state.foreign()].into_iter().chain(in_depot)
    }

    /// The list on which other threads queue words for this heap.
    pub(crate) fn pending(&self) -> &PendingList {
        &self.pending
    }
}

/// Keeps the stores before this call ahead of those after it. The leak finder needs this order, since it may stop this
/// thread between two stores. Costs no instruction.
#[inline(always)]
pub(super) fn in_this_order() {
    compiler_fence(Ordering::SeqCst);
}

/// A heap, for its owner. Only the owner may call the methods.
#[derive(Clone, Copy)]
pub(crate) struct OwnedHeap<'h> {
    pub(super) heap: &'h Heap,
    pub(super) _not_send: PhantomData<*mut ()>,
}

impl OwnedHeap<'_> {
    /// Marks blocks as under way until [`end_move`](Self::end_move). The thread takes no lock in between.
    #[inline(always)]
    pub(super) fn begin_move(self) {
        self.own.moves.set(self.own.moves.get() + 1);
        in_this_order();
    }

    /// Ends the move that [`begin_move`](Self::begin_move) began.
    #[inline(always)]
    pub(super) fn end_move(self) {
        in_this_order();
        self.own.moves.set(self.own.moves.get() - 1);
    }

    /// The counts of the heap's earlier threads or handles.
    pub(crate) fn counts_at_start(self) -> Counts {
        self.own.counts_at_start.get()
    }
}

impl Deref for OwnedHeap<'_> {
    type Target = Heap;

    #[inline]
    fn deref(&self) -> &Heap {
        self.heap
    }
}
