//! A view of the shared pools for the check of the heap and the search for leaks, taken under the lock.

use crate::heap::{Heap, OwnedHeap};
use crate::region::{Region, Slot};
use core::ptr::NonNull;

/// The shared pools, as the holder of the lock sees them.
pub(crate) struct View<'a> {
    pub(crate) region: Region,
    /// Arenas carved from the region.
    pub(crate) carved: usize,
    /// Arenas whose memory is open.
    pub(crate) open: usize,
    /// Heaps whose memory is open.
    pub(crate) heaps: usize,
    /// Magazines that heaps have.
    pub(crate) magazines: usize,
    /// The first arena of the shared list, else [`NONE`](crate::region::NONE).
    pub(crate) free_arenas: u32,
    /// Number of arenas on the shared list, as the list counts them.
    pub(crate) free_arena_count: usize,
    /// Number of arenas of the newest chunk that no heap has had yet.
    pub(crate) chunk_arenas: usize,
    /// An error if a list of parked heaps is not as long as its count.
    pub(crate) parked_lists: Result<(), &'static str>,
    /// Heaps that were made before the fork that made this process; 0 if no fork did.
    pub(crate) heaps_before_fork: usize,
    /// The calling thread's heap.
    pub(crate) own: Option<OwnedHeap<'a>>,
}

impl View<'_> {
    /// The heap with this index; `None` if there is none, or if a fork may have left it half-changed.
    pub(crate) fn heap(&self, index: usize) -> Option<&Heap> {
        if index >= self.heaps || self.is_beyond_us(index) {
            return None;
        }
        // SAFETY: `heaps` places are open, for ever. The caller reads only the heap's atomics and constant fields.
        unsafe { Heap::in_place(self.region.heap(index)) }
    }

    /// Whether a fork may have left the heap with this index half-changed.
    pub(crate) fn is_beyond_us(&self, index: usize) -> bool {
        let is_own = |own: OwnedHeap<'_>| NonNull::from(&*own) == self.region.heap::<Heap>(index);
        index < self.heaps_before_fork && !self.own.is_some_and(is_own)
    }

    /// Whether blocks of any heap are under way.
    pub(crate) fn is_moving(&self) -> bool {
        (0..self.heaps).filter_map(|index| self.heap(index)).any(Heap::is_moving)
    }

    /// Whether a pointer points to a slot of a magazine that a heap has.
    pub(crate) fn is_magazine(&self, slot: *mut Slot) -> bool {
        self.region.magazine_of(slot.addr()).is_some_and(|number| number < self.magazines)
    }
}
