//! Measures the gain of a private heap: the same work runs in a private heap, without one, and in the arenas that
//! programs use. The work is a list of a million nodes, and the token trees of made-up Rust. Their nodes are freed one
//! by one, or the list or the trees are dropped whole. See README.md.
//!
//! All rows run in one process, under poolmalloc, in turn within each round. The figure of a row is the median of its
//! rounds. Compare the ratios of these medians.

mod nodes;
mod source;
mod tree;

use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

#[derive(Parser)]
#[command(about = "Private heaps beside programs without them")]
struct Options {
    /// Number of rounds. Every row runs in each round.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Nodes of the list.
    #[arg(long, default_value_t = 1_000_000)]
    nodes: usize,
    /// Fail if freeing at once takes more than this part of the time of freeing one by one.
    #[arg(long)]
    most: Option<f64>,
}

/// Time to build something, and time to free it.
struct Times {
    build: Duration,
    end: Duration,
}

/// Calls `build`, then `end` with the result, and times both.
fn time<T>(build: impl FnOnce() -> T, end: impl FnOnce(T)) -> Times {
    let start = Instant::now();
    let built = black_box(build());
    let build = start.elapsed();
    let start = Instant::now();
    end(built);
    Times { build, end: start.elapsed() }
}

/// One way to do a job, and its times so far.
struct Row<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> Times + 'a>,
    times: Vec<Times>,
}

impl<'a> Row<'a> {
    fn new(name: &'static str, run: impl FnMut() -> Times + 'a) -> Self {
        Self { name, run: Box::new(run), times: Vec::new() }
    }

    fn median(&self, part: impl Fn(&Times) -> Duration) -> f64 {
        let mut all: Vec<f64> = self.times.iter().map(|times| part(times).as_secs_f64()).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }
}

/// Runs the rows in turn, and prints their medians and the ratios to the first row. Returns for each row the ratio of
/// its time to free to that of the first row.
fn compare(title: &str, rounds: u32, mut rows: Vec<Row<'_>>) -> Vec<f64> {
    for round in 0..=rounds {
        for row in &mut rows {
            let times = (row.run)();
            // The first round opens arenas and touches their memory.
            if round > 0 {
                row.times.push(times);
            }
        }
    }
    println!("\n{title}");
    println!("{:<34} {:>10} {:>10} {:>8} {:>8} {:>8}", "", "build ms", "end ms", "build", "end", "both");
    let first = (rows[0].median(|times| times.build), rows[0].median(|times| times.end));
    let both = |times: &Times| times.build + times.end;
    let first_both = rows[0].median(both);
    let mut ends = Vec::new();
    for row in &rows {
        let (build, end) = (row.median(|times| times.build), row.median(|times| times.end));
        let ratios = (build / first.0, end / first.1, row.median(both) / first_both);
        println!(
            "{:<34} {:>10.3} {:>10.3} {:>8.3} {:>8.4} {:>8.3}",
            row.name,
            build * 1e3,
            end * 1e3,
            ratios.0,
            ratios.1,
            ratios.2
        );
        ends.push(ratios.1);
    }
    ends
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let title = format!("{} nodes of 40 bytes in a list, freed one by one and all at once", options.nodes);
    let ends = compare(&title, options.rounds, nodes::rows(options.nodes));
    let text = source::text();
    let trees = tree::count(&text);
    let title = format!("{} bytes of Rust, parsed into token trees: {trees} nodes", text.len());
    compare(&title, options.rounds, tree::rows(&text));
    if let Some(most) = options.most {
        anyhow::ensure!(
            ends[nodes::DROPPED] <= most,
            "freeing at once takes {:.4} of freeing one by one",
            ends[nodes::DROPPED]
        );
    }
    Ok(())
}
