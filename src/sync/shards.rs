//! Several things of one kind, each with a lock of its own. A thread never waits for one of these locks: it goes on to
//! the next thing.
//!
//! A thread always begins at the same thing. While there are no more threads than things, no two threads begin at the
//! same one, so a lock is seldom taken. In the child of a fork a lock whose holder is gone is passed by.
//!
//! Shard invariant 1: only the holder of its lock changes a thing.
//!
//! # Ordering
//! The locks order everything but `is_worth`. That is asked without the lock: what it reads must be atomic, and its
//! answer may be old. `act` finds out.

use super::atoms::AtomicU32;
use super::lock::{Guard, Lock};

/// A thing and its lock, on cache lines of their own.
#[repr(align(128))]
struct Shard<S> {
    lock: Lock,
    thing: S,
}

/// So many of a thing.
pub(crate) struct Shards<S, const N: usize> {
    shards: [Shard<S>; N],
}

impl<S, const N: usize> Shards<S, N> {
    pub(crate) fn new(mut make: impl FnMut(usize) -> S) -> Self {
        let shard = |number| Shard { lock: Lock::around(AtomicU32::new(0)), thing: make(number) };
        Self { shards: core::array::from_fn(shard) }
    }

    /// Has `act` try its luck with each thing that is worth it and that nobody has just then, until it has some:
    /// beginning with the one of this number, for a thread of `generation`.
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

    /// Waits for the lock of each thing in turn. `act` gets the thing, and whether a fork has copied it while another
    /// thread held it: then it may be half-changed. It is called again with the same thing as long as it says so.
    pub(crate) fn each(&self, generation: impl Fn() -> u32, mut act: impl FnMut(&S, Guard<'_>) -> bool) {
        for shard in &self.shards {
            while act(&shard.thing, shard.lock.lock_as(&generation)) {}
        }
    }

    /// All things, for who reads what is atomic in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.shards.iter().map(|shard| &shard.thing)
    }
}
