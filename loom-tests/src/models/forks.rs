//! A fork while other threads hold the locks. The child has one thread, a copy of everything that the other threads had
//! written, and a generation of its own.
//!
//! loom knows no fork. Here the other thread stops for good at the moment of the fork and keeps the locks that it
//! holds. The thread that goes on sees everything that the other thread wrote. The models do not show the copy that a
//! system makes while the last writes of the other thread are still under way, how a child finds its generation, and
//! which locks of the C library are held. `tests/threads/fork.rs` makes real forks.

use super::explore;
use crate::sync::{AtomicU32, Guard, Lock, Ordering};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::mem;

/// Generations.
const PARENT: u32 = 1;
const CHILD: u32 = 2;

/// A lock and two values that it guards. A holder keeps the values equal.
struct PlainCell {
    lock: Lock,
    values: UnsafeCell<[usize; 2]>,
}

impl PlainCell {
    fn new() -> Self {
        Self { lock: Lock::around(AtomicU32::new(0)), values: UnsafeCell::new([0; 2]) }
    }

    fn change(&self, which: usize) {
        // SAFETY: the lock; loom checks it.
        self.values.with_mut(|values| unsafe { (*values)[which] += 1 });
    }

    /// The values, for a holder of the lock.
    fn values(&self) -> [usize; 2] {
        // SAFETY: the lock; loom checks it.
        self.values.with(|values| unsafe { *values })
    }

    /// Takes the lock in the child. Returns whether the guard says that a thread of the parent held it. If it does not,
    /// asserts that the values are equal.
    fn take_in_child(&self) -> bool {
        let guard = self.lock.lock_as(|| CHILD);
        let [first, second] = self.values();
        assert!(
            first == second || guard.is_inherited,
            "the guarded value is half-changed, and the guard does not say so"
        );
        guard.is_inherited
    }
}

/// The two locks: a thread that wants both takes the outer one first.
struct Process {
    outer: PlainCell,
    inner: PlainCell,
    is_forked: AtomicU32,
}

impl Process {
    /// `None` once the fork has come. The caller returns at once then: its thread goes no further.
    fn step(&self) -> Option<()> {
        (self.is_forked.load(Ordering::Relaxed) == 0).then_some(())
    }

    /// Takes a lock and changes both values that it guards, one after the other. Stops where the fork comes. Leaves the
    /// lock held either way.
    fn hold<'a>(&self, guarded: &'a PlainCell) -> Option<mem::ManuallyDrop<Guard<'a>>> {
        let guard = mem::ManuallyDrop::new(guarded.lock.lock_as(|| PARENT));
        self.step()?;
        guarded.change(0);
        self.step()?;
        guarded.change(1);
        self.step()?;
        Some(guard)
    }

    /// Does what a late thread does: uses the stragglers' heap under the outer lock, and meanwhile the shared lists
    /// under the inner one.
    fn be_late(&self) -> Option<()> {
        self.step()?;
        let outer = self.hold(&self.outer)?;
        let inner = self.hold(&self.inner)?;
        drop(mem::ManuallyDrop::into_inner(inner));
        self.step()?;
        drop(mem::ManuallyDrop::into_inner(outer));
        Some(())
    }
}

/// The child takes both locks, wherever the other thread stopped. The guard of a lock that the other thread held says
/// so, but only the first time. The values behind any other lock are whole. The outcome is, for each lock, whether its
/// guard said so.
///
/// Mutants: no-lock, no-unlock, leave-the-dead, never-told, always-told.
#[test]
fn the_child_takes_over_what_the_other_thread_held() {
    explore(&[(false, false), (true, false), (true, true)], || {
        let process =
            Arc::new(Process { outer: PlainCell::new(), inner: PlainCell::new(), is_forked: AtomicU32::new(0) });
        let other = {
            let process = process.clone();
            thread::spawn(move || process.be_late())
        };
        process.is_forked.store(1, Ordering::Relaxed);
        // A real fork waits for no thread. Here the join makes the last writes of the other thread visible.
        other.join().unwrap();
        let told = (process.outer.take_in_child(), process.inner.take_in_child());
        for guarded in [&process.outer, &process.inner] {
            assert!(!guarded.lock.lock_as(|| CHILD).is_inherited, "told twice");
        }
        told
    });
}

/// A thread of the parent held the lock at the fork. Two threads of the child now take the lock. The guard of one of
/// them says that a thread of the parent held it. Neither takes the lock from the other, which is alive. The outcome is
/// whether the guard of the first thread said so.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, leave-the-dead, rob-the-living, never-told, always-told.
#[test]
fn the_living_are_not_taken_for_the_dead() {
    explore(&[false, true], || {
        let guarded = Arc::new(PlainCell::new());
        mem::forget(guarded.lock.lock_as(|| PARENT));
        let enter = |guarded: &PlainCell| {
            let guard = guarded.lock.lock_as(|| CHILD);
            guarded.change(0);
            guard.is_inherited
        };
        let other = {
            let guarded = guarded.clone();
            thread::spawn(move || enter(&guarded))
        };
        let are_we_told = enter(&guarded);
        assert_ne!(are_we_told, other.join().unwrap(), "one of the two is told");
        assert_eq!(guarded.values()[0], 2);
        are_we_told
    });
}
