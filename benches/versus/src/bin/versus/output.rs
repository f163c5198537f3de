//! The output of the driver: the tables, the JSON, the allocator's report.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use versus::driver::{Machine, Results, Round, Workers};
use versus::form::Form;
use versus::summary::{Mean, Ratio, Row};
use versus::workload::{Group, Unit};

use crate::allocators::Candidate;
use crate::cli::Plan;

/// Prints what the plan asks for.
///
/// # Errors
/// If the JSON cannot be written, or the run for the report fails.
pub(crate) fn print(plan: &Plan, workers: &Workers, results: &Results) -> Result<()> {
    let summary: Vec<Comparison> = plan.candidates.iter().map(|&candidate| compare(plan, candidate, results)).collect();
    let scale = plan.scale.as_thousandths();
    let (machine, form) = (Machine::this(), plan.form);
    let record = Record { machine, form, scale, summary: &summary, rounds: &results.rounds };
    if !plan.json.write(&record)? {
        return Ok(());
    }
    println!("{}\n", plan.form.about());
    for comparison in &summary {
        for unit in Unit::ALL {
            if comparison.rows.iter().any(|row| row.group.unit() == unit) {
                println!("{}\n", table(comparison, unit));
            }
        }
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

fn compare(plan: &Plan, candidate: Candidate, results: &Results) -> Comparison {
    let Candidate { allocator, baseline } = candidate;
    let rows: Vec<Row> =
        plan.workloads.iter().filter_map(|workload| results.row(workload, baseline, allocator)).collect();
    let geometric_means = Mean::of_groups(&rows);
    Comparison { baseline: baseline.name, allocator: allocator.name, rows, geometric_means }
}

/// The table of the rows of one unit, in Markdown, so that you can paste it.
fn table(comparison: &Comparison, unit: Unit) -> Table {
    let Comparison { baseline, allocator, .. } = comparison;
    let name = unit.name();
    let mut header = vec!["group".to_owned(), "workload".to_owned()];
    header.extend([baseline, allocator].map(|allocator| format!("{allocator} {name}")));
    if unit != Unit::BytesABlock {
        header.extend(["time", "spread", "cpu"].map(str::to_owned));
        header.extend([baseline, allocator].map(|allocator| format!("{allocator} MiB")));
    }
    header.push("memory".to_owned());
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table.add_rows(comparison.rows.iter().filter(|row| row.group.unit() == unit).map(row_cells));
    let means = comparison.geometric_means.iter();
    table.add_rows(means.filter(|mean| mean.group.unit() == unit && mean.group != Group::Minimal).map(mean_cells));
    table.column_iter_mut().skip(2).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}

fn row_cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.group.name().to_owned(), row.workload.to_owned()];
    let decimals = usize::from(row.group.unit() != Unit::Milliseconds);
    let figures = row.figures().map(|figure| format!("{figure:.decimals$}"));
    if row.group.unit() == Unit::BytesABlock {
        cells.extend(figures);
    } else {
        if row.group.is_timed() {
            let Ratio { median, min, max } = row.time;
            cells.extend(figures);
            cells.extend([ratio(median), format!("{min:.2}..{max:.2}"), ratio(row.cpu.median)]);
        } else {
            cells.extend(["-"; 5].map(str::to_owned));
        }
        cells.extend([row.baseline_memory_bytes, row.candidate_memory_bytes].map(mib));
    }
    cells.push(ratio(row.memory.median));
    cells
}

fn mean_cells(mean: &Mean) -> Vec<String> {
    let blank = String::new;
    let mut cells = vec![mean.group.name().to_owned(), "geometric mean".to_owned(), blank(), blank()];
    if mean.group.unit() != Unit::BytesABlock {
        let [time, cpu] = [mean.time, mean.cpu].map(|mean| mean.map_or_else(blank, ratio));
        cells.extend([time, blank(), cpu, blank(), blank()]);
    }
    cells.push(ratio(mean.memory));
    cells
}

fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn legend(plan: &Plan) -> String {
    format!(
        "Rounds: {}; figures are medians. time, cpu and memory are multiples of the first column's: below 1.00 is\n\
         better. spread: the lowest and the highest round of time. cpu: processor time of all threads, steadier than\n\
         time on a busy machine. MiB: the peak resident size of the whole process, its code and its input included.",
        plan.rounds,
    )
}

fn print_reports(plan: &Plan, workers: &Workers) -> Result<()> {
    let Some(workload) = plan.report else {
        return Ok(());
    };
    for allocator in plan.candidates.iter().map(|candidate| candidate.allocator).filter(|it| it.has_report) {
        let report = workers.report(allocator, workload, plan.scale)?;
        println!("\n{} after {}:\n{}", allocator.name, workload.name, report.trim_end());
    }
    Ok(())
}

/// Everything that was measured, for other tools.
#[derive(Serialize)]
struct Record<'a> {
    machine: Machine,
    /// The crate that the workloads are compiled into.
    form: Form,
    /// Thousandths of the full workloads.
    scale: u32,
    summary: &'a [Comparison],
    rounds: &'a [Round],
}
