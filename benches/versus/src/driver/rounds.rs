//! Measures round by round, each workload under each allocator in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Allocator, Workers};
use crate::sample::Sample;
use crate::summary::Row;
use crate::workload::{Scale, Workload};

/// The measurement to make.
#[derive(Debug)]
pub struct Measurement<'a> {
    /// The workloads.
    pub workloads: &'a [&'static Workload],
    /// The allocators, the baseline first.
    pub allocators: &'a [Allocator],
    /// Number of rounds that count.
    pub rounds: u32,
    /// Share of each workload that runs.
    pub scale: Scale,
    /// What happens when a run fails.
    pub on_failure: OnFailure,
}

/// What happens when a run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The measurement ends with the error.
    Stop,
    /// That workload does not run again under that allocator, and has no row for it.
    LeaveOut,
}

/// One run of every workload under every allocator, in the order in which they ran.
#[derive(Debug, Serialize)]
pub struct Round {
    /// Number of the round, from 1.
    pub round: u32,
    /// The samples of the workers.
    pub samples: Vec<Sample>,
}

/// A workload that failed under an allocator.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The workload's name.
    pub workload: &'static str,
    /// The allocator's name.
    pub allocator: &'static str,
    /// The error message.
    pub error: String,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// The rounds that count.
    pub rounds: Vec<Round>,
    /// The workloads that failed.
    pub failures: Vec<Failure>,
}

impl Results {
    /// Whether this workload failed under this allocator.
    pub fn has_failed(&self, workload: &Workload, allocator: Allocator) -> bool {
        self.failures.iter().any(|failure| failure.workload == workload.name && failure.allocator == allocator.name)
    }

    /// Compares an allocator with the baseline in one workload. `None` if the workload failed under one of them.
    pub fn row(&self, workload: &Workload, baseline: Allocator, candidate: Allocator) -> Option<Row> {
        if self.has_failed(workload, baseline) || self.has_failed(workload, candidate) {
            return None;
        }
        let samples = |allocator: Allocator| -> Vec<&Sample> {
            let all = self.rounds.iter().flat_map(|round| &round.samples);
            all.filter(|sample| sample.workload == workload.name && sample.allocator == allocator.name).collect()
        };
        Some(Row::new(workload, &samples(baseline), &samples(candidate)))
    }
}

/// Number of the round that does not count. It reads the workers' files into memory and shows early whether they all
/// work. Every process starts anew, so nothing else needs to be warm, and a tenth of the work is enough.
const WARM_UP: u32 = 0;

impl Measurement<'_> {
    /// Runs all rounds.
    ///
    /// # Errors
    /// If a worker fails, or if two runs of the same work have different checksums. With [`OnFailure::LeaveOut`] these
    /// are no errors: the results name them.
    pub fn run(&self, workers: &Workers) -> Result<Results> {
        let runs = self.workloads.len() * self.allocators.len() * (self.rounds as usize + 1);
        let progress = progress(runs as u64);
        let mut results = Results::default();
        let warm_up = Scale::thousandths(self.scale.as_thousandths() / 10);
        self.run_round(workers, WARM_UP, warm_up, &mut Checksums::default(), &mut results, &progress)?;
        let mut checksums = Checksums::default();
        for round in 1..=self.rounds {
            let samples = self.run_round(workers, round, self.scale, &mut checksums, &mut results, &progress)?;
            results.rounds.push(Round { round, samples });
        }
        progress.finish_and_clear();
        Ok(results)
    }

    fn run_round(
        &self,
        workers: &Workers,
        round: u32,
        scale: Scale,
        checksums: &mut Checksums,
        results: &mut Results,
        progress: &ProgressBar,
    ) -> Result<Vec<Sample>> {
        let name = if round == WARM_UP { "warm-up".to_owned() } else { format!("round {round} of {}", self.rounds) };
        if progress.is_hidden() {
            eprintln!("versus: {name}");
        }
        let mut samples = Vec::new();
        for workload in self.workloads {
            for allocator in self.order(round) {
                progress.inc(1);
                if results.has_failed(workload, allocator) {
                    continue;
                }
                progress.set_message(format!("{name}: {} under {}", workload.name, allocator.name));
                let run = workers.run(allocator, workload, scale);
                match run.and_then(|sample| checksums.check(&sample, &name).map(|()| sample)) {
                    Ok(sample) => samples.push(sample),
                    Err(error) if self.on_failure == OnFailure::Stop => return Err(error),
                    Err(error) => {
                        let error = format!("{error:#}");
                        results.failures.push(Failure { workload: workload.name, allocator: allocator.name, error });
                    }
                }
            }
        }
        Ok(samples)
    }

    /// The order of the allocators: A B C, then C B A. An allocator that comes later may find a warmer or a busier
    /// machine.
    fn order(&self, round: u32) -> Vec<Allocator> {
        let mut order = self.allocators.to_vec();
        if round.is_multiple_of(2) {
            order.reverse();
        }
        order
    }
}

