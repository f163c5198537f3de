//! A thread ends and parks its heap, and another thread takes it over. At the same time other threads free its blocks.

use super::{Back, Heaps, back, explore};
use crate::sync::{AtomicU32, AtomicU64, Counter, Lock, Stack, StackLinks};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The first of the two heaps, and the stack that it is parked on.
struct Ended {
    heaps: Heaps,
    /// The blocks that have come back. Only the owner touches this.
    own: UnsafeCell<Back>,
    /// Number of blocks that have come back, for the statistics. A counter with one writer at a time.
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

    /// Collects as the owner. Returns the blocks that have come back so far.
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

    /// Takes the heap over if it is parked. Returns whether it was.
    fn take_over(&self) -> bool {
        let _guard = self.lock.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        self.parked.with_mut(|parked| unsafe { &mut *parked }.pop(&self.links)).is_some()
    }

    /// Collects at the end, as the last owner of the heap. Asserts that `all` is back and counted.
    fn assert_all_is_back(&self, all: Back) {
        assert_eq!(self.collect(), all, "blocks that came back");
        assert_eq!(self.collected.value(), u64::from(all.count_ones()), "blocks counted");
    }
}

/// The owner collects a last time and parks its heap, while another thread frees a block of it. A new thread takes the
/// heap over if it is parked, and collects. The block comes back to the old owner or to the new one, or it waits for
/// the next collect.
///
/// Mutants: Q-release, T-acquire, no-link, wrong-end, unseen-end, keep-head, never-queue, queue-first, L-acquire,
/// U-release, no-lock, no-unlock, rob-the-living, push-no-length, no-add.
#[test]
fn the_owner_parks_while_a_block_is_freed() {
    let block = back(0, 0);
    // The blocks that were back when the old owner parked the heap, and those that were back after the new owner
    // collected (`None` if there was no heap to take over).
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

/// Two new threads want the one parked heap, while a third thread frees a block of it. One of the two gets the heap.
/// The block comes back to that thread, whether it was freed before, during or after the takeover. The outcome is which
/// thread got the heap, and whether the free came in time for its first collect.
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
