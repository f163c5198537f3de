//! The pools that all threads share: the region, the arenas without an owner, the heaps without a thread. One lock
//! guards them.
//!
//! A thread takes the lock when it starts and ends, a few times for each new arena (256 KiB), and for new magazines. A
//! request of a thread without a heap takes it too. Private heaps take it when they come and go. Statistics, releases
//! and checks take it.

use super::options::HugePages;
use super::startup::RegionSetup;
#[cfg(test)]
use super::state::PageWork;
use super::state::State;
use super::view::View;
use crate::figures::Name;
use crate::geometry::{ARENA_BYTES, POOLS_PER_ARENA};
use crate::heap::{Heap, LargeCounters, OwnedHeap, Supply};
use crate::os;
use crate::os::ThreadExitKey;
use crate::region::{ArenaId, HeapKind, PoolId, Region, Slot, SplitChunks, Tag};
use crate::sync::{Decision, LockCell, LockCellGuard, Once, Stack};
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::NonNull;

/// The reason why a thread gets no heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoHeap {
    /// There is no region, hence no pools.
    NoRegion,
    /// There are pools, but no memory or place for one more heap, or no key to learn of the thread's end. The thread
    /// shares the stragglers' heap.
    Share,
}

/// A set of pools that any number of threads share.
pub(crate) struct SharedState {
    /// Shared invariant 1: only the holder of its lock touches the state.
    state: LockCell<State>,
    /// Decided once, under the lock of `state`. Refused under memcheck, and if there is no memory for a region and its
    /// first heap. Then the backend serves every request.
    region: Once<Region>,
    /// The key whose destructor runs at the end of each thread. Decided with the region; refused if the process has no
    /// key left.
    key: Once<ThreadExitKey>,
    /// Shared invariant 2: the holder of this lock owns the stragglers' heap. It is taken before the lock of `state`,
    /// never after.
    stragglers: LockCell<()>,
    /// Counts of the backend, for threads without a heap.
    pub(crate) large: LargeCounters,
    /// Called once, before the region is reserved.
    prepare: fn() -> RegionSetup,
    /// The key's destructor.
    on_thread_exit: unsafe extern "C" fn(*mut c_void),
}

/// The figures of the shared pools, for the statistics.
pub(crate) struct Census {
    /// Heaps of running threads.
    pub(crate) heaps_in_use: usize,
    /// Heaps of ended threads.
    pub(crate) heaps_parked: usize,
    /// Arenas carved from the region.
    pub(crate) arenas: usize,
    /// Arenas without an owner.
    pub(crate) free_arenas: usize,
    pub(crate) reserved_bytes: usize,
    pub(crate) open_bytes: usize,
    pub(crate) metadata_bytes: usize,
    region: Region,
    /// Indices of the places that may have a heap.
    places: Range<usize>,
    blocks: (NonNull<u8>, usize),
    tables: [(NonNull<u8>, usize); 8],
}

impl Census {
    /// All heaps, private ones too.
    pub(crate) fn heaps(&self) -> impl Iterator<Item = &'static Heap> {
        // SAFETY: these places are open, for ever. The caller reads only the heaps' atomics and constant fields.
        self.places.clone().filter_map(|index| unsafe { Heap::in_place(self.region.heap(index)) })
    }

    /// Bytes of the open arenas and tables that are in memory. Asks the system.
    pub(crate) fn resident_bytes(&self) -> usize {
        let parts = self.tables.iter().chain([&self.blocks]);
        parts.map(|(start, bytes)| os::resident_bytes(*start, *bytes)).sum()
    }
}

impl SharedState {
    /// Pools that start at the first request for a heap. That request runs `prepare`. `on_thread_exit` is called at the
    /// end of each thread that has armed the key, with the value that the thread passed to [`arm`](Self::arm).
    pub(crate) const fn new(prepare: fn() -> RegionSetup, on_thread_exit: unsafe extern "C" fn(*mut c_void)) -> Self {
        Self {
            state: LockCell::new(State::new()),
            region: Once::new(),
            key: Once::new(),
            stragglers: LockCell::new(()),
            large: LargeCounters::new(),
            prepare,
            on_thread_exit,
        }
    }

