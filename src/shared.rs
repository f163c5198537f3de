//! What all heaps share: the region, the arenas that nobody owns, the heaps without a thread. One lock guards it; a
//! running program takes it once for each new arena (256 KiB) and at the start and end of each thread.

use crate::generation::Generation;
use crate::heap::{Heap, LargeCounters, OwnedHeap, Supply};
use crate::lock::{Guard, Lock};
use crate::magazine::{Magazine, Slot};
use crate::os::{self, ThreadExitKey};
use crate::pool::NONE;
use crate::region::{ArenaId, PoolId, Region};
use crate::release::Released;
use crate::size_class::{ARENA_BYTES, POOLS_PER_ARENA};
use crate::stats::Stats;
use crate::sync::{AtomicU32, Ordering};
use crate::verify::{Place, View, Violation, demand};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::compiler_fence;
use static_assertions::const_assert_eq;

/// Arenas opened first: 2 MiB of addresses.
const FIRST_STEP: usize = 8;
/// Most arenas opened at once: 64 MiB, which a system that counts opened memory has to promise.
const LARGEST_STEP: usize = 256;
/// Settled heaps looked at for blocks that others have freed, before the region grows by an arena.
const SETTLED_LOOKED_AT: usize = 64;
/// Magazines that a heap gets at once: one 4 KiB page of them.
const MAGAZINES_AT_ONCE: usize = 8;

const_assert_eq!(MAGAZINES_AT_ONCE * size_of::<Magazine>(), 4096);

/// Not started: no thread has needed a heap yet.
const NEW: u32 = 0;
/// There is a region.
const READY: u32 = 1;
/// The system refused a region, or memcheck watches: everything goes to the backend.
const REFUSED: u32 = 2;

/// Why a thread gets no heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoHeap {
    /// There is no region, hence no pools.
    NoRegion,
    /// There are pools, but no memory or place for one more heap, or no way to learn of the thread's end: the thread
    /// shares the stragglers' heap.
    Share,
}

/// What the lock guards.
struct State {
    region: Option<Region>,
    key: Option<ThreadExitKey>,
    /// Arenas carved from the region so far; each is owned by a heap or on the shared list.
    carved: usize,
    /// Arenas whose memory is open.
    open: usize,
    /// The shared list: wholly free arenas that nobody owns.
    free_arenas: u32,
    free_arena_count: usize,
    /// Heaps whose memory is open. The first place is kept for the stragglers' heap, so that there is room for it even
    /// when there is none for others.
    heaps: usize,
    /// Heaps whose threads have ended, with what their magazines held then: the next thread goes on with that.
    parked: HeapList,
    /// Parked heaps that have given up all they could, [`OwnedHeap::settle`].
    settled: HeapList,
    /// Settled heaps that have had their turn in this round.
    looked_at: HeapList,
    /// The copy of the memory that last took the lock.
    generation: u32,
    /// Heaps that were made before the last fork that this process is a child of.
    heaps_before_fork: usize,
    magazines: usize,
    magazines_open: usize,
    stragglers: Option<NonNull<Heap>>,
    /// Whether the reserved place is no longer to be used: a fork has left the heap there half-changed.
    is_reserved_place_lost: bool,
    /// Places of stragglers' heaps among `heaps`: the reserved one, and those made after one was lost.
    straggler_places: usize,
}

/// One set of pools for any number of threads.
pub(crate) struct Shared {
    lock: Lock,
    /// Shared invariant 1: touched only by the holder of `lock`.
    state: UnsafeCell<State>,
    /// Set once, under the lock. `Release` with `Acquire`: whoever sees it not `NEW` sees what was decided.
    phase: AtomicU32,
    /// Shared invariant 2: the holder of `stragglers_lock` owns the stragglers' heap. Taken before `lock`, never after.
    stragglers_lock: Lock,
    /// What went to the backend for threads without a heap.
    pub(crate) large: LargeCounters,
    /// By which a child of a fork knows that it is one.
    generation: Generation,
    /// Bytes to reserve.
    bytes: fn() -> usize,
    /// Runs once, when the region has been reserved.
    start: fn() -> Option<ThreadExitKey>,
}

// SAFETY: Shared invariants 1 and 2.
unsafe impl Sync for Shared {}

