//! Heaps: a thread's magazines, pools and arenas.
//!
//! A heap is made when its thread first needs one, never unmapped, parked when the thread ends and taken over by the
//! next thread that needs one. So whoever frees one of its blocks late always finds it.
//!
//! Heap invariant 1: a heap has at most one owner at a time: the thread whose front it is, or whoever has taken it off
//! the list of parked ones. Everything in `own` and `classes`, the magazines, and Region invariant 2's part of the
//! tables is written by the owner alone. What others read of it for statistics is atomic, single-writer and relaxed:
//! each figure stands for itself.
//! Heap invariant 2: `front` is complete before another thread can see the heap, and only its heads change after.

mod bulk;
mod fill;
mod flush;
mod front;
#[cfg(feature = "profile")]
mod sampler;

pub(crate) use bulk::Posted;
pub(crate) use flush::refuse;
pub(crate) use front::{
    Front, Kind, MOST_HEAPS, TAG_FREE, heap_of_tag, is_free_or_private, is_private, size_class_of_tag, tag_block_bytes,
};

use crate::arena::Arenas;
use crate::counter::Counter;
use crate::magazine::{Depot, Head, Slot, absent, bottom, capacity, count, is_absent};
use crate::name::Label;
use crate::pool::PoolList;
use crate::region::{ArenaId, Region};
use crate::remote::{END, PendingList};
use crate::size_class::{CLASSES, SizeClass};
use crate::sync::AtomicU64;
use crate::thread_stats::Counts;
use crate::watched::{WatchedPtr, WatchedU32, WatchedUsize};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};
use crossbeam_utils::CachePadded;
#[cfg(feature = "profile")]
use sampler::Sampler;
use static_assertions::const_assert;
#[cfg(feature = "profile")]
use static_assertions::const_assert_eq;

impl Counter {
    /// A counter at 0.
    pub(crate) const fn new() -> Self {
        Self::around(AtomicU64::new(0))
    }
}

/// What went to the backend, and what moved.
pub(crate) struct LargeCounters {
    pub(crate) allocations: Counter,
    pub(crate) frees: Counter,
    pub(crate) reallocations: Counter,
    /// Bytes asked for, in all.
    pub(crate) bytes_in: Counter,
    /// Bytes given back, in all.
    pub(crate) bytes_out: Counter,
    /// Blocks that `realloc` moved from a pool, or to one.
    pub(crate) moved: Counter,
    /// Blocks that the program has freed, and that are not among the frees yet.
    pub(crate) kept: KeptLarge,
}

/// Large blocks in the quarantine of the [debug mode](crate::debug): those that one heap's threads have put there, less those
/// that they have taken out, with all that lies around the program's bytes. Relaxed, as counters are; added to by many.
pub(crate) struct KeptLarge {
    blocks: AtomicU64,
    bytes: AtomicU64,
}

impl KeptLarge {
    /// Adds or takes away one block of so many bytes.
    pub(crate) fn add(&self, change: i64, bytes: usize) {
        self.blocks.fetch_add(change as u64, Ordering::Relaxed);
        self.bytes.fetch_add((change * bytes as i64) as u64, Ordering::Relaxed);
    }

    /// Blocks and bytes; below zero they wrap.
    pub(crate) fn value(&self) -> [u64; 2] {
        [&self.blocks, &self.bytes].map(|figure| figure.load(Ordering::Relaxed))
    }
}

/// As [`KeptLarge`], of one class.
struct KeptSmall {
    blocks: AtomicU64,
    remote: AtomicU64,
}

impl LargeCounters {
    pub(crate) const fn new() -> Self {
        Self {
            allocations: Counter::new(),
            frees: Counter::new(),
            reallocations: Counter::new(),
            bytes_in: Counter::new(),
            bytes_out: Counter::new(),
            moved: Counter::new(),
            kept: KeptLarge { blocks: AtomicU64::new(0), bytes: AtomicU64::new(0) },
        }
    }

    /// Counts a block that was served; `add` is how.
    #[inline]
    pub(crate) fn count_allocation(&self, bytes: usize, add: fn(&Counter, usize)) {
        add(&self.allocations, 1);
        add(&self.bytes_in, bytes);
    }

    /// As [`count_allocation`](Self::count_allocation), of one that was freed.
    #[inline]
    pub(crate) fn count_free(&self, bytes: usize, add: fn(&Counter, usize)) {
        add(&self.frees, 1);
        add(&self.bytes_out, bytes);
    }
}

