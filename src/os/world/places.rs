//! A place for each thread that is asked to stop, found by the thread's number.

use crate::os::memory::{open, page_bytes, reserve, unreserve};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// In the place of a thread that has ended: no thread has this number.
pub(super) const NO_THREAD: u32 = u32::MAX;

/// Places of the first table.
pub(super) const FIRST_PLACES: usize = 1024;

/// Bytes in memory before a table's first place: how many places there are.
const HEADER_BYTES: usize = size_of::<ThreadPlace>();

/// A thread that is asked to stop, or has. Zero is a free place.
#[repr(C)]
#[derive(Default)]
pub(crate) struct ThreadPlace {
    pub(super) thread: AtomicU32,
    /// A round, and what has become of the thread in it.
    pub(super) state: AtomicU32,
    /// Where what the thread uses of its stack begins: its registers, as the kernel saved them.
    pub(super) stack: AtomicUsize,
    /// The thread pointer.
    pub(super) pointer: AtomicUsize,
    /// Whether a stack for signals was in use when the thread was stopped.
    pub(super) on_signal_stack: AtomicBool,
    /// For the finder: nanoseconds that the thread had run when it was first looked at, and one more; 0 before.
    pub(super) ran: AtomicU64,
    /// For the finder: how often the signal was sent once more.
    pub(super) sent_again: AtomicU32,
}

/// The places, in memory of their own.
#[derive(Clone, Copy)]
pub(super) struct ThreadPlaces {
    pub(super) places: NonNull<ThreadPlace>,
    pub(super) count: usize,
}

impl ThreadPlaces {
    /// The table whose places begin there.
    ///
    /// # Safety
    /// * [`make`](Self::make) made it, and nobody has unmapped it.
    pub(super) unsafe fn at(places: NonNull<ThreadPlace>) -> Self {
        // SAFETY: a header lies before the places.
        let header = unsafe { places.byte_sub(HEADER_BYTES) };
        // SAFETY: the caller's promise; the count in it is never written again.
        let count = unsafe { header.cast::<usize>().read() };
        Self { places, count }
    }

    /// A table with so many places. `None` without memory.
    pub(super) fn make(count: usize) -> Option<Self> {
        let bytes = (HEADER_BYTES + count * size_of::<ThreadPlace>()).next_multiple_of(page_bytes());
        let start = reserve(bytes)?;
        // SAFETY: just reserved.
        if !unsafe { open(start, bytes) } {
            // SAFETY: just reserved, and nobody uses it.
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
        // SAFETY: so many were made, they are atomics, and stay mapped (Stop invariant 2).
        unsafe { core::slice::from_raw_parts(self.places.as_ptr(), self.count) }
    }

    /// The places where a thread may be, in turn: it is in none behind one that is free.
    fn places_of(&self, thread: u32) -> impl Iterator<Item = (&ThreadPlace, u32)> {
        let first = thread.wrapping_mul(0x9E37_79B9) as usize % self.count;
        let (before, from) = self.places().split_at(first);
        from.iter().chain(before).map(|place| (place, place.thread.load(Ordering::Acquire)))
    }

    /// The place of a thread.
    pub(super) fn place(&self, thread: u32) -> Option<&ThreadPlace> {
        let (place, there) = self.places_of(thread).find(|(_, there)| *there == thread || *there == 0)?;
        (there == thread).then_some(place)
    }

    /// A place for a thread that has none: a free one, or that of a thread which has ended. `None` if all are taken by
    /// others.
    pub(super) fn new_place(&self, thread: u32) -> Option<&ThreadPlace> {
        self.places_of(thread).find(|(_, there)| *there == NO_THREAD || *there == 0).map(|(place, _)| place)
    }
}
