//! Heaps: a thread's magazines, pools and arenas.
//!
//! A heap is made when its thread first needs one. It is parked when the thread ends, and the next thread that needs a
//! heap takes it over. It is never unmapped, so a late free of one of its blocks always finds it.
//!
//! Heap invariant 1: a heap has at most one owner at a time: the thread whose front it is, or whoever has taken it off
//! the list of parked ones. Everything in `own` and `classes`, the magazines, and Region invariant 2's part of the
//! tables is written by the owner alone. What others read of it for statistics is atomic, single-writer and relaxed:
//! each figure stands for itself.
//! Heap invariant 2: `front` is complete before another thread can see the heap, and only its heads change after.

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
use static_assertions::const_assert;
#[cfg(feature = "profile")]
use static_assertions::const_assert_eq;

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
    /// Empty magazines, each linked to the next by its slot 0.
    pub(super) spare: WatchedPtr<Slot>,
    /// Pools that have a class.
    pub(super) pools: WatchedUsize,
    /// Since the last search for wholly free pools.
    pub(super) since_search: Cell<CountsSinceSearch>,
    /// Words taken off the pending list and not collected yet.
    pub(super) taken: WatchedU32,
    /// The counts of the heap's earlier threads.
    pub(super) counts_at_start: Cell<Counts>,
    /// How many times the heap still does without a magazine, after there was no memory for one.
    pub(super) wait: Cell<u32>,
    /// Above 0 while blocks are under way between pools, magazines and other heaps, so that a look at all of those may
    /// miss one, or find one in a magazine that another thread has got meanwhile.
    pub(super) moves: WatchedU32,
    /// Decides which requests are sampled.
    #[cfg(feature = "profile")]
    pub(super) sampler: Sampler,
    /// Whether blocks are cached. The stragglers' heap caches none, since its caller changes with every call.
    pub(super) has_magazines: Cell<bool>,
}

/// A thread's heap.
#[repr(C)]
pub(crate) struct Heap {
    /// In place of `front` while requests of the heap's thread are sampled, and so many bytes before it (Front
    /// invariant 2).
    #[cfg(feature = "profile")]
    pub(super) sampling: Front,
    #[cfg(feature = "profile")]
    pub(super) _gap: [u8; SAMPLING - size_of::<Front>()],
    pub(crate) front: Front,
    pub(crate) region: Region,
    pub(crate) classes: [ClassState; CLASSES],
    pub(crate) large: LargeCounters,
    pub(super) own: OwnerPart,
    /// Of a private heap, while it has a handle.
    pub(crate) name: Label,
    /// The heap parked below this one; for the holder of the shared lock.
    pub(crate) parked_next: Cell<Option<NonNull<Heap>>>,
    /// Blocks that the program has freed and that are not counted as frees yet. Not written when a heap is made: its
    /// memory is zero then.
    pub(super) kept: [SmallInQuarantine; CLASSES],
    /// Words with remote frees for this heap. Other threads write this part, so it has cache lines of its own. (In a
    /// private heap they also write `remote_frees` of a class.)
    pub(super) pending: CachePadded<PendingList>,
}

// README.md promises how many pages a thread touches that allocates little.
const_assert!(size_of::<Heap>() <= 3 * 4096);

#[cfg(feature = "profile")]
const_assert_eq!(offset_of!(Heap, front), SAMPLING);

// SAFETY: Heap invariant 1: other threads touch only atomics and what never changes.
unsafe impl Sync for Heap {}

impl Heap {
    /// Makes the heap with this index in its region.
    ///
    /// # Safety
    /// * The heap's memory is open, nobody else uses it, and `index` was never used before in this region.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "each line goes to a field and writes it")]
    pub(crate) unsafe fn create(region: &Region, index: usize, kind: HeapKind) -> NonNull<Self> {
        let place = region.heap::<Self>(index);
        let heap = place.as_ptr();
        // Field by field: a whole heap would not fit on the stack of a small thread.
        // SAFETY: the caller promises that the place is open, fresh and unused; so for each line below.
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
    /// * The place is open, and nobody uses it.
    pub(crate) unsafe fn clear(place: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::front_in(place).write(Front::without_heap()) };
    }

