//! A thread's requests watched one by one, for what the counts cannot tell: bytes as requested, and high-water marks.
//!
//! While a watch is on, the thread takes a [`Detour`]: both fast paths leave every request to their slow halves, which
//! serve it from the thread's own heap and note it here. Off, a watch costs nothing: no test is made for it that was
//! not made anyway.

use crate::figures::Address;
use crate::large::BlockSet;
use crate::process::{Detour, tls};
use core::cell::{Cell, RefCell};
use core::iter;
use core::ptr::NonNull;

/// What a watch has seen. Bytes live count small blocks at block size, others as requested.
#[derive(Clone, Copy, Default)]
pub(crate) struct WatchFigures {
    pub(crate) requested_bytes: u64,
    pub(crate) largest_bytes: usize,
    pub(crate) live_bytes: i64,
    pub(crate) live_blocks: i64,
    pub(crate) peak_bytes: i64,
    pub(crate) peak_blocks: i64,
}

/// A detour of a thread whose requests are watched, and what was seen.
///
/// Watch invariant 1: it is told of requests while its detour is in the row of the calling thread's fronts, and only
/// then.
#[repr(C)]
pub(crate) struct Watch {
    /// First, so that a pointer to it is one to the watch.
    detour: Detour,
    seen: Cell<WatchFigures>,
    /// The blocks that were served since and are not freed, if they are to be known one by one.
    left: RefCell<Option<BlockSet>>,
}

/// A watch that is on; it goes off when this is dropped.
pub(crate) struct WatchGuard<'w> {
    watch: &'w Watch,
}

/// The watch over the calling thread's requests, if there is one.
pub(crate) fn watched<'w>() -> Option<&'w Watch> {
    tls::detour().map(Watch::of)
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { detour: Detour::new(), seen: Cell::new(WatchFigures::default()), left: RefCell::new(None) }
    }

    /// One that knows the blocks that are left.
    pub(crate) fn of_blocks() -> Self {
        Self { left: RefCell::new(Some(BlockSet::new())), ..Self::new() }
    }

    /// The watch that a detour in a row of fronts is part of.
    fn of<'w>(detour: NonNull<Detour>) -> &'w Self {
        // SAFETY: Detour invariant 2, and the pointer in the row was made from one to the whole watch.
        unsafe { detour.cast::<Self>().as_ref() }
    }

    /// Watches the calling thread's requests until the result is dropped.
    pub(crate) fn watch(&self) -> WatchGuard<'_> {
        // SAFETY: the first field of a watch, which the result borrows until it ends the detour. A watch goes on once.
        unsafe { tls::begin_detour(NonNull::from(self).cast()) };
        WatchGuard { watch: self }
    }

    /// Blocks that were served while it was on, and that its thread has not freed; only of
    /// [`of_blocks`](Self::of_blocks).
    pub(crate) fn into_left(self) -> Option<BlockSet> {
        self.left.into_inner()
    }

    /// Notes a change in each watch of this thread that knows blocks, this one and those below.
    fn note_blocks(&self, note: impl Fn(&mut BlockSet)) {
        // SAFETY: Watch invariant 1: only a watch in the row of the calling thread's fronts is told of its requests.
        for watch in iter::successors(Some(self), |watch| unsafe { watch.detour.next() }.map(Self::of)) {
            // A signal handler that allocates in the middle of a note is left out.
            if let Ok(mut left) = watch.left.try_borrow_mut() {
                left.as_mut().map(&note);
            }
        }
    }

    pub(crate) fn seen(&self) -> WatchFigures {
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
            if left.has(Address::from(old.addr())) {
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
    pub(crate) fn add(&self, inner: &WatchFigures) {
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

impl Drop for WatchGuard<'_> {
    fn drop(&mut self) {
        if tls::end_detour(&self.watch.detour) {
            if let Some(outer) = watched() {
                outer.add(&self.watch.seen());
            }
        }
    }
}

impl WatchFigures {
    fn change(&mut self, blocks: i64, bytes: i64) {
        self.live_blocks += blocks;
        self.live_bytes += bytes;
        self.peak_blocks = self.peak_blocks.max(self.live_blocks);
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
    }
}
