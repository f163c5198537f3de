//! The thread's heap: a thread-local pointer to a front, without a destructor, and a pthread key that learns of the
//! thread's end.
//!
//! | the thread | its front | allocations and frees |
//! | --- | --- | --- |
//! | has no heap yet | `NO_HEAP` | take the slow path, which takes a heap if it can |
//! | has a heap | the heap's | are served by the heap |
//! | has a heap and is sampled | the heap's sampling front | the same; allocations take the slow path |
//! | is watched | a [`Detour`]'s | take the slow path, which finds the heap below |
//! | has a heap, in a [mode](super::mode::Mode) other than pools | `BYPASS`, beside the heap | take the slow path |
//! | has given its heap back, and runs late destructors | `ENDED` | share the stragglers' heap under a lock |
//!
//! There are three ways to the calling thread's heap:
//!
//! * [`front`] returns the front that the fast paths read, with or without a heap. It costs one load. It is for the
//!   fast paths, and for code that asks whether the front has a heap.
//! * [`heap_if_any`] returns the heap, if the thread has one. It costs one more test, and walks detours. It is for code
//!   that reads, gives back or samples: statistics, release, checks, searches, slow frees, profiles.
//! * [`heap_or_make`] returns the [`Entry`] that serves the thread. A thread without a heap takes one now. It costs as
//!   much as `heap_if_any`, and a lock the first time. It is for code that serves or counts a request.
//!
//! At a thread's end the C library calls the destructors of keys, in several rounds, usually four. The second call of
//! this key's destructor ([`thread_exit`]) gives the heap back. A thread whose very first request comes in the third or
//! fourth round may end before that call. Then its heap is never given back. No portable call tells a thread that it is
//! so late.
//!
//! A `thread_local!` with a destructor could not replace the key: it would be destroyed too early. Destructors that
//! were registered before it run after it, and still free blocks. Each such free would take a heap that is never given
//! back.

use super::detour::Detour;
use super::mode::MODE;
#[cfg(feature = "profile")]
use super::sampling::{SAMPLING, is_sampling};
use super::shared::{NoHeap, SharedState};
use super::startup;
use crate::heap::{Front, Heap, OwnedHeap};
use crate::sync::{AtomicU64, Ordering};
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

/// The pools that serve every [`PoolMalloc`](crate::PoolMalloc). The static stands here because it needs
/// [`thread_exit`].
pub(crate) static SHARED: SharedState = SharedState::new(startup::prepare, thread_exit);

/// The front of a thread before it takes a heap. Never written.
pub(crate) static NO_HEAP: Front = Front::without_heap();

/// The front of all threads with a heap, in a mode in which every request takes the slow path. Never written.
static BYPASS: Front = Front::bypass();

/// The front of a thread that has given its heap back and only runs late destructors. Such a thread takes no heap any
/// more. Never written.
static ENDED: Front = Front::without_heap();

/// Number of threads that have asked for their number.
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// TLS invariant 1: it points to a front that lives for ever, or to a detour in this thread's row. If the front has
    /// a heap, this thread owns that heap. The pointer's provenance is that of the whole heap, or of the detour's whole
    /// watch.
    static FRONT: Cell<*const Front> = const { Cell::new(&raw const NO_HEAP) };

    /// TLS invariant 2: it is null unless the last front of this thread's row is `BYPASS`. If that front is `BYPASS`,
    /// it points to a heap that this thread owns.
    static BESIDE: Cell<*const Heap> = const { Cell::new(ptr::null()) };

    /// The thread's number; 0 until it is asked for.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The front of the calling thread.
#[inline(always)]
pub(crate) fn front() -> &'static Front {
    // SAFETY: TLS invariant 1.
    unsafe { &*front_pointer() }
}