    /// The front of the heap in a place.
    fn front_in(place: NonNull<Self>) -> NonNull<Front> {
        // SAFETY: places are as large as heaps.
        unsafe { place.cast::<Front>().byte_add(offset_of!(Self, front)) }
    }

    /// The front for the heap's thread: the sampling front if `is_sampling`.
    pub(crate) fn front_of(place: NonNull<Self>, is_sampling: bool) -> *const Front {
        let front = if cfg!(feature = "profile") && is_sampling { place.cast() } else { Self::front_in(place) };
        front.as_ptr().cast_const()
    }

    /// The heap that a front belongs to. The front must have a heap.
    ///
    /// # Safety
    /// * The pointer was made by [`front_of`](Self::front_of) from one to the whole heap.
    #[inline]
    pub(crate) unsafe fn of_front<'h>(front: *const Front) -> &'h Self {
        // SAFETY: the caller's promise.
        let is_sampling = unsafe { (*front).is_sampling() };
        let before = if is_sampling { 0 } else { offset_of!(Self, front) };
        // SAFETY: the caller's promise: the front is that part of a heap.
        let heap = unsafe { front.byte_sub(before) }.cast::<Self>();
        // SAFETY: heaps are never unmapped.
        unsafe { &*heap }
    }

    /// The heap of this index in its region.
    ///
    /// # Safety
    /// * One has been made there.
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

    /// The heap that a pointer is to, for its owner.
    ///
    /// # Safety
    /// * The pointer is to the whole of a heap that has been made.
    /// * The caller is the owner (Heap invariant 1) as long as the result lives.
    #[inline]
    pub(crate) unsafe fn owned_at<'h>(heap: NonNull<Self>) -> OwnedHeap<'h> {
        // SAFETY: the caller promises that it is to a heap, and heaps are never unmapped.
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

    /// Blocks of a class in magazines. The foreign magazine is left out: its blocks count as remote frees.
    pub(crate) fn cached_blocks(&self, class: SizeClass) -> usize {
        let state = self.class(class);
        count(self.head(class).top(), class) + count(state.previous(), class) + state.depot.length() * capacity(class)
    }

    /// Blocks of a class that this heap's threads have put into the quarantine of the debug mode, less those that they
    /// have taken out, and how many of these were of other heaps. Below zero they wrap.
    pub(crate) fn kept(&self, class: SizeClass) -> [u64; 2] {
        let kept = &self.kept[class.index()];
        [&kept.blocks, &kept.remote].map(|figure| figure.load(Ordering::Relaxed))
    }

    /// Counts a block of the pool with this tag that came into the quarantine by 1, or that leaves it by -1.
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

    /// Pools that have a class.
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

    /// Whether blocks of the heap may be under way: in no map and no magazine, or in a magazine that another thread has
    /// got.
    pub(crate) fn is_moving(&self) -> bool {
        self.own.moves.get() > 0
    }

    /// The tops of a class's magazines, absent ones too.
    pub(crate) fn magazines(&self, class: SizeClass) -> impl Iterator<Item = *mut Slot> {
        let state = self.class(class);
        let in_depot = (0..state.depot.length()).map(|position| state.depot.top(position));
        [self.head(class).top(), state.previous(), state.foreign()].into_iter().chain(in_depot)
    }

    /// Where other threads queue words for this heap.
    pub(crate) fn pending(&self) -> &PendingList {
        &self.pending
    }
}

/// Keeps the order of stores for a thread that stops this one in between. Costs no instruction.
#[inline(always)]
pub(super) fn in_this_order() {
    compiler_fence(Ordering::SeqCst);
}

/// A heap, for its owner. The methods are what only the owner may do.
#[derive(Clone, Copy)]
pub(crate) struct OwnedHeap<'h> {
    pub(super) heap: &'h Heap,
    pub(super) _not_send: PhantomData<*mut ()>,
}

impl OwnedHeap<'_> {
    /// Blocks are under way from here to [`end_move`](Self::end_move). The thread takes no lock in between.
    #[inline(always)]
    pub(super) fn begin_move(self) {
        self.own.moves.set(self.own.moves.get() + 1);
        in_this_order();
    }

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
