//! Typed pools beside what programs do without them, and beside the crates that people use for it.
//!
//! ```text
//! cargo run --release -p poolmalloc-pools [-- --rounds 15] [--only NAME]
//! ```
//! Every way runs in each round, in another order each time, in this one process with poolmalloc as the global allocator. A figure is
//! the median of the ratios to the first way in the same round: below 1 is faster than that. Each way's results must be the same.
//!
//! Caveat: one process, so what the ways before left in caches and pools is met by the next; and wall time, so a busy machine
//! shows. `cpu` is processor time of all threads.
#![allow(unreachable_pub, reason = "a program has no outside")]

mod book;
mod contest;
mod echo;
mod game;
mod pairs;

use contest::{Contest, Measured};
use lexopt::prelude::*;
use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() -> anyhow::Result<()> {
    let (mut rounds, mut only) = (11, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("rounds") => rounds = arguments.value()?.parse()?,
            Long("only") => only = Some(arguments.value()?.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
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
    Ok(())
}
