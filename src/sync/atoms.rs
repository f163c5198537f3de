//! The atomics that the shared protocols use. The models in `loom-tests` compile the protocol files against an `atoms`
//! of their own, made of loom's types, so those files name atomics and shared plain memory only through this module.

use super::watched::WatchedU32;
use core::cell::UnsafeCell;
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Spins, then yields the processor, during a wait that another thread ends soon.
pub(crate) use crossbeam_utils::Backoff;

/// Sleeps for a moment, during a wait that yielding the processor did not end.
pub(crate) use crate::os::nap;

/// A word that one thread at a time uses, by a protocol. The models check it as plain memory. In the library other
/// threads may [`peek`](Self::peek). Zero memory holds the value 0.
#[repr(transparent)]
pub(crate) struct Exclusive(WatchedU32);

impl Exclusive {
    /// # Safety
    /// * Every write to it happened before this call, and no other thread writes it during the call.
    pub(crate) unsafe fn get(&self) -> u32 {
        self.0.get()
    }

    /// # Safety
    /// * Every other use of it happened before this call, and no other thread uses it during the call.
    pub(crate) unsafe fn set(&self, value: u32) {
        self.0.set(value);
    }

    /// The present value, for a check of the heap.
    pub(crate) fn peek(&self) -> u32 {
        self.0.get()
    }
}

/// Plain memory that one thread at a time writes and other threads read afterwards, by a protocol.
pub(crate) struct PlainCell<T>(UnsafeCell<T>);

impl<T> PlainCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    /// * Every write to it happened before this call, and no thread writes it while the result lives.
    pub(crate) unsafe fn get(&self) -> &T {
        // SAFETY: the caller's promise.
        unsafe { &*self.0.get() }
    }

    /// # Safety
    /// * Every other use of it happened before this call, and no other thread, reference or pointer uses it while the
    ///   result lives.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that there is no other reference")]
    pub(crate) unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.get() }
    }

    /// # Safety
    /// * Every other use of it happened before this call, and no other thread uses it during the call.
    pub(crate) unsafe fn set(&self, value: T) {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() = value }
    }
}