/// The front of the calling thread, as a pointer with the provenance that TLS invariant 1 promises.
///
/// This is not `FRONT.with(Cell::get)`. In a program of several codegen units the compiler imports functions of other
/// units first, and inlines the accessor of a `thread_local!` in `with` later. Then the accessor stays a call, in each
/// allocation and each free. The accessor in `try_with` is inlined before the import. The test
/// `builds::own_crate` finds such calls.
#[inline(always)]
fn front_pointer() -> *const Front {
    match FRONT.try_with(Cell::get) {
        Ok(front) => front,
        // The cell has no destructor, so this never happens.
        Err(_) => &raw const NO_HEAP,
    }
}

/// Number of the calling thread. No other thread ever gets the same. The first thread that asks gets 1.
#[inline]
pub(crate) fn thread_number() -> usize {
    // `try_with` for the reason that `front_pointer` gives. The cell has no destructor, so it never fails or allocates.
    match NUMBER.try_with(Cell::get) {
        Ok(number) if number != 0 => number,
        _ => number_thread(),
    }
}

#[cold]
#[inline(never)]
fn number_thread() -> usize {
    // Relaxed: each number is handed out once, and nothing else depends on it.
    let number = THREADS.fetch_add(1, Ordering::Relaxed) as usize + 1;
    NUMBER.set(number);
    number
}

/// A number for the calling thread that no other running thread has. A later thread may get it again.
pub(crate) fn mark() -> usize {
    FRONT.with(|front| (&raw const *front).addr())
}

/// The topmost detour of the calling thread's row, if there is one.
pub(crate) fn detour() -> Option<NonNull<Detour>> {
    detour_of(front_pointer())
}

/// The detour that a front of this thread's row belongs to; `None` if the front is the thread's own.
fn detour_of(front: *const Front) -> Option<NonNull<Detour>> {
    // SAFETY: TLS invariant 1, and Detour invariant 1 for the fronts below the topmost.
    unsafe { Detour::of_front(front) }
}

/// The front below a detour in this thread's row.
fn below(detour: NonNull<Detour>) -> *const Front {
    // SAFETY: Detour invariant 1: it lives as long as it is in the row.
    unsafe { detour.as_ref() }.below()
}

/// Puts a detour on top of the calling thread's row of fronts.
///
/// # Safety
/// * The detour is not in use. It lives until [`end_detour`] has taken it out, or until the calling thread has ended.
/// * The detour is the first field of a watch (Detour invariant 2), and the pointer was made from one to that whole
///   watch.
pub(crate) unsafe fn begin_detour(detour: NonNull<Detour>) {
    // SAFETY: the caller's promise.
    unsafe { detour.as_ref() }.set_below(front_pointer());
    FRONT.set(detour.as_ptr().cast());
}

/// Takes a detour out of the calling thread's row. Returns whether it was the topmost.
///
/// Does nothing if the detour is not in the row: either it began on another thread, or this thread has given up its row
/// together with its heap.
pub(crate) fn end_detour(detour: &Detour) -> bool {
    let (own, mut above) = (ptr::from_ref(detour).cast::<Front>(), front_pointer());
    // Detours may end in any order: a coroutine that began a detour may be dropped early, and its drop ends the detour
    // while other detours lie above. These others stay.
    while let (false, Some(other)) = (ptr::eq(above, own), detour_of(above)) {
        if ptr::eq(below(other), own) {
            // SAFETY: Detour invariant 1: it is in the row.
            unsafe { other.as_ref() }.set_below(detour.below());
            return false;
        }
        above = below(other);
    }
    let is_topmost = ptr::eq(above, own);
    if is_topmost {
        FRONT.set(detour.below());
    }
    is_topmost
}

/// The source of a thread's small blocks.
pub(crate) enum Entry {
    /// The thread's own heap.
    Heap(OwnedHeap<'static>),
    /// The stragglers' heap, which threads without a heap share.
    Stragglers,
    /// The backend, since there is no region.
    NoRegion,
}

impl Entry {
    /// The thread's own heap.
    pub(crate) fn heap(self) -> Option<OwnedHeap<'static>> {
        match self {
            Self::Heap(heap) => Some(heap),
            Self::Stragglers | Self::NoRegion => None,
        }
    }
}

