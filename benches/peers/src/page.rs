//! The page: tables, bars with the spread of the rounds, and curves. It is one file that needs no other.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;
use versus::driver::Allocator;
use versus::summary::Ratio;
use versus::workload::{Group, Workload};

use crate::allocators::{BASELINE, FLOORS, OURS};
use crate::comparison::{Comparison, Metric};
use crate::curves::{color, plots};
use crate::table::{Cells, tables};

const STYLE: &str = "
body { font: 15px/1.4 sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; font-size: 13px; margin: 0.5em 0 1.5em }
th, td { padding: 1px 8px; text-align: right; border-bottom: 1px solid #eee }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
tr.mean { font-weight: bold }
td.best { background: #dff0d8 }
.bars { display: flex; flex-wrap: wrap; gap: 14px 18px }
figure { margin: 0 } figcaption { font-weight: bold; font-size: 13px }
figcaption span { font-weight: normal; color: #666 }
.legend span { margin-right: 1.2em; white-space: nowrap }
.legend i { display: inline-block; width: 1em; height: 0.7em; margin-right: 0.3em }
svg text { font-family: sans-serif }
details { margin: 0.7em 0 } summary { cursor: pointer; font-weight: bold }
";

/// The whole page.
pub(crate) fn page(comparison: &Comparison) -> Markup {
    let record = comparison.record();
    let plots = plots(comparison);
    let failures = comparison.failures();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "poolmalloc and its peers" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "poolmalloc and its peers" }
                p {
                    "Each bar is an allocator's figure as a multiple of " (BASELINE.name) " malloc's in the same "
                    "round: the median of " (comparison.rounds) " rounds; the thin line goes from the lowest to the "
                    "highest round. Shorter is better. Measured by " code { "benches/peers" }
                    ", whose README says how, on " (record.machine) ". " (comparison.form.about())
                }
                @if !failures.is_empty() {
                    h2 { "Without figures" }
                    ul { @for failure in &failures { li { (failure) } } }
                }
                @if !plots.is_empty() {
                    h2 { "Curves" }
                    p.legend { @for &allocator in &comparison.allocators {
                        span { i style={ "background:" (css(color(allocator))) } {} (allocator.name) }
                    } }
                    div.bars { @for plot in &plots {
                        figure { figcaption { (plot.title) } (PreEscaped(&plot.svg)) }
                    } }
                }
                @for group in Group::ALL { (group_bars(comparison, group)) }
                h2 { "Tables" }
                @for cells in tables(comparison) { (table(&cells)) }
            }
        }
    }
}

fn table(cells: &Cells) -> Markup {
    html! {
        details {
            summary { (cells.title) }
            table {
                tr { @for name in &cells.header { th { (name) } } }
                @for row in &cells.rows {
                    tr.mean[row[1] == "geometric mean"] {
                        @for cell in row { td.best[cell.ends_with('*')] { (cell.trim_end_matches('*')) } }
                    }
                }
            }
        }
    }
}

/// Bars of the time and of the memory of each row of a group.
fn group_bars(comparison: &Comparison, group: Group) -> Markup {
    let rows: Vec<&Workload> =
        comparison.workloads.iter().copied().filter(|workload| workload.group == group).collect();
    html! {
        @for metric in [Metric::Time, Metric::Memory] {
            @if rows.iter().any(|row| metric.is_meant(row)) {
                details open[metric == Metric::Time || !group.is_timed()] {
                    summary { (group.name()) ": " (metric.name()) }
                    div.bars { @for workload in &rows { (bars(comparison, workload, metric)) } }
                }
            }
        }
    }
}

const NAME: f64 = 106.0;
const WIDTH: f64 = 186.0;
/// Room after the longest bar, for its figure.
const FIGURE: f64 = 50.0;
const STEP: f64 = 17.0;
/// Longer bars are cut at this ratio.
const LONGEST: f64 = 2.0;

fn bars(comparison: &Comparison, workload: &Workload, metric: Metric) -> Markup {
    let bars = ratios(comparison, &comparison.allocators, workload, metric);
    let figure = comparison
        .figure(workload, BASELINE)
        .filter(|_| metric == Metric::Time || !workload.group.is_timed() && workload.group != Group::Minimal);
    html! {
        figure {
            figcaption {
                (workload.name)
                @if let Some(figure) = figure {
                    span { " " (BASELINE.name) ": " (format!("{figure:.1} ")) (workload.group.unit().name()) }
                }
            }
            svg width=(NAME + WIDTH + FIGURE) height=(height(bars.len())) role="img" {
                title { (workload.about) }
                (drawn(&bars))
            }
        }
    }
}

