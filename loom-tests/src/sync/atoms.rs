//! The items of the library's `sync/atoms.rs`, made of loom's types.

use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A wait that spins for no time: a thread that finds a lock taken checks whether its holder is gone, then naps.
pub(crate) struct Backoff;

impl Backoff {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn snooze(&self) {
        nap();
    }

    pub(crate) fn is_completed(&self) -> bool {
        true
    }
}

/// Waits for another thread. The length of the wait makes no difference, so loom does not explore it: it tries the
/// execution in which this thread comes later.
pub(crate) fn nap() {
    loom::skip_branch();
    loom::thread::yield_now();
}

/// Plain memory that one thread at a time uses. loom checks this.
pub(crate) struct Exclusive(UnsafeCell<u32>);

impl Exclusive {
    pub(crate) fn new(value: u32) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) unsafe fn get(&self) -> u32 {
        // SAFETY: loom checks that no other thread writes it meanwhile.
        self.0.with(|value| unsafe { *value })
    }

    pub(crate) unsafe fn set(&self, value: u32) {
        // SAFETY: loom checks that no other thread uses it meanwhile.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}

/// Plain memory that one thread at a time writes and others read afterwards. loom checks this.
pub(crate) struct PlainCell<T>(UnsafeCell<T>);

impl<T> PlainCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) unsafe fn get(&self) -> &T {
        // SAFETY: loom checks that every write happened before; the caller promises that there are no more.
        self.0.with(|value| unsafe { &*value })
    }

    #[expect(clippy::mut_from_ref, reason = "the caller promises that there is no other reference")]
    pub(crate) unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: loom checks that no other thread uses it meanwhile.
        self.0.with_mut(|place| unsafe { &mut *place })
    }

    pub(crate) unsafe fn set(&self, value: T) {
        // SAFETY: loom checks that no other thread uses it meanwhile.
        self.0.with_mut(|place| unsafe { *place = value });
    }
}
