//! The line that a worker prints and the driver reads: one run of one workload under one allocator.

use serde::{Deserialize, Serialize};

use crate::form::Form;

/// One run of one workload under one allocator, in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The workload's name.
    pub workload: String,
    /// The name of the allocator that the worker was built with.
    pub allocator: String,
    /// The crate that the worker's workloads are compiled into.
    pub form: Form,
    /// Wall-clock nanoseconds of the run, without the preparation of its input.
    pub elapsed_ns: u64,
    /// Nanoseconds of processor time in the run, user and system, of all threads together.
    ///
    /// Includes threads that the run has started and joined.
    pub cpu_ns: u64,
    /// A hash of the run's results; the same under every allocator.
    pub checksum: u64,
    /// The most bytes that were resident at any time in the process's life, program code and input included.
    pub peak_rss_bytes: u64,
    /// Number of operations of the run. `None` for programs.
    pub operations: Option<u64>,
    /// Resident memory at moments of the run, in their order. Most runs have no marks.
    pub marks: Vec<Mark>,
}

/// The memory of a run at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Name of the moment.
    pub at: String,
    /// Resident bytes that belong to no file, without the run's own tables, and without the memory that the worker took
    /// to prepare its allocator ([`main_after`](crate::worker::main_after)).
    pub resident_bytes: u64,
}

impl Sample {
    /// The memory to compare: that at the last mark, or the peak of the process if the run has no marks.
    pub fn memory_bytes(&self) -> u64 {
        self.marks.last().map_or(self.peak_rss_bytes, |mark| mark.resident_bytes).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_prints_the_driver_reads() {
        let sample = Sample {
            workload: "json".into(),
            allocator: "system".into(),
            form: Form::Own,
            elapsed_ns: 312_000_111,
            cpu_ns: 310_000_000,
            checksum: u64::MAX,
            peak_rss_bytes: 7 << 20,
            operations: Some(1000),
            marks: vec![Mark { at: "full".into(), resident_bytes: 3 << 20 }],
        };
        let line = serde_json::to_string(&sample).expect("a sample is plain data");
        assert!(!line.contains('\n'), "the protocol is one object a line");
        assert_eq!(serde_json::from_str::<Sample>(&line).expect("the same type"), sample);
    }
}
