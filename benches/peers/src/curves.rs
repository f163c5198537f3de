//! The curves: cost against the live set and against threads, memory against the size of blocks and over phases.

use std::error::Error;

use plotters::prelude::*;
use versus::driver::Allocator;
use versus::workload::Workload;

use crate::allocators::{BASELINE, OURS};
use crate::comparison::Comparison;

/// A plot's heading and its SVG.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) svg: String,
}

/// The labels and scales of both axes.
struct Axes {
    x: &'static str,
    x_label: fn(f64) -> String,
    y: &'static str,
    has_log_y: bool,
}

/// The points of one allocator.
type Curve = (Allocator, Vec<(f64, f64)>);

/// Color of an allocator: ours black, system malloc gray, floors light.
pub(crate) fn color(allocator: Allocator) -> RGBColor {
    if allocator == OURS {
        return RGBColor(0, 0, 0);
    }
    if allocator == BASELINE {
        return RGBColor(127, 127, 127);
    }
    match allocator.name {
        "poolmalloc_huge" => RGBColor(90, 90, 140),
        "rusty_alloc" => RGBColor(214, 39, 40),
        "mimalloc" => RGBColor(31, 119, 180),
        "snmalloc" => RGBColor(44, 160, 44),
        "rpmalloc" => RGBColor(255, 127, 14),
        "tcmalloc" => RGBColor(148, 103, 189),
        "jemalloc" => RGBColor(140, 86, 75),
        "mnemosyne" => RGBColor(227, 119, 194),
        "pymalloc" => RGBColor(23, 190, 207),
        "array" => RGBColor(174, 199, 232),
        "bump" => RGBColor(219, 219, 141),
        _ => RGBColor(188, 189, 34),
    }
}

/// All plots for which there are figures.
pub(crate) fn plots(comparison: &Comparison) -> Vec<Plot> {
    let cost = |x, has_log_y| Axes { x, x_label: short, y: "nanoseconds an operation", has_log_y };
    let bytes = Axes {
        x: "bytes asked for",
        x_label: short,
        y: "bytes of memory a block, less those asked for",
        has_log_y: false,
    };
    let phases = Axes { x: "phase", x_label: phase, y: "MiB", has_log_y: false };
    let overhead = |(size, bytes): (f64, f64)| (size, bytes - size);
    let over_sizes = rows(comparison, "bytes_").into_iter().map(|(allocator, points)| {
        let points = points.into_iter().map(overhead).collect();
        (allocator, points)
    });
    [
        ("Random replacement: cost against the live set", rows(comparison, "live_"), cost("live blocks", true)),
        ("Random replacement: cost against threads", rows(comparison, "live_t"), cost("threads", false)),
        ("Live sets handed on (larson): cost against threads", rows(comparison, "larson_t"), cost("threads", false)),
        ("Memory against the size of blocks", over_sizes.collect(), bytes),
        ("Memory over the phases of a program", over_phases(comparison), phases),
    ]
    .into_iter()
    .filter(|(_, curves, _)| curves.iter().any(|(_, points)| points.len() > 1))
    .map(|(title, curves, axes)| Plot { title, svg: draw(&curves, &axes).expect("drawing into a string cannot fail") })
    .collect()
}

/// Curves of the rows whose names are `prefix` and a number, such as `live_10k`.
fn rows(comparison: &Comparison, prefix: &str) -> Vec<Curve> {
    let points = |allocator: Allocator| {
        let point = |workload: &&Workload| {
            Some((number(workload.name.strip_prefix(prefix)?)?, comparison.figure(workload, allocator)?))
        };
        comparison.workloads.iter().copied().filter_map(|workload| point(&workload)).collect()
    };
    comparison.allocators.iter().map(|&allocator| (allocator, points(allocator))).collect()
}

fn number(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(['k', 'm']);
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * unit)
}

