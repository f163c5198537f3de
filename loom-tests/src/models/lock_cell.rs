//! A value behind a lock, in a process that may be forked. The value has one user at a time. Each user sees what the
//! last one wrote, and no user sees the value half-changed. In the child of a fork the value is mended once, before any
//! other use.
//!
//! loom knows no fork: `forks` says how the models imitate one.

use super::explore;
use crate::sync::{AtomicU32, Lock, LockCell, Ordering, PlainCell};
use loom::sync::Arc;
use loom::thread;
use std::mem;

/// Generations.
const PARENT: u32 = 1;
const CHILD: u32 = 2;

/// Two values that a holder keeps equal.
type Pair = [usize; 2];

fn pair() -> LockCell<Pair> {
    LockCell::around(Lock::around(AtomicU32::new(0)), PlainCell::new([0; 2]))
}

/// Adds 1 to each of the two values. Asserts that they were equal before.
fn add(pair: &mut Pair) {
    assert_eq!(pair[0], pair[1], "half-changed");
    pair[0] += 1;
    pair[1] += 1;
}

fn not_inherited(_: &mut Pair) {
    unreachable!("no fork has come");
}

/// Two threads change the value. The first waits for the lock, the second does not. Each sees what the other wrote
/// before. The outcome is the value that the second found, or `None` if it did not get the lock.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, rob-the-living, try-acquire, try-held, locked-no-lock,
/// mend-always.
#[test]
fn a_locked_value_has_one_user() {
    explore(&[None, Some(0), Some(1)], || {
        let value = Arc::new(pair());
        let other = {
            let value = value.clone();
            thread::spawn(move || add(&mut value.hold_as(|| PARENT, not_inherited)))
        };
        let seen = value.try_hold_as(PARENT).map(|mut held| {
            let before = held[0];
            add(&mut held);
            before
        });
        other.join().unwrap();
        let held = value.hold_as(|| PARENT, not_inherited);
        assert_eq!(*held, [1 + usize::from(seen.is_some()); 2]);
        seen
    });
}

/// A fork comes at any step of a change of the value. The first holder in the child mends the value if it may be
/// half-changed. The second holder finds it whole. The outcome is how far the change had come, and how often the value
/// was mended.
///
/// Before both, the child asks for the value without waiting. It gets the value only if that is whole.
///
/// Mutants: no-lock, no-unlock, leave-the-dead, never-told, always-told, locked-no-lock, locked-try-takes, mend-never,
/// mend-always.
#[test]
fn a_value_is_mended_once_after_a_fork() {
    let mended = [([0, 0], 1), ([1, 0], 1), ([1, 1], 1)];
    let whole = [([0, 0], 0), ([1, 1], 0)];
    explore(&[&mended[..], &whole].concat(), || {
        let value = Arc::new(pair());
        let is_forked = Arc::new(AtomicU32::new(0));
        let other = {
            let (value, is_forked) = (value.clone(), is_forked.clone());
            thread::spawn(move || {
                let step = || (is_forked.load(Ordering::Relaxed) == 0).then_some(());
                let change = || {
                    step()?;
                    let mut held = mem::ManuallyDrop::new(value.hold_as(|| PARENT, not_inherited));
                    for which in 0..2 {
                        step()?;
                        held[which] += 1;
                    }
                    step()?;
                    drop(mem::ManuallyDrop::into_inner(held));
                    Some(())
                };
                change();
            })
        };
        is_forked.store(1, Ordering::Relaxed);
        // A real fork waits for no thread. Here the join makes the last writes of the other thread visible.
        other.join().unwrap();
        if let Some(held) = value.try_hold_as(CHILD) {
            assert_eq!(held[0], held[1], "half-changed");
        }
        let (mut copied, mut times) = (None, 0);
        for _ in 0..2 {
            let mend = |pair: &mut Pair| {
                copied = Some(*pair);
                times += 1;
                pair[1] = pair[0];
            };
            let held = value.hold_as(|| CHILD, mend);
            assert_eq!(held.generation(), CHILD);
            let now = *held;
            drop(held);
            assert_eq!(now[0], now[1], "half-changed");
            copied = copied.or(Some(now));
        }
        (copied.unwrap(), times)
    });
}

/// A thread of the parent held the value at the fork. Two threads of the child now use the value. One of them mends it,
/// and the other sees it mended. The outcome is whether the first thread mended it.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, leave-the-dead, rob-the-living, never-told, always-told,
/// locked-no-lock, mend-never, mend-always.
#[test]
fn one_of_two_threads_mends() {
    explore(&[false, true], || {
        let value = Arc::new(pair());
        let mut held = value.hold_as(|| PARENT, not_inherited);
        held[0] += 1;
        mem::forget(held);
        let enter = |value: &LockCell<Pair>| {
            let mut is_mended_here = false;
            let mend = |pair: &mut Pair| {
                assert_eq!(*pair, [1, 0]);
                pair[1] = 1;
                is_mended_here = true;
            };
            add(&mut value.hold_as(|| CHILD, mend));
            is_mended_here
        };
        let other = {
            let value = value.clone();
            thread::spawn(move || enter(&value))
        };
        let ours = enter(&value);
        assert_ne!(ours, other.join().unwrap(), "one of the two mends");
        assert_eq!(*value.hold_as(|| CHILD, not_inherited), [3, 3]);
        ours
    });
}
