//! A private heap that threads share. A free takes the lock if it is free, else it posts the block. When all threads
//! are done with the heap, all blocks are there to be given back at once.

use super::{Back, Heaps, back, explore};
use crate::sync::{AtomicU32, Lock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The first of the two heaps, with its lock.
struct Private {
    heaps: Heaps,
    lock: Lock,
    /// The blocks that have come back. Only the owner touches this: see [`collect`](Self::collect).
    own: UnsafeCell<Back>,
}

impl Private {
    fn new() -> Arc<Self> {
        Arc::new(Self { heaps: Heaps::new(), lock: Lock::around(AtomicU32::new(0)), own: UnsafeCell::new(0) })
    }

    /// Frees a block of the first word. Returns whether the lock was free.
    fn free(&self, block: usize) -> bool {
        self.heaps.write(0, block);
        if let Some(_guard) = self.lock.try_lock_as(1) {
            // SAFETY: the lock; loom checks it.
            self.own.with_mut(|own| unsafe { *own |= back(0, block) });
            return true;
        }
        self.heaps.post(0, 1 << block).unwrap();
        false
    }

    /// Collects under the lock, as an allocation does. Returns the blocks that have come back so far.
    fn allocate(&self) -> Back {
        let _guard = self.lock.lock_as(|| 1);
        self.collect()
    }

    /// Collects as the owner: the holder of the lock, or the last thread, after all others are done with the heap.
    /// Returns the blocks that have come back so far.
    fn collect(&self) -> Back {
        // SAFETY: the caller is the owner; loom checks it.
        let before = self.own.with(|own| unsafe { *own });
        let now = self.heaps.collect(before);
        // SAFETY: as above.
        self.own.with_mut(|own| unsafe { *own = now });
        now
    }
}

/// A free at the same time as an allocation, then the end of the heap. The free takes the lock before or after the
/// allocation, or it posts its block meanwhile. The allocation or the end of the heap finds a posted block. The outcome
/// is whether the free got the lock, and which blocks were back after the allocation.
///
/// Mutants: try-acquire, try-held, U-release, Q-release, T-acquire, no-link, never-queue.
#[test]
fn a_free_takes_the_lock_or_posts() {
    let block = back(0, 1);
    explore(&[(true, 0), (true, block), (false, 0), (false, block)], move || {
        let private = Private::new();
        let freeing = {
            let private = private.clone();
            thread::spawn(move || private.free(1))
        };
        let early = private.allocate();
        let had_lock = freeing.join().unwrap();
        assert_eq!(private.collect(), block, "blocks that are there to be given back");
        (had_lock, early)
    });
}

/// Two threads free at once, and are then done with the heap. At most one of them finds the lock taken. The outcome is,
/// for each thread, whether it got the lock.
///
/// Mutants: try-acquire, try-held, U-release, never-queue.
#[test]
fn one_of_two_frees_has_the_lock() {
    let all = back(0, 0) | back(0, 1);
    explore(&[(true, true), (true, false), (false, true)], move || {
        let private = Private::new();
        let freeing = {
            let private = private.clone();
            thread::spawn(move || private.free(0))
        };
        let second = private.free(1);
        let first = freeing.join().unwrap();
        assert_eq!(private.collect(), all, "blocks that are there to be given back");
        (first, second)
    });
}
