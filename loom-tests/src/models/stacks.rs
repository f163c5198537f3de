//! Wholly free arenas without an owner, on the stack that all heaps share.

use super::explore;
use crate::sync::{AtomicU32, Lock, Stack, StackLinks};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const ARENAS: usize = 2;

/// Arenas: the stack of those without an owner, their links on the stack, and the number of owners of each.
struct Arenas {
    lock: Lock,
    free: UnsafeCell<Stack<usize>>,
    records: Records,
    /// Number of owners that each arena has had.
    owners: [UnsafeCell<usize>; ARENAS],
}

struct Records([UnsafeCell<Option<usize>>; ARENAS]);

impl StackLinks<usize> for Records {
    fn below(&self, arena: usize) -> Option<usize> {
        // SAFETY: Stack invariant 1; loom checks it.
        self.0[arena].with(|below| unsafe { *below })
    }

    fn set_below(&self, arena: usize, below: Option<usize>) {
        // SAFETY: Stack invariant 1; loom checks it.
        self.0[arena].with_mut(|place| unsafe { *place = below });
    }
}

impl Arenas {
    /// Arenas of which none is free.
    fn new() -> Self {
        Self {
            lock: Lock::around(AtomicU32::new(0)),
            free: UnsafeCell::new(Stack::new()),
            // At first the link of each arena leads to that arena itself. So the model fails if the code, by an error,
            // follows a link that was never set.
            records: Records(std::array::from_fn(|arena| UnsafeCell::new(Some(arena)))),
            owners: std::array::from_fn(|_| UnsafeCell::new(0)),
        }
    }

    fn take(&self) -> Option<usize> {
        let _guard = self.lock.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        self.free.with_mut(|free| unsafe { &mut *free }.pop(&self.records))
    }

    fn give(&self, arena: usize) {
        let _guard = self.lock.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        self.free.with_mut(|free| unsafe { &mut *free }.push(&self.records, arena));
    }

    /// Uses an arena, as its only owner.
    fn own(&self, arena: usize) {
        // SAFETY: an arena has one owner; loom checks it.
        self.owners[arena].with_mut(|owners| unsafe { *owners += 1 });
    }

    /// Takes an arena, uses it and gives it back. Returns the arena.
    fn use_one(&self) -> Option<usize> {
        let arena = self.take()?;
        self.own(arena);
        self.give(arena);
        Some(arena)
    }

    fn length(&self) -> usize {
        let _guard = self.lock.lock_as(|| 1);
        // SAFETY: the lock; loom checks it.
        self.free.with(|free| unsafe { &*free }.length())
    }
}

/// At first one arena is free. Two threads take one arena each, use it and give it back, while a third thread gives
/// another arena. Each arena has one owner at a time, and each owner sees what the last one did. In the end both arenas
/// are free. The outcome is what each of the two threads got, and which arena lies on top.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, rob-the-living, push-unlinked, push-no-below, push-no-top,
/// push-no-length, pop-keeps, pop-all, pop-no-length.
#[test]
fn free_arenas_pass_among_three_threads() {
    let (a, b) = (Some(0), Some(1));
    let expected = [
        // The threads come one after the other. Arena 1 lies below arena 0, or comes later, or lies above it.
        ([a, a], a),
        ([a, a], b),
        ([b, b], b),
        // Each thread has an arena at the same time, and they give them back in either order.
        ([a, b], a),
        ([a, b], b),
        ([b, a], a),
        ([b, a], b),
        // One thread comes while the other has the only free arena.
        ([a, None], a),
        ([a, None], b),
        ([None, a], a),
        ([None, a], b),
    ];
    explore(&expected, move || {
        let arenas = Arc::new(Arenas::new());
        arenas.give(0);
        let others = [(); 2].map(|()| {
            let arenas = arenas.clone();
            thread::spawn(move || arenas.use_one())
        });
        arenas.own(1);
        arenas.give(1);
        let got = others.map(|thread| thread.join().unwrap());
        assert_eq!(arenas.length(), 2);
        let free = [arenas.take(), arenas.take()];
        assert!(free == [a, b] || free == [b, a], "{free:?}");
        assert_eq!((arenas.take(), arenas.length()), (None, 0));
        for (arena, owners) in arenas.owners.iter().enumerate() {
            // SAFETY: the other threads are gone; loom checks it.
            let owners = owners.with(|owners| unsafe { *owners });
            assert_eq!(owners, arena + got.iter().filter(|&&one| one == Some(arena)).count());
        }
        (got, free[0])
    });
}