impl Shared {
    /// Pools in a region of `bytes`, reserved when the first heap is asked for; then `start` runs once.
    pub(crate) const fn new(bytes: fn() -> usize, start: fn() -> Option<ThreadExitKey>) -> Self {
        Self {
            lock: Lock::new(AtomicU32::new(0)),
            state: UnsafeCell::new(State {
                region: None,
                key: None,
                carved: 0,
                open: 0,
                free_arenas: NONE,
                free_arena_count: 0,
                heaps: 0,
                parked: HeapList::new(),
                settled: HeapList::new(),
                looked_at: HeapList::new(),
                generation: 0,
                heaps_before_fork: 0,
                magazines: 0,
                magazines_open: 0,
                stragglers: None,
                is_reserved_place_lost: false,
                straggler_places: 0,
            }),
            phase: AtomicU32::new(NEW),
            stragglers_lock: Lock::new(AtomicU32::new(0)),
            large: LargeCounters::new(),
            generation: Generation::new(),
            bytes,
            start,
        }
    }

    /// Runs `body` with the state, locked. No body calls back into here.
    ///
    /// No lock is held across a fork: a handler that did so would run before those of libraries that registered earlier,
    /// and their handlers may wait for a thread that waits for the lock. So in a child the state may be what another thread
    /// was in the middle of changing: whoever gets the lock first there mends it.
    fn with_state<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        let generation = self.generation.number();
        let guard = self.lock.lock(generation);
        // SAFETY: Shared invariant 1, and no body makes a second reference.
        let state = unsafe { &mut *self.state.get() };
        if guard.is_inherited {
            state.give_up_lists(self.phase.load(Ordering::Relaxed) == NEW);
        }
        if state.generation != generation {
            (state.generation, state.heaps_before_fork) = (generation, state.heaps);
        }
        body(state)
    }

    /// Takes the lock of the stragglers' heap. In a child it gives that heap up if another thread was just using it.
    fn lock_stragglers(&self) -> Guard<'_> {
        let guard = self.stragglers_lock.lock(self.generation.number());
        if guard.is_inherited {
            self.with_state(|state| (state.stragglers, state.is_reserved_place_lost) = (None, true));
        }
        guard
    }

    /// A heap for a thread: a parked one if there is one, else a new one. The key tells of the thread's end.
    pub(crate) fn take_heap(&self) -> Result<(NonNull<Heap>, ThreadExitKey), NoHeap> {
        if self.phase.load(Ordering::Acquire) == REFUSED {
            return Err(NoHeap::NoRegion);
        }
        self.with_state(|state| {
            let region = self.started(state).ok_or(NoHeap::NoRegion)?;
            let key = state.key.ok_or(NoHeap::Share)?;
            let heap = state.unpark().or_else(|| state.make_heap(&region)).ok_or(NoHeap::Share)?;
            Ok((heap, key))
        })
    }

    /// The region, reserved now if this is the first time.
    fn started(&self, state: &mut State) -> Option<Region> {
        if self.phase.load(Ordering::Relaxed) == NEW {
            // Memcheck knows the blocks of malloc, so that has to serve all requests.
            if !os::is_memcheck() {
                // Without memory for the stragglers' heap late frees would have nowhere to go: then no pools at all.
                state.region = Region::reserve((self.bytes)()).filter(|region| region.open_heaps(0, 1));
            }
            if state.region.is_some() {
                (state.heaps, state.straggler_places) = (1, 1);
                state.key = (self.start)();
            }
            self.phase.store(if state.region.is_some() { READY } else { REFUSED }, Ordering::Release);
        }
        state.region
    }

    /// Has the end of this thread told once more, with `value`. False if that cannot be.
    pub(crate) fn arm_again(&self, value: *mut core::ffi::c_void) -> bool {
        let key = self.with_state(|state| state.key);
        key.is_some_and(|key| key.arm(value))
    }

    /// Takes back the heap of a thread that has ended; the caller owns it no longer.
    pub(crate) fn park(&self, heap: NonNull<Heap>) {
        self.with_state(|state| state.parked.push(heap));
    }

    /// Has one parked heap give up its cached blocks and its free arenas, if there is one that may have any.
    fn settle_one(&self) {
        let Some(heap) = self.with_state(State::take_unsettled) else { return };
        // SAFETY: heaps are never unmapped.
        let view = unsafe { heap.as_ref() };
        // SAFETY: Heap invariant 1: taken off the list.
        unsafe { view.owned() }.settle(self);
        // Behind all others, so that one that many free to does not hide them.
        self.with_state(|state| state.looked_at.push(heap));
    }

    /// Runs `body` with the heap that threads without one share; `None` if there are no pools.
    pub(crate) fn with_stragglers<R>(&self, body: impl FnOnce(OwnedHeap<'_>) -> R) -> Option<R> {
        if self.phase.load(Ordering::Acquire) == REFUSED {
            return None;
        }
        let _guard = self.lock_stragglers();
        let heap = self.with_state(|state| {
            let region = self.started(state)?;
            state.stragglers_heap(&region)
        })?;
        // SAFETY: heaps are never unmapped.
        let heap = unsafe { heap.as_ref() };
        // SAFETY: Shared invariant 2.
        let owned = unsafe { heap.owned() }.without_magazines();
        let result = body(owned);
        // The next caller may be long in coming.
        owned.post_all();
        Some(result)
    }

    /// Offset of an address and the tag of its pool; `None` if it is not in the region.
    pub(crate) fn locate(&self, address: usize) -> Option<(usize, u32)> {
        if self.phase.load(Ordering::Acquire) != READY {
            return None;
        }
        let region = self.with_state(|state| state.region)?;
        let offset = region.offset_of(address)?;
        Some((offset, region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed)))
    }

    /// What the heap holds now.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::new();
        stats.add_large(&self.large);
        let opened = self.with_state(|state| {
            let region = state.region?;
            let parked = state.parked.length + state.settled.length + state.looked_at.length;
            stats.heaps.in_use = state.heaps.saturating_sub(parked + state.straggler_places) as u64;
            stats.heaps.parked = parked as u64;
            stats.arenas.open = state.carved as u64;
            stats.arenas.free = state.free_arena_count as u64;
            stats.region.reserved_bytes = region.bytes() as u64;
            stats.region.open_bytes = (state.open * ARENA_BYTES) as u64;
            let tables = region.open_tables(state.open, state.heaps, state.magazines_open);
            stats.region.metadata_bytes = tables.iter().map(|(_, bytes)| *bytes as u64).sum();
            // The reserved place may be written for the first time once the lock is free.
            let is_reserved_place_made = state.stragglers.is_some() || state.is_reserved_place_lost;
            let places = usize::from(!is_reserved_place_made)..state.heaps;
            Some((region, places, region.open_blocks(state.open), tables))
        });
        // The rest without the lock, for which threads that start or end wait.
        if let Some((region, places, blocks, tables)) = opened {
            for index in places {
                // SAFETY: so many are open, for ever; only their atomics are read, and what never changes.
                if let Some(heap) = unsafe { Heap::in_place(region.heap(index)) } {
                    stats.add_heap(heap);
                }
            }
            let resident = |(start, bytes)| os::resident_bytes(start, bytes) as u64;
            stats.region.resident_bytes = resident(blocks) + tables.into_iter().map(resident).sum::<u64>();
        }
        stats.sum();
        stats
    }

    /// Whether anything was ever asked of it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.phase.load(Ordering::Acquire) != NEW
    }

    /// The region, and how many of its arenas are in use.
    pub(crate) fn arenas_in_use(&self) -> Option<(Region, usize)> {
        self.with_state(|state| Some((state.region?, state.carved)))
    }

    /// Gives memory that holds no block back to the system: of `own`, the calling thread's heap, of parked heaps, and
    /// of the arenas that nobody owns.
    pub(crate) fn release(&self, own: Option<OwnedHeap<'_>>) -> Released {
        let mut released = Released::default();
        if let Some(own) = own {
            released += Released::of_pools(own.release(self));
        }
        self.with_state(|state| {
            while let Some(heap) = state.looked_at.pop() {
                state.settled.push(heap);
            }
        });
        // One at a time, so that a thread which starts meanwhile finds the others.
        while let Some(heap) = self.with_state(|state| state.parked.pop().or_else(|| state.settled.pop())) {
            // SAFETY: heaps are never unmapped.
            let view = unsafe { heap.as_ref() };
            // SAFETY: Heap invariant 1: taken off the list.
            released += Released::of_pools(unsafe { view.owned() }.release(self));
            self.with_state(|state| state.looked_at.push(heap));
        }
        let stragglers = self.with_state(|state| state.stragglers.is_some());
        if stragglers {
            released += Released::of_pools(self.with_stragglers(|heap| heap.release(self)).unwrap_or(0));
        }
        released += Released::of_arenas(self.release_free_arenas());
        released
    }

    /// Gives the memory of the arenas that nobody owns back to the system. Returns the bytes that were in memory.
    fn release_free_arenas(&self) -> usize {
        let mut bytes = 0;
        // Taken off the list one at a time and kept on one of our own, so that the lock is not held for long.
        let (mut own, mut region) = (NONE, None);
        while let Some((of, arena)) = self.with_state(|state| Some((state.region?, state.take_free_arena()?))) {
            // SAFETY: taken off the list, so this thread's alone, and wholly free (Arena invariant 2).
            bytes += unsafe { of.release(arena.pool(0), POOLS_PER_ARENA) };
            of.arena_record(arena).next().set(own);
            (own, region) = (arena.0, Some(of));
        }
        let Some(region) = region else { return bytes };
        while own != NONE {
            let arena = ArenaId(own);
            own = region.arena_record(arena).next().get();
            self.give_arena(&region, arena);
        }
        bytes
    }

    /// Walks everything and holds each invariant against what is there; `own` is the calling thread's heap.
    pub(crate) fn check_heap(&self, own: Option<OwnedHeap<'_>>) -> Result<(), Violation> {
        // What the stragglers' heap does is not quiet either.
        let _guard = self.lock_stragglers();
        self.with_state(|state| {
            let Some(region) = state.region else { return Ok(()) };
            state.check_parked_heaps()?;
            let view = View {
                region,
                carved: state.carved,
                open: state.open,
                heaps: state.heaps,
                magazines: state.magazines,
                free_arenas: state.free_arenas,
                free_arena_count: state.free_arena_count,
                heaps_before_fork: state.heaps_before_fork,
                own,
            };
            view.check()
        })
    }
}

