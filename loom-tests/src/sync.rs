//! What the library's `sync` names, made of loom's types.

use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Waits by telling loom that another thread has to run.
pub(crate) struct Backoff;

impl Backoff {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn snooze(&self) {
        loom::thread::yield_now();
    }

    pub(crate) fn is_completed(&self) -> bool {
        false
    }
}

/// As a snooze.
pub(crate) fn nap() {
    loom::thread::yield_now();
}

/// Plain memory that one thread at a time uses; loom checks that it is so.
pub(crate) struct Exclusive(UnsafeCell<u32>);

impl Exclusive {
    pub(crate) fn new(value: u32) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) unsafe fn get(&self) -> u32 {
        // SAFETY: loom checks that nobody writes it meanwhile.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) unsafe fn set(&self, value: u32) {
        // SAFETY: loom checks that nobody uses it meanwhile.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}
