//! A soak: threads that allocate, free, resize and hand over blocks at random, end and are replaced, for minutes. At each
//! quiet point `check_heap` walks the whole heap, and the statistics are compared with exact counts. See README.md.
//!
//! A half of the blocks are those of a private heap that all threads share. They use the allocator directly. The process's global one is the system's, so that what the statistics count is the
//! soak's doing alone, and this program can report what has gone wrong.

#[path = "../../../tests/support/private.rs"]
mod private;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use memory_stats::memory_stats;
use poolmalloc::{PoolMalloc, Stats, check_heap, stats};
use poolmalloc_oracle::soak::{self, Quiet, Soak};
use poolmalloc_oracle::{ByAlignment, Counts};

use private::Private;

/// Parts of the run after each of which a line is printed.
const PARTS: usize = 10;
/// What memory at the end may be of that after the first part.
const GROWTH_PERCENT: usize = 110;
/// A first part that is shorter has not seen everything yet that takes memory.
const LEAST_PART: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(about = "Threads that allocate at random for minutes, and a look at the whole heap every few seconds")]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many at a time, 2 to 16.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(2..=16))]
    threads: u8,
    /// Where all that is random starts from. Two runs still differ: threads meet as the system has it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps of each thread between two quiet points.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
}

/// What the statistics say, in the words of the engine.
fn counted(stats: &Stats) -> Counts {
    Counts {
        small_blocks: stats.classes.map(|class| class.live_blocks),
        small_frees: stats.classes.map(|class| class.frees),
        large_blocks: stats.large.live_blocks,
        large_bytes: stats.large.live_bytes,
        large_frees: stats.large.frees,
    }
}

/// Looks at the whole heap. Where something is wrong, the soak ends at once.
fn check(quiet: &Quiet) -> Stats {
    if let Err(violation) = check_heap() {
        panic!("the heap is broken after {} operations: {violation}", quiet.operations);
    }
    let stats = stats();
    assert_eq!(counted(&stats), quiet.counts, "statistics, and what was done in {} operations", quiet.operations);
    stats
}

fn resident_kib() -> Option<usize> {
    memory_stats().map(|memory| memory.physical_mem / 1024)
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let whole = Duration::try_from_secs_f64(60.0 * options.minutes)?;
    let part = whole / PARTS as u32;
    // Now, so that printing does not change what is resident later.
    println!("{} threads, {} minutes, seed {}", options.threads, options.minutes, options.seed);
    println!("  part   seconds     operations  quiet points  threads started  arenas  live blocks  resident KiB");

    let begin = Instant::now();
    let (mut points, mut parts) = (0_u64, 0);
    let mut residents = [None; PARTS];
    let soak = Soak {
        workers: usize::from(options.threads),
        steps: options.steps as usize,
        life: options.steps as usize,
        seed: options.seed,
    };
    let mut last = Quiet::default();
    soak::run::<ByAlignment<PoolMalloc, Private>>(soak, |quiet| {
        let stats = check(quiet);
        last = *quiet;
        points += 1;
        while parts < PARTS && begin.elapsed() >= part * (parts as u32 + 1) {
            residents[parts] = resident_kib();
            parts += 1;
            println!(
                "{parts:3}/{PARTS} {:9.1} {:14} {points:13} {:16} {:7} {:12} {:>13}",
                begin.elapsed().as_secs_f64(),
                quiet.operations,
                quiet.threads,
                stats.arenas.open,
                stats.small.live_blocks + stats.large.live_blocks,
                residents[parts - 1].map_or("unknown".into(), |kib| kib.to_string()),
            );
        }
        if parts < PARTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });

    println!(
        "{} operations, {} blocks handed over, {} bursts, {} threads; the heap was valid at {points} quiet points",
        last.operations, last.handed_over, last.bursts, last.threads
    );
    let blocks_left = last.counts.small_blocks.iter().sum::<u64>() + last.counts.large_blocks;
    ensure!(blocks_left == 0, "{blocks_left} blocks are live at the end");
    let (Some(first), Some(end)) = (residents[0], residents[PARTS - 1]) else {
        println!("this system does not tell what is resident");
        return Ok(());
    };
    println!("resident at the end: {:.1} % of what it was at one tenth", 100.0 * end as f64 / first as f64);
    if part < LEAST_PART {
        println!("too short a run to judge by that");
        return Ok(());
    }
    ensure!(100 * end <= GROWTH_PERCENT * first, "that is more than {GROWTH_PERCENT} %");
    Ok(())
}
