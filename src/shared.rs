//! What all heaps share: the region, the arenas that nobody owns, the heaps without a thread. One lock guards it; a
//! running program takes it once for each new arena (256 KiB) and at the start and end of each thread.

use crate::heap::{Heap, LargeCounters, OwnedHeap, Supply};
use crate::lock::Lock;
use crate::magazine::Slot;
use crate::os::ThreadExitKey;
use crate::pool::NONE;
use crate::region::{ArenaId, Region};
use crate::size_class::ARENA_BYTES;
use crate::stats::Stats;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use static_assertions::const_assert_eq;

/// Arenas opened first: 2 MiB of addresses.
const FIRST_STEP: usize = 8;
/// Most arenas opened at once: 64 MiB, which a system that counts opened memory has to promise.
const LARGEST_STEP: usize = 256;
/// Settled heaps looked at for blocks that others have freed, before the region grows by an arena.
const SETTLED_LOOKED_AT: usize = 64;
/// Magazines that a heap gets at once: one 4 KiB page of them.
const MAGAZINES_AT_ONCE: usize = 8;

const_assert_eq!(MAGAZINES_AT_ONCE * size_of::<crate::magazine::Magazine>(), 4096);

/// Not started: no thread has needed a heap yet.
const NEW: u32 = 0;
/// There is a region.
const READY: u32 = 1;
/// The system refused a region: everything goes to the backend.
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
pub(crate) struct State {
    region: Option<Region>,
    key: Option<ThreadExitKey>,
    /// Arenas carved from the region so far; each is owned by a heap or on the shared list.
    carved: usize,
    /// Arenas whose memory is open.
    open: usize,
    /// The shared list: wholly free arenas that nobody owns.
    free_arenas: u32,
    free_arena_count: usize,
    heaps: usize,
    /// Heaps whose threads have ended, with what their magazines held then: the next thread goes on with that.
    parked: Option<NonNull<Heap>>,
    /// Parked heaps that have given up all they could, [`OwnedHeap::settle`].
    settled: Option<NonNull<Heap>>,
    parked_count: usize,
    magazines: usize,
    magazines_open: usize,
    stragglers: Option<NonNull<Heap>>,
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
    /// Runs once, when the region has been reserved.
    start: fn() -> Option<ThreadExitKey>,
    /// Bytes to reserve.
    bytes: fn() -> usize,
}

// SAFETY: Shared invariants 1 and 2.
unsafe impl Sync for Shared {}

impl Shared {
    /// Pools in a region of `bytes`, reserved when the first heap is asked for; then `start` runs once.
    pub(crate) const fn new(bytes: fn() -> usize, start: fn() -> Option<ThreadExitKey>) -> Self {
        Self {
            lock: Lock::new(AtomicUsize::new(0)),
            state: UnsafeCell::new(State {
                region: None,
                key: None,
                carved: 0,
                open: 0,
                free_arenas: NONE,
                free_arena_count: 0,
                heaps: 0,
                parked: None,
                settled: None,
                parked_count: 0,
                magazines: 0,
                magazines_open: 0,
                stragglers: None,
            }),
            phase: AtomicU32::new(NEW),
            stragglers_lock: Lock::new(AtomicUsize::new(0)),
            large: LargeCounters::new(),
            start,
            bytes,
        }
    }

    /// Runs `body` with the state, for the thread with token `me`.
    pub(crate) fn with_state<R>(&self, me: usize, body: impl FnOnce(&mut State) -> R) -> R {
        let _guard = self.lock.lock(me);
        // SAFETY: Shared invariant 1; no body calls back into here, so this is the only reference.
        body(unsafe { &mut *self.state.get() })
    }

    /// A heap for a thread: a parked one if there is one, else a new one. The key tells of the thread's end.
    pub(crate) fn take_heap(&self, me: usize) -> Result<(NonNull<Heap>, ThreadExitKey), NoHeap> {
        if self.phase.load(Ordering::Acquire) == REFUSED {
            return Err(NoHeap::NoRegion);
        }
        self.with_state(me, |state| {
            let region = self.started(state).ok_or(NoHeap::NoRegion)?;
            let key = state.key.ok_or(NoHeap::Share)?;
            let heap = match state.unpark() {
                Some(heap) => heap,
                None => state.make_heap(&region).ok_or(NoHeap::Share)?,
            };
            Ok((heap, key))
        })
    }