/// The heap of the calling thread, if it has one.
#[inline]
pub(crate) fn heap_if_any() -> Option<OwnedHeap<'static>> {
    heap_in(front_pointer()).or_else(heap_below)
}

/// The entry that serves the calling thread. A thread without a heap takes one now, if it can.
#[inline]
pub(crate) fn heap_or_make() -> Entry {
    match heap_in(front_pointer()) {
        Some(heap) => Entry::Heap(heap),
        None => make(),
    }
}

/// The heap that a front of this thread's row belongs to; `None` if that front has no heap.
#[inline]
fn heap_in(front: *const Front) -> Option<OwnedHeap<'static>> {
    // SAFETY: TLS invariant 1, and Detour invariant 1 for the fronts below the topmost.
    if !unsafe { &*front }.has_heap() {
        return None;
    }
    // SAFETY: TLS invariant 1: the pointer was made from one to the whole heap.
    let heap = unsafe { Heap::of_front(front) };
    // SAFETY: TLS invariant 1.
    Some(unsafe { heap.owned() })
}

/// The heap beside a front of this thread's row; `None` unless that front is `BYPASS`.
fn heap_beside(front: *const Front) -> Option<OwnedHeap<'static>> {
    // SAFETY: TLS invariant 1, and Detour invariant 1 for the fronts below the topmost.
    if !unsafe { &*front }.is_bypass() {
        return None;
    }
    // SAFETY: heaps are never unmapped.
    let heap = unsafe { BESIDE.with(Cell::get).as_ref() }?;
    // SAFETY: TLS invariant 2.
    Some(unsafe { heap.owned() })
}

/// Gives the calling thread a heap that it has just taken: the heap's front becomes the thread's. If the mode asks for
/// it, the thread's front becomes `BYPASS`, with the heap beside it.
fn set_heap(heap: NonNull<Heap>, is_sampling: bool) {
    if MODE.get().is_bypass() {
        BESIDE.set(heap.as_ptr());
        FRONT.set(&raw const BYPASS);
    } else {
        FRONT.set(Heap::front_of(heap, is_sampling));
    }
}

/// The heap of the calling thread, when its topmost front has none. The heap is below the detours, or beside `BYPASS`.
#[cold]
#[inline(never)]
fn heap_below() -> Option<OwnedHeap<'static>> {
    let front = lowest_front();
    heap_in(front).or_else(|| heap_beside(front))
}

/// The front below all detours.
fn lowest_front() -> *const Front {
    let mut front = front_pointer();
    while let Some(detour) = detour_of(front) {
        front = below(detour);
    }
    front
}

/// The slow half of [`heap_or_make`]: the topmost front has no heap. Finds the heap below it, or takes one.
#[cold]
#[inline(never)]
fn make() -> Entry {
    if let Some(heap) = heap_below() {
        return Entry::Heap(heap);
    }
    let below = lowest_front();
    if ptr::eq(below, &raw const ENDED) || !ptr::eq(below, front_pointer()) {
        // A thread without a heap takes none while it has a detour.
        return Entry::Stragglers;
    }
    match SHARED.take_heap() {
        Ok(heap) => {
            // SAFETY: Heap invariant 1: just taken.
            let owned = unsafe { Heap::owned_at(heap) };
            owned.begin_thread();
            // Set the heap before arming the key: arming may make the C library allocate, and such a request finds the
            // heap here.
            set_heap(heap, begin_turn(owned));
            if SHARED.arm(heap.as_ptr().cast()) {
                return Entry::Heap(owned);
            }
            leave(heap);
            // The thread's next request tries again.
            FRONT.set(&raw const NO_HEAP);
            Entry::Stragglers
        }
        Err(NoHeap::Share) => Entry::Stragglers,
        Err(NoHeap::NoRegion) => Entry::NoRegion,
    }
}

