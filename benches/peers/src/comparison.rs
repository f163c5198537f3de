//! From samples to figures: every allocator against every baseline, workload by workload.

use std::collections::BTreeMap;

use serde::Serialize;
use versus::driver::{Allocator, Failure, Machine, Measurement, Results, Round};
use versus::form::Form;
use versus::sample::Sample;
use versus::summary::{Mean, Ratio, Row, median};
use versus::workload::{Unit, Workload};

use crate::allocators::{BASELINE, FLOORS};

/// What was measured: the workloads, the allocators and their results.
pub(crate) struct Comparison<'a> {
    pub(crate) workloads: &'a [&'static Workload],
    /// Allocators with a figure in at least one row, the baseline first.
    pub(crate) allocators: Vec<Allocator>,
    pub(crate) rounds: u32,
    pub(crate) form: Form,
    scale: u32,
    results: &'a Results,
}

/// All results, for other tools.
#[derive(Serialize)]
pub(crate) struct Record<'a> {
    pub(crate) machine: Machine,
    /// The crate that the workloads are compiled into.
    form: Form,
    /// Thousandths of the full workloads.
    scale: u32,
    summary: Vec<Against>,
    failures: &'a [Failure],
    rounds: &'a [Round],
}

/// All rows of one allocator against one baseline.
#[derive(Serialize)]
struct Against {
    baseline: &'static str,
    allocator: &'static str,
    rows: Vec<Row>,
    geometric_means: Vec<Mean>,
}

/// The figure of a row that a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Time,
    Cpu,
    Memory,
}

impl Metric {
    pub(crate) fn of(self, row: &Row) -> Ratio {
        match self {
            Self::Time => row.time,
            Self::Cpu => row.cpu,
            Self::Memory => row.memory,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Cpu => "processor time",
            Self::Memory => "memory",
        }
    }

    /// Whether the metric has a meaning for the workload.
    pub(crate) fn is_meant(self, workload: &Workload) -> bool {
        self == Self::Memory || workload.group.is_timed()
    }
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(measurement: &Measurement<'a>, form: Form, results: &'a Results) -> Self {
        let has_row = |allocator: &&Allocator| {
            measurement.workloads.iter().any(|workload| !results.has_failed(workload, **allocator))
        };
        Self {
            workloads: measurement.workloads,
            allocators: measurement.allocators.iter().filter(has_row).copied().collect(),
            rounds: measurement.rounds,
            form,
            scale: measurement.scale.as_thousandths(),
            results,
        }
    }

    /// System malloc, then the floors that took part.
    pub(crate) fn baselines(&self) -> impl Iterator<Item = Allocator> {
        self.allocators.iter().copied().filter(|&allocator| allocator == BASELINE || FLOORS.contains(&allocator))
    }

    pub(crate) fn row(&self, workload: &Workload, baseline: Allocator, candidate: Allocator) -> Option<Row> {
        self.results.row(workload, baseline, candidate)
    }

    /// The median figure of an allocator in a workload, in the unit of its group.
    pub(crate) fn figure(&self, workload: &Workload, allocator: Allocator) -> Option<f64> {
        self.row(workload, allocator, allocator).map(|row| row.figures()[1])
    }

    /// The median resident bytes at each mark of a workload.
    pub(crate) fn marks(&self, workload: &Workload, allocator: Allocator) -> Vec<(&'a str, f64)> {
        let samples: Vec<&Sample> = self
            .results
            .rounds
            .iter()
            .flat_map(|round| &round.samples)
            .filter(|sample| sample.workload == workload.name && sample.allocator == allocator.name)
            .collect();
        let Some(first) = samples.first() else { return vec![] };
        let middle = |at: usize| median(samples.iter().map(|sample| sample.marks[at].resident_bytes as f64));
        first.marks.iter().enumerate().map(|(at, mark)| (mark.at.as_str(), middle(at))).collect()
    }