    /// The region, reserved now if this is the first time.
    fn started(&self, state: &mut State) -> Option<Region> {
        if self.phase.load(Ordering::Relaxed) == NEW {
            state.region = Region::reserve((self.bytes)());
            if state.region.is_some() {
                state.key = (self.start)();
            }
            self.phase.store(if state.region.is_some() { READY } else { REFUSED }, Ordering::Release);
        }
        state.region
    }

    /// Has the end of this thread told once more, with `value`. False if that cannot be.
    pub(crate) fn arm_again(&self, me: usize, value: *mut core::ffi::c_void) -> bool {
        let key = self.with_state(me, |state| state.key);
        key.is_some_and(|key| key.arm(value))
    }

    /// Takes back the heap of a thread that has ended; the caller owns it no longer.
    pub(crate) fn park(&self, me: usize, heap: NonNull<Heap>) {
        self.with_state(me, |state| {
            push(&mut state.parked, heap);
            state.parked_count += 1;
        });
    }

    /// Has one parked heap give up its cached blocks and its free arenas, if there is one that may have any.
    fn settle_one(&self, me: usize) {
        let Some(heap) = self.with_state(me, State::take_unsettled) else { return };
        // SAFETY: heaps are never unmapped.
        let view = unsafe { heap.as_ref() };
        // SAFETY: Heap invariant 1: nobody else can find a heap that was parked and is no longer.
        unsafe { view.owned() }.settle(&self.supply(me));
        self.with_state(me, |state| {
            push(&mut state.settled, heap);
            state.parked_count += 1;
        });
    }

