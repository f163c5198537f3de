//! A value that is decided once and never again: the region, or that there is none.
//!
//! Many threads may need it first at the same moment. Whoever holds the lock decides; after that everyone sees what was
//! decided without the lock.
//!
//! ```text
//!   NEW ──► READY     the value is there
//!      └──► REFUSED   there is none, and never will be
//! ```
//! Once invariant 1: the phase leaves `NEW` once, by the holder of the lock, and never changes again.
//! Once invariant 2: the value is written while the phase is `NEW`, by the holder of the lock, and never again.
//!
//! # Ordering
//! * **D** (decide): the store of the phase is `Release` and publishes the value.
//! * **S** (see): the load of the phase is `Acquire` and pairs with D: whoever sees `READY` sees the value.

use super::atoms::{AtomicU32, Guarded, Ordering};

/// Nobody has needed the value yet.
const NEW: u32 = 0;
const READY: u32 = 1;
const REFUSED: u32 = 2;

/// A value that is decided once.
pub(crate) struct Once<T> {
    phase: AtomicU32,
    value: Guarded<Option<T>>,
}

/// What one sees of a value that is decided once.
pub(crate) enum Decision<'a, T> {
    /// Nothing has been decided, as far as this thread can see.
    New,
    /// This is the value.
    Ready(&'a T),
    /// There is none.
    Refused,
}

// SAFETY: Once invariant 2: one thread writes the value, under a lock, and all may read it after.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Nothing decided: the word must be 0. The caller makes the parts, since a model's have no `const` way.
    pub(crate) const fn around(phase: AtomicU32, value: Guarded<Option<T>>) -> Self {
        Self { phase, value }
    }

    /// What has been decided.
    pub(crate) fn see(&self) -> Decision<'_, T> {
        // Ordering S.
        match self.phase.load(Ordering::Acquire) {
            NEW => Decision::New,
            // SAFETY: Once invariant 2: S made the value visible, and nobody writes it any more.
            READY => unsafe { self.value.get() }.as_ref().map_or(Decision::Refused, Decision::Ready),
            _ => Decision::Refused,
        }
    }

    /// The value, if it is there as far as this thread can see.
    pub(crate) fn value(&self) -> Option<&T> {
        match self.see() {
            Decision::Ready(value) => Some(value),
            Decision::New | Decision::Refused => None,
        }
    }

    /// The value, made now by `make` if nothing has been decided yet; `None` if there is none.
    ///
    /// # Safety
    /// * The caller holds the lock that all who call this hold.
    pub(crate) unsafe fn decide(&self, make: impl FnOnce() -> Option<T>) -> Option<&T> {
        match self.see() {
            Decision::Ready(value) => return Some(value),
            Decision::Refused => return None,
            Decision::New => {}
        }
        let value = make();
        let phase = if value.is_some() { READY } else { REFUSED };
        // SAFETY: Once invariant 2: the phase is `NEW`, so nobody reads it; the caller promises that nobody else
        // decides.
        unsafe { self.value.set(value) };
        // Ordering D.
        self.phase.store(phase, Ordering::Release);
        // SAFETY: Once invariant 2: nobody writes it any more.
        unsafe { self.value.get() }.as_ref()
    }
}
