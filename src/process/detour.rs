//! A detour: a front without a heap, in place of the thread's own. Both fast paths then leave every request to their
//! slow halves, which serve it from the heap below the detour.

use crate::heap::Front;
use core::cell::Cell;
use core::ptr::NonNull;

/// A front without a heap, and the front that it replaces.
///
/// The fronts of a thread form a row: each detour points to the front below it, and the last front is the thread's own.
///
/// Detour invariant 1: `below` is the next front of the row. A detour leaves the row before its memory is freed.
/// Detour invariant 2: every detour in a thread's row of fronts is the first field of a
/// [`Watch`](crate::observe::watch::Watch).
#[repr(C)]
pub(crate) struct Detour {
    /// The first field: a pointer to it is a pointer to the detour.
    front: Front,
    below: Cell<*const Front>,
}

impl Detour {
    /// A detour that is not in use yet.
    pub(crate) const fn new() -> Self {
        Self { front: Front::detour(), below: Cell::new(core::ptr::null()) }
    }

    /// The detour that a front of a thread's row belongs to; `None` if that front is the thread's own. The result has
    /// the provenance of `front`.
    ///
    /// # Safety
    /// * The front is alive (TLS invariant 1), and all fronts below it are (Detour invariant 1).
    pub(super) unsafe fn of_front(front: *const Front) -> Option<NonNull<Self>> {
        // SAFETY: the caller's promise.
        let is_detour = unsafe { &*front }.is_detour();
        // Such a front is the first field of a detour.
        if is_detour { NonNull::new(front.cast_mut().cast()) } else { None }
    }

    /// The detour right below this one, if there is one.
    ///
    /// # Safety
    /// * This detour is in the calling thread's row of fronts.
    pub(crate) unsafe fn next(&self) -> Option<NonNull<Self>> {
        // SAFETY: Detour invariant 1.
        unsafe { Self::of_front(self.below()) }
    }

    pub(super) fn below(&self) -> *const Front {
        self.below.get()
    }

    pub(super) fn set_below(&self, below: *const Front) {
        self.below.set(below);
    }
}
