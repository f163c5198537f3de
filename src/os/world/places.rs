//! A place for each thread that is asked to stop, found by the thread's number.

use crate::os::memory::{open, page_bytes, reserve, unreserve};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Number in the place of a thread that has ended. No thread has this number.
pub(super) const NO_THREAD: u32 = u32::MAX;

/// Number of places of the first table.
pub(super) const FIRST_PLACES: usize = 1024;

/// Bytes of the header in front of a table's first place. The header holds the number of places.
const HEADER_BYTES: usize = size_of::<ThreadPlace>();

/// The place of a thread that was asked to stop, whether it has stopped or not. A place of zeros is free.
#[repr(C)]
#[derive(Default)]
pub(crate) struct ThreadPlace {
    pub(super) thread: AtomicU32,
    /// The number of a round, and in the two low bits the state of the thread in that round.
    pub(super) state: AtomicU32,
    /// Start of the used part of the thread's stack. The kernel saved the thread's registers there.
    pub(super) stack: AtomicUsize,
    /// The thread pointer.
    pub(super) pointer: AtomicUsize,
    /// Whether the thread was on its signal stack when it was stopped.
    pub(super) on_signal_stack: AtomicBool,
    /// For the finder: the nanoseconds that the thread had run when the finder first looked at it, plus one; 0 before
    /// that.
    pub(super) ran: AtomicU64,
    /// For the finder: the number of times that the signal was sent again.
    pub(super) sent_again: AtomicU32,
}

/// A table of places, in memory of its own.
#[derive(Clone, Copy)]
pub(super) struct ThreadPlaces {
    pub(super) places: NonNull<ThreadPlace>,
    pub(super) count: usize,
}

impl ThreadPlaces {
    /// Returns the table whose first place is at `places`.
    ///
    /// # Safety
    /// * [`make`](Self::make) made the table, and it is still mapped.
    pub(super) unsafe fn at(places: NonNull<ThreadPlace>) -> Self {
        // SAFETY: a header lies before the places.
        let header = unsafe { places.byte_sub(HEADER_BYTES) };
        // SAFETY: the caller's promises; the count in the header is never written again.
        let count = unsafe { header.cast::<usize>().read() };
        Self { places, count }
    }

    /// Makes a table of `count` places. `None` if there is no memory.
    pub(super) fn make(count: usize) -> Option<Self> {
        let bytes = (HEADER_BYTES + count * size_of::<ThreadPlace>()).next_multiple_of(page_bytes());
        let start = reserve(bytes)?;
        // SAFETY: just reserved.
        if !unsafe { open(start, bytes) } {
            // SAFETY: just reserved, and not used yet.
            unsafe { unreserve(start, bytes) };
            return None;
        }
        // SAFETY: at the start of fresh memory.
        unsafe { start.cast::<usize>().write(count) };
        // SAFETY: there is room for the header.
        let places = unsafe { start.byte_add(HEADER_BYTES) }.cast();
        Some(Self { places, count })
    }

    pub(super) fn range(self) -> (usize, usize) {
        let start = self.places.addr().get();
        (start - HEADER_BYTES, start + self.count * size_of::<ThreadPlace>())
    }

    pub(super) fn places(&self) -> &[ThreadPlace] {
        // SAFETY: `make` made `count` places; they are atomics, and stay mapped (Stop invariant 2).
        unsafe { core::slice::from_raw_parts(self.places.as_ptr(), self.count) }
    }

    /// Returns the places in the order in which a thread is looked for, each with the number of the thread that has it.
    /// The place of a thread never comes after a free place.
    fn places_of(&self, thread: u32) -> impl Iterator<Item = (&ThreadPlace, u32)> {
        let first = thread.wrapping_mul(0x9E37_79B9) as usize % self.count;
        let (before, from) = self.places().split_at(first);
        from.iter().chain(before).map(|place| (place, place.thread.load(Ordering::Acquire)))
    }

    /// Returns the place of a thread; `None` if it has none.
    pub(super) fn place(&self, thread: u32) -> Option<&ThreadPlace> {
        let (place, there) = self.places_of(thread).find(|(_, there)| *there == thread || *there == 0)?;
        (there == thread).then_some(place)
    }

    /// Returns a place for a thread that has none: a free place, or the place of an ended thread. `None` if other
    /// threads have all places.
    pub(super) fn new_place(&self, thread: u32) -> Option<&ThreadPlace> {
        self.places_of(thread).find(|(_, there)| *there == NO_THREAD || *there == 0).map(|(place, _)| place)
    }
}
