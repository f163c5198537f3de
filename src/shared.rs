//! What all heaps share: the region, the arenas that nobody owns, the heaps without a thread. One lock guards it; a
//! running program takes it once for each new arena (256 KiB) and at the start and end of each thread.

use crate::generation::Generation;
use crate::heap::{Heap, Kind, LargeCounters, OwnedHeap, Supply};
use crate::lock::{Guard, Lock};
use crate::magazine::{Magazine, Slot};
use crate::name::Name;
use crate::once::{Decision, Once};
use crate::os::{self, ThreadExitKey};
use crate::pool::NONE;
use crate::region::{ArenaId, PoolId, Region};
use crate::release::Released;
use crate::size_class::{ARENA_BYTES, POOLS_PER_ARENA};
use crate::stack::{Links, Stack};
use crate::stats::Stats;
use crate::sync::{AtomicU32, Guarded, Ordering};
use crate::verify::{Place, View, Violation, demand};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::compiler_fence;
use static_assertions::const_assert_eq;

/// Arenas opened first: 2 MiB of addresses. Later steps are multiples of it, unless the system refuses
/// so much, so that huge pages are opened as a whole.
const FIRST_STEP: usize = 8;
/// Most arenas opened at once: 64 MiB, which a system that counts opened memory has to promise.
const LARGEST_STEP: usize = 256;
/// Requests for memory that are not passed on after the system has refused one: where memory has run out each small
/// request comes to some, and would cost several system calls.
const WAIT_AFTER_REFUSAL: u32 = 63;
/// Settled heaps looked at for blocks that others have freed, before the region grows by an arena.
const SETTLED_LOOKED_AT: usize = 64;
/// Magazines that a heap gets at once: one 4 KiB page of them.
const MAGAZINES_AT_ONCE: usize = 4;

const_assert_eq!(MAGAZINES_AT_ONCE * size_of::<Magazine>(), 4096);

/// Why a thread gets no heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoHeap {
    /// There is no region, hence no pools.
    NoRegion,
    /// There are pools, but no memory or place for one more heap, or no way to learn of the thread's end: the thread
    /// shares the stragglers' heap.
    Share,
}

/// What is there from the first request of all on.
struct Start {
    region: Region,
    /// Tells of the ends of threads; `None` if the process has no key left.
    key: Option<ThreadExitKey>,
}

/// What the lock guards.
struct State {
    /// Arenas carved from the region so far; each is owned by a heap or on the shared list.
    carved: usize,
    /// Arenas whose memory is open.
    open: usize,
    /// Requests for memory that the system will not be asked for, since it has refused one.
    wait: u32,
    /// The shared list: wholly free arenas that nobody owns.
    free_arenas: Stack<ArenaId>,
    /// Heaps whose memory is open. The first place is kept for the stragglers' heap, so that there is room for it even
    /// when there is none for others.
    heaps: usize,
    /// Heaps whose threads have ended, with what their magazines held then: the next thread goes on with that.
    parked: Stack<NonNull<Heap>>,
    /// Parked heaps that have given up all they could, [`OwnedHeap::settle`].
    settled: Stack<NonNull<Heap>>,
    /// Settled heaps that have had their turn in this round.
    looked_at: Stack<NonNull<Heap>>,
    /// Private heaps that have no handle and hold nothing. Threads never get them, since their ids say that they are private.
    idle_private: Stack<NonNull<Heap>>,
    /// Places of private heaps among `heaps`.
    private_places: usize,
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
    /// Decided once, under the lock; refused if the system refuses a region: then everything goes to the backend.
    start: Once<Start>,
    /// Shared invariant 2: the holder of `stragglers_lock` owns the stragglers' heap. Taken before `lock`, never after.
    stragglers_lock: Lock,
    /// What went to the backend for threads without a heap.
    pub(crate) large: LargeCounters,
    /// By which a child of a fork knows that it is one.
    generation: Generation,
    /// Runs once, before anything else; returns the bytes to reserve.
    prepare: fn() -> usize,
    /// Runs once, when the region has been reserved, before anything of it is opened for blocks.
    on_start: fn(&Region) -> Option<ThreadExitKey>,
}

// SAFETY: Shared invariants 1 and 2.
unsafe impl Sync for Shared {}

