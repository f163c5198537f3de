//! Several things of one kind, each with a lock of its own. [`find`](Shards::find) never waits for one of these locks:
//! it goes on to the next thing. [`each`](Shards::each) waits.
//!
//! A thread passes its own number to `find`, so it begins at the same thing each time. Threads are numbered in the
//! order in which they first ask for a number. So few threads begin at the same thing, and a thread seldom finds a lock
//! taken. In the child of a fork `find` skips a lock whose holder is gone, and `each` takes it over.
//!
//! Shard invariant 1: a thing is changed only by the holder of its lock.
//!
//! # Ordering
//! The locks order everything except `is_worth`, which runs without the lock. It may read only atomics, and its answer
//! may be out of date. So `act` must check again under the lock.

use super::atoms::AtomicU32;
use super::lock::{Guard, Lock};

/// A thing and its lock, on cache lines of their own.
#[repr(align(128))]
struct Shard<S> {
    lock: Lock,
    thing: S,
}

/// `N` things, each with a lock.
pub(crate) struct Shards<S, const N: usize> {
    shards: [Shard<S>; N],
}

impl<S, const N: usize> Shards<S, N> {
    pub(crate) fn new(mut make: impl FnMut(usize) -> S) -> Self {
        let shard = |number| Shard { lock: Lock::around(AtomicU32::new(0)), thing: make(number) };
        Self { shards: core::array::from_fn(shard) }
    }

    /// Tries the things in turn, from `number` on, and returns the first `Some` that `act` returns. Locks each thing
    /// for a thread of `generation` before it calls `act`. Skips things that are not worth it, and things whose lock
    /// is taken. Never waits.
    #[inline]
    pub(crate) fn find<R>(
        &self,
        number: usize,
        generation: u32,
        is_worth: impl Fn(&S) -> bool,
        act: impl Fn(&S) -> Option<R>,
    ) -> Option<R> {
        for step in 0..N {
            let shard = &self.shards[number.wrapping_add(step) % N];
            if !is_worth(&shard.thing) {
                continue;
            }
            let Some(_guard) = shard.lock.try_lock_as(generation) else { continue };
            let found = act(&shard.thing);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Waits for the lock of each thing in turn, and calls `act` with the thing and the guard. As long as `act` returns
    /// true, locks the same thing and calls `act` again. The guard says whether a fork may have copied the thing
    /// half-changed.
    pub(crate) fn each(&self, generation: impl Fn() -> u32, mut act: impl FnMut(&S, Guard<'_>) -> bool) {
        for shard in &self.shards {
            while act(&shard.thing, shard.lock.lock_as(&generation)) {}
        }
    }

    /// All things, without their locks. The caller may use only the atomics in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.shards.iter().map(|shard| &shard.thing)
    }
}
