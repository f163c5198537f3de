//! The thread's heap: one pointer without a destructor, and a pthread key that tells of the thread's end.
//!
//! | the front is | when | allocations and frees |
//! | --- | --- | --- |
//! | `NO_HEAP` | until the thread needs a heap | take the slow path, which takes a heap |
//! | a heap's | until the key's second round | are served by the heap |
//! | a heap's sampling front | instead, while its requests are sampled | the same, but that allocations take the slow path |
//! | `BYPASS`, and the heap beside it | instead, in a process whose [`Mode`](crate::mode::Mode) says so | take the slow path |
//! | `ENDED` | after that, for late destructors | share the stragglers' heap under a lock |
//!
//! A thread whose very first request comes in the third or fourth round of key destructors ends before its key's
//! second round: its heap stays with it. No portable call tells such a moment.
//!
//! A `thread_local!` with a destructor would be gone too early: destructors registered before it still free blocks after
//! it, and would make a heap each time that nobody gives back.

use crate::heap::{Front, Heap, OwnedHeap};
#[cfg(feature = "profile")]
use crate::profile::is_sampling;
use crate::shared::NoHeap;
#[cfg(feature = "profile")]
use crate::statics::PROFILER;
use crate::statics::{BYPASS, ENDED, MODE, NO_HEAP, SHARED, THREADS};
use crate::sync::Ordering;
use crate::watch::Watch;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

thread_local! {
    /// TLS invariant 1: points to a front that lives for ever, or to that of a watch that is on; if it has a heap, this
    /// thread owns that heap.
    static FRONT: Cell<*const Front> = const { Cell::new(&raw const NO_HEAP) };

    /// TLS invariant 2: null unless one of this thread's fronts is `BYPASS`; then a heap that this thread owns.
    static BESIDE: Cell<*const Heap> = const { Cell::new(ptr::null()) };

    /// The thread's number, once it was asked for; 0 until then.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

#[cfg(feature = "backtrace")]
thread_local! {
    static BUSY_WITH_TRACES: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is busy with backtraces.
#[cfg(feature = "profile")]
pub(crate) fn is_busy_with_traces() -> bool {
    BUSY_WITH_TRACES.get()
}

/// Says whether the calling thread is busy with backtraces. Returns whether it was.
#[cfg(feature = "backtrace")]
pub(crate) fn set_busy_with_traces(is_busy: bool) -> bool {
    BUSY_WITH_TRACES.replace(is_busy)
}

/// The front of the calling thread.
#[inline(always)]
pub(crate) fn front() -> &'static Front {
    // The cell has no destructor, so this never fails or allocates.
    let front = FRONT.with(Cell::get);
    // SAFETY: TLS invariant 1.
    unsafe { &*front }
}

/// A number that no other thread has: threads count from 1 in the order in which they asked.
#[inline]
pub(crate) fn thread_number() -> usize {
    // The cell has no destructor, so this never fails or allocates.
    match NUMBER.with(Cell::get) {
        0 => number_thread(),
        number => number,
    }
}

#[cold]
#[inline(never)]
fn number_thread() -> usize {
    // Relaxed: each number is handed out once, and nothing else hangs on it.
    let number = THREADS.fetch_add(1, Ordering::Relaxed) as usize + 1;
    NUMBER.set(number);
    number
}

/// As [`front`], for who keeps it.
pub(crate) fn front_pointer() -> *const Front {
    FRONT.with(Cell::get)
}

/// A number that tells the calling thread from all others that run.
pub(crate) fn mark() -> usize {
    FRONT.with(|front| (&raw const *front).addr())
}

/// The watch over the calling thread's requests, if there is one.
pub(crate) fn watched<'w>() -> Option<&'w Watch> {
    watch_of(FRONT.with(Cell::get))
}

/// The watch that one of this thread's fronts, the one there is now or one below a watch, is part of.
fn watch_of<'w>(front: *const Front) -> Option<&'w Watch> {
    // SAFETY: TLS invariant 1, and Watch invariant 1 for those below.
    unsafe { Watch::of_front(front) }
}

/// A watch that is on; it goes off when this is dropped.
pub(crate) struct On<'w> {
    watch: &'w Watch,
}

