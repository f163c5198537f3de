//! A lock that the child of a fork takes over from a holder that is gone.
//!
//! The most important lock of this kind is that of the shared pools. Heaps take it at rare moments, for example to open
//! arenas, and at the start and end of a thread. No code of the program runs under it.
//!
//! The library takes no lock before a fork. So a fork copies each lock as it is, even if another thread holds it at
//! that moment. The word of the lock is the generation of its holder, a number that differs in each copy of the memory.
//! A thread that finds another generation than its own takes the lock over. Its [`Guard`] then says that the guarded
//! value may be half-changed.
//!
//! # Ordering
//! * **L** (lock): the compare-exchange is `Acquire` and pairs with the U before it: the new holder sees everything
//!   that the last holder wrote.
//! * **U** (unlock): the store is `Release`.

use super::atoms::{AtomicU32, Backoff, Ordering, nap};

/// Lock invariant 1: the word is 0 while the lock is free, else the generation of the thread that holds it.
pub(crate) struct Lock {
    word: AtomicU32,
}

/// Proof that a lock is held; unlocks when dropped.
pub(crate) struct Guard<'a> {
    lock: &'a Lock,
    /// The generation of the thread that holds the lock.
    pub(crate) generation: u32,
    /// Whether this thread took the lock over, because it was held when a fork made this process. Then the guarded
    /// value may be half-changed.
    pub(crate) is_inherited: bool,
}

impl Lock {
    /// A lock around its word, which must be 0. The caller makes the word, because loom's atomics have no `const`
    /// constructor.
    pub(crate) const fn around(word: AtomicU32) -> Self {
        Self { word }
    }

    /// Waits until the lock is free and takes it for a thread of the generation that `generation` returns.
    ///
    /// `generation` never returns 0. It is called again after each wait, because a signal handler may fork and this
    /// loop may continue in the child. The wait spins first, then yields the processor, then sleeps: the holder may be
    /// a thread that runs only when this one does not. A holder of another generation does not exist in this process:
    /// the lock is taken from it.
    pub(crate) fn lock_as(&self, generation: impl Fn() -> u32) -> Guard<'_> {
        let backoff = Backoff::new();
        let (mut generation, ask) = (generation(), generation);
        let mut expected = 0;
        loop {
            // Ordering L.
            match self.word.compare_exchange(expected, generation, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Guard { lock: self, generation, is_inherited: expected != 0 },
                Err(holder) if holder != generation => expected = holder,
                Err(_) => {
                    expected = 0;
                    if backoff.is_completed() {
                        nap()
                    } else {
                        backoff.snooze()
                    }
                    generation = ask();
                }
            }
        }
    }

    /// Takes the lock for a thread of `generation` if it is free. Never waits. A lock that was held when a fork made
    /// this process is not free: only [`lock_as`](Self::lock_as) and [`try_take_over_as`](Self::try_take_over_as) take
    /// it over.
    #[inline]
    pub(crate) fn try_lock_as(&self, generation: u32) -> Option<Guard<'_>> {
        // Ordering L.
        let was = self.word.compare_exchange(0, generation, Ordering::Acquire, Ordering::Relaxed);
        was.is_ok().then(|| Guard { lock: self, generation, is_inherited: false })
    }

    /// Takes the lock for a thread of `generation` if it is free, or if it was held when a fork made this process.
    /// Never waits.
    pub(crate) fn try_take_over_as(&self, generation: u32) -> Option<Guard<'_>> {
        // Ordering L.
        let take = |from| self.word.compare_exchange(from, generation, Ordering::Acquire, Ordering::Relaxed);
        let holder = take(0).err().unwrap_or(0);
        if holder == generation || holder != 0 && take(holder).is_err() {
            return None;
        }
        Some(Guard { lock: self, generation, is_inherited: holder != 0 })
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Ordering U.
        self.lock.word.store(0, Ordering::Release);
    }
}
