//! Counts the instructions of a program's allocations in each form in which programs are shipped, and compares the
//! counts with limits. `benches/iai/README.md` describes the forms and the operations.
//!
//! Exits with 0 if all counts are within their limits, 3 if one is over, 1 if something else failed.

mod callgrind;
mod forms;
mod limits;
mod operations;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use comfy_table::{CellAlignment, Table, presets};

use crate::forms::{FORMS, Form};
use crate::operations::{Counts, OPERATIONS};

/// Exit code if one count or more is over its limit.
const OVER_LIMIT: u8 = 3;

/// Instructions of each operation, in each form in which programs are shipped; fails if one is over its limit.
#[derive(Debug, Parser)]
#[command(name = "forms", version, max_term_width = 100)]
struct Cli {
    /// Count only this form; may be given more than once [default: all]
    #[arg(long, value_name = "FORM", value_parser = PossibleValuesParser::new(FORMS.map(|form| form.name)))]
    only: Vec<String>,

    /// Print the lines of limits.rs that follow from the counts, too
    #[arg(long)]
    print_limits: bool,
}

/// The form's counts; `None` if it is left out.
type Row = (&'static Form, Option<Counts>);

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let folder = folder()?;
    let is_chosen = |form: &&Form| cli.only.is_empty() || cli.only.iter().any(|name| name == form.name);
    let rows: Vec<Row> =
        FORMS.iter().filter(is_chosen).map(|form| Ok((form, count(form, &folder)?))).collect::<Result<_>>()?;
    println!("{}\n", table(&rows));
    println!("instructions of one operation; behind each count the limit, in parentheses");
    if cli.print_limits {
        rows.iter()
            .filter_map(|(form, counts)| Some(limits::line(form, (*counts)?)))
            .for_each(|line| println!("{line}"));
    }
    let over: Vec<_> = rows.iter().flat_map(|(form, counts)| over_limit(form, *counts)).collect();
    over.iter().for_each(|message| eprintln!("{message}"));
    Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(OVER_LIMIT) })
}

/// The target folder of the programs: a folder beside that of this driver's build.
fn folder() -> Result<PathBuf> {
    let driver = std::env::current_exe().context("cannot find the driver's own file")?;
    let target = driver.ancestors().nth(2).context("the driver's file is in no target folder")?;
    Ok(target.join("forms"))
}

/// Builds a form and counts its operations.
fn count(form: &Form, folder: &Path) -> Result<Option<Counts>> {
    let Some(program) = form.build(folder)? else {
        println!("{} is left out: there is no static C library on this machine", form.name);
        return Ok(None);
    };
    callgrind::counts(&program).with_context(|| format!("counting {}", form.name)).map(Some)
}

/// One line for each form. It is Markdown, so that you can paste it.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["form"].into_iter().chain(OPERATIONS.map(|operation| operation.name)));
    for (form, counts) in rows {
        let cell = |index: usize| match counts {
            Some(counts) => format!("{:.2} ({:.2})", counts[index], form.limits[index]),
            None => "left out".to_owned(),
        };
        table.add_row([form.name.to_owned()].into_iter().chain((0..OPERATIONS.len()).map(cell)));
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// One message for each operation that takes more instructions than its limit.
fn over_limit(form: &Form, counts: Option<Counts>) -> Vec<String> {
    let Some(counts) = counts else { return Vec::new() };
    let all = OPERATIONS.iter().zip(counts).zip(form.limits);
    let over = all.filter(|((_, count), limit)| count > limit);
    over.map(|((operation, count), limit)| {
        format!("{}: {} takes {count:.2} instructions, and its limit is {limit:.2}", form.name, operation.name)
    })
    .collect()
}
