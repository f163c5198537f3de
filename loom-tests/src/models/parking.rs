//! A thread ends and leaves its heap; another takes it over; and all the while others free its blocks.

use super::{Back, Heaps, back, explore};
use crate::sync::{AtomicU32, AtomicU64, Counter, Lock, Stack, StackLinks};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The first of the two heaps, and the stack that it is parked on.
struct Ended {
    heaps: Heaps,
    /// What the owner alone touches: the blocks that have come back.
    own: UnsafeCell<Back>,
    /// How many blocks have come back, for the statistics: a counter with one writer at a time.
    collected: Counter,
    lock: Lock,
    parked: UnsafeCell<Stack<usize>>,
    links: ParkedNext,
}

struct ParkedNext(UnsafeCell<Option<usize>>);

impl StackLinks<usize> for ParkedNext {
    fn below(&self, _: usize) -> Option<usize> {
        // SAFETY: Stack invariant 1; loom checks it.
        self.0.with(|below| unsafe { *below })
    }

    fn set_below(&self, _: usize, below: Option<usize>) {
        // SAFETY: Stack invariant 1; loom checks it.
        self.0.with_mut(|place| unsafe { *place = below });
    }
}

impl Ended {
    fn new() -> Self {
        Self {
            heaps: Heaps::new(),
            own: UnsafeCell::new(0),
            collected: Counter::around(AtomicU64::new(0)),
            lock: Lock::around(AtomicU32::new(0)),
            parked: UnsafeCell::new(Stack::new()),
            links: ParkedNext(UnsafeCell::new(None)),
        }
    }

    /// Collects as the owner. Returns what has come back by now.
    fn collect(&self) -> Back {
        // SAFETY: a heap has one owner; loom checks it.
        self.own.with_mut(|own| {
            // SAFETY: as above.
            let before = unsafe { *own };
            let after = self.heaps.collect(before);
            self.collected.add((after & !before).count_ones() as usize);
            // SAFETY: as above.
            unsafe { *own = after };
            after
        })
    }

    fn park(&self) {
        let _guard = self.lock.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        self.parked.with_mut(|parked| unsafe { &mut *parked }.push(&self.links, 0));
    }

    /// Whether the heap was there to be taken over.
    fn take_over(&self) -> bool {
        let _guard = self.lock.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        self.parked.with_mut(|parked| unsafe { &mut *parked }.pop(&self.links)).is_some()
    }

    /// Collects at the end, as whoever owns the heap then: `all` is back and counted.
    fn assert_all_is_back(&self, all: Back) {
        assert_eq!(self.collect(), all, "blocks that came back");
        assert_eq!(self.collected.value(), u64::from(all.count_ones()), "blocks counted");
    }
}

/// The owner collects a last time and parks its heap while a block of it is freed; a new thread takes the heap over if
/// it is there, and collects. The block comes back to the old owner, to the new one, or waits for the next collect.
///
/// Mutants: Q-release, T-acquire, no-link, wrong-end, unseen-end, keep-head, never-queue, queue-first, L-acquire,
/// U-release, no-lock, no-unlock, rob-the-living, push-no-length, no-add.
#[test]
fn the_owner_parks_while_a_block_is_freed() {
    let block = back(0, 0);
    // What had come back when the old owner parked, and when the new one had collected, if it found the heap.
    let expected = [(0, None), (block, None), (0, Some(0)), (0, Some(block)), (block, Some(block))];
    explore(&expected, move || {
        let ended = Arc::new(Ended::new());
        let poster = {
            let ended = ended.clone();
            thread::spawn(move || ended.heaps.free(0, &[0]))
        };
        let owner = {
            let ended = ended.clone();
            thread::spawn(move || {
                let early = ended.collect();
                ended.park();
                early
            })
        };
        let by_new_owner = ended.take_over().then(|| ended.collect());
        poster.join().unwrap();
        let by_old_owner = owner.join().unwrap();
        ended.assert_all_is_back(block);
        (by_old_owner, by_new_owner)
    });
}

/// Two new threads want the one parked heap, while a block of it is freed. One gets it; a free that comes before, during
/// or after finds its way to that one. The outcome is who got it, and whether the free came in time for its first collect.
///
/// Mutants: Q-release, T-acquire, no-link, wrong-end, unseen-end, keep-head, never-queue, queue-first, L-acquire,
/// U-release, no-lock, no-unlock, rob-the-living, push-no-length, pop-keeps, no-add.
#[test]
fn a_parked_heap_is_taken_over_once() {
    explore(&[(0, false), (0, true), (1, false), (1, true)], || {
        let ended = Arc::new(Ended::new());
        ended.park();
        let poster = {
            let ended = ended.clone();
            thread::spawn(move || ended.heaps.free(0, &[0]))
        };
        let other = {
            let ended = ended.clone();
            thread::spawn(move || ended.take_over().then(|| ended.collect()))
        };
        let ours = ended.take_over().then(|| ended.collect());
        poster.join().unwrap();
        let found = [ours, other.join().unwrap()];
        assert_eq!(found.iter().flatten().count(), 1, "owners of the heap");
        ended.assert_all_is_back(back(0, 0));
        let owner = usize::from(found[0].is_none());
        (owner, found[owner] != Some(0))
    });
}