impl State {
    /// Forgets what another thread may have left half-changed: the lists, and what is at the border of what is in use.
    /// Blocks stay where they are, and are freed as before.
    fn give_up_lists(&mut self, is_new: bool) {
        if is_new {
            // Another thread was just starting: this process starts anew.
            (self.region, self.key, self.heaps, self.straggler_places) = (None, None, 0, 0);
            return;
        }
        (self.free_arenas, self.free_arena_count) = (NONE, 0);
        (self.parked, self.settled, self.looked_at) = (HeapList::new(), HeapList::new(), HeapList::new());
        self.carved = self.open;
        self.magazines = self.magazines_open;
        let Some(region) = self.region else { return };
        if self.stragglers.is_none() && !self.is_reserved_place_lost && self.heaps > 0 {
            // SAFETY: the place has been open since the start, and whoever was making a heap in it is gone.
            unsafe { Heap::clear(region.heap(0)) };
        }
        if self.heaps < region.max_heaps() && region.open_heaps(self.heaps, self.heaps + 1) {
            // SAFETY: the place is open, and whoever was making a heap in it is gone.
            unsafe { Heap::clear(region.heap(self.heaps)) };
            self.heaps += 1;
        }
    }

    /// Takes a parked heap for a new thread: the last one parked, for its blocks are most likely in the cache.
    fn unpark(&mut self) -> Option<NonNull<Heap>> {
        self.parked.pop().or_else(|| self.settled.pop()).or_else(|| self.looked_at.pop())
    }

