//! The form of a worker: the crate that its workloads are compiled into.

use serde::{Deserialize, Serialize};

use crate::workload::{self, Workload};

/// The crate that the workloads are compiled into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The crate that defines the global allocator, so that the compiler can inline allocations: as in a program of
    /// one crate, and in generic code
    #[default]
    Own,
    /// A library crate, so that each allocation is a call: as in a program that is made of library crates
    Library,
}

/// The feature of a package of workers that compiles them in the form [`Library`](Form::Library).
pub const LIBRARY_FEATURE: &str = "library-form";

impl Form {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Library => "library",
        }
    }

    /// The line above the tables.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Own => "Form own: the workloads are compiled into the crate that defines the global allocator.",
            Self::Library => "Form library: the workloads are compiled into a library crate.",
        }
    }
}

/// The workloads of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Workloads {
    /// The crate that they are compiled into.
    pub form: Form,
    /// The workloads, set by set.
    pub sets: &'static [&'static [Workload]],
}

impl Workloads {
    /// The workload of that name.
    pub fn find(&self, name: &str) -> Option<&'static Workload> {
        workload::find(self.sets.iter().copied(), name)
    }
}
