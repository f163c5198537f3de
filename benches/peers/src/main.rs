//! peers: the workloads of `versus`, and further programs, under poolmalloc and under other allocators.
//!
//! ```text
//! cargo run --release -- --set synthetic --html peers.html
//! ```
//!
//! `allocators` has the list and the build. `sets` has the sets of workloads. `comparison` computes the figures from
//! the samples. `table` and `page` show them, and `curves` draws the plots of the page.

mod allocators;
mod comparison;
mod curves;
mod page;
mod sets;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use maud::Markup;
use versus::driver::{Allocator, Measurement, OnFailure, Selection, Workers};
use versus::workload::Workload;

use crate::allocators::BASELINE;
use crate::comparison::Comparison;
use crate::sets::Set;

/// The same workloads under poolmalloc and under other allocators, side by side.
///
/// Every workload runs in a process of its own, under each allocator in turn; figures are medians over the rounds.
#[derive(Debug, Parser)]
#[command(name = "peers", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    selection: Selection<Set>,

    /// Only this allocator, beside system malloc; may be given more than once [default: all]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(allocator_names()))]
    allocator: Vec<String>,

    /// Write a page with tables and plots into FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Draw bars of some synthetic rows as SVG into FILE
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

fn allocator_names() -> impl Iterator<Item = &'static str> {
    allocators::all().map(|allocator| allocator.name)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.selection.list {
        cli.selection.print_list();
        return ExitCode::SUCCESS;
    }
    let workloads = cli.selection.workloads();
    let workloads = workloads.unwrap_or_else(|message| Cli::command().error(ErrorKind::InvalidValue, message).exit());
    match run(&cli, &workloads) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, workloads: &[&'static Workload]) -> Result<()> {
    let is_wanted = |allocator: &Allocator| {
        *allocator == BASELINE || cli.allocator.is_empty() || cli.allocator.iter().any(|name| name == allocator.name)
    };
    let mut allocators: Vec<_> = allocators::all().filter(is_wanted).collect();
    let workers = Workers::beside_the_driver(cli.selection.form)?;
    if !cli.selection.no_build {
        allocators::build(&workers, &mut allocators)?;
    }
    workers.check(BASELINE)?;
    allocators.retain(|&allocator| {
        let found = workers.check(allocator);
        found.inspect_err(|error| eprintln!("peers: {} is left out: {error}", allocator.name)).is_ok()
    });
    let measurement = Measurement {
        workloads,
        allocators: &allocators,
        rounds: cli.selection.rounds(),
        scale: cli.selection.scale(),
        on_failure: OnFailure::LeaveOut,
    };
    let results = measurement.run(&workers)?;
    let comparison = Comparison::new(&measurement, cli.selection.form, &results);
    if let Some(path) = &cli.html {
        write(path, page::page(&comparison))?;
    }
    if let Some(path) = &cli.picture {
        write(path, page::picture(&comparison))?;
    }
    if cli.selection.json().write(&comparison.record())? {
        table::print(&comparison);
    }
    Ok(())
}

fn write(path: &Path, page: Markup) -> Result<()> {
    fs::write(path, page.into_string()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use versus::form::Form;

    use super::*;

    fn selection(args: &[&str]) -> Result<Selection<Set>, clap::Error> {
        Cli::try_parse_from([&["peers"], args].concat()).map(|cli| cli.selection)
    }

    #[test]
    fn the_form_can_be_chosen() {
        let form = |args: &[&str]| selection(args).map(|selection| selection.form).map_err(|error| error.exit_code());
        assert_eq!(form(&[]), Ok(Form::Own));
        assert_eq!(form(&["--form", "library"]), Ok(Form::Library));
        assert_eq!(form(&["--form", "no such"]), Err(2));
    }

    #[test]
    fn each_set_can_be_chosen() {
        let names = |args: &[&str]| -> Vec<&str> {
            let selection = selection(args).expect("good options");
            selection.workloads().expect("some are selected").iter().map(|workload| workload.name).collect()
        };
        assert_eq!(names(&["--filter", "json"]), ["json"]);
        assert_eq!(names(&["--set", "synthetic", "--filter", "pair_8"]), ["pair_8"]);
        assert_eq!(names(&["--set", "programs"]), ["rhai", "jaq", "egg", "scraper", "naga", "axum", "tantivy"]);
        assert!(selection(&["--set", "no such"]).is_err());
    }
}