    fn make_heap(&mut self, region: &Region) -> Option<NonNull<Heap>> {
        if self.heaps == region.max_heaps() || !region.open_heaps(self.heaps, self.heaps + 1) {
            return None;
        }
        // SAFETY: just opened, and the index grows with each heap.
        let heap = unsafe { Heap::create(region, self.heaps) };
        // In this order too when a fork looks on.
        compiler_fence(Ordering::Release);
        self.heaps += 1;
        Some(heap)
    }

    /// The stragglers' heap, made in its reserved place when it is needed first.
    fn stragglers_heap(&mut self, region: &Region) -> Option<NonNull<Heap>> {
        if self.stragglers.is_none() {
            self.stragglers = if self.is_reserved_place_lost {
                let made = self.make_heap(region);
                self.straggler_places += usize::from(made.is_some());
                made
            } else {
                // SAFETY: `started` opened the place, and nothing else is made there.
                Some(unsafe { Heap::create(region, 0) })
            };
        }
        self.stragglers
    }

    /// Takes a parked heap that may have something to give up: one that has not settled, or whose blocks others have
    /// freed since.
    fn take_unsettled(&mut self) -> Option<NonNull<Heap>> {
        if let Some(heap) = self.parked.pop() {
            return Some(heap);
        }
        for _ in 0..SETTLED_LOOKED_AT {
            if self.settled.length == 0 {
                // Everyone has had a turn: from the beginning.
                core::mem::swap(&mut self.settled, &mut self.looked_at);
            }
            let heap = self.settled.pop()?;
            // SAFETY: heaps are never unmapped.
            let view = unsafe { heap.as_ref() };
            // SAFETY: Heap invariant 1: taken off the list.
            if unsafe { view.owned() }.has_waiting() {
                return Some(heap);
            }
            self.looked_at.push(heap);
        }
        None
    }