impl Shared {
    /// Pools in a region of as many bytes as `prepare` says, which runs when the first heap is asked for; then `on_start`
    /// runs once.
    pub(crate) const fn new(prepare: fn() -> usize, on_start: fn(&Region) -> Option<ThreadExitKey>) -> Self {
        Self {
            lock: Lock::new(AtomicU32::new(0)),
            state: UnsafeCell::new(State {
                carved: 0,
                open: 0,
                free_arenas: Stack::new(),
                wait: 0,
                heaps: 0,
                parked: Stack::new(),
                settled: Stack::new(),
                looked_at: Stack::new(),
                idle_private: Stack::new(),
                private_places: 0,
                generation: 0,
                heaps_before_fork: 0,
                magazines: 0,
                magazines_open: 0,
                stragglers: None,
                is_reserved_place_lost: false,
                straggler_places: 0,
            }),
            start: Once::new(AtomicU32::new(0), Guarded::new(None)),
            stragglers_lock: Lock::new(AtomicU32::new(0)),
            large: LargeCounters::new(),
            generation: Generation::new(),
            prepare,
            on_start,
        }
    }

    /// Runs `body` with the state, locked. No body calls back into here.
    ///
    /// No lock is held across a fork: a handler that did so would run before those of libraries that registered earlier,
    /// and their handlers may wait for a thread that waits for the lock. So in a child the state may be what another thread
    /// was in the middle of changing: whoever gets the lock first there mends it.
    fn with_state<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        let guard = self.lock.lock(|| self.generation.number());
        // SAFETY: Shared invariant 1, and no body makes a second reference.
        let state = unsafe { &mut *self.state.get() };
        if guard.is_inherited {
            state.give_up_lists(self.region());
        }
        if state.generation != guard.generation {
            (state.generation, state.heaps_before_fork) = (guard.generation, state.heaps);
        }
        body(state)
    }

    /// Takes the lock of the stragglers' heap. In a child it gives that heap up if another thread was just using it.
    fn lock_stragglers(&self) -> Guard<'_> {
        let guard = self.stragglers_lock.lock(|| self.generation.number());
        if guard.is_inherited {
            self.with_state(|state| (state.stragglers, state.is_reserved_place_lost) = (None, true));
        }
        guard
    }

    /// A heap for a thread: a parked one if there is one, else a new one. The key tells of the thread's end.
    pub(crate) fn take_heap(&self) -> Result<(NonNull<Heap>, ThreadExitKey), NoHeap> {
        if matches!(self.start.see(), Decision::Refused) {
            return Err(NoHeap::NoRegion);
        }
        self.with_state(|state| {
            let start = self.started(state).ok_or(NoHeap::NoRegion)?;
            let key = start.key.ok_or(NoHeap::Share)?;
            let heap = state.unpark().or_else(|| state.make_heap(&start.region, Kind::Threads)).ok_or(NoHeap::Share)?;
            Ok((heap, key))
        })
    }

    /// An empty heap for a handle of the program; `None` if there are no pools, or no memory or place for it.
    pub(crate) fn take_private(&self, name: Name) -> Option<NonNull<Heap>> {
        if matches!(self.start.see(), Decision::Refused) {
            return None;
        }
        let heap = self.with_state(|state| {
            let start = self.started(state)?;
            state.idle_private.pop(&Parked).or_else(|| state.make_heap(&start.region, Kind::Private))
        })?;
        // SAFETY: heaps are never unmapped.
        let view = unsafe { heap.as_ref() };
        // SAFETY: Heap invariant 1: just taken.
        unsafe { view.owned() }.begin_thread();
        view.name.set(name);
        Some(heap)
    }

    /// Takes a private heap back that holds nothing; the caller owns it no longer.
    pub(crate) fn give_private(&self, heap: NonNull<Heap>) {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.name.clear();
        self.with_state(|state| state.idle_private.push(&Parked, heap));
    }

    /// The number of this copy of the memory.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.number()
    }

    /// The region with what comes with it, reserved now if this is the first time.
    fn started(&self, state: &mut State) -> Option<&Start> {
        let make = || {
            // Memcheck knows the blocks of malloc, so that has to serve all requests.
            if os::is_memcheck() {
                return None;
            }
            // Without memory for the stragglers' heap late frees would have nowhere to go: then no pools at all.
            let region = Region::reserve((self.prepare)())?;
            if !region.open_heaps(0, 1) {
                // SAFETY: nobody else has seen it.
                unsafe { region.unreserve() };
                return None;
            }
            (state.heaps, state.straggler_places) = (1, 1);
            let key = (self.on_start)(&region);
            Some(Start { region, key })
        };
        // SAFETY: the lock, which whoever has the state holds (Shared invariant 1).
        unsafe { self.start.decide(make) }
    }

    /// The region, if there is one by now.
    fn region(&self) -> Option<&Region> {
        self.start.value().map(|start| &start.region)
    }

    /// Has the end of this thread told once more, with `value`. False if that cannot be.
    pub(crate) fn arm_again(&self, value: *mut core::ffi::c_void) -> bool {
        self.start.value().and_then(|start| start.key).is_some_and(|key| key.arm(value))
    }

    /// Takes back the heap of a thread that has ended; the caller owns it no longer.
    pub(crate) fn park(&self, heap: NonNull<Heap>) {
        self.with_state(|state| state.parked.push(&Parked, heap));
    }

    /// Has one parked heap give up its cached blocks and its free arenas, if there is one that may have any.
    fn settle_one(&self) {
        let Some(heap) = self.with_state(State::take_unsettled) else { return };
        // SAFETY: heaps are never unmapped.
        let view = unsafe { heap.as_ref() };
        // SAFETY: Heap invariant 1: taken off the list.
        unsafe { view.owned() }.settle(self);
        self.put_back(heap);
    }

    /// Gives a heap back that was looked at; behind all others, so that one that many free to does not hide them.
    fn put_back(&self, heap: NonNull<Heap>) {
        self.with_state(|state| state.looked_at.push(&Parked, heap));
    }

    /// Runs `body` with the heap that threads without one share; `None` if there are no pools.
    pub(crate) fn with_stragglers<R>(&self, body: impl FnOnce(OwnedHeap<'_>) -> R) -> Option<R> {
        if matches!(self.start.see(), Decision::Refused) {
            return None;
        }
        let _guard = self.lock_stragglers();
        let heap = self.with_state(|state| {
            let start = self.started(state)?;
            state.stragglers_heap(&start.region)
        })?;
        // SAFETY: heaps are never unmapped.
        let heap = unsafe { heap.as_ref() };
        // SAFETY: Shared invariant 2.
        let owned = unsafe { heap.owned() }.without_magazines();
        Some(body(owned))
    }

    /// Offset of an address and the tag of its pool; `None` if it is not in the region.
    pub(crate) fn locate(&self, address: usize) -> Option<(usize, u32)> {
        let region = self.region()?;
        let offset = region.offset_of(address)?;
        Some((offset, region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed)))
    }

    /// What the heap holds now.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::new();
        stats.add_large(&self.large);
        let opened = self.with_state(|state| {
            let region = self.region()?;
            let parked = state.parked.length() + state.settled.length() + state.looked_at.length();
            let others = parked + state.straggler_places + state.private_places;
            stats.heaps.in_use = state.heaps.saturating_sub(others) as u64;
            stats.heaps.parked = parked as u64;
            stats.arenas.open = state.carved as u64;
            stats.arenas.free = state.free_arenas.length() as u64;
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
                    if let Some(name) = heap.name.get() {
                        stats.private.add(name, heap);
                    }
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
        !matches!(self.start.see(), Decision::New)
    }

    /// The region, and how many of its arenas are in use.
    pub(crate) fn arenas_in_use(&self) -> Option<(Region, usize)> {
        self.region().map(|region| (*region, self.with_state(|state| state.carved)))
    }

    /// Gives memory that holds no block back to the system: of `own`, the calling thread's heap, of parked heaps, and
    /// of the arenas that nobody owns.
    pub(crate) fn release(&self, own: Option<OwnedHeap<'_>>) -> Released {
        let mut released = Released::default();
        // First all give up what they have of each other's.
        if let Some(own) = own {
            own.give_up_cached();
        }
        self.for_parked(|heap| heap.give_up_cached());
        if let Some(own) = own {
            released += Released::of_pools(own.release(self));
        }
        self.for_parked(|heap| released += Released::of_pools(heap.release(self)));
        let stragglers = self.with_state(|state| state.stragglers.is_some());
        if stragglers {
            released += Released::of_pools(self.with_stragglers(|heap| heap.release(self)).unwrap_or(0));
        }
        released += Released::of_arenas(self.release_free_arenas());
        released
    }

    /// Runs `body` with each parked heap, one at a time, so that a thread which starts meanwhile finds the others.
    fn for_parked(&self, mut body: impl FnMut(OwnedHeap<'_>)) {
        let heaps = self.with_state(|state| {
            while let Some(heap) = state.looked_at.pop(&Parked) {
                state.settled.push(&Parked, heap);
            }
            state.heaps
        });
        // No more often than there are heaps: others may put some back all the time.
        for _ in 0..heaps {
            let next = |state: &mut State| state.parked.pop(&Parked).or_else(|| state.settled.pop(&Parked));
            let Some(heap) = self.with_state(next) else { return };
            // SAFETY: heaps are never unmapped.
            let view = unsafe { heap.as_ref() };
            // SAFETY: Heap invariant 1: taken off the list.
            body(unsafe { view.owned() });
            self.put_back(heap);
        }
    }

    /// Gives the memory of the arenas that nobody owns back to the system. Returns the bytes that were in memory.
    fn release_free_arenas(&self) -> usize {
        let Some(region) = self.region() else { return 0 };
        let (mut bytes, mut own) = (0, Stack::new());
        // Taken off the list one at a time and kept on one of our own, so that the lock is not held for long.
        while let Some(arena) = self.with_state(|state| state.free_arenas.pop(region)) {
            // SAFETY: taken off the list, so this thread's alone, and wholly free (Arena invariant 2).
            bytes += unsafe { region.release(arena.pool(0), POOLS_PER_ARENA) };
            own.push(region, arena);
        }
        while let Some(arena) = own.pop(region) {
            self.give_arena(region, arena);
        }
        bytes
    }

    /// Walks everything and holds each invariant against what is there; `own` is the calling thread's heap.
    pub(crate) fn check_heap(&self, own: Option<OwnedHeap<'_>>) -> Result<(), Violation> {
        // What the stragglers' heap does is not quiet either.
        let _quiet = self.lock_stragglers();
        self.with_state(|state| {
            let Some(&region) = self.region() else { return Ok(()) };
            state.check_parked_heaps()?;
            state.view(region, own).check()
        })
    }

    /// Runs `body` with a view of what is shared, while nobody else changes it or uses the stragglers' heap; `None` if there
    /// is no region. `own` is the calling thread's heap, and `body` asks for no memory.
    pub(crate) fn with_view<'a, R>(&self, own: Option<OwnedHeap<'a>>, body: impl FnOnce(&View<'a>) -> R) -> Option<R> {
        let _quiet = self.lock_stragglers();
        self.with_state(|state| {
            let region = *self.region()?;
            Some(body(&state.view(region, own)))
        })
    }
}

impl State {
    fn view<'a>(&self, region: Region, own: Option<OwnedHeap<'a>>) -> View<'a> {
        View {
            region,
            carved: self.carved,
            open: self.open,
            heaps: self.heaps,
            magazines: self.magazines,
            free_arenas: self.free_arenas.top().map_or(NONE, |arena| arena.0),
            free_arena_count: self.free_arenas.length(),
            heaps_before_fork: self.heaps_before_fork,
            own,
        }
    }

    /// Forgets what another thread may have left half-changed: the lists, and what is at the border of what is in use.
    /// Blocks stay where they are, and are freed as before.
    fn give_up_lists(&mut self, region: Option<&Region>) {
        let Some(region) = region else {
            // Another thread was just starting: this process starts anew.
            (self.heaps, self.straggler_places, self.private_places) = (0, 0, 0);
            return;
        };
        self.free_arenas = Stack::new();
        (self.parked, self.settled, self.looked_at) = (Stack::new(), Stack::new(), Stack::new());
        self.idle_private = Stack::new();
        self.carved = self.open;
        self.magazines = self.magazines_open;
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
        self.parked.pop(&Parked).or_else(|| self.settled.pop(&Parked)).or_else(|| self.looked_at.pop(&Parked))
    }

    fn make_heap(&mut self, region: &Region, kind: Kind) -> Option<NonNull<Heap>> {
        // Half of the places are for threads: a private heap's is never one of theirs again.
        let is_for_threads = kind == Kind::Private && self.private_places >= region.max_heaps() / 2;
        if is_for_threads
            || self.heaps == region.max_heaps()
            || !self.ask(|state| region.open_heaps(state.heaps, state.heaps + 1))
        {
            return None;
        }
        // SAFETY: just opened, and the index grows with each heap.
        let heap = unsafe { Heap::create(region, self.heaps, kind) };
        // In this order too when a fork looks on.
        compiler_fence(Ordering::Release);
        self.heaps += 1;
        self.private_places += usize::from(kind == Kind::Private);
        Some(heap)
    }

    /// The stragglers' heap, made in its reserved place when it is needed first.
    fn stragglers_heap(&mut self, region: &Region) -> Option<NonNull<Heap>> {
        if self.stragglers.is_none() {
            self.stragglers = if self.is_reserved_place_lost {
                let made = self.make_heap(region, Kind::Threads);
                self.straggler_places += usize::from(made.is_some());
                made
            } else {
                // SAFETY: `started` opened the place, and nothing else is made there.
                Some(unsafe { Heap::create(region, 0, Kind::Threads) })
            };
        }
        self.stragglers
    }

    /// Takes a parked heap that may have something to give up: one that has not settled, or whose blocks others have
    /// freed since.
    fn take_unsettled(&mut self) -> Option<NonNull<Heap>> {
        if let Some(heap) = self.parked.pop(&Parked) {
            return Some(heap);
        }
        for _ in 0..SETTLED_LOOKED_AT {
            if self.settled.length() == 0 {
                // Everyone has had a turn: from the beginning.
                core::mem::swap(&mut self.settled, &mut self.looked_at);
            }
            let heap = self.settled.pop(&Parked)?;
            // SAFETY: heaps are never unmapped.
            let view = unsafe { heap.as_ref() };
            // SAFETY: Heap invariant 1: taken off the list.
            if unsafe { view.owned() }.has_waiting() {
                return Some(heap);
            }
            self.looked_at.push(&Parked, heap);
        }
        None
    }

    /// Holds the lists of parked heaps against their lengths.
    fn check_parked_heaps(&self) -> Result<(), Violation> {
        let mut parked = self.straggler_places;
        for list in [&self.parked, &self.settled, &self.looked_at, &self.idle_private] {
            parked += list.length();
            demand(parked <= self.heaps, "more heaps are parked than there are", Place::Process)?;
            let (mut next, mut found) = (list.top(), 0);
            while let (Some(heap), true) = (next, found < list.length()) {
                next = Parked.below(heap);
                found += 1;
            }
            let is_whole = next.is_none() && found == list.length();
            demand(is_whole, "a list of parked heaps is not as long as its count", Place::Process)?;
        }
        Ok(())
    }

    /// Takes an arena from the shared list, else carves a new one.
    fn take_arena(&mut self, region: &Region) -> Option<ArenaId> {
        if let Some(arena) = self.free_arenas.pop(region) {
            return Some(arena);
        }
        if self.carved == self.open && !self.ask(|state| state.open_more(region)) {
            return None;
        }
        self.carved += 1;
        Some(ArenaId(self.carved as u32 - 1))
    }

    /// Runs `open`, which asks the system for memory, or not if the system has just refused some. False without it.
    fn ask(&mut self, open: impl FnOnce(&mut Self) -> bool) -> bool {
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        let is_open = open(self);
        if !is_open {
            self.wait = WAIT_AFTER_REFUSAL;
        }
        is_open
    }

    /// Opens more arenas: an eighth more than there are, within bounds; fewer if the system refuses so many.
    fn open_more(&mut self, region: &Region) -> bool {
        let room = region.max_arenas() - self.open;
        let mut step = (self.open / 8).clamp(FIRST_STEP, LARGEST_STEP).next_multiple_of(FIRST_STEP).min(room);
        while step > 0 {
            if region.open_arenas(self.open, self.open + step) {
                self.open += step;
                return true;
            }
            step /= 2;
        }
        false
    }

    fn take_magazines(&mut self, region: &Region, each: &mut dyn FnMut(*mut Slot)) {
        let end = (self.magazines + MAGAZINES_AT_ONCE).min(region.max_magazines());
        if end > self.magazines_open {
            if !self.ask(|state| region.open_magazines(state.magazines_open, end)) {
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
        let region = self.region()?;
        if let Some(arena) = self.with_state(|state| state.free_arenas.pop(region)) {
            return Some(arena);
        }
        // What ended threads have left lies idle in parked heaps: look there before the region grows.
        self.settle_one();
        self.with_state(|state| state.take_arena(region))
    }

    fn give_arena(&self, region: &Region, arena: ArenaId) {
        self.with_state(|state| state.free_arenas.push(region, arena));
    }

    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot)) {
        let Some(region) = self.region() else { return };
        self.with_state(|state| state.take_magazines(region, each));
    }
}

impl Links<ArenaId> for Region {
    fn below(&self, arena: ArenaId) -> Option<ArenaId> {
        let below = self.arena_record(arena).next().get();
        (below != NONE).then_some(ArenaId(below))
    }

    fn set_below(&self, arena: ArenaId, below: Option<ArenaId>) {
        self.arena_record(arena).next().set(below.map_or(NONE, |arena| arena.0));
    }
}

/// Heaps without a thread are linked through themselves.
struct Parked;

impl Links<NonNull<Heap>> for Parked {
    fn below(&self, heap: NonNull<Heap>) -> Option<NonNull<Heap>> {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.parked_next.get()
    }

    fn set_below(&self, heap: NonNull<Heap>, below: Option<NonNull<Heap>>) {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.parked_next.set(below);
    }
}

#[cfg(test)]
pub(crate) mod tests;
