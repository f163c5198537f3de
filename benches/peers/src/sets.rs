//! The sets of workloads: those of `versus`, and the programs of this package.

use clap::ValueEnum;
use versus::driver::Sets;
use versus::workload::Workload;
use versus::workloads;

/// The values of `--set`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// Programs of versus, or their central parts
    #[default]
    Real,
    /// Loops that isolate one thing each
    Synthetic,
    /// Programs that other people wrote
    Programs,
}

impl Sets for Set {
    fn workloads(self) -> &'static [Workload] {
        match self {
            Self::Real => &workloads::ALL,
            Self::Synthetic => &workloads::synthetic::ALL,
            Self::Programs => &peers_programs::ALL,
        }
    }
}
