//! From samples to the rows of the table.

use serde::Serialize;

use crate::sample::Sample;
use crate::workload::{Group, Unit, Workload};

/// The middle value, or the mean of the two middle values if their number is even. NaN if there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The geometric mean of ratios: 0.5 and 2.0 give 1.0. `None` if there are no ratios.
pub fn geometric_mean(ratios: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut count, mut logarithms) = (0_u32, 0.0);
    for ratio in ratios {
        count += 1;
        logarithms += ratio.ln();
    }
    (count > 0).then(|| (logarithms / f64::from(count)).exp())
}

/// A ratio that was measured in every round: its median and its range over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The median over the rounds.
    pub median: f64,
    /// The lowest round.
    pub min: f64,
    /// The highest round.
    pub max: f64,
}

impl Ratio {
    /// The ratio of candidate to baseline in each round.
    ///
    /// Rounds are paired because the two runs of a round follow each other: other work of the machine then affects
    /// both.
    pub fn paired(baseline: &[u64], candidate: &[u64]) -> Self {
        let ratios =
            || baseline.iter().zip(candidate).map(|(&baseline, &candidate)| candidate as f64 / baseline as f64);
        Self {
            median: median(ratios()),
            min: ratios().fold(f64::INFINITY, f64::min),
            max: ratios().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// One workload under one allocator, against the same workload under the baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The workload's name.
    pub workload: &'static str,
    /// The workload's group.
    pub group: Group,
    /// The allocator that is compared.
    pub allocator: String,
    /// Number of operations of a run. `None` for programs.
    pub operations: Option<u64>,
    /// Median milliseconds under the baseline.
    pub baseline_ms: f64,
    /// Median milliseconds under the allocator.
    pub candidate_ms: f64,
    /// Time as a multiple of the baseline's, lower is better.
    pub time: Ratio,
    /// Processor time of all threads as a multiple of the baseline's, lower is better.
    pub cpu: Ratio,
    /// Median of the bytes of memory under the baseline: the peak of the process, or in the group
    /// [`Block`](Group::Block) the memory at its last mark.
    pub baseline_memory_bytes: f64,
    /// Median of the bytes of memory under the allocator.
    pub candidate_memory_bytes: f64,
    /// Memory as a multiple of the baseline's, lower is better.
    pub memory: Ratio,
}

impl Row {
    /// The figures of the baseline and of the allocator, in the unit of the group.
    pub fn figures(&self) -> [f64; 2] {
        let operations = self.operations.map_or(f64::NAN, |operations| operations as f64);
        match self.group.unit() {
            Unit::Milliseconds => [self.baseline_ms, self.candidate_ms],
            Unit::NanosecondsAnOperation => [self.baseline_ms, self.candidate_ms].map(|ms| ms * 1e6 / operations),
            Unit::BytesABlock => {
                [self.baseline_memory_bytes, self.candidate_memory_bytes].map(|bytes| bytes / operations)
            }
        }
    }

    /// Compares samples of one workload, given in the order of the rounds.
    ///
    /// # Panics
    /// If the two have different numbers of samples, or none.
    pub fn new(workload: &Workload, baseline: &[&Sample], candidate: &[&Sample]) -> Self {
        assert!(baseline.len() == candidate.len() && !baseline.is_empty(), "a row compares round by round");
        let column = |samples: &[&Sample], field: fn(&Sample) -> u64| -> Vec<u64> {
            samples.iter().map(|sample| field(sample)).collect()
        };
        let paired = |field| Ratio::paired(&column(baseline, field), &column(candidate, field));
        let middle = |samples, field| median(column(samples, field).into_iter().map(|value| value as f64));
        Self {
            workload: workload.name,
            group: workload.group,
            allocator: candidate[0].allocator.clone(),
            operations: candidate[0].operations,
            baseline_ms: middle(baseline, |sample| sample.elapsed_ns) / 1e6,
            candidate_ms: middle(candidate, |sample| sample.elapsed_ns) / 1e6,
            time: paired(|sample| sample.elapsed_ns),
            cpu: paired(|sample| sample.cpu_ns.max(1)),
            baseline_memory_bytes: middle(baseline, Sample::memory_bytes),
            candidate_memory_bytes: middle(candidate, Sample::memory_bytes),
            memory: paired(Sample::memory_bytes),
        }
    }
}

/// The geometric means of a group's rows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Mean {
    /// The group.
    pub group: Group,
    /// Mean of the rows' time ratios. `None` if time means nothing in the group.
    pub time: Option<f64>,
    /// Mean of the rows' ratios of processor time. `None` if time means nothing in the group.
    pub cpu: Option<f64>,
    /// Mean of the rows' memory ratios.
    pub memory: f64,
}

impl Mean {
    /// The means of all groups that have rows.
    pub fn of_groups(rows: &[Row]) -> Vec<Self> {
        let mean = |group: Group| {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.group == group).collect();
            let of = |field: fn(&Row) -> Ratio| geometric_mean(rows.iter().map(|row| field(row).median));
            let timed = |field| of(field).filter(|_| group.is_timed());
            let memory = of(|row| row.memory)?;
            Some(Self { group, time: timed(|row| row.time), cpu: timed(|row| row.cpu), memory })
        };
        Group::ALL.into_iter().filter_map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Set, Sets};
    use crate::form::Form;
    use crate::sample::Mark;