fn over_phases(comparison: &Comparison) -> Vec<Curve> {
    let Some(phases) = comparison.workloads.iter().find(|workload| workload.name == "phases") else {
        return vec![];
    };
    let points = |allocator: Allocator| {
        let marks = comparison.marks(phases, allocator).into_iter().zip(1..);
        marks.map(|((_, bytes), at)| (f64::from(at), bytes / f64::from(1 << 20))).collect()
    };
    comparison.allocators.iter().map(|&allocator| (allocator, points(allocator))).collect()
}

fn draw(curves: &[Curve], axes: &Axes) -> Result<String, Box<dyn Error>> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let least = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::NEG_INFINITY, f64::max);
    let (left, right) = (least(|point| point.0), most(|point| point.0));
    let (low, high) = (least(|point| point.1).max(0.1) * 0.8, most(|point| point.1) * 1.1);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (570, 360)).into_drawing_area();
        // A linear axis suits values up to 3. It also suits sizes of at least 8 if the largest is less than 30 times
        // the smallest. Counts that double or grow tenfold need a logarithmic one.
        let x = (left..right).log_scale().base(if right > 1000.0 { 10.0 } else { 2.0 });
        macro_rules! chart {
            ($x:expr, $y:expr) => {{
                let mut chart = ChartBuilder::on(&area);
                chart.margin(12).margin_right(24).x_label_area_size(40).y_label_area_size(60);
                let mut chart = chart.build_cartesian_2d($x, $y)?;
                let mut mesh = chart.configure_mesh();
                mesh.x_desc(axes.x).y_desc(axes.y).light_line_style(WHITE).bold_line_style(RGBColor(225, 225, 225));
                mesh.x_labels(if right <= 3.0 { 3 } else { 8 }).y_labels(6);
                mesh.x_label_formatter(&|x| (axes.x_label)(*x)).y_label_formatter(&|y| short(*y)).draw()?;
                for (allocator, points) in curves.iter().filter(|(_, points)| !points.is_empty()) {
                    let width = if *allocator == OURS { 3 } else { 1 };
                    let style = color(*allocator).stroke_width(width);
                    let series = LineSeries::new(points.iter().copied(), style.filled()).point_size(width + 1);
                    chart.draw_series(series)?;
                }
            }};
        }
        match (axes.has_log_y, right <= 3.0 || left > right / 30.0 && left >= 8.0) {
            (true, _) => chart!(x, (low..high).log_scale()),
            (false, true) => chart!(left..right, 0.0..high),
            (false, false) => chart!(x, 0.0..high),
        }
        area.present()?;
    }
    Ok(svg)
}

fn phase(number: f64) -> String {
    ["", "filled", "nine in ten freed", "refilled"].get(number.round() as usize).copied().unwrap_or_default().to_owned()
}

/// A number in short form: 100, 10k, 1M.
fn short(number: f64) -> String {
    match number.abs() {
        1e6.. => format!("{}M", number / 1e6),
        1e4.. => format!("{}k", number / 1e3),
        10.0.. => format!("{number:.0}"),
        _ => format!("{}", (number * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rows_are_read_as_numbers() {
        assert_eq!(
            ["100", "10k", "1m", "t4", "", "1mk"].map(number),
            [Some(1e2), Some(1e4), Some(1e6), None, None, None]
        );
        assert_eq!([100.0, 1e4, 1e6, 0.25].map(short), ["100", "10k", "1M", "0.3"]);
    }

    #[test]
    fn a_plot_is_drawn_on_either_kind_of_axis() {
        for (has_log_y, points) in [(true, [(1e2, 5.0), (1e7, 500.0)]), (false, [(1.0, 30.0), (16.0, 20.0)])] {
            let axes = Axes { x: "of x", x_label: short, y: "of y", has_log_y };
            let svg = draw(&[(OURS, points.to_vec())], &axes).expect("it can be drawn");
            assert!(svg.starts_with("<svg") && svg.contains("of x") && svg.contains("<polyline"), "{svg}");
        }
    }
}
