//! A detour: a front without a heap, in place of the thread's own. Both fast paths then leave every request to their slow
//! halves, which serve it from the heap below the detour.

use crate::heap::Front;
use core::cell::Cell;
use core::ptr::NonNull;

/// A front, and the one that it stands in for.
///
/// Detour invariant 1: `below` is the front that was there before, or one below that whose detour has gone. A detour is taken out
/// of the row of fronts before it goes away.
/// Detour invariant 2: every detour in a thread's row of fronts is the first field of a [`Watch`](crate::observe::watch::Watch).
#[repr(C)]
pub(crate) struct Detour {
    /// First, so that a pointer to it is one to the detour.
    front: Front,
    below: Cell<*const Front>,
}

impl Detour {
    /// A detour that is not in use yet.
    pub(crate) const fn new() -> Self {
        Self { front: Front::detour(), below: Cell::new(core::ptr::null()) }
    }

    /// The detour that one of a thread's fronts is part of, if it is one. The pointer may be used for what the front's may.
    ///
    /// # Safety
    /// * The front lives (TLS invariant 1), as do those below it (Detour invariant 1).
    pub(super) unsafe fn of_front(front: *const Front) -> Option<NonNull<Self>> {
        // SAFETY: the caller's promise.
        let is_detour = unsafe { &*front }.is_detour();
        // Such a front is the first field of a detour.
        if is_detour { NonNull::new(front.cast_mut().cast()) } else { None }
    }

    /// The detour right below this one, if there is one.
    ///
    /// # Safety
    /// * This one is in the calling thread's row of fronts.
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
