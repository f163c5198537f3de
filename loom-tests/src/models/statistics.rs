//! What a report can conclude from the counters while other threads count.

use super::{Moment, explore};
use crate::sync::{AtomicU64, Counter};
use loom::sync::Arc;
use loom::thread;

/// Amount that one step counts. It changes both 32-bit halves of a figure, so a figure that is only half written is
/// noticed.
const STEP: usize = (1 << 32) + 1;

fn counter() -> Counter {
    Counter::around(AtomicU64::new(0))
}

/// Number of steps that a counter has made. Fails if the counter shows a part of a step.
fn steps(counter: &Counter) -> u64 {
    let value = counter.value();
    assert_eq!(value % STEP as u64, 0, "half a figure");
    value / STEP as u64
}

/// Reads a counter twice while its one writer changes it twice. Asserts that it shows `last` steps in the end. Returns
/// the two figures, in steps.
fn read_twice(changes: [fn(&Counter); 2], last: u64) -> (u64, u64) {
    let shared = Arc::new((counter(), Moment::new()));
    let writer = {
        let shared = shared.clone();
        thread::spawn(move || {
            for change in changes {
                change(&shared.0);
                shared.1.pass();
            }
        })
    };
    shared.1.pass();
    let seen = (steps(&shared.0), steps(&shared.0));
    writer.join().unwrap();
    assert_eq!(steps(&shared.0), last);
    seen
}

/// A counter that only grows never goes backwards, and each figure is whole.
///
/// Mutants: half-a-count, count-from-0, no-add.
#[test]
fn a_counter_never_goes_backwards() {
    explore(&[(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)], || {
        read_twice([|counter| counter.add(STEP), |counter| counter.add(STEP)], 2)
    });
}

/// A counter that also shrinks shows only figures that it had, and in their order.
///
/// Mutants: half-a-count, no-subtract, no-add.
#[test]
fn a_counter_that_shrinks_shows_what_it_was() {
    explore(&[(0, 0), (0, 2), (0, 1), (2, 2), (2, 1), (1, 1)], || {
        read_twice([|counter| counter.add(2 * STEP), |counter| counter.subtract(STEP)], 1)
    });
}

/// A block is moved out of a pool and back, and each move is counted. A report reads the two counters in either order.
/// In both orders it may find that more blocks came back than went out, so a sum of two figures is exact only when the
/// writer is quiet.
///
/// Mutants: no-add.
#[test]
fn two_counters_may_be_of_different_moments() {
    for is_later_read_first in [false, true] {
        explore(&[(0, 0), (1, 0), (1, 1), (0, 1)], move || {
            let shared = Arc::new((counter(), counter(), Moment::new()));
            let writer = {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.0.add(1);
                    shared.2.pass();
                    shared.1.add(1);
                    shared.2.pass();
                })
            };
            shared.2.pass();
            let (filled, flushed) = if is_later_read_first {
                let flushed = shared.1.value();
                (shared.0.value(), flushed)
            } else {
                let filled = shared.0.value();
                shared.2.pass();
                (filled, shared.1.value())
            };
            writer.join().unwrap();
            assert_eq!((shared.0.value(), shared.1.value()), (1, 1));
            (filled, flushed)
        });
    }
}

/// Two threads without a heap count into one counter while a third reads it. No count is lost.
///
/// Mutants: lost-count.
#[test]
fn a_shared_counter_loses_nothing() {
    explore(&[0, 1, 2], || {
        let counter = Arc::new(counter());
        let writers = [(); 2].map(|()| {
            let counter = counter.clone();
            thread::spawn(move || counter.add_shared(STEP))
        });
        let seen = steps(&counter);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(steps(&counter), 2);
        seen
    });
}
