//! versus: the same workloads under system malloc and under poolmalloc, side by side.
//!
//! ```text
//! cargo run --release -p versus
//! ```
//!
//! Builds the workers, runs every workload under every allocator in turn, each time in a process of its own, and prints
//! a table of times and peak memory. `cli` has the options, `allocators` the list of who is compared.

mod allocators;
mod cli;
mod output;
mod rounds;
mod workers;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{Cli, Plan};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        output::list();
        return ExitCode::SUCCESS;
    }
    let plan = cli.into_plan().unwrap_or_else(|error| error.exit());
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> Result<()> {
    let workers = workers::find(plan)?;
    let rounds = rounds::measure(plan, &workers)?;
    output::print(plan, &workers, rounds)
}
