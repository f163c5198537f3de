//! Threads allocate, hand blocks to each other, end and are replaced. At each quiet point the statistics are exact, and
//! `check_heap` finds nothing wrong.
//!
//! The threads use the allocator directly, and the global allocator of the process is the system's. So the statistics
//! count the work of the soak and nothing else.
//!
//! To see it fail: put a remote free's bit one place too far; leave out the counts of remote frees, or of the blocks
//! that a settling heap flushes; take over a heap twice.
//!
//! `cargo test --test random soak::` runs it for some seconds. The long form runs for as long as the environment says:
//!
//! ```sh
//! POOLMALLOC_SOAK_SECONDS=600 cargo test --release --test random soak::long_soak
//! ```
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `POOLMALLOC_SOAK_SECONDS` | how long; without it the long form is ignored | |
//! | `POOLMALLOC_SOAK_THREADS` | threads at a time, 2 to 16 | 8 |
//! | `POOLMALLOC_SOAK_SEED` | the start of all random numbers | 1 |
//! | `POOLMALLOC_SOAK_STEPS` | steps of each thread between two quiet points | 1000000 |
//!
//! Two runs with the same seed still differ, since the system decides when the threads meet.
//!
//! The long form prints a line after each tenth of the time. It fails on the first violation, if a block is live at the
//! end, and if more than 110 % of the memory that was resident after the first tenth is resident at the end. The last
//! check is left out if a tenth is shorter than 30 seconds: not every heap has had its burst by then.

use std::alloc::GlobalAlloc;
use std::env;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::{Duration, Instant};

use poolmalloc::{PoolMalloc, Stats};
use poolmalloc_oracle::ByAlignment;
use poolmalloc_oracle::soak::{self, Quiet, Soak};
use poolmalloc_support::oracle::{CLASSES, consistent_stats, counted};
use poolmalloc_support::private::Private;
use poolmalloc_support::process::resident_bytes;
use poolmalloc_support::{Test, not_in_debug, scaled, tests};

fn soak_of<A: GlobalAlloc + Default>() {
    const QUIET_POINTS: u64 = 20;
    /// Maximum number of quiet points. Bursts come by chance: if there were too few after 20 points, the soak goes on
    /// until another one comes.
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
    assert_nothing_live(&last);
}

fn assert_nothing_live(last: &Quiet) {
    assert_eq!(last.counts.small_blocks, [0; CLASSES]);
    assert_eq!((last.counts.large_blocks, last.counts.large_bytes), (0, 0));
}

fn short_soak() {
    soak_of::<PoolMalloc>();
}

/// The blocks with alignments of 2, 8 and 32 belong to a private heap.
fn short_soak_with_a_private_heap() {
    soak_of::<ByAlignment<PoolMalloc, Private>>();
}

const SECONDS: &str = "POOLMALLOC_SOAK_SECONDS";

/// Number of parts of the long run. A line is printed after each.
const PARTS: usize = 10;
/// Maximum of the resident memory at the end, in percent of that after the first part.
const GROWTH_PERCENT: u64 = 110;
/// Least length of a part for the check of resident memory. In a shorter first part not every heap has had its burst.
const LEAST_PART: Duration = Duration::from_secs(30);

/// The value of a variable of the environment, or `default` where it is not set.
fn option<T: FromStr>(name: &str, default: T) -> T {
    let Ok(value) = env::var(name) else { return default };
    value.parse().unwrap_or_else(|_| panic!("{name}={value}"))
}

/// Prints a line of the table of the long soak.
fn print_part(number: usize, begin: Instant, points: u64, quiet: &Quiet, stats: &Stats, resident: Option<u64>) {
    println!(
        "{number:3}/{PARTS} {:9.1} {:14} {points:13} {:16} {:7} {:12} {:>13}",
        begin.elapsed().as_secs_f64(),
        quiet.operations,
        quiet.threads,
        stats.arenas.open,
        stats.small.live_blocks + stats.large.live_blocks,
        resident.map_or("unknown".into(), |bytes| (bytes >> 10).to_string()),
    );
}

/// Here too the blocks with alignments of 2, 8 and 32 belong to a private heap.
fn long_soak() {
    let seconds = option(SECONDS, 600.0);
    let workers = option("POOLMALLOC_SOAK_THREADS", 8);
    assert!((2..=16).contains(&workers), "2 to 16 threads");
    let steps = option("POOLMALLOC_SOAK_STEPS", 1_000_000);
    assert!(steps > 0, "a step at least");
    let soak = Soak { workers, steps, life: steps, seed: option("POOLMALLOC_SOAK_SEED", 1) };
    let part = Duration::try_from_secs_f64(seconds).expect("seconds") / PARTS as u32;
    // The heading is printed now, so that printing does not change the resident memory later.
    println!("\n{workers} threads, {seconds} seconds, seed {}", soak.seed);
    println!("  part   seconds     operations  quiet points  threads started  arenas  live blocks  resident KiB");

    let begin = Instant::now();
    let before = counted(&consistent_stats());
    let (mut points, mut parts) = (0_u64, 0);
    let mut residents = [None; PARTS];
    let mut last = Quiet::default();
    soak::run::<ByAlignment<PoolMalloc, Private>>(soak, |quiet| {
        let stats = consistent_stats();
        assert_eq!(counted(&stats).since(&before), quiet.counts, "after {} operations", quiet.operations);
        last = *quiet;
        points += 1;
        while parts < PARTS && begin.elapsed() >= part * (parts as u32 + 1) {
            residents[parts] = resident_bytes();
            parts += 1;
            print_part(parts, begin, points, quiet, &stats, residents[parts - 1]);
        }
        if parts < PARTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });

    println!(
        "{} operations, {} blocks handed over, {} bursts, {} threads; the heap was valid at {points} quiet points",
        last.operations, last.handed_over, last.bursts, last.threads
    );
    assert_nothing_live(&last);
    let (Some(first), Some(end)) = (residents[0], residents[PARTS - 1]) else {
        println!("this system does not tell what is resident");
        return;
    };
    println!("resident at the end: {:.1} % of what it was at one tenth", 100.0 * end as f64 / first as f64);
    if part < LEAST_PART {
        println!("too short a run to judge by that");
        return;
    }
    assert!(100 * end <= GROWTH_PERCENT * first, "that is more than {GROWTH_PERCENT} %");
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![short_soak, short_soak_with_a_private_heap];
    tests.push(Test::new("long_soak", long_soak).ignored_if(env::var_os(SECONDS).is_none()));
    let private = "a private heap has no pools, and its blocks are the backend's as they are";
    not_in_debug(tests, &["short_soak_with_a_private_heap", "long_soak"], private)
}
