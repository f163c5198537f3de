//! Typed pools beside the same programs without them, and beside the crates that people use instead.
//!
//! ```text
//! cargo run --release -p poolmalloc-heaps-and-pools --bin pools [-- [--rounds 15] [--only NAME]]
//! ```
//! Every way runs in each round, in another order each time, in this one process with poolmalloc as the global
//! allocator. A figure is the median of the ratios to the first way in the same round: below 1 is faster than the first
//! way. All ways must have the same result.
//!
//! Caveats: all ways share one process, so each way finds the caches and pools in the state in which the earlier ways
//! left them. `time` is wall time, so other work on the machine changes it. `cpu` is processor time of all threads.
#![allow(unreachable_pub, reason = "a program has no outside")]

mod book;
mod contest;
mod echo;
mod game;
mod pairs;

use clap::Parser;
use contest::{Contest, Measured};
use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Typed pools beside the same programs without them, and beside the crates that people use instead.
#[derive(Parser)]
struct Options {
    /// Number of rounds; every way runs in each round
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Only the programs whose names contain this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

fn main() {
    let Options { rounds, only } = Options::parse();
    let contests: [fn() -> Contest; 8] = [
        pairs::pairs,
        pairs::waves,
        pairs::vectors,
        pairs::threads,
        pairs::handed_on,
        book::orders,
        game::entities,
        echo::requests,
    ];
    let contests = contests.map(|contest| contest());
    let chosen = contests.into_iter().filter(|contest| only.as_deref().is_none_or(|name| contest.name.contains(name)));
    let measured: Vec<Measured> = chosen.map(|contest| contest.run(rounds)).collect();
    println!("{}", contest::table(&measured));
    println!("Medians of {rounds} rounds; in brackets the lowest and the highest. The first way of each is 1.");
}
