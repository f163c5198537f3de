//! A fork while other threads hold the locks. The child has one thread, a copy of whatever the others had written, and a
//! generation of its own.
//!
//! loom knows no fork. Here the other thread stops for ever at the moment of the fork, with what it holds, and the thread
//! that goes on sees all that it wrote. What that does not show: the copy that a system makes while the other's last
//! writes are still under way, how a child finds its generation, and which locks of the C library are held.
//! `tests/fork.rs` forks in earnest.

use super::explore;
use crate::sync::{AtomicU32, Guard, Lock, Ordering};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::mem;

/// Generations.
const PARENT: u32 = 1;
const CHILD: u32 = 2;

/// A lock, and what it guards: two values that a holder keeps equal.
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

    /// Takes the lock in the child. Whether it is told that its parent's thread held it; if it is not, all is whole.
    fn take_in_child(&self) -> bool {
        let guard = self.lock.lock_as(|| CHILD);
        let [first, second] = self.values();
        assert!(first == second || guard.is_inherited, "what the lock guards is half-changed, and nobody says so");
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
    /// `None` if the fork has come, and so ends what the thread does that calls this.
    fn step(&self) -> Option<()> {
        (self.is_forked.load(Ordering::Relaxed) == 0).then_some(())
    }

    /// Takes a lock and changes what it guards, as far as the fork lets it. Never unlocks by itself.
    fn hold<'a>(&self, guarded: &'a PlainCell) -> Option<mem::ManuallyDrop<Guard<'a>>> {
        let guard = mem::ManuallyDrop::new(guarded.lock.lock_as(|| PARENT));
        self.step()?;
        guarded.change(0);
        self.step()?;
        guarded.change(1);
        self.step()?;
        Some(guard)
    }

    /// What a late thread does: it uses the stragglers' heap, and meanwhile the shared lists.
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

/// The child takes both locks, wherever the other thread was, and is told which that one held: what it is not told of is
/// whole. It is told once. The outcome is of which locks it was told.
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
        // Nobody waits for a thread in a fork; here it is what makes its last writes seen.
        other.join().unwrap();
        let told = (process.outer.take_in_child(), process.inner.take_in_child());
        for guarded in [&process.outer, &process.inner] {
            assert!(!guarded.lock.lock_as(|| CHILD).is_inherited, "told twice");
        }
        told
    });
}

/// The child has two threads by the time the lock is wanted that a thread of its parent held. One of them is told; and
/// neither takes the lock from the other, who lives. The outcome is who was told.
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
