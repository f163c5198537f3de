//! A lock has one holder at a time and publishes what its last holder wrote. Two locks are taken in one order.

use super::explore;
use crate::sync::{AtomicU32, Lock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Two threads change the list that the lock guards, in either order. The outcome is the order.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, rob-the-living.
#[test]
fn holders_see_each_others_writes() {
    explore(&[vec![1, 2], vec![2, 1]], || {
        let shared = Arc::new((Lock::around(AtomicU32::new(0)), UnsafeCell::new(Vec::new())));
        let enter = |shared: &(Lock, UnsafeCell<Vec<usize>>), me| {
            let _guard = shared.0.lock_as(|| 1);
            // SAFETY: the lock; loom checks it.
            shared.1.with_mut(|list| unsafe { (*list).push(me) });
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || enter(&shared, 2))
        };
        enter(&shared, 1);
        other.join().unwrap();
        let _guard = shared.0.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        shared.1.with(|list| unsafe { (*list).clone() })
    });
}

/// Two late threads use the stragglers' heap, one after the other. Each takes an arena under the inner lock meanwhile.
/// A third thread takes the inner lock alone, at any moment. No thread waits forever. The outcome is the order in which
/// the threads held the inner lock.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, rob-the-living.
#[test]
fn the_outer_lock_is_taken_before_the_inner_one() {
    struct PlainCell {
        outer: Lock,
        inner: Lock,
        heap: UnsafeCell<usize>,
        arenas: UnsafeCell<Vec<usize>>,
    }
    fn take_arena(guarded: &PlainCell, me: usize) {
        let _inner = guarded.inner.lock_as(|| 1);
        // SAFETY: the inner lock; loom checks it.
        guarded.arenas.with_mut(|arenas| unsafe { (*arenas).push(me) });
    }
    fn be_late(guarded: &PlainCell, me: usize) {
        let _outer = guarded.outer.lock_as(|| 1);
        // SAFETY: the outer lock; loom checks it.
        guarded.heap.with_mut(|heap| unsafe { *heap += 1 });
        take_arena(guarded, me);
    }
    let expected = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(Vec::from);
    explore(&expected, || {
        let guarded = Arc::new(PlainCell {
            outer: Lock::around(AtomicU32::new(0)),
            inner: Lock::around(AtomicU32::new(0)),
            heap: UnsafeCell::new(0),
            arenas: UnsafeCell::new(Vec::new()),
        });
        let late: Vec<_> = [1, 2]
            .map(|me| {
                let guarded = guarded.clone();
                thread::spawn(move || be_late(&guarded, me))
            })
            .into();
        take_arena(&guarded, 0);
        late.into_iter().for_each(|thread| thread.join().unwrap());
        // SAFETY: the other threads are gone; loom checks it.
        assert_eq!(guarded.heap.with(|heap| unsafe { *heap }), 2);
        // SAFETY: as above.
        guarded.arenas.with(|arenas| unsafe { (*arenas).clone() })
    });
}
