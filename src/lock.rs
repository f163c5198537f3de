//! A spin lock for the rare moments when heaps share: opening arenas, parking heaps, forking.
//!
//! The lock word holds the token of the thread that has it, so that the thread which forks, and runs other libraries'
//! fork handlers while the allocator's locks are held, passes its own locks instead of waiting for itself.
//!
//! # Ordering
//! * **L** (lock): the compare-exchange is `Acquire` and pairs with the U before it: what the last holder wrote is seen.
//! * **U** (unlock): the store is `Release`.
//! * The load that looks for the thread's own token is `Relaxed`: only this thread ever stores it.

use crate::sync::{AtomicUsize, Backoff, Ordering};

/// Lock invariant 1: the word is 0 when nobody holds the lock, else the holder's token.
pub(crate) struct Lock {
    holder: AtomicUsize,
}

/// Proof that a lock is held; unlocks when dropped, unless the thread already held it before.
pub(crate) struct Guard<'a> {
    lock: &'a Lock,
    nested: bool,
}

impl Lock {
    /// A lock around its word, which must be 0. The caller makes the word, since a model's atomics have no `const` way.
    pub(crate) const fn new(word: AtomicUsize) -> Self {
        Self { holder: word }
    }

    /// Waits until the lock is free and takes it for the thread whose nonzero token is `me`.
    pub(crate) fn lock(&self, me: usize) -> Guard<'_> {
        if self.holder.load(Ordering::Relaxed) == me {
            return Guard { lock: self, nested: true };
        }
        let backoff = Backoff::new();
        // Ordering L.
        while self.holder.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            backoff.snooze();
        }
        Guard { lock: self, nested: false }
    }

    /// Frees the lock though no guard says so: the end of a fork, which took it with [`Guard::hold`].
    pub(crate) fn unlock(&self) {
        // Ordering U.
        self.holder.store(0, Ordering::Release);
    }
}

impl Guard<'_> {
    /// Keeps the lock beyond the guard's life, until [`Lock::unlock`].
    pub(crate) fn hold(self) {
        core::mem::forget(self);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.nested {
            self.lock.unlock();
        }
    }
}