/// The checksum of each workload, and the run that gave it first.
#[derive(Default)]
struct Checksums(BTreeMap<String, (u64, String)>);

impl Checksums {
    fn check(&mut self, sample: &Sample, round: &str) -> Result<()> {
        let run = format!("{} ({round})", sample.allocator);
        let (expected, first) = self.0.entry(sample.workload.clone()).or_insert((sample.checksum, run.clone()));
        ensure!(
            sample.checksum == *expected,
            "{}: the results differ: checksum {expected:016x} under {first}, {:016x} under {run}",
            sample.workload,
            sample.checksum,
        );
        Ok(())
    }
}

/// A progress bar on stderr, hidden if that is not a terminal.
fn progress(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} (about {eta} to go) {msg}")
        .expect("the template is correct");
    let bar = ProgressBar::new(runs).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Set, Sets};
    use crate::form::Form;

    fn sample(allocator: &str, checksum: u64) -> Sample {
        let (workload, allocator) = ("json".to_owned(), allocator.to_owned());
        Sample {
            workload,
            allocator,
            form: Form::Own,
            elapsed_ns: 1,
            cpu_ns: 1,
            checksum,
            peak_rss_bytes: 1,
            operations: None,
            marks: vec![],
        }
    }

    #[test]
    fn results_that_differ_are_an_error_that_names_both_runs() {
        let mut checksums = Checksums::default();
        checksums.check(&sample("system", 7), "round 1").expect("the first one is right");
        checksums.check(&sample("poolmalloc", 7), "round 1").expect("the same result");
        let error = checksums.check(&sample("poolmalloc", 8), "round 2").expect_err("another result").to_string();
        assert!(error.contains("json") && error.contains("system (round 1)"), "{error}");
        assert!(error.contains("poolmalloc (round 2)"), "{error}");
    }

    #[test]
    fn what_fails_stops_the_run_or_has_no_row() {
        let nobody = Allocator {
            name: "nobody",
            worker: "nobody",
            words: "",
            package: "none",
            binary: "no-such-worker",
            has_report: false,
        };
        let json = Set::find("json").expect("json is a workload");
        let run = |on_failure| {
            let (workloads, allocators, scale) = (&[json][..], &[nobody][..], Scale::TINY);
            let workers = Workers::beside_the_driver(Form::Own).expect("this test is a file");
            Measurement { workloads, allocators, rounds: 2, scale, on_failure }.run(&workers)
        };
        let error = run(OnFailure::Stop).expect_err("there is no such worker").to_string();
        assert!(error.contains("cannot start") && error.contains("no-such-worker"), "{error}");
        let results = run(OnFailure::LeaveOut).expect("the failure is left out");
        assert_eq!((results.failures.len(), results.rounds.len()), (1, 2), "it is not tried again");
        assert!(results.row(json, nobody, nobody).is_none());
    }
}
