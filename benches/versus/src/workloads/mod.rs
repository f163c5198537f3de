//! The real workloads, one module each. A module says which programs it stands for, which requests it makes, and what
//! its row does not show.
//!
//! The figures on requests were counted with a counting allocator over a full run, input included, on x86-64. There
//! "small" means 256 bytes or less.

mod btree;
mod channel;
mod grow;
mod hashmap;
mod hello;
mod index;
mod json;
mod large;
mod lisp;
mod markdown;
mod rc_graph;
mod rc_tree;
mod regex;
mod replace;
mod sort;
mod syn;
mod threads;
mod tokio;

use crate::synthetic;
use crate::workload::Workload;

/// All real workloads, in the order of the table.
pub static ALL: [Workload; 20] = [
    rc_tree::WORKLOAD,
    rc_graph::WORKLOAD,
    grow::WORKLOAD,
    replace::ONE,
    replace::TWO,
    replace::FOUR,
    channel::WORKLOAD,
    threads::WORKLOAD,
    json::WORKLOAD,
    syn::WORKLOAD,
    btree::WORKLOAD,
    hashmap::WORKLOAD,
    index::WORKLOAD,
    lisp::WORKLOAD,
    regex::WORKLOAD,
    markdown::WORKLOAD,
    tokio::WORKLOAD,
    sort::WORKLOAD,
    large::WORKLOAD,
    hello::WORKLOAD,
];

/// The workload of that name, real or synthetic.
pub fn find(name: &str) -> Option<&'static Workload> {
    Set::ALL.into_iter().flat_map(Set::workloads).find(|workload| workload.name == name)
}

/// A set of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    /// Programs, or their central parts.
    Real,
    /// Loops that isolate one thing each.
    Synthetic,
}

impl Set {
    /// Both sets.
    pub const ALL: [Self; 2] = [Self::Real, Self::Synthetic];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Synthetic => "synthetic",
        }
    }

    /// The workloads of the set, in the order of the table.
    pub fn workloads(self) -> &'static [Workload] {
        match self {
            Self::Real => &ALL,
            Self::Synthetic => &synthetic::ALL,
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
        let all = || Set::ALL.into_iter().flat_map(Set::workloads);
        let names: HashSet<_> = all().map(|workload| workload.name).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn groups_stand_together_in_the_table() {
        for set in Set::ALL {
            assert!(set.workloads().is_sorted_by_key(|workload| workload.group), "{}", set.name());
        }
    }

    #[test]
    fn the_same_work_gives_the_same_checksum() {
        for workload in Set::ALL.into_iter().flat_map(Set::workloads) {
            let first = (workload.prepare)(Scale::TINY);
            let second = (workload.prepare)(Scale::TINY);
            let expected = first();
            assert_eq!(first(), expected, "{}: a second call", workload.name);
            assert_eq!(second(), expected, "{}: a second preparation", workload.name);
        }
    }

    #[test]
    fn the_checksum_depends_on_the_work() {
        for workload in ALL.iter().filter(|workload| workload.group.is_timed()) {
            let at = |scale| (workload.prepare)(scale)();
            let tiny = at(Scale::TINY);
            // The checksum changes at the first of these scales that is large enough for a second pass of the workload.
            let mut more = [50, 100, 200, 400].map(Scale::thousandths).into_iter();
            assert!(more.any(|scale| at(scale) != tiny), "{}", workload.name);
        }
    }
}
