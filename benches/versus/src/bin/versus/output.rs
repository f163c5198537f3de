//! What the driver prints: the list of workloads, the tables, the JSON, the allocator's report.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use versus::sample::Sample;
use versus::summary::{Mean, Ratio, Row};
use versus::workload::Group;
use versus::workloads;

use crate::allocators::{Allocator, BASELINE};
use crate::cli::{Json, Plan};
use crate::rounds::Round;
use crate::workers::Workers;

/// The names and descriptions of all workloads.
pub(crate) fn list() {
    for workload in &workloads::ALL {
        println!("{:<10} {:<8} {}", workload.name, workload.group.name(), workload.about);
    }
}

/// Prints what the plan asks for.
///
/// # Errors
/// If the JSON cannot be written, or the run for the report fails.
pub(crate) fn print(plan: &Plan, workers: &Workers, rounds: Vec<Round>) -> Result<()> {
    let results: Vec<Comparison> = plan.candidates.iter().map(|&candidate| compare(plan, candidate, &rounds)).collect();
    let record = Record { machine: Machine::this(), scale: plan.scale.as_thousandths(), summary: &results, rounds };
    match &plan.json {
        Json::Nowhere => {}
        Json::Stdout => {
            return write_json(&record, std::io::stdout().lock()).context("cannot write the JSON");
        }
        Json::File(path) => File::create(path)
            .map_err(anyhow::Error::from)
            .and_then(|file| write_json(&record, BufWriter::new(file)))
            .with_context(|| format!("cannot write {}", path.display()))?,
    }
    for comparison in &results {
        println!("{}\n", table(comparison));
    }
    println!("{}", legend(plan));
    print_reports(plan, workers)
}

/// All rows of one allocator.
#[derive(Serialize)]
struct Comparison {
    baseline: &'static str,
    allocator: &'static str,
    rows: Vec<Row>,
    geometric_means: Vec<Mean>,
}

fn compare(plan: &Plan, candidate: Allocator, rounds: &[Round]) -> Comparison {
    let samples = |workload: &str, allocator: Allocator| -> Vec<&Sample> {
        let all = rounds.iter().flat_map(|round| &round.samples);
        all.filter(|sample| sample.workload == workload && sample.allocator == allocator.name).collect()
    };
    let row = |workload: &&'static versus::workload::Workload| {
        Row::new(workload, &samples(workload.name, BASELINE), &samples(workload.name, candidate))
    };
    let rows: Vec<Row> = plan.workloads.iter().map(row).collect();
    let geometric_means = Mean::of_groups(&rows);
    Comparison { baseline: BASELINE.name, allocator: candidate.name, rows, geometric_means }
}

/// Markdown, so that it can be pasted as it is.
fn table(comparison: &Comparison) -> Table {
    let Comparison { baseline, allocator, .. } = comparison;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "group",
        "workload",
        &format!("{baseline} ms"),
        &format!("{allocator} ms"),
        "time",
        "spread",
        "cpu",
        &format!("{baseline} MiB"),
        &format!("{allocator} MiB"),
        "memory",
    ]);
    table.add_rows(comparison.rows.iter().map(row_cells));
    let means = comparison.geometric_means.iter().filter(|mean| mean.group != Group::Minimal);
    table.add_rows(means.map(mean_cells));
    table.column_iter_mut().skip(2).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

fn row_cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.group.name().to_owned(), row.workload.to_owned()];
    if row.group.is_timed() {
        let Ratio { median, min, max } = row.time;
        cells.extend([row.baseline_ms, row.candidate_ms].map(|ms| format!("{ms:.0}")));
        cells.extend([ratio(median), format!("{min:.2}..{max:.2}"), ratio(row.cpu.median)]);
    } else {
        cells.extend(["-"; 5].map(str::to_owned));
    }
    cells.extend([row.baseline_peak_rss_bytes, row.candidate_peak_rss_bytes].map(mib));
    cells.push(ratio(row.memory.median));
    cells
}

fn mean_cells(mean: &Mean) -> Vec<String> {
    let blank = String::new;
    let [time, cpu] = [mean.time, mean.cpu].map(|mean| mean.map_or_else(blank, ratio));
    let name = "geometric mean".to_owned();
    vec![mean.group.name().to_owned(), name, blank(), blank(), time, blank(), cpu, blank(), blank(), ratio(mean.memory)]
}

fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn legend(plan: &Plan) -> String {
    format!(
        "Rounds: {}; figures are medians. time, cpu and memory are multiples of {}: below 1.00 is better. spread: the\n\
         lowest and the highest round of time. cpu: processor time of all threads, steadier than time on a busy machine. MiB: the peak\n\
         resident size of the whole process, its code and its input included.",
        plan.rounds, BASELINE.name,
    )
}

fn print_reports(plan: &Plan, workers: &Workers) -> Result<()> {
    let Some(workload) = plan.report else {
        return Ok(());
    };
    for &allocator in plan.candidates.iter().filter(|allocator| allocator.has_report) {
        let report = workers.report(allocator, workload, plan.scale)?;
        println!("\n{} after {}:\n{}", allocator.name, workload.name, report.trim_end());
    }
    Ok(())
}

/// Everything that was measured, for other tools.
#[derive(Serialize)]
struct Record<'a> {
    machine: Machine,
    /// Thousandths of the full workloads.
    scale: u32,
    summary: &'a [Comparison],
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Machine {
    os: &'static str,
    arch: &'static str,
    /// How many threads can run at a time, as far as the system tells.
    parallelism: usize,
}

impl Machine {
    fn this() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        Self { os: std::env::consts::OS, arch: std::env::consts::ARCH, parallelism }
    }
}

fn write_json(record: &Record, mut to: impl Write) -> Result<()> {
    serde_json::to_writer_pretty(&mut to, record)?;
    writeln!(to)?;
    Ok(to.flush()?)
}
