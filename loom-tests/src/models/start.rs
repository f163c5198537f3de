//! The first thread that needs the region opens it, once. A thread that sees that the region is ready sees the region
//! itself.

use super::{Moment, explore};
use crate::sync::{AtomicU32, Decision, Lock, Once, PlainCell};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The region of a process, with the lock under which it is opened.
struct Process {
    lock: Lock,
    start: Once<Region>,
    /// Number of times that the region was reserved.
    starts: UnsafeCell<usize>,
    moment: Moment,
}

struct Region {
    opened_by: UnsafeCell<usize>,
}

impl Process {
    fn new() -> Self {
        Self {
            lock: Lock::around(AtomicU32::new(0)),
            start: Once::around(AtomicU32::new(0), PlainCell::new(None)),
            starts: UnsafeCell::new(0),
            moment: Moment::new(),
        }
    }

    /// Needs the region, as the thread of number `me`. The system refuses memory to number 0. Returns the number of the
    /// thread that opened the region, if one could.
    fn need(&self, me: usize) -> Option<usize> {
        let _guard = self.lock.lock_as(|| 1);
        let make = || {
            self.moment.pass();
            // SAFETY: the lock; loom checks it.
            self.starts.with_mut(|starts| unsafe { *starts += 1 });
            (me != 0).then(|| Region { opened_by: UnsafeCell::new(me) })
        };
        // SAFETY: the lock.
        let region = unsafe { self.start.decide(make) };
        self.moment.pass();
        // SAFETY: no thread writes it any more.
        region.map(|region| region.opened_by.with(|who| unsafe { *who }))
    }

    /// Looks for the region without the lock. `None` if nothing is decided yet, else the number of the thread that
    /// opened the region, if one could.
    fn look(&self) -> Option<Option<usize>> {
        self.moment.pass();
        match self.start.see() {
            Decision::New => None,
            // SAFETY: loom checks that the write happened before.
            Decision::Ready(region) => Some(Some(region.opened_by.with(|who| unsafe { *who }))),
            Decision::Refused => Some(None),
        }
    }

    fn assert_started_once(&self) {
        // SAFETY: the other threads are gone; loom checks it.
        assert_eq!(self.starts.with(|starts| unsafe { *starts }), 1, "times that the region was reserved");
    }
}

/// Two threads need the region first, and a third looks for it without the lock. The outcome is which thread opened it,
/// and what the third thread found.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, rob-the-living, D-release, S-acquire, phase-first, start-twice,
/// not-ready.
#[test]
fn two_threads_open_the_region() {
    explore(&[(1, None), (1, Some(Some(1))), (2, None), (2, Some(Some(2)))], || {
        let process = Arc::new(Process::new());
        let [one, two] = [1, 2].map(|me| {
            let process = process.clone();
            thread::spawn(move || process.need(me))
        });
        let found = process.look();
        let [one, two] = [one, two].map(|thread| thread.join().unwrap());
        assert_eq!(one, two, "both see the same region");
        process.assert_started_once();
        assert_eq!(process.look(), Some(one));
        (one.unwrap(), found)
    });
}

/// Two threads need the region first, but the system refuses it to both. A third looks for it without the lock. The
/// outcome is what the third thread found.
///
/// Mutants: L-acquire, U-release, no-lock, no-unlock, rob-the-living, refuse-twice, not-decided, never-refused.
#[test]
fn two_threads_are_refused_a_region() {
    explore(&[None, Some(None)], || {
        let process = Arc::new(Process::new());
        let both = [(); 2].map(|()| {
            let process = process.clone();
            thread::spawn(move || process.need(0))
        });
        let found = process.look();
        assert_eq!(both.map(|thread| thread.join().unwrap()), [None, None]);
        process.assert_started_once();
        assert_eq!(process.look(), Some(None));
        found
    });
}