/// A heap's slow half of one class.
pub(crate) struct ClassState {
    /// Top of the previous magazine: full, empty, or absent.
    previous: WatchedPtr<Slot>,
    pub(crate) depot: Depot,
    /// Top of the foreign magazine, with blocks of other heaps that this heap's thread freed; absent at first.
    pub(crate) foreign: WatchedPtr<Slot>,
    /// The top at which the foreign magazine has no more room: its first slot, or higher up while blocks do not go round.
    foreign_full: Cell<*mut Slot>,
    /// Blocks that the next fill asks for: doubles up to a whole magazine.
    next_fill: Cell<u32>,
    /// Times that the foreign magazine could have been loaded.
    chances: Cell<u32>,
    /// Blocks in the magazines, the foreign one aside, that may be of other heaps; at most so many are.
    pub(crate) cached_foreign: WatchedU32,
    /// Whether blocks go round: then the foreign magazine is used to its whole length.
    goes_round: Cell<bool>,
    /// The class's pools with blocks in the free map.
    partial: PoolList,
    /// Pools of this class that the heap has now.
    pub(crate) pools: Counter,
    /// Blocks moved out of pools, in all.
    pub(crate) filled: Counter,
    /// Blocks of this heap moved back to pools by its own thread, in all.
    pub(crate) flushed: Counter,
    /// Blocks of this heap that others freed and it has collected, in all.
    pub(crate) collected: Counter,
    /// Blocks of other heaps that this heap's thread freed, in all. Of a private heap: blocks of this heap that threads freed
    /// without its lock.
    pub(crate) remote_frees: Counter,
    /// Blocks of other heaps that came into the magazines, in all, less those that were posted from there.
    pub(crate) adopted: Counter,
}

impl ClassState {
    const fn new() -> Self {
        Self {
            previous: WatchedPtr::new(absent()),
            depot: Depot::new(),
            foreign: WatchedPtr::new(absent()),
            foreign_full: Cell::new(absent()),
            next_fill: Cell::new(fill::FIRST_FILL),
            chances: Cell::new(0),
            cached_foreign: WatchedU32::new(0),
            goes_round: Cell::new(false),
            partial: PoolList::new(),
            pools: Counter::new(),
            filled: Counter::new(),
            flushed: Counter::new(),
            collected: Counter::new(),
            remote_frees: Counter::new(),
            adopted: Counter::new(),
        }
    }

    /// Top of the previous magazine.
    pub(crate) fn previous(&self) -> *mut Slot {
        self.previous.get()
    }

    fn set_previous(&self, top: *mut Slot) {
        self.previous.set(top);
    }

    /// Top of the foreign magazine.
    pub(crate) fn foreign(&self) -> *mut Slot {
        self.foreign.get()
    }

    /// Makes another magazine of this class the foreign one.
    fn set_foreign(&self, top: *mut Slot, class: SizeClass) {
        self.foreign.set(top);
        self.foreign_full.set(if is_absent(top) {
            top
        } else {
            let most = if self.goes_round.get() { capacity(class) } else { capacity(class).min(FOREIGN_BLOCKS) };
            bottom(top, class).wrapping_sub(most)
        });
    }

    /// Whether the foreign magazine has no room for one more block, or there is none.
    fn is_foreign_full(&self) -> bool {
        core::ptr::eq(self.foreign(), self.foreign_full.get())
    }

    /// Has the foreign magazine used to its whole length from the next one on.
    #[cfg(test)]
    pub(crate) fn let_go_round(&self) {
        self.goes_round.set(true);
    }

    /// At most so many of the blocks in the magazines, the foreign one aside, are of other heaps.
    pub(crate) fn cached_foreign(&self) -> usize {
        self.cached_foreign.get() as usize
    }
}

/// What has happened since a heap looked for wholly free pools.
#[derive(Clone, Copy, Default)]
struct SinceSearch {
    /// Blocks returned to pools.
    freed_blocks: usize,
    /// Bytes of those blocks.
    freed_bytes: usize,
    /// Arenas that the heap got.
    new_arenas: usize,
}

/// Blocks of other heaps that a heap keeps back of a class until it is seen that they go round: those that a waiting thread
/// holds keep pools of others from being given up.
const FOREIGN_BLOCKS: usize = 32;

/// What belongs to a heap as a whole and only its owner touches.
struct Own {
    arenas: Arenas,
    /// Empty magazines, each linked to the next by its slot 0.
    spare: WatchedPtr<Slot>,
    /// Pools that have a class.
    pools: WatchedUsize,
    /// Since the last search for wholly free pools.
    since_search: Cell<SinceSearch>,
    /// Words taken off the pending list and not collected yet.
    taken: WatchedU32,
    /// What the heap's earlier threads have done.
    counts_at_start: Cell<Counts>,
    /// Magazines that will not be asked for, since there was no memory for one.
    wait: Cell<u32>,
    /// Above 0 while blocks are under way between pools, magazines and other heaps, so that a look at all of those may
    /// miss one, or find one in a magazine that another thread has got meanwhile.
    moves: WatchedU32,
    /// Decides which requests are sampled.
    #[cfg(feature = "profile")]
    sampler: Sampler,
    /// Whether blocks are cached. The stragglers' heap caches none, since its caller changes with every call.
    has_magazines: Cell<bool>,
}