    #[test]
    fn median_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn geometric_mean_treats_half_and_double_alike() {
        let mean = geometric_mean([0.5, 2.0, 1.0]).expect("there are values");
        assert!((mean - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was ten times slower in round two. Medians of each side would give 20 / 10 as well, but only
        // pairing sees that each round agrees.
        let ratio = Ratio::paired(&[10, 100, 10], &[20, 200, 20]);
        assert_eq!(ratio, Ratio { median: 2.0, min: 2.0, max: 2.0 });
        // Unpaired medians would say 1.0 here.
        let ratio = Ratio::paired(&[10, 20, 30], &[30, 10, 20]);
        assert_eq!(ratio.median, 20.0 / 30.0);
        assert_eq!((ratio.min, ratio.max), (0.5, 3.0));
    }

    fn sample(allocator: &str, elapsed_ns: u64, peak_rss_bytes: u64) -> Sample {
        let workload = "json".to_owned();
        Sample {
            workload,
            allocator: allocator.to_owned(),
            form: Form::Own,
            elapsed_ns,
            cpu_ns: elapsed_ns,
            checksum: 1,
            peak_rss_bytes,
            operations: None,
            marks: vec![],
        }
    }

    #[test]
    fn a_row_and_its_mean() {
        let workload = Set::find("json").expect("json is a workload");
        let baseline = [&sample("system", 4_000_000, 1000), &sample("system", 8_000_000, 1000)];
        let candidate = [&sample("other", 1_000_000, 500), &sample("other", 2_000_000, 1500)];
        let row = Row::new(workload, &baseline, &candidate);
        assert_eq!((row.baseline_ms, row.candidate_ms, row.time.median), (6.0, 1.5, 0.25));
        assert_eq!((row.memory.min, row.memory.median, row.memory.max), (0.5, 1.0, 1.5));
        let means = Mean::of_groups(&[row]);
        assert_eq!(means.len(), 1, "groups without rows have no mean");
        assert_eq!((means[0].group, means[0].memory), (Group::Program, 1.0));
        assert!((means[0].time.expect("programs are timed") - 0.25).abs() < 1e-12);
    }

    #[test]
    fn synthetic_figures_are_those_of_one_operation() {
        let of = |name: &str, allocator: &str, elapsed_ns, resident_bytes| Sample {
            workload: name.to_owned(),
            operations: Some(1000),
            marks: vec![Mark { at: "full".into(), resident_bytes }],
            ..sample(allocator, elapsed_ns, 1 << 30)
        };
        let figures = |name: &str| {
            let workload = Set::find(name).expect("it is a workload");
            let [baseline, candidate] = [of(name, "system", 20_000, 32_000), of(name, "other", 5_000, 24_000)];
            let row = Row::new(workload, &[&baseline], &[&candidate]);
            (row.figures(), row.memory.median)
        };
        assert_eq!(figures("pair_24"), ([20.0, 5.0], 0.75));
        assert_eq!(figures("bytes_24"), ([32.0, 24.0], 0.75));
    }

    #[test]
    fn the_time_of_a_minimal_program_is_no_figure() {
        let workload = Set::find("hello").expect("hello is a workload");
        let row = Row::new(workload, &[&sample("system", 10, 1000)], &[&sample("other", 20, 1000)]);
        assert_eq!(Mean::of_groups(&[row])[0].time, None);
    }
}