    /// Runs `body` with the heap that threads without one share; `None` if there are no pools or no memory for it.
    pub(crate) fn with_stragglers<R>(&self, me: usize, body: impl FnOnce(OwnedHeap<'_>) -> R) -> Option<R> {
        if self.phase.load(Ordering::Acquire) == REFUSED {
            return None;
        }
        let _guard = self.stragglers_lock.lock(me);
        let heap = self.with_state(me, |state| {
            if state.stragglers.is_none() {
                let region = self.started(state)?;
                state.stragglers = state.make_heap(&region);
            }
            state.stragglers
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

    /// The tag of the pool that an address lies in and its offset; `None` if it is not in the region.
    pub(crate) fn locate(&self, me: usize, address: usize) -> Option<(usize, u32)> {
        if self.phase.load(Ordering::Acquire) != READY {
            return None;
        }
        let region = self.with_state(me, |state| state.region)?;
        let offset = region.offset_of(address)?;
        let pool = crate::region::PoolId((offset / crate::size_class::POOL_BYTES) as u32);
        Some((offset, region.tag(pool).load(Ordering::Relaxed)))
    }

    /// What the heap holds now.
    pub(crate) fn stats(&self, me: usize) -> Stats {
        let mut stats = Stats::new();
        self.with_state(me, |state| {
            stats.add_large(&self.large);
            let Some(region) = state.region else { return };
            for index in 0..state.heaps {
                // SAFETY: heaps are never unmapped, and so many were made; this reads their atomics only.
                stats.add_heap(unsafe { region.heap(index).as_ref() });
            }
            let stragglers = usize::from(state.stragglers.is_some());
            stats.heaps.in_use = (state.heaps - state.parked_count - stragglers) as u64;
            stats.heaps.parked = state.parked_count as u64;
            stats.arenas.open = state.carved as u64;
            stats.arenas.free = state.free_arena_count as u64;
            stats.region.reserved_bytes = region.bytes() as u64;
            stats.region.open_bytes = (state.open * ARENA_BYTES) as u64;
            stats.region.metadata_bytes = Region::metadata_bytes(state.carved, state.heaps, state.magazines) as u64;
        });
        stats.sum();
        stats
    }

    /// Before a fork: takes the locks, in their order, so that no other thread is in the middle of what they guard.
    pub(crate) fn before_fork(&self, me: usize) {
        self.stragglers_lock.lock(me).hold();
        self.lock.lock(me).hold();
    }

    /// After a fork, in parent and child.
    pub(crate) fn after_fork(&self) {
        self.lock.unlock();
        self.stragglers_lock.unlock();
    }

    /// Where the thread with token `me` gets arenas and magazines from.
    pub(crate) fn supply(&self, me: usize) -> impl Supply + '_ {
        SharedSupply { shared: self, me }
    }
}

impl State {
    /// Takes a parked heap for a new thread: the last one parked, for its blocks are most likely in the cache.
    fn unpark(&mut self) -> Option<NonNull<Heap>> {
        let heap = pop(&mut self.parked).or_else(|| pop(&mut self.settled))?;
        self.parked_count -= 1;
        Some(heap)
    }

    fn make_heap(&mut self, region: &Region) -> Option<NonNull<Heap>> {
        if self.heaps == region.max_heaps() || !region.open_heaps(self.heaps, self.heaps + 1) {
            return None;
        }
        // SAFETY: just opened, and the index grows with each heap.
        let heap = unsafe { Heap::create(region, self.heaps) };
        self.heaps += 1;
        Some(heap)
    }

    /// Takes a parked heap that may have something to give up: one that has not settled, or whose blocks others have
    /// freed since.
    fn take_unsettled(&mut self) -> Option<NonNull<Heap>> {
        let heap = pop(&mut self.parked).or_else(|| self.take_settled_with_frees())?;
        self.parked_count -= 1;
        Some(heap)
    }

    fn take_settled_with_frees(&mut self) -> Option<NonNull<Heap>> {
        let mut above: Option<NonNull<Heap>> = None;
        let mut next = self.settled;
        for _ in 0..SETTLED_LOOKED_AT {
            let heap = next?;
            // SAFETY: heaps are never unmapped.
            let view = unsafe { heap.as_ref() };
            next = view.parked_next.get();
            if view.pending().is_empty() {
                above = Some(heap);
                continue;
            }
            match above {
                // SAFETY: heaps are never unmapped.
                Some(above) => unsafe { above.as_ref() }.parked_next.set(next),
                None => self.settled = next,
            }
            return Some(heap);
        }
        None
    }

    /// Takes an arena from the shared list.
    fn take_free_arena(&mut self) -> Option<ArenaId> {
        if self.free_arenas == NONE {
            return None;
        }
        let arena = ArenaId(self.free_arenas);
        self.free_arenas = self.region?.arena_record(arena).shared_next().get();
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

/// Puts a heap on a list of parked ones.
fn push(list: &mut Option<NonNull<Heap>>, heap: NonNull<Heap>) {
    // SAFETY: heaps are never unmapped.
    unsafe { heap.as_ref() }.parked_next.set(*list);
    *list = Some(heap);
}

/// Takes the heap put on a list last.
fn pop(list: &mut Option<NonNull<Heap>>) -> Option<NonNull<Heap>> {
    let heap = (*list)?;
    // SAFETY: heaps are never unmapped.
    *list = unsafe { heap.as_ref() }.parked_next.take();
    Some(heap)
}

struct SharedSupply<'a> {
    shared: &'a Shared,
    me: usize,
}

impl Supply for SharedSupply<'_> {
    fn take_arena(&self) -> Option<ArenaId> {
        if let Some(arena) = self.shared.with_state(self.me, State::take_free_arena) {
            return Some(arena);
        }
        // What ended threads have left lies idle in parked heaps: look there before the region grows.
        self.shared.settle_one(self.me);
        self.shared.with_state(self.me, State::take_arena)
    }

    fn give_arena(&self, region: &Region, arena: ArenaId) {
        self.shared.with_state(self.me, |state| {
            region.arena_record(arena).shared_next().set(state.free_arenas);
            state.free_arenas = arena.0;
            state.free_arena_count += 1;
        });
    }

    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot)) {
        self.shared.with_state(self.me, |state| state.take_magazines(each));
    }
}

#[cfg(test)]
mod tests;
