//! Measures round by round, each workload under each allocator in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use versus::sample::Sample;
use versus::workload::Scale;

use crate::allocators::Allocator;
use crate::cli::Plan;
use crate::workers::Workers;

/// One run of every workload under every allocator, in the order in which they ran.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) round: u32,
    pub(crate) samples: Vec<Sample>,
}

/// The round that is not counted reads the workers' files into memory and shows early whether they all work. Every
/// process starts afresh, so there is nothing else to warm up, and a tenth of the work is enough.
const WARM_UP: u32 = 0;

/// Runs the plan.
///
/// # Errors
/// If a worker fails, or two runs of the same work have different checksums.
pub(crate) fn measure(plan: &Plan, workers: &Workers) -> Result<Vec<Round>> {
    let runs = plan.workloads.len() * plan.allocators().count() * (plan.rounds as usize + 1);
    let progress = progress(runs as u64);
    let warm_up = Scale::thousandths(plan.scale.as_thousandths() / 10);
    measure_round(plan, workers, WARM_UP, warm_up, &mut Checksums::default(), &progress)?;
    let mut checksums = Checksums::default();
    let rounds = (1..=plan.rounds)
        .map(|round| measure_round(plan, workers, round, plan.scale, &mut checksums, &progress))
        .collect::<Result<_>>()?;
    progress.finish_and_clear();
    Ok(rounds)
}

/// The checksum that each workload must have, and the run that gave it first.
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

fn measure_round(
    plan: &Plan,
    workers: &Workers,
    round: u32,
    scale: Scale,
    checksums: &mut Checksums,
    progress: &ProgressBar,
) -> Result<Round> {
    let name = if round == WARM_UP { "warm-up".to_owned() } else { format!("round {round} of {}", plan.rounds) };
    if progress.is_hidden() {
        eprintln!("versus: {name}");
    }
    let mut samples = Vec::new();
    for workload in &plan.workloads {
        for allocator in order(plan, round) {
            progress.set_message(format!("{name}: {} under {}", workload.name, allocator.name));
            let sample = workers.run(allocator, workload, scale)?;
            checksums.check(&sample, &name)?;
            samples.push(sample);
            progress.inc(1);
        }
    }
    Ok(Round { round, samples })
}

/// A B, then B A: whoever comes second may find a warmer or a busier machine.
fn order(plan: &Plan, round: u32) -> Vec<Allocator> {
    if round % 2 == 1 { plan.allocators().collect() } else { plan.allocators().rev().collect() }
}

/// A bar on stderr; hidden if that is no terminal.
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

    fn sample(allocator: &str, checksum: u64) -> Sample {
        let (workload, allocator) = ("json".to_owned(), allocator.to_owned());
        Sample { workload, allocator, elapsed_ns: 1, cpu_ns: 1, checksum, peak_rss_bytes: 1 }
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
}