/// Puts a watch in front of the calling thread's heap, which [`front_pointer`] gave.
pub(crate) fn watch(watch: &Watch) -> On<'_> {
    FRONT.set((&raw const *watch).cast());
    On { watch }
}

impl Drop for On<'_> {
    fn drop(&mut self) {
        let (own, mut above) = ((&raw const *self.watch).cast::<Front>(), FRONT.with(Cell::get));
        // A coroutine may have been left in the middle of `f`, and another watch be on since: that one stays.
        while let (false, Some(watch)) = (ptr::eq(above, own), watch_of(above)) {
            if ptr::eq(watch.below(), own) {
                return watch.set_below(self.watch.below());
            }
            above = watch.below();
        }
        if !ptr::eq(above, own) {
            // It ends on another thread than it began on, or that thread has ended: nothing here points to it.
            return;
        }
        FRONT.set(self.watch.below());
        if let Some(outer) = watched() {
            outer.add(&self.watch.seen());
        }
    }
}

/// What serves a thread's small requests.
pub(crate) enum Entry {
    /// Its own heap.
    Heap(OwnedHeap<'static>),
    /// The heap that threads without one share.
    Stragglers,
    /// The backend, for want of a region.
    NoRegion,
}

/// The heap of the calling thread, if it has one by now.
#[inline]
pub(crate) fn current() -> Option<OwnedHeap<'static>> {
    in_front().or_else(not_in_front)
}

/// The heap of the calling thread, if its front is the heap's own: only then do pools serve it, and nothing looks on.
#[inline]
pub(crate) fn in_front() -> Option<OwnedHeap<'static>> {
    heap_in(FRONT.with(Cell::get))
}

/// The heap that one of this thread's fronts is part of.
#[inline]
fn heap_in(front: *const Front) -> Option<OwnedHeap<'static>> {
    // SAFETY: TLS invariant 1, and Watch invariant 1 for those below.
    if !unsafe { &*front }.has_heap() {
        return None;
    }
    // SAFETY: TLS invariant 1: it was made from a pointer to the whole heap.
    let heap = unsafe { Heap::of_front(front) };
    // SAFETY: TLS invariant 1.
    Some(unsafe { heap.owned() })
}

/// The heap beside one of this thread's fronts.
fn heap_beside(front: *const Front) -> Option<OwnedHeap<'static>> {
    // SAFETY: TLS invariant 1, and Watch invariant 1 for those below.
    if !unsafe { &*front }.is_bypass() {
        return None;
    }
    // SAFETY: heaps are never unmapped.
    let heap = unsafe { BESIDE.with(Cell::get).as_ref() }?;
    // SAFETY: TLS invariant 2.
    Some(unsafe { heap.owned() })
}

/// Puts a heap that this thread has just taken in front of it, or beside the front that the process's mode asks for.
fn set_heap(heap: NonNull<Heap>, is_sampling: bool) {
    if MODE.get().is_bypass() {
        BESIDE.set(heap.as_ptr());
        FRONT.set(&raw const BYPASS);
    } else {
        FRONT.set(Heap::front_of(heap, is_sampling));
    }
}

/// The heap of the calling thread, below the watches over it or beside the front that it has for its process's mode.
#[cold]
#[inline(never)]
fn not_in_front() -> Option<OwnedHeap<'static>> {
    let front = lowest_front();
    heap_in(front).or_else(|| heap_beside(front))
}

/// The front below all watches.
fn lowest_front() -> *const Front {
    let mut front = FRONT.with(Cell::get);
    while let Some(watch) = watch_of(front) {
        front = watch.below();
    }
    front
}

/// The calling thread's own heap, taken now if it can be.
pub(crate) fn enter_own() -> Option<OwnedHeap<'static>> {
    match enter() {
        Entry::Heap(heap) => Some(heap),
        _ => None,
    }
}

