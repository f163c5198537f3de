//! Watches a thread's requests one by one, for figures that the counts do not give: bytes as requested, and high-water
//! marks.
//!
//! While a watch is on, the thread takes a [`Detour`]: both fast paths leave every request to their slow halves. These
//! serve it from the thread's own heap, and note it in the watch. A watch that is off costs nothing, since the fast
//! paths make no test for it.

use crate::figures::Address;
use crate::large::BlockSet;
use crate::process::{Detour, tls};
use core::cell::{Cell, RefCell};
use core::iter;
use core::ptr::NonNull;

/// The figures of a watch. Live bytes count small blocks at block size, others as requested.
#[derive(Clone, Copy, Default)]
pub(crate) struct WatchFigures {
    pub(crate) requested_bytes: u64,
    pub(crate) largest_bytes: usize,
    pub(crate) live_bytes: i64,
    pub(crate) live_blocks: i64,
    pub(crate) peak_bytes: i64,
    pub(crate) peak_blocks: i64,
}

/// A detour of a thread whose requests are watched, and the figures of those requests.
///
/// Watch invariant 1: only one thread notes requests in a watch: the thread that has the watch's detour in its row of
/// fronts. It does so only while the detour is there.
#[repr(C)]
pub(crate) struct Watch {
    /// The first field, so that a pointer to the detour is a pointer to the watch.
    detour: Detour,
    seen: Cell<WatchFigures>,
    /// The blocks that were served while the watch was on and are not freed yet. `None` if the watch does not note
    /// blocks.
    left: RefCell<Option<BlockSet>>,
}

/// A watch that is on. Dropping this switches it off.
pub(crate) struct WatchGuard<'w> {
    watch: &'w Watch,
}

/// The topmost watch over the calling thread's requests, if there is one.
pub(crate) fn watched<'w>() -> Option<&'w Watch> {
    tls::detour().map(Watch::of)
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { detour: Detour::new(), seen: Cell::new(WatchFigures::default()), left: RefCell::new(None) }
    }

    /// A watch that also notes the blocks that are not freed.
    pub(crate) fn of_blocks() -> Self {
        Self { left: RefCell::new(Some(BlockSet::new())), ..Self::new() }
    }

    /// The watch that a detour in a row of fronts is part of.
    fn of<'w>(detour: NonNull<Detour>) -> &'w Self {
        // SAFETY: Detour invariant 2. The pointer in the row was made from a pointer to the whole watch.
        unsafe { detour.cast::<Self>().as_ref() }
    }

    /// Watches the calling thread's requests until the result is dropped.
    pub(crate) fn watch(&self) -> WatchGuard<'_> {
        // SAFETY: the detour is the first field of a watch, which the result borrows until it ends the detour. A watch
        // is switched on only once.
        unsafe { tls::begin_detour(NonNull::from(self).cast()) };
        WatchGuard { watch: self }
    }

    /// The blocks that were served while the watch was on, and that its thread has not freed. `None` unless the watch
    /// was made by [`of_blocks`](Self::of_blocks).
    pub(crate) fn into_left(self) -> Option<BlockSet> {
        self.left.into_inner()
    }

    /// Notes a change in each watch of this thread that notes blocks: this watch and those below.
    fn note_blocks(&self, note: impl Fn(&mut BlockSet)) {
        // SAFETY: Watch invariant 1: this watch gets a note, so its detour is in the calling thread's row of fronts.
        for watch in iter::successors(Some(self), |watch| unsafe { watch.detour.next() }.map(Self::of)) {
            // The set is in use if a signal handler allocates in the middle of a note. Such a request is not noted.
            if let Ok(mut left) = watch.left.try_borrow_mut() {
                left.as_mut().map(&note);
            }
        }
    }

    pub(crate) fn seen(&self) -> WatchFigures {
        self.seen.get()
    }

    /// Notes that a request of `requested` bytes was served by a block that counts as `bytes`.
    pub(crate) fn allocated(&self, block: *mut u8, requested: usize, bytes: usize) {
        let mut seen = self.seen.get();
        seen.requested_bytes = seen.requested_bytes.wrapping_add(requested as u64);
        seen.largest_bytes = seen.largest_bytes.max(requested);
        seen.change(1, bytes as i64);
        self.seen.set(seen);
        self.note_blocks(|left| left.insert(block));
    }

    /// Notes that a block that counts as `bytes` was freed.
    pub(crate) fn freed(&self, block: *mut u8, bytes: usize) {
        let mut seen = self.seen.get();
        seen.change(-1, -(bytes as i64));
        self.seen.set(seen);
        self.note_blocks(|left| left.remove(block));
    }

    /// Notes that the backend resized a block that counted as `from` bytes and now counts as `to`. It may have moved.
    pub(crate) fn moved(&self, (old, new): (*mut u8, *mut u8), requested: usize, from: usize, to: usize) {
        self.resized(requested, from, to);
        // A block that was served before the watch began is not in its set, and is not added.
        self.note_blocks(|left| {
            if left.has(Address::from(old.addr())) {
                left.remove(old);
                left.insert(new);
            }
        });
    }

    /// Notes that a block was resized where it is: it counted as `from` bytes and now counts as `to`.
    pub(crate) fn resized(&self, requested: usize, from: usize, to: usize) {
        let mut seen = self.seen.get();
        seen.requested_bytes = seen.requested_bytes.wrapping_add(requested as u64);
        seen.largest_bytes = seen.largest_bytes.max(requested);
        seen.change(0, to as i64 - from as i64);
        self.seen.set(seen);
    }

    /// Adds the figures of an inner watch. While that one was on, this watch got no figures.
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
