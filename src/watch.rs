//! A thread's requests watched one by one, for what the counts cannot tell: bytes as requested, and high-water marks.
//!
//! While a watch is on, the thread's front is the watch's: it has no heap, so both fast paths leave every request to
//! their slow halves, which serve it from the thread's own heap and note it here. Off, a watch costs nothing, since there is
//! no test for it that was not made anyway.

use crate::heap::Front;
use crate::leaks::Blocks;
use core::cell::{Cell, RefCell};
use core::iter;

/// What a watch has seen. Bytes live count small blocks at block size, others as requested.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) requested_bytes: u64,
    pub(crate) largest_bytes: usize,
    pub(crate) live_bytes: i64,
    pub(crate) live_blocks: i64,
    pub(crate) peak_bytes: i64,
    pub(crate) peak_blocks: i64,
}

/// The front of a thread whose requests are watched, and what was seen.
///
/// Watch invariant 1: `below` is the front that was there before, or one below that whose watch has gone; a watch is taken
/// out of the row of fronts before it goes away.
#[repr(C)]
pub(crate) struct Watch {
    /// First, so that a pointer to it is one to the watch.
    front: Front,
    below: Cell<*const Front>,
    seen: Cell<Seen>,
    /// The blocks that were served since and are not freed, if they are to be known one by one.
    left: RefCell<Option<Blocks>>,
}

impl Watch {
    pub(crate) fn new(below: *const Front) -> Self {
        Self {
            front: Front::watched(),
            below: Cell::new(below),
            seen: Cell::new(Seen::default()),
            left: RefCell::new(None),
        }
    }

    /// One that knows the blocks that are left.
    pub(crate) fn of_blocks(below: *const Front) -> Self {
        Self { left: RefCell::new(Some(Blocks::new())), ..Self::new(below) }
    }

    /// The watch that one of a thread's fronts is part of, if it is one.
    ///
    /// # Safety
    /// * The front lives (TLS invariant 1), as do those below it (Watch invariant 1).
    pub(crate) unsafe fn of_front<'w>(front: *const Front) -> Option<&'w Self> {
        // SAFETY: the caller's promise.
        if !unsafe { &*front }.is_watched() {
            return None;
        }
        // SAFETY: such a front is the first field of a watch, which outlives its time as front (Watch invariant 1).
        Some(unsafe { &*front.cast::<Self>() })
    }

    pub(crate) fn below(&self) -> *const Front {
        self.below.get()
    }

    /// Blocks that were served while it was on, and that its thread has not freed; only of [`of_blocks`](Self::of_blocks).
    pub(crate) fn into_left(self) -> Option<Blocks> {
        self.left.into_inner()
    }

    /// Has each watch of this thread that knows blocks, this one or one below, note a change.
    fn note_blocks(&self, note: impl Fn(&mut Blocks)) {
        // SAFETY: Watch invariant 1.
        for watch in iter::successors(Some(self), |watch| unsafe { Self::of_front(watch.below()) }) {
            // A signal handler that allocates in the middle of a note is left out.
            if let Ok(mut left) = watch.left.try_borrow_mut() {
                left.as_mut().map(&note);
            }
        }
    }

    /// Takes the watch below this one, which goes away, out of the row.
    pub(crate) fn set_below(&self, below: *const Front) {
        self.below.set(below);
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.get()
    }

    /// A request of `requested` bytes was served by a block that counts as `bytes`.
    pub(crate) fn allocated(&self, block: *mut u8, requested: usize, bytes: usize) {
        let mut seen = self.seen.get();
        seen.requested_bytes = seen.requested_bytes.wrapping_add(requested as u64);
        seen.largest_bytes = seen.largest_bytes.max(requested);
        seen.change(1, bytes as i64);
        self.seen.set(seen);
        self.note_blocks(|left| left.insert(block));
    }

    /// A block that counts as `bytes` was freed.
    pub(crate) fn freed(&self, block: *mut u8, bytes: usize) {
        let mut seen = self.seen.get();
        seen.change(-1, -(bytes as i64));
        self.seen.set(seen);
        self.note_blocks(|left| left.remove(block));
    }

    /// The backend resized a block, from one that counts as `from` bytes to one that counts as `to`.
    pub(crate) fn moved(&self, (old, new): (*mut u8, *mut u8), requested: usize, from: usize, to: usize) {
        self.resized(requested, from, to);
        // One that was served before it began is none of its own.
        self.note_blocks(|left| {
            if left.has(old) {
                left.remove(old);
                left.insert(new);
            }
        });
    }

    /// A block was resized where it is, from one that counts as `from` bytes to one that counts as `to`.
    pub(crate) fn resized(&self, requested: usize, from: usize, to: usize) {
        let mut seen = self.seen.get();
        seen.requested_bytes = seen.requested_bytes.wrapping_add(requested as u64);
        seen.largest_bytes = seen.largest_bytes.max(requested);
        seen.change(0, to as i64 - from as i64);
        self.seen.set(seen);
    }

    /// Adds what an inner watch has seen, which began when this one saw its last request.
    pub(crate) fn add(&self, inner: &Seen) {
        let mut seen = self.seen.get();
        seen.requested_bytes = seen.requested_bytes.wrapping_add(inner.requested_bytes);
        seen.largest_bytes = seen.largest_bytes.max(inner.largest_bytes);
        seen.peak_bytes = seen.peak_bytes.max(seen.live_bytes + inner.peak_bytes);
        seen.peak_blocks = seen.peak_blocks.max(seen.live_blocks + inner.peak_blocks);
        seen.live_bytes += inner.live_bytes;
        seen.live_blocks += inner.live_blocks;
        self.seen.set(seen);
    }
}

impl Seen {
    fn change(&mut self, blocks: i64, bytes: i64) {
        self.live_blocks += blocks;
        self.live_bytes += bytes;
        self.peak_blocks = self.peak_blocks.max(self.live_blocks);
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
    }
}