/// Whether requests of the calling thread are sampled. `heap` is its heap.
///
/// Here the thread notices that sampling has started or stopped, and changes its front. No other thread changes that.
#[cfg(feature = "profile")]
#[inline]
pub(crate) fn is_sampled(heap: OwnedHeap<'_>) -> bool {
    let turn = SAMPLING.turn();
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
    let mut front = front_pointer();
    while let Some(detour) = detour_of(front) {
        lowest = Some(detour);
        front = below(detour);
    }
    // SAFETY: TLS invariant 1, and Detour invariant 1.
    if !unsafe { &*front }.has_heap() {
        // Every request takes the slow path already.
        return;
    }
    match lowest {
        // SAFETY: Detour invariant 1: it is in the row.
        Some(detour) => unsafe { detour.as_ref() }.set_below(new),
        None => FRONT.set(new),
    }
}

/// Begins the current turn of sampling in the calling thread's heap. Returns whether requests are sampled in that turn.
fn begin_turn(heap: OwnedHeap<'_>) -> bool {
    #[cfg(feature = "profile")]
    {
        let turn = SAMPLING.turn();
        heap.begin_turn(turn, SAMPLING.mean_bytes());
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
    // SAFETY: TLS invariants 1 and 2: this thread owns the heap. After the next two lines no other code of this thread
    // finds it.
    let owned = unsafe { Heap::owned_at(heap) };
    FRONT.set(&raw const ENDED);
    BESIDE.set(ptr::null());
    // The magazines keep their blocks, for the thread that takes the heap over. If another heap needs an arena before
    // that, this one may be settled.
    owned.post_all();
    SHARED.park(heap);
}

/// The key's destructor. Its first call only arms the key again, so that the destructors of other keys still find the
/// heap; on some systems Rust's thread-locals are such keys. Its second call gives the heap back.
unsafe extern "C" fn thread_exit(value: *mut c_void) {
    // The lowest bit of the value is set in the second call. A heap's address is even.
    let Some(heap) = NonNull::new(value.map_addr(|address| address & !1).cast::<Heap>()) else {
        return;
    };
    let is_first = value.addr() & 1 == 0;
    if is_first && SHARED.arm(value.map_addr(|address| address | 1)) {
        return;
    }
    leave(heap);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detours_may_end_in_any_order() {
        let before = ptr::from_ref(front());
        let three = [Detour::new(), Detour::new(), Detour::new()];
        let as_front = |detour: &Detour| ptr::from_ref(detour).cast::<Front>();
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1]] {
            // SAFETY: the detours are not in use, and are ended below. They are part of no watch, but no code asks for
            // one: this thread makes no request meanwhile.
            three.iter().for_each(|detour| unsafe { begin_detour(NonNull::from(detour)) });
            let mut on = [true; 3];
            for number in order {
                let is_topmost = !on[number + 1..].contains(&true);
                assert_eq!(end_detour(&three[number]), is_topmost, "{order:?}");
                on[number] = false;
                let left = three.iter().zip(on).rfind(|(_, on)| *on);
                let expected = left.map_or(before, |(detour, _)| as_front(detour));
                assert!(ptr::eq(front_pointer(), expected), "{order:?} after {number}");
            }
            assert!(!end_detour(&three[0]), "it is in no row any more");
        }
    }

    #[test]
    fn a_thread_that_gave_its_heap_back_has_none() {
        let given_back = std::thread::spawn(|| {
            let Entry::Heap(owned) = heap_or_make() else { panic!("no heap") };
            let heap = NonNull::from(&*owned);
            // The key's destructor must not give the heap back again.
            assert!(SHARED.arm(ptr::null_mut()));
            leave(heap);
            assert!(ptr::eq(front_pointer(), &raw const ENDED));
            assert!(heap_if_any().is_none());
            assert!(matches!(heap_or_make(), Entry::Stragglers));
        });
        given_back.join().expect("the thread found a heap");
    }
}
