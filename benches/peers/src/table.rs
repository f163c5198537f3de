//! The tables, with one column for each allocator.

use comfy_table::{CellAlignment, Table, presets};
use versus::driver::Allocator;
use versus::summary::geometric_mean;
use versus::workload::{Group, Unit, Workload};

use crate::allocators::{BASELINE, FLOORS};
use crate::comparison::{Comparison, Metric};

/// A table's heading and cells.
pub(crate) struct Cells {
    pub(crate) title: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The form, all tables, then what failed.
pub(crate) fn print(comparison: &Comparison) {
    println!("{}\n", comparison.form.about());
    for cells in tables(comparison) {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(&cells.header).add_rows(&cells.rows);
        table.column_iter_mut().skip(2).for_each(|column| {
            column.set_cell_alignment(CellAlignment::Right);
        });
        println!("{}\n\n{table}\n", cells.title);
    }
    println!("Rounds: {}; figures are medians. * marks the lowest of the row, floors aside.", comparison.rounds);
    comparison.failures().iter().for_each(|failure| println!("{failure}"));
}

/// Time, processor time and memory against system malloc, then time against each floor.
pub(crate) fn tables(comparison: &Comparison) -> Vec<Cells> {
    let mut tables = Vec::new();
    for unit in comparison.units() {
        let metrics: &[Metric] =
            if unit == Unit::BytesABlock { &[Metric::Memory] } else { &[Metric::Time, Metric::Cpu, Metric::Memory] };
        tables.extend(metrics.iter().map(|&metric| table(comparison, unit, BASELINE, metric)));
        let floors = comparison.baselines().filter(|&floor| floor != BASELINE && unit == Unit::NanosecondsAnOperation);
        tables.extend(floors.map(|floor| table(comparison, unit, floor, Metric::Time)));
    }
    tables
}

fn table(comparison: &Comparison, unit: Unit, baseline: Allocator, metric: Metric) -> Cells {
    let candidates: Vec<Allocator> =
        comparison.allocators.iter().copied().filter(|&allocator| allocator != baseline).collect();
    let workloads: Vec<&Workload> = comparison
        .workloads
        .iter()
        .copied()
        .filter(|workload| workload.group.unit() == unit && metric.is_meant(workload))
        .collect();
    let ratio = |workload: &Workload, candidate: Allocator| {
        comparison.row(workload, baseline, candidate).map(|row| metric.of(&row).median)
    };
    let with_figures = metric == Metric::Time || unit == Unit::BytesABlock;
    let mut header = vec!["group".to_owned(), "workload".to_owned()];
    if with_figures {
        header.push(format!("{} {}", baseline.name, unit.name()));
    }
    header.extend(candidates.iter().map(|candidate| candidate.name.to_owned()));
    let row = |&workload: &&Workload| {
        let mut cells = vec![workload.group.name().to_owned(), workload.name.to_owned()];
        if with_figures {
            let figure = comparison.figure(workload, baseline);
            cells.push(figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}")));
        }
        let ratios: Vec<_> = candidates.iter().map(|&candidate| ratio(workload, candidate)).collect();
        let general = candidates.iter().zip(&ratios).filter(|(candidate, _)| !FLOORS.contains(candidate));
        let best = general.filter_map(|(_, &ratio)| ratio).fold(f64::INFINITY, f64::min);
        cells.extend(candidates.iter().zip(ratios).map(|(candidate, ratio)| match ratio {
            None => "-".to_owned(),
            Some(ratio) if ratio == best && !FLOORS.contains(candidate) => format!("{ratio:.2}*"),
            Some(ratio) => format!("{ratio:.2}"),
        }));
        cells
    };
    let mut rows: Vec<Vec<String>> = workloads.iter().map(row).collect();
    for group in Group::ALL {
        let members: Vec<&Workload> = workloads.iter().copied().filter(|workload| workload.group == group).collect();
        if members.len() > 1 {
            let mut cells = vec![group.name().to_owned(), "geometric mean".to_owned()];
            cells.extend(with_figures.then(String::new));
            cells.extend(candidates.iter().map(|&candidate| {
                // An allocator has a mean only if it has a figure in every row of the group: otherwise the means could
                // not be compared.
                let ratios: Option<Vec<f64>> = members.iter().map(|workload| ratio(workload, candidate)).collect();
                ratios.and_then(geometric_mean).map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}"))
            }));
            rows.push(cells);
        }
    }
    Cells { title: format!("{}, as a multiple of {}'s", capital(metric.name()), baseline.name), header, rows }
}

fn capital(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..]
}
