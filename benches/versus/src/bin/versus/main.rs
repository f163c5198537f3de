//! versus: the same workloads under system malloc and under poolmalloc, side by side.
//!
//! ```text
//! cargo run --release -p versus
//! ```
//!
//! Builds the workers, runs every workload under every allocator in turn, each time in a process of its own, and prints
//! a table of times and peak memory. `cli` has the options, `allocators` the list of allocators.

mod allocators;
mod cli;
mod output;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use versus::driver::{Measurement, OnFailure, Workers};

use crate::cli::{Cli, Plan};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.selection.list {
        cli.selection.print_list();
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
    let allocators = plan.allocators();
    let workers = Workers::beside_the_driver(plan.form)?;
    if plan.workers == cli::Workers::Build {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        // Packages are built one after the other. Built together, they would share features and become different
        // programs.
        let packages: BTreeSet<_> = allocators.iter().map(|allocator| allocator.package).collect();
        for package in packages {
            workers.build(package, &manifest, &allocators, &[])?;
        }
    }
    allocators.iter().try_for_each(|&allocator| workers.check(allocator))?;
    let measurement = Measurement {
        workloads: &plan.workloads,
        allocators: &allocators,
        rounds: plan.rounds,
        scale: plan.scale,
        on_failure: OnFailure::Stop,
    };
    let results = measurement.run(&workers)?;
    output::print(plan, &workers, &results)
}
