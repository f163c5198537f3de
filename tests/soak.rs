//! A short soak: eight threads that allocate, hand blocks to each other, end and are replaced; at each quiet point the
//! statistics are exact, and `check_heap` finds nothing wrong.
//!
//! The threads use the allocator directly, and the process's global one is the system's: what the statistics count is then
//! what the soak has done, and nothing else. `benches/soak` runs the same for minutes.
//!
//! To see it fail: put a remote free's bit one place too far; count no remote free, or not the blocks that a settling heap
//! flushes; take over a heap twice.
//!
//! `cargo test --test soak`

mod support;

use std::alloc::GlobalAlloc;
use std::ops::ControlFlow;

use poolmalloc::PoolMalloc;
use poolmalloc_oracle::ByAlignment;
use poolmalloc_oracle::soak::{self, Quiet, Soak};

use support::oracle::{CLASSES, consistent_stats, counted};
use support::private::Private;
use support::scaled;

fn soak_of<A: GlobalAlloc + Default>() {
    const QUIET_POINTS: u64 = 20;
    /// Bursts come by chance: if there were too few by then, some more points will show another.
    const MOST_QUIET_POINTS: u64 = 200;

    let before = counted(&consistent_stats());
    let mut last = Quiet::default();
    let mut points = 0;
    soak::run::<A>(Soak { workers: 8, steps: scaled(200_000, 10), life: scaled(200_000, 10), seed: 1 }, |quiet| {
        assert_eq!(counted(&consistent_stats()).since(&before), quiet.counts);
        last = *quiet;
        points += 1;
        let is_enough = points >= QUIET_POINTS && last.bursts > 1 || points >= MOST_QUIET_POINTS;
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(last.threads > 8 * QUIET_POINTS && last.bursts > 1 && last.handed_over > last.operations / 20, "{last:?}");
    assert_eq!(last.counts.small_blocks, [0; CLASSES]);
    assert_eq!((last.counts.large_blocks, last.counts.large_bytes), (0, 0));
}

fn short_soak() {
    soak_of::<PoolMalloc>();
}

/// A half of the blocks are a private heap's.
fn short_soak_with_a_private_heap() {
    soak_of::<ByAlignment<PoolMalloc, Private>>();
}

fn main() {
    let tests: [(&str, fn()); 2] =
        [("short_soak", short_soak), ("short_soak_with_a_private_heap", short_soak_with_a_private_heap)];
    let private = "a private heap has no pools, and its blocks are the backend's as they are";
    support::run_but_in_debug(&tests, &[("short_soak_with_a_private_heap", private)]);
}