    /// Locks the state and runs `body` with it. `body` must not lock it again.
    ///
    /// No lock is held across a fork, since that could deadlock. A fork handler that took the lock would run before the
    /// handlers that other libraries registered earlier. Such a handler may wait for a thread, and that thread may wait
    /// for the lock. So the state in a child may be half-changed by another thread of the parent. The first thread of
    /// the child that locks the state mends it.
    fn with_state<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.hold(|state| state.give_up_lists(self.region()));
        let generation = state.generation();
        if state.note_generation(generation) {
            self.region().inspect(|region| region.forbid_huge_pages_again());
        }
        body(&mut state)
    }

    /// Locks the stragglers' heap. In the child of a fork the heap is given up if another thread was using it.
    fn hold_stragglers(&self) -> LockCellGuard<'_, ()> {
        let give_up = |state: &mut State| (state.stragglers, state.is_reserved_place_lost) = (None, true);
        self.stragglers.hold(|()| self.with_state(give_up))
    }

    /// Takes a heap for a thread: a parked one if there is one, else a new one. The thread then has to
    /// [`arm`](Self::arm) the key, so in a process without a key no thread gets a heap.
    pub(crate) fn take_heap(&self) -> Result<NonNull<Heap>, NoHeap> {
        if matches!(self.region.see(), Decision::Refused) {
            return Err(NoHeap::NoRegion);
        }
        self.with_state(|state| {
            let region = self.started(state).ok_or(NoHeap::NoRegion)?;
            if self.key.value().is_none() {
                return Err(NoHeap::Share);
            }
            let parked = state.parked.unpark();
            parked.or_else(|| state.make_heap(region, HeapKind::Threads)).ok_or(NoHeap::Share)
        })
    }

    /// Takes an empty heap for a handle of the program; `None` if there are no pools, or no memory or place for it.
    pub(crate) fn take_private(&self, name: Name) -> Option<NonNull<Heap>> {
        if matches!(self.region.see(), Decision::Refused) {
            return None;
        }
        let heap = self.with_state(|state| {
            let region = self.started(state)?;
            state.parked.unpark_private().or_else(|| state.make_heap(region, HeapKind::Private))
        })?;
        // SAFETY: Heap invariant 1: just taken.
        let owned = unsafe { Heap::owned_at(heap) };
        owned.begin_thread();
        owned.name.set(name);
        Some(heap)
    }

    /// Takes an empty private heap back. The caller no longer owns it.
    pub(crate) fn give_private(&self, heap: NonNull<Heap>) {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.name.clear();
        self.with_state(|state| state.parked.park_private(heap));
    }

    /// The region; reserved now if this is the first call. `None` if there are no pools.
    fn started(&self, state: &mut State) -> Option<&Region> {
        let make = || {
            // Memcheck knows the blocks of malloc only, so the backend serves all requests.
            if os::is_memcheck() {
                return None;
            }
            let RegionSetup { region_bytes, huge_pages } = (self.prepare)();
            // Late frees need the stragglers' heap. If there is no memory for it, there are no pools at all.
            let mut region = Region::reserve(region_bytes, size_of::<Heap>())?;
            if !region.open_heaps(0, 1) {
                // SAFETY: no other thread has seen this region.
                unsafe { region.unreserve() };
                return None;
            }
            (state.heaps, state.straggler_places) = (1, 1);
            match huge_pages {
                HugePages::Unset => region.let_chunks_be_huge(),
                HugePages::Never => {}
                HugePages::Beyond(small) => region.prefer_huge_pages(small),
            }
            // SAFETY: Shared invariant 1: the caller has the state, so it holds the lock.
            unsafe { self.key.decide(|| ThreadExitKey::new(self.on_thread_exit)) };
            Some(region)
        };
        // SAFETY: Shared invariant 1: the caller has the state, so it holds the lock.
        unsafe { self.region.decide(make) }
    }

    /// The region, if there is one by now.
    fn region(&self) -> Option<&Region> {
        self.region.value()
    }

    /// Arms the key: its destructor runs with `value` when the calling thread ends, and once more if the destructor
    /// itself arms the key. Returns false if that fails.
    pub(crate) fn arm(&self, value: *mut c_void) -> bool {
        self.key.value().is_some_and(|key| key.arm(value))
    }

    /// Takes the heap of an ended thread back. The caller no longer owns it.
    pub(crate) fn park(&self, heap: NonNull<Heap>) {
        self.with_state(|state| state.parked.park(heap));
    }

    /// Settles one parked heap, if there is one that may have cached blocks or free arenas to give up.
    fn settle_one(&self) {
        let Some(heap) = self.with_state(|state| state.parked.take_worthwhile()) else { return };
        // SAFETY: Heap invariant 1: taken off the list.
        unsafe { Heap::owned_at(heap) }.settle(self);
        self.with_state(|state| state.parked.put_back(heap));
    }

    /// Runs `body` with the stragglers' heap; `None` if there are no pools, or no memory for that heap.
    pub(crate) fn with_stragglers<R>(&self, body: impl FnOnce(OwnedHeap<'_>) -> R) -> Option<R> {
        if matches!(self.region.see(), Decision::Refused) {
            return None;
        }
        let _held = self.hold_stragglers();
        let heap = self.with_state(|state| {
            let region = self.started(state)?;
            state.stragglers_heap(region)
        })?;
        // SAFETY: Shared invariant 2.
        Some(body(unsafe { Heap::owned_at(heap) }.without_magazines()))
    }

    /// Offset of an address and the tag of its pool; `None` if it is not in the region.
    pub(crate) fn locate(&self, address: usize) -> Option<(usize, Tag)> {
        let region = self.region()?;
        let offset = region.offset_of(address)?;
        Some((offset, region.tag(PoolId::of_offset(offset))))
    }

    /// The figures as they are now; `None` if there is no region.
    pub(crate) fn census(&self) -> Option<Census> {
        self.with_state(|state| {
            let region = *self.region()?;
            let heaps_parked = state.parked.of_threads();
            let others = heaps_parked + state.straggler_places + state.private_places;
            let tables = region.open_tables(state.open, state.heaps, state.magazines_open);
            // As long as no heap is in the reserved place, leave that place out: once the lock is free, a thread may
            // make the heap while the caller looks.
            let is_reserved_place_made = state.stragglers.is_some() || state.is_reserved_place_lost;
            Some(Census {
                heaps_in_use: state.heaps.saturating_sub(others),
                heaps_parked,
                arenas: state.carved,
                free_arenas: state.unowned_arenas(),
                reserved_bytes: region.bytes(),
                open_bytes: state.open * ARENA_BYTES,
                metadata_bytes: tables.iter().map(|(_, bytes)| *bytes).sum(),
                region,
                places: usize::from(!is_reserved_place_made)..state.heaps,
                blocks: region.open_blocks(state.open),
                tables,
            })
        })
    }

    /// Whether a thread or a private heap has ever asked for the region.
    pub(crate) fn is_in_use(&self) -> bool {
        !matches!(self.region.see(), Decision::New)
    }

    /// The region, and the number of its arenas that are carved.
    pub(crate) fn arenas_in_use(&self) -> Option<(Region, usize)> {
        self.region().map(|region| (*region, self.with_state(|state| state.carved)))
    }

    /// Gives memory without blocks back to the system: pools of `own` (the calling thread's heap), of parked heaps and
    /// of the stragglers' heap, and the arenas without an owner. Returns the bytes that were in memory: those of pools,
    /// and those of arenas.
    pub(crate) fn release(&self, own: Option<OwnedHeap<'_>>) -> (usize, usize) {
        let Some(region) = self.region() else { return (0, 0) };
        self.while_releasing(region, || {
            // All of them flush their magazines before any gives memory back, since a magazine may hold blocks of
            // another heap.
            if let Some(own) = own {
                own.give_up_cached();
            }
            self.for_parked(|heap| heap.give_up_cached());
            let mut pool_bytes = own.map_or(0, |own| own.release(self));
            self.for_parked(|heap| pool_bytes += heap.release(self));
            if self.with_state(|state| state.stragglers.is_some()) {
                pool_bytes += self.with_stragglers(|heap| heap.release(self)).unwrap_or(0);
            }
            (pool_bytes, self.release_free_arenas(region))
        })
    }

    /// Gives memory without blocks of a private heap back to the system. Returns the bytes that were in memory.
    pub(crate) fn release_private(&self, heap: OwnedHeap<'_>) -> usize {
        self.while_releasing(&heap.region, || heap.release(self))
    }

    /// Runs a release. Meanwhile no pages are joined, since that would bring memory back.
    pub(crate) fn while_releasing<R>(&self, region: &Region, release: impl FnOnce() -> R) -> R {
        self.with_state(|state| state.begin_release(region));
        let released = release();
        self.with_state(|state| state.end_release(region));
        released
    }

    /// Runs `body` with each parked heap. Only one heap at a time is off its list, so that a new thread finds the
    /// others.
    fn for_parked(&self, mut body: impl FnMut(OwnedHeap<'_>)) {
        let mut each = |heap: NonNull<Heap>| {
            // SAFETY: Heap invariant 1: taken off the list.
            body(unsafe { Heap::owned_at(heap) });
            self.with_state(|state| state.parked.put_back(heap));
        };
        // The settled heaps come first. Their number is read once, so each is visited once, even if other threads put
        // some back meanwhile. Then come the heaps that have not settled. The number of heaps bounds the second loop,
        // since threads may park heaps all the time.
        let (settled, heaps) = self.with_state(|state| (state.parked.settled(), state.heaps));
        for _ in 0..settled {
            let Some(heap) = self.with_state(|state| state.parked.take_settled()) else { break };
            each(heap);
        }
        for _ in 0..heaps {
            let Some(heap) = self.with_state(|state| state.parked.take_unsettled()) else { break };
            each(heap);
        }
    }

    /// Gives the memory of arenas without an owner back to the system. Returns the bytes that were in memory.
    fn release_free_arenas(&self, region: &Region) -> usize {
        let (mut bytes, mut own) = (0, Stack::new());
        // Each arena is taken off the list and kept on a list of this function, so that no lock is held for long.
        while let Some(arena) = self.with_state(|state| state.free_arenas.pop(region)) {
            // SAFETY: taken off the list, so this thread's alone, and wholly free (Arena invariant 2).
            bytes += unsafe { region.release(arena.pool(0), POOLS_PER_ARENA) };
            own.push(region, arena);
        }
        let mut done = SplitChunks::new();
        while let Some(arena) = own.pop(region) {
            region.split_huge_page(arena, &mut done);
            self.give_arena(region, arena);
        }
        bytes
    }

    /// Runs `body` with a view of the shared pools, while the state and the stragglers' heap are locked. `None` if
    /// there is no region. `own` is the calling thread's heap. `body` must not allocate.
    pub(crate) fn with_view<'a, R>(&self, own: Option<OwnedHeap<'a>>, body: impl FnOnce(&View<'a>) -> R) -> Option<R> {
        let _quiet = self.hold_stragglers();
        self.with_state(|state| {
            let region = *self.region()?;
            Some(body(&state.view(region, own)))
        })
    }
}

impl Supply for SharedState {
    fn take_arena(&self, owned: usize) -> Option<ArenaId> {
        let region = self.region()?;
        if let Some(arena) = self.with_state(|state| state.free_arenas.pop(region)) {
            return Some(arena);
        }
        // A parked heap may have free arenas. So one parked heap is settled before the region grows.
        self.settle_one();
        let (arena, pages) = self.with_state(|state| state.take_arena(region, owned))?;
        pages.run(region);
        Some(arena)
    }

    fn give_arena(&self, region: &Region, arena: ArenaId) {
        self.with_state(|state| state.free_arenas.push(region, arena));
    }

    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot)) {
        let Some(region) = self.region() else { return };
        self.with_state(|state| state.take_magazines(region, each));
    }
}

