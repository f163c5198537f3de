//! A short soak: eight threads that allocate, hand blocks to each other, end and are replaced; at each quiet point the
//! counts of live blocks are exact.
//!
//! The threads use the allocator directly, and the process's global one is the system's: what the statistics count is then
//! what the soak has done, and nothing else. `benches/soak` runs the same for minutes.
//!
//! To see it fail: put a remote free's bit one place too far; count no remote free, or not the blocks that a settling heap
//! flushes; take over a heap twice.
//!
//! `cargo test --test soak`

mod support;

use std::ops::ControlFlow;

use poolmalloc::PoolMalloc;
use poolmalloc_oracle::soak::{self, Quiet, Soak};

use support::oracle::{consistent_stats, held};
use support::scaled;

fn short_soak() {
    const QUIET_POINTS: u64 = 20;

    let mut last = Quiet::default();
    let mut points = 0;
    soak::run::<PoolMalloc>(
        Soak { workers: 8, steps: scaled(200_000, 10), life: scaled(200_000, 10), seed: 1 },
        |quiet| {
            assert_eq!(held(&consistent_stats()), quiet.live);
            last = *quiet;
            points += 1;
            if points < QUIET_POINTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        },
    );
    println!("{last:?}");
    assert!(last.threads > 8 * QUIET_POINTS && last.bursts > 1 && last.handed_over > last.operations / 20, "{last:?}");
    assert_eq!(last.live, Default::default());
}

fn main() {
    support::run(&[("short_soak", short_soak)]);
}