    /// The units that have rows, in their order.
    pub(crate) fn units(&self) -> impl Iterator<Item = Unit> {
        Unit::ALL.into_iter().filter(|&unit| self.workloads.iter().any(|workload| workload.group.unit() == unit))
    }

    /// Returns a line for each error: the allocator, the rows, and the error.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut rows: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
        for Failure { workload, allocator, error } in &self.results.failures {
            // Without the name of the row, equal errors of different rows become one line.
            let error = error.replace(&format!("{workload} under {allocator} failed"), "failed");
            rows.entry((allocator, error)).or_default().push(workload);
        }
        let line = |((allocator, error), rows): ((&str, String), Vec<&str>)| {
            let rows = if rows.len() == self.workloads.len() { "all rows".to_owned() } else { rows.join(", ") };
            format!("{allocator} has no figures in {rows}: {error}")
        };
        rows.into_iter().map(line).collect()
    }

    pub(crate) fn record(&self) -> Record<'a> {
        let against = |baseline: Allocator, candidate: Allocator| {
            let rows: Vec<Row> =
                self.workloads.iter().filter_map(|workload| self.row(workload, baseline, candidate)).collect();
            let geometric_means = Mean::of_groups(&rows);
            Against { baseline: baseline.name, allocator: candidate.name, rows, geometric_means }
        };
        let candidates = |baseline: Allocator| {
            self.allocators
                .iter()
                .filter(move |&&allocator| allocator != baseline)
                .map(move |&allocator| (baseline, allocator))
        };
        let summary = self.baselines().flat_map(candidates).map(|(baseline, candidate)| against(baseline, candidate));
        Record {
            machine: Machine::this(),
            form: self.form,
            scale: self.scale,
            summary: summary.collect(),
            failures: &self.results.failures,
            rounds: &self.results.rounds,
        }
    }
}

#[cfg(test)]
mod tests {
    use versus::driver::{OnFailure, Set, Sets};
    use versus::workload::Scale;

    use super::*;
    use crate::allocators::OURS;

    fn sample(workload: &str, allocator: Allocator, elapsed_ns: u64) -> Sample {
        Sample {
            workload: workload.to_owned(),
            allocator: allocator.name.to_owned(),
            form: Form::Own,
            elapsed_ns,
            cpu_ns: elapsed_ns,
            checksum: 0,
            peak_rss_bytes: 1,
            operations: Some(100),
            marks: vec![],
        }
    }

    #[test]
    fn rows_and_failures_go_to_those_who_have_them() {
        let workloads = ["pair_8", "pair_16"].map(|name| Set::find(name).expect("it is a workload"));
        let allocators = [BASELINE, OURS, FLOORS[0]];
        let measurement = Measurement {
            workloads: &workloads,
            allocators: &allocators,
            rounds: 1,
            scale: Scale::FULL,
            on_failure: OnFailure::LeaveOut,
        };
        let failure = |name: &'static str| Failure {
            workload: name,
            allocator: FLOORS[0].name,
            error: format!("{name} under {} failed (1): out of memory", FLOORS[0].name),
        };
        let both = |name| [sample(name, BASELINE, 2000), sample(name, OURS, 500)];
        let results = Results {
            rounds: vec![Round { round: 1, samples: [both("pair_8"), both("pair_16")].concat() }],
            failures: vec![failure("pair_8"), failure("pair_16")],
        };
        let comparison = Comparison::new(&measurement, Form::Own, &results);
        assert_eq!(comparison.allocators, [BASELINE, OURS], "an allocator without a row has no column");
        assert_eq!(comparison.figure(workloads[0], OURS), Some(5.0));
        let row = comparison.row(workloads[1], BASELINE, OURS).expect("both have run");
        assert_eq!(Metric::Time.of(&row).median, 0.25);
        assert_eq!(comparison.failures(), ["array has no figures in all rows: failed (1): out of memory"]);
    }
}