/// What serves the calling thread, which takes a heap now if it can.
#[cold]
#[inline(never)]
pub(crate) fn enter() -> Entry {
    if let Some(heap) = current() {
        return Entry::Heap(heap);
    }
    let below = lowest_front();
    if ptr::eq(below, &raw const ENDED) || !ptr::eq(below, FRONT.with(Cell::get)) {
        // A thread that could take no heap when a watch went on takes none until it is off.
        return Entry::Stragglers;
    }
    match SHARED.take_heap() {
        Ok((heap, key)) => {
            // SAFETY: heaps are never unmapped.
            let view = unsafe { heap.as_ref() };
            // SAFETY: Heap invariant 1: just taken.
            let owned = unsafe { view.owned() };
            owned.begin_thread();
            // Before arming, which may make the C library allocate, and that may come back here.
            set_heap(heap, begin_turn(owned));
            if key.arm(heap.as_ptr().cast()) {
                return Entry::Heap(owned);
            }
            leave(heap);
            // The system may relent: the thread's next request tries again.
            FRONT.set(&raw const NO_HEAP);
            Entry::Stragglers
        }
        Err(NoHeap::Share) => Entry::Stragglers,
        Err(NoHeap::NoRegion) => Entry::NoRegion,
    }
}

/// Whether requests of the calling thread, whose heap this is, are sampled.
///
/// Here the thread takes notice when sampling starts or stops: only it changes its front.
#[cfg(feature = "profile")]
#[inline]
pub(crate) fn is_sampled(heap: OwnedHeap<'_>) -> bool {
    let turn = PROFILER.turn();
    if heap.turn() != turn {
        take_notice(heap);
    }
    is_sampling(turn)
}

#[cfg(feature = "profile")]
#[cold]
#[inline(never)]
fn take_notice(heap: OwnedHeap<'_>) {
    let new = Heap::front_of(NonNull::from(&*heap), begin_turn(heap));
    let mut lowest = None;
    let mut front = FRONT.with(Cell::get);
    while let Some(watch) = watch_of(front) {
        lowest = Some(watch);
        front = watch.below();
    }
    // SAFETY: TLS invariant 1, and Watch invariant 1.
    if !unsafe { &*front }.has_heap() {
        // It is a bypass already.
        return;
    }
    match lowest {
        Some(watch) => watch.set_below(new),
        None => FRONT.set(new),
    }
}

/// A thread begins to use a heap, or takes notice of a new turn of the profiler. Returns whether its requests are sampled.
fn begin_turn(heap: OwnedHeap<'_>) -> bool {
    #[cfg(feature = "profile")]
    {
        let turn = PROFILER.turn();
        heap.begin_turn(turn, PROFILER.mean_bytes());
        is_sampling(turn)
    }
    #[cfg(not(feature = "profile"))]
    {
        let _ = heap;
        false
    }
}

/// Ends the calling thread's ownership of its heap.
fn leave(heap: NonNull<Heap>) {
    // SAFETY: heaps are never unmapped.
    let shared_view = unsafe { heap.as_ref() };
    // SAFETY: TLS invariants 1 and 2; behind the next two lines only this function knows.
    let owned = unsafe { shared_view.owned() };
    FRONT.set(&raw const ENDED);
    BESIDE.set(ptr::null());
    // What the magazines hold stays for the next thread, or for whoever needs an arena before there is one.
    owned.post_all();
    SHARED.park(heap);
}

/// The key's destructor. In its first round it only arms the key again, so that the destructors of other keys, and of
/// Rust's thread-locals where those are such keys, still find the heap; in its second it gives the heap back.
pub(crate) unsafe extern "C" fn thread_exit(value: *mut c_void) {
    // The round is kept in the lowest bit, which a heap's address leaves free.
    let Some(heap) = NonNull::new(value.map_addr(|address| address & !1).cast::<Heap>()) else {
        return;
    };
    let is_first = value.addr() & 1 == 0;
    if is_first && SHARED.arm_again(value.map_addr(|address| address | 1)) {
        return;
    }
    leave(heap);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_may_end_in_any_order() {
        let before = front_pointer();
        let (first, second, third) = (Watch::new(before), Watch::new(ptr::null()), Watch::new(ptr::null()));
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1]] {
            first.set_below(before);
            second.set_below((&raw const first).cast());
            third.set_below((&raw const second).cast());
            let mut on = [&first, &second, &third].map(|each| Some(watch(each)));
            for (ended, number) in order.into_iter().enumerate() {
                on[number] = None;
                let left = [&first, &second, &third].into_iter().zip(&on).rfind(|(_, on)| on.is_some());
                let front = left.map_or(before, |(watch, _)| (&raw const *watch).cast());
                assert!(ptr::eq(front_pointer(), front), "{order:?} after {ended}");
            }
        }
    }
}
