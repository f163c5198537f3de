//! A lock for the rare moments when heaps share: opening arenas, starting and ending threads.
//!
//! No user's code runs under it. It is not held across a fork: the child gets it as it is, and mends what it guards if a
//! thread held it that is not there any more.
//!
//! # Ordering
//! * **L** (lock): the compare-exchange is `Acquire` and pairs with the U before it: what the last holder wrote is seen.
//! * **U** (unlock): the store is `Release`.

use crate::sync::{AtomicU32, Backoff, Ordering, nap};

/// Lock invariant 1: the word is 1 while somebody holds the lock, else 0.
pub(crate) struct Lock {
    word: AtomicU32,
}

/// Proof that a lock is held; unlocks when dropped.
pub(crate) struct Guard<'a> {
    lock: &'a Lock,
}

impl Lock {
    /// A lock around its word, which must be 0. The caller makes the word, since a model's atomics have no `const` way.
    pub(crate) const fn new(word: AtomicU32) -> Self {
        Self { word }
    }

    /// Waits until the lock is free and takes it. Spins first, then yields the processor, then sleeps: the holder may
    /// be a thread that runs only when this one does not. Before it sleeps it calls `in_vain`, which may find that the
    /// holder is not there any more.
    pub(crate) fn lock(&self, in_vain: impl Fn()) -> Guard<'_> {
        let backoff = Backoff::new();
        // Ordering L.
        while self.word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            if backoff.is_completed() {
                in_vain();
                nap();
            } else {
                backoff.snooze();
            }
        }
        Guard { lock: self }
    }

    /// For the only thread there is, the one that a fork left: whether some other thread held the lock. Frees it then.
    pub(crate) fn take_from_the_dead(&self) -> bool {
        // Relaxed: the fork has copied what other threads wrote, in whatever state it was.
        let was_held = self.word.load(Ordering::Relaxed) != 0;
        self.word.store(0, Ordering::Relaxed);
        was_held
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Ordering U.
        self.lock.word.store(0, Ordering::Release);
    }
}
