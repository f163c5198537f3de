//! A value that is decided once and for ever: there is a value, or there is none. The region is one example.
//!
//! Many threads may be the first to need the value at the same moment. The holder of a lock decides. Afterwards threads
//! read the decision without that lock.
//!
//! ```text
//!   NEW ──► READY     the value is there
//!      └──► REFUSED   there is none, and never will be
//! ```
//! Once invariant 1: only the holder of the lock changes the phase, and only from `NEW`. So it changes at most once.
//! Once invariant 2: only the holder of the lock writes the value, and only while the phase is `NEW`.
//!
//! # Ordering
//! * **D** (decide): the store of the phase is `Release` and publishes the value.
//! * **S** (see): the load of the phase is `Acquire` and pairs with D: a thread that sees `READY` sees the value.

use super::atoms::{AtomicU32, Ordering, PlainCell};

/// The value is not decided yet.
const NEW: u32 = 0;
const READY: u32 = 1;
const REFUSED: u32 = 2;

/// A value that is decided once.
pub(crate) struct Once<T> {
    phase: AtomicU32,
    value: PlainCell<Option<T>>,
}

/// State of the decision, as a thread sees it.
pub(crate) enum Decision<'a, T> {
    /// The value is not decided, as far as this thread can see.
    New,
    /// The value.
    Ready(&'a T),
    /// There is no value, and never will be.
    Refused,
}

// SAFETY: Once invariant 2: one thread writes the value, under a lock, and all threads may read it afterwards.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// A value that is not decided yet. `phase` must be 0. The caller makes both parts, because those of the models
    /// have no `const` constructors.
    pub(crate) const fn around(phase: AtomicU32, value: PlainCell<Option<T>>) -> Self {
        Self { phase, value }
    }

    /// The decision, as far as this thread can see.
    pub(crate) fn see(&self) -> Decision<'_, T> {
        // Ordering S.
        match self.phase.load(Ordering::Acquire) {
            NEW => Decision::New,
            // SAFETY: Once invariant 2: S made the value visible, and no thread writes it any more.
            READY => unsafe { self.value.get() }.as_ref().map_or(Decision::Refused, Decision::Ready),
            _ => Decision::Refused,
        }
    }

    /// The value, if this thread can see one.
    pub(crate) fn value(&self) -> Option<&T> {
        match self.see() {
            Decision::Ready(value) => Some(value),
            Decision::New | Decision::Refused => None,
        }
    }

    /// The value, or `None` if the decision is that there is none. If it is not decided yet, `make` decides it now.
    ///
    /// # Safety
    /// * The caller holds a lock, the same one in every call for this value.
    pub(crate) unsafe fn decide(&self, make: impl FnOnce() -> Option<T>) -> Option<&T> {
        match self.see() {
            Decision::Ready(value) => return Some(value),
            Decision::Refused => return None,
            Decision::New => {}
        }
        let value = make();
        let phase = if value.is_some() { READY } else { REFUSED };
        // SAFETY: Once invariant 2: the phase is `NEW`, so no thread reads the value. The caller promises that no other
        // thread decides.
        unsafe { self.value.set(value) };
        // Ordering D.
        self.phase.store(phase, Ordering::Release);
        // SAFETY: Once invariant 2: no thread writes it any more.
        unsafe { self.value.get() }.as_ref()
    }
}
