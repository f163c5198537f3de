//! The parts that drivers share: allocators, options, workers, rounds.

mod rounds;
mod selection;
mod sets;
mod workers;

pub use rounds::{Failure, Measurement, OnFailure, Results, Round};
pub use selection::{Json, Selection};
pub use sets::{Set, Sets};
pub use workers::Workers;

use std::fmt;

use serde::Serialize;

/// An allocator, and where its worker comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocator {
    /// The name on the command line and in the table.
    pub name: &'static str,
    /// The name that the worker prints.
    pub worker: &'static str,
    /// Value of the variable `POOLMALLOC` of the worker. If the value is empty, the worker has no such variable, even
    /// if the driver has one.
    pub words: &'static str,
    /// The package whose binaries include the worker.
    pub package: &'static str,
    /// The worker's file name.
    pub binary: &'static str,
    /// Whether the worker knows `--report`.
    pub has_report: bool,
}

/// The machine of the measurement, for the JSON.
#[derive(Debug, Serialize)]
pub struct Machine {
    os: &'static str,
    arch: &'static str,
    /// Number of threads that can run at a time, as the system reports it.
    parallelism: usize,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        Self { os: std::env::consts::OS, arch: std::env::consts::ARCH, parallelism }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} on {}, {} threads at a time", self.os, self.arch, self.parallelism)
    }
}
