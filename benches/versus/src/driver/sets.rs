//! The sets of workloads that a driver offers, as values of its option `--set`.

use std::fmt::Debug;

use clap::ValueEnum;

use crate::workload::{self, Workload};
use crate::workloads;

/// The sets of a driver: an enum with a value for each set. A driver with more sets than [`Set`] has an enum of its
/// own, and the type [`Selection`](super::Selection) of that enum.
pub trait Sets: ValueEnum + Copy + Debug + Default + Send + Sync + 'static {
    /// The workloads of the set, in the order of the table.
    fn workloads(self) -> &'static [Workload];

    /// All sets.
    fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// The name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The workload of that name in any of the sets.
    fn find(name: &str) -> Option<&'static Workload> {
        workload::find(Self::all().map(Self::workloads), name)
    }
}

/// The sets of this package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Programs, or their central parts
    #[default]
    Real,
    /// Loops that isolate one thing each
    Synthetic,
}

impl Sets for Set {
    fn workloads(self) -> &'static [Workload] {
        match self {
            Self::Real => &workloads::ALL,
            Self::Synthetic => &workloads::synthetic::ALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::workload::Scale;

    #[test]
    fn names_are_unique() {
        let all = || Set::all().flat_map(Set::workloads);
        let names: HashSet<_> = all().map(|workload| workload.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn groups_stand_together_in_the_table() {
        for set in Set::all() {
            assert!(set.workloads().is_sorted_by_key(|workload| workload.group), "{}", set.name());
        }
    }

    #[test]
    fn the_same_work_gives_the_same_checksum() {
        for workload in Set::all().flat_map(Set::workloads) {
            let first = (workload.prepare)(Scale::TINY);
            let second = (workload.prepare)(Scale::TINY);
            let expected = first();
            assert_eq!(first(), expected, "{}: a second call", workload.name);
            assert_eq!(second(), expected, "{}: a second preparation", workload.name);
        }
    }

    #[test]
    fn the_checksum_depends_on_the_work() {
        for workload in workloads::ALL.iter().filter(|workload| workload.group.is_timed()) {
            let at = |scale| (workload.prepare)(scale)();
            let tiny = at(Scale::TINY);
            // The checksum changes at the first of these scales that is large enough for a second pass of the workload.
            let mut more = [50, 100, 200, 400].map(Scale::thousandths).into_iter();
            assert!(more.any(|scale| at(scale) != tiny), "{}", workload.name);
        }
    }
}
