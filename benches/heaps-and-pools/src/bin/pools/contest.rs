//! Several ways to do the same work, measured in turn.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use nix::time::{ClockId, clock_gettime};
use versus::summary::{Ratio, median};

/// A way to do the work. Returns a checksum of its results.
type Way = Box<dyn FnMut() -> u64>;

/// Work that is done in several ways.
pub struct Contest {
    pub name: &'static str,
    /// Name of one operation, and number of operations of a run.
    operation: &'static str,
    operations: u64,
    ways: Vec<(&'static str, Way)>,
}

/// Figures of one way.
struct Result {
    way: &'static str,
    nanoseconds: f64,
    time: Ratio,
    cpu: Ratio,
}

/// Figures of all ways.
pub struct Measured {
    name: &'static str,
    operation: &'static str,
    results: Vec<Result>,
}

/// Processor time of all threads so far.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("the system has this clock").into()
}

impl Contest {
    pub fn new(name: &'static str, operation: &'static str, operations: u64) -> Self {
        Self { name, operation, operations, ways: Vec::new() }
    }

    pub fn way(mut self, name: &'static str, way: impl FnMut() -> u64 + 'static) -> Self {
        self.ways.push((name, Box::new(way)));
        self
    }

    /// Runs each way once without measuring it, then in `rounds` rounds.
    pub fn run(mut self, rounds: usize) -> Measured {
        eprintln!("{}", self.name);
        let expected = self.ways[0].1();
        for (name, way) in &mut self.ways {
            assert_eq!(way(), expected, "{}: {name} gives another result", self.name);
        }
        let count = self.ways.len();
        let mut samples = vec![(Vec::new(), Vec::new()); count];
        for round in 0..rounds {
            for step in 0..count {
                let number = (round + step) % count;
                let (start, cpu_before) = (Instant::now(), cpu());
                let sum = self.ways[number].1();
                let (elapsed, used) = (start.elapsed(), cpu() - cpu_before);
                assert_eq!(sum, expected);
                samples[number].0.push(elapsed.as_nanos() as u64);
                samples[number].1.push((used.as_nanos() as u64).max(1));
            }
        }
        let results = self.ways.iter().zip(&samples).map(|((way, _), (times, cpus))| Result {
            way,
            nanoseconds: median(times.iter().map(|time| *time as f64)) / self.operations as f64,
            time: Ratio::paired(&samples[0].0, times),
            cpu: Ratio::paired(&samples[0].1, cpus),
        });
        let results = results.collect();
        Measured { name: self.name, operation: self.operation, results }
    }
}

/// Table of all figures.
pub fn table(measured: &[Measured]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(["program", "way", "ns", "an operation", "time", "cpu"]);
    for Measured { name, operation, results } in measured {
        for (number, Result { way, nanoseconds, time, cpu }) in results.iter().enumerate() {
            let (name, operation) = if number == 0 { (*name, *operation) } else { ("", "") };
            let ratio = |ratio: &Ratio| format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max);
            let cells = [name.into(), (*way).into(), format!("{nanoseconds:.1}"), operation.into(), ratio(time)];
            table.add_row(cells.into_iter().chain([format!("{:.2}", cpu.median)]));
        }
    }
    table.column_iter_mut().skip(2).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    table
}