/// Changes that tests make to pools of their own.
#[cfg(test)]
impl SharedState {
    /// Takes an arena as [`take_arena`](Supply::take_arena) does. Returns its number and what is to be done about
    /// pages, but does not do it.
    pub(crate) fn arena_and_pages(&self, owned: usize) -> Option<(u32, PageWork)> {
        let region = self.region()?;
        self.with_state(|state| state.take_arena(region, owned)).map(|(arena, pages)| (arena.0, pages))
    }

    /// Closes the arenas that no heap has had yet, as if the system had refused to open them so far.
    pub(crate) fn close_the_rest(&self) {
        self.with_state(|state| state.open = state.carved);
    }

    /// Decides that there is no region, as if the system had refused one.
    pub(crate) fn refuse_region(&self) {
        self.with_state(|_| {
            // SAFETY: the lock (Shared invariant 1).
            assert!(unsafe { self.region.decide(|| None) }.is_none());
        });
    }

    /// Whether the state and the stragglers' heap are locked now.
    pub(crate) fn is_locked(&self) -> (bool, bool) {
        (self.state.try_hold().is_none(), self.stragglers.try_hold().is_none())
    }

    /// Decides that there is no key, as if the process had none left.
    pub(crate) fn refuse_key(&self) {
        self.with_state(|_| {
            // SAFETY: the lock (Shared invariant 1).
            assert!(unsafe { self.key.decide(|| None) }.is_none());
        });
    }

    /// Leaves the lock of the state as a fork does if another thread of the parent held it.
    pub(crate) fn leave_state_behind(&self) {
        self.with_state(|state| state.generation = u32::MAX);
        self.state.leave_behind(u32::MAX);
    }

    /// Leaves the lock of the stragglers' heap as a fork does if another thread of the parent held it.
    pub(crate) fn leave_stragglers_behind(&self) {
        self.with_state(|state| state.generation = u32::MAX);
        self.stragglers.leave_behind(u32::MAX);
    }

    /// Forgets the stragglers' heap, as if no thread had needed it.
    pub(crate) fn forget_stragglers(&self) {
        self.with_state(|state| state.stragglers = None);
    }

    pub(crate) fn is_reserved_place_lost(&self) -> bool {
        self.with_state(|state| state.is_reserved_place_lost)
    }
}