    /// Holds the lists of parked heaps against their lengths.
    fn check_parked_heaps(&self) -> Result<(), Violation> {
        let mut parked = self.straggler_places;
        for list in [&self.parked, &self.settled, &self.looked_at] {
            parked += list.length;
            demand(parked <= self.heaps, "more heaps are parked than there are", Place::Process)?;
            let (mut next, mut found) = (list.first, 0);
            while let (Some(heap), true) = (next, found < list.length) {
                // SAFETY: heaps are never unmapped.
                next = unsafe { heap.as_ref() }.parked_next.get();
                found += 1;
            }
            let is_whole = next.is_none() && found == list.length;
            demand(is_whole, "a list of parked heaps is not as long as its count", Place::Process)?;
        }
        Ok(())
    }

    /// Takes an arena from the shared list.
    fn take_free_arena(&mut self) -> Option<ArenaId> {
        if self.free_arenas == NONE {
            return None;
        }
        let arena = ArenaId(self.free_arenas);
        self.free_arenas = self.region?.arena_record(arena).next().get();
        self.free_arena_count -= 1;
        Some(arena)
    }

    /// Takes an arena from the shared list, else carves a new one.
    fn take_arena(&mut self) -> Option<ArenaId> {
        let region = self.region?;
        if let Some(arena) = self.take_free_arena() {
            return Some(arena);
        }
        if self.carved == self.open && !self.open_more(&region) {
            return None;
        }
        self.carved += 1;
        Some(ArenaId(self.carved as u32 - 1))
    }

    /// Opens more arenas: an eighth more than there are, within bounds; fewer if the system refuses so many.
    fn open_more(&mut self, region: &Region) -> bool {
        let room = region.max_arenas() - self.open;
        let mut step = (self.open / 8).clamp(FIRST_STEP, LARGEST_STEP).min(room);
        while step > 0 {
            if region.open_arenas(self.open, self.open + step) {
                self.open += step;
                return true;
            }
            step /= 2;
        }
        false
    }

    fn take_magazines(&mut self, each: &mut dyn FnMut(*mut Slot)) {
        let Some(region) = self.region else { return };
        let end = (self.magazines + MAGAZINES_AT_ONCE).min(region.max_magazines());
        if end > self.magazines_open {
            if !region.open_magazines(self.magazines_open, end) {
                return;
            }
            self.magazines_open = end;
        }
        // The lowest is kept last, so used first.
        (self.magazines..end).rev().for_each(|index| each(region.magazine(index)));
        self.magazines = end;
    }
}

impl Supply for Shared {
    fn take_arena(&self) -> Option<ArenaId> {
        if let Some(arena) = self.with_state(State::take_free_arena) {
            return Some(arena);
        }
        // What ended threads have left lies idle in parked heaps: look there before the region grows.
        self.settle_one();
        self.with_state(State::take_arena)
    }

    fn give_arena(&self, region: &Region, arena: ArenaId) {
        self.with_state(|state| {
            region.arena_record(arena).next().set(state.free_arenas);
            state.free_arenas = arena.0;
            state.free_arena_count += 1;
        });
    }

    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot)) {
        self.with_state(|state| state.take_magazines(each));
    }
}

/// Heaps without a thread, last in first out, linked through themselves.
struct HeapList {
    first: Option<NonNull<Heap>>,
    length: usize,
}

impl HeapList {
    const fn new() -> Self {
        Self { first: None, length: 0 }
    }

    fn push(&mut self, heap: NonNull<Heap>) {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.parked_next.set(self.first);
        self.first = Some(heap);
        self.length += 1;
    }

    fn pop(&mut self) -> Option<NonNull<Heap>> {
        let heap = self.first?;
        // SAFETY: heaps are never unmapped.
        self.first = unsafe { heap.as_ref() }.parked_next.take();
        self.length -= 1;
        Some(heap)
    }
}

#[cfg(test)]
pub(crate) mod tests;