/// A thread's heap.
#[repr(C)]
pub(crate) struct Heap {
    /// In place of `front` while requests of the heap's thread are sampled, and so many bytes before it (Front invariant 2).
    #[cfg(feature = "profile")]
    sampling: Front,
    #[cfg(feature = "profile")]
    _gap: [u8; front::SAMPLING - size_of::<Front>()],
    pub(crate) front: Front,
    pub(crate) region: Region,
    pub(crate) classes: [ClassState; CLASSES],
    pub(crate) large: LargeCounters,
    own: Own,
    /// Of a private heap, while it has a handle.
    pub(crate) name: Label,
    /// The heap parked below this one; for the holder of the shared lock.
    pub(crate) parked_next: Cell<Option<NonNull<Heap>>>,
    /// Blocks that the program has freed, and that are not among the frees yet. Not written when a heap is made: its memory
    /// is zero then.
    kept: [KeptSmall; CLASSES],
    /// Words with remote frees for this heap; the one part that other threads write, on cache lines of its own.
    pending: CachePadded<PendingList>,
}

// A thread that allocates a little touches little: README.md tells its users so many pages.
const_assert!(size_of::<Heap>() <= 3 * 4096);
#[cfg(feature = "profile")]
const_assert_eq!(core::mem::offset_of!(Heap, front), front::SAMPLING);

// SAFETY: Heap invariant 1: other threads touch only atomics and what never changes.
unsafe impl Sync for Heap {}

impl Heap {
    /// Makes the heap with this index in its region.
    ///
    /// # Safety
    /// * The heap's memory is open, nobody else uses it, and `index` was never used before in this region.
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "each line goes to a field and writes it")]
    pub(crate) unsafe fn create(region: &Region, index: usize, kind: Kind) -> NonNull<Self> {
        let place = region.heap(index);
        let heap = place.as_ptr();
        // Field by field: the whole would not fit on a small thread's stack.
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
        let own = Own {
            arenas: Arenas::new(),
            spare: WatchedPtr::null(),
            pools: WatchedUsize::new(0),
            since_search: Cell::new(SinceSearch::default()),
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

    /// Makes the place of a heap that was never finished one that statistics skip.
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

    /// The front for the heap's thread: that for sampling, if it `is_sampling` its requests.
    pub(crate) fn front_of(place: NonNull<Self>, is_sampling: bool) -> *const Front {
        let front = if cfg!(feature = "profile") && is_sampling { place.cast() } else { Self::front_in(place) };
        front.as_ptr().cast_const()
    }

    /// The heap that a front, not one without a heap, is of.
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

    /// The heap in an open place, if one has been made there.
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

    /// Blocks of a class in magazines, without the foreign one, whose blocks count as remote frees.
    pub(crate) fn cached_blocks(&self, class: SizeClass) -> usize {
        let state = self.class(class);
        count(self.head(class).top(), class) + count(state.previous(), class) + state.depot.length() * capacity(class)
    }

    /// Blocks of a class that this heap's threads have put into the quarantine of the debug mode, less those that they have
    /// taken out, and how many of these were of other heaps. Below zero they wrap.
    pub(crate) fn kept(&self, class: SizeClass) -> [u64; 2] {
        let kept = &self.kept[class.index()];
        [&kept.blocks, &kept.remote].map(|figure| figure.load(Ordering::Relaxed))
    }

    /// Counts a block of the pool with this tag that came into the quarantine by 1, or that leaves it by -1.
    pub(crate) fn count_kept(&self, tag: u32, change: i64) {
        let class = size_class_of_tag(tag);
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

    /// Whether some of the heap's blocks are under way, and nowhere to be found.
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

/// What comes before is written before what comes after, for whoever stops this thread in between. Costs no instruction.
#[inline(always)]
fn in_this_order() {
    compiler_fence(Ordering::SeqCst);
}

/// A heap in the hands of its owner: what only the owner may do.
#[derive(Clone, Copy)]
pub(crate) struct OwnedHeap<'h> {
    heap: &'h Heap,
    _not_send: PhantomData<*mut ()>,
}

impl OwnedHeap<'_> {
    /// A thread begins to use the heap: what others did with it before is not counted as the thread's.
    pub(crate) fn begin_thread(self) {
        self.own.counts_at_start.set(Counts::of(&self));
    }

    /// Blocks are under way from here to [`end_move`](Self::end_move). Waits for no lock in between.
    #[inline(always)]
    fn begin_move(self) {
        self.own.moves.set(self.own.moves.get() + 1);
        in_this_order();
    }

    #[inline(always)]
    fn end_move(self) {
        in_this_order();
        self.own.moves.set(self.own.moves.get() - 1);
    }

    /// What the heap's earlier threads, or handles, have done.
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

/// Where a heap gets arenas and magazines from, and gives wholly free arenas back to: what all heaps share.
pub(crate) trait Supply {
    /// An arena that nobody owns; `None` if the region is used up or the system refuses.
    fn take_arena(&self) -> Option<ArenaId>;
    /// Gives a wholly free arena back.
    fn give_arena(&self, region: &Region, arena: ArenaId);
    /// Several new magazines, given to `each` by their tops; none if there is no memory for them.
    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot));
}