/// For each allocator that has a figure, its ratio to the baseline.
fn ratios(
    comparison: &Comparison,
    allocators: &[Allocator],
    workload: &Workload,
    metric: Metric,
) -> Vec<(Allocator, Ratio)> {
    let ratio = |&allocator: &Allocator| {
        let row = comparison.row(workload, BASELINE, allocator)?;
        Some((allocator, metric.of(&row)))
    };
    allocators.iter().filter_map(ratio).collect()
}

fn height(bars: usize) -> f64 {
    STEP * bars as f64 + 4.0
}

fn drawn(bars: &[(Allocator, Ratio)]) -> Markup {
    let longest = bars.iter().map(|(_, ratio)| ratio.max).fold(1.0, f64::max).min(LONGEST);
    let x = |ratio: f64| NAME + WIDTH * ratio.min(longest) / longest;
    html! {
        line x1=(x(1.0)) x2=(x(1.0)) y1="0" y2=(height(bars.len())) stroke="#bbb" stroke-dasharray="3 3" {}
        @for ((allocator, ratio), at) in bars.iter().zip(0..) {
            @let y = STEP * f64::from(at) + 2.0;
            @let middle = y + STEP / 2.0 - 2.0;
            text x=(NAME - 6.0) y=(middle + 4.0) text-anchor="end" font-size="12"
                font-weight=(if *allocator == OURS { "bold" } else { "normal" }) { (allocator.name) }
            rect x=(NAME) y=(y) width=(x(ratio.median) - NAME) height=(STEP - 4.0)
                fill=(css(color(*allocator))) opacity="0.75" {}
            line x1=(x(ratio.min)) x2=(x(ratio.max)) y1=(middle) y2=(middle) stroke="#333" {}
            text x=(x(ratio.median.max(ratio.max)) + 4.0) y=(middle + 4.0) font-size="11" {
                (format!("{:.2}", ratio.median))
                @if ratio.median > longest { " →" }
            }
        }
    }
}

/// The rows of the picture: one for each thing that programs do. They are not those that look best.
const PICTURE: [&str; 12] = [
    "pair_48",
    "batch_100_random",
    "batch_1m_random",
    "live_10k",
    "live_1m",
    "fresh_1m",
    "mix",
    "larson_t2",
    "pipe_1_1",
    "ring_t2",
    "bytes_24",
    "phases",
];
const COLUMNS: usize = 3;

/// An SVG of its own with the bars of those [`PICTURE`] rows that were measured. Leaves out the floors, and pymalloc,
/// which has no figures for threads.
pub(crate) fn picture(comparison: &Comparison) -> Markup {
    let is_shown = |allocator: &Allocator| !FLOORS.contains(allocator) && allocator.name != "pymalloc";
    let allocators: Vec<_> = comparison.allocators.iter().copied().filter(is_shown).collect();
    let find = |name: &&str| comparison.workloads.iter().find(|workload| workload.name == *name);
    let rows: Vec<&Workload> = PICTURE.iter().filter_map(find).copied().collect();
    let (across, down) = (NAME + WIDTH + FIGURE + 16.0, height(allocators.len()) + 34.0);
    let (width, height) = (across * COLUMNS as f64, down * rows.len().div_ceil(COLUMNS) as f64 + 10.0);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) font-family="sans-serif" {
            rect width=(width) height=(height) fill="#fff" {}
            @for (at, workload) in rows.iter().enumerate() {
                @let metric = if workload.group.is_timed() { Metric::Time } else { Metric::Memory };
                @let place = (across * (at % COLUMNS) as f64 + 8.0, down * (at / COLUMNS) as f64 + 10.0);
                g transform=(format!("translate({} {})", place.0, place.1)) {
                    title { (workload.about) }
                    text x="4" y="14" font-size="13" font-weight="bold" {
                        (workload.name)
                        @if metric == Metric::Memory { ", memory" }
                    }
                    g transform="translate(0 20)" { (drawn(&ratios(comparison, &allocators, workload, metric))) }
                }
            }
        }
    }
}

fn css(RGBColor(red, green, blue): RGBColor) -> String {
    format!("rgb({red},{green},{blue})")
}
