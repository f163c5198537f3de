//! Typed pools beside what programs do without them, and beside the crates that people use for it.
//!
//! ```text
//! cargo run --release -p poolmalloc-heaps-and-pools --bin pools [-- [--rounds 15] [--only NAME]]
//! ```
//! Every way runs in each round, in another order each time, in this one process with poolmalloc as the global
//! allocator. A figure is the median of the ratios to the first way in the same round: below 1 is faster than that.
//! Each way's results must be the same.
//!
//! Caveat: one process, so what the ways before left in caches and pools is met by the next; and wall time, so a busy
//! machine shows. `cpu` is processor time of all threads.
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

/// Typed pools beside what programs do without them, and beside the crates that people use for it.
#[derive(Parser)]
struct Options {
    /// Rounds, of which each way takes part in every one
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
