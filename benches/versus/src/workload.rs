//! A workload: a name, a group, a way to prepare it and a run that can be measured.

use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// A prepared workload: each call does the same work on the same input and returns the checksum of its results.
///
/// Inputs live in the closure, so that they are neither made nor dropped while the clock runs. Everything that a call
/// makes is dropped before it returns.
pub type Run = Box<dyn Fn() -> u64>;

/// A program, or the heart of one, whose time and memory are compared between allocators.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The name on command lines and in the table.
    pub name: &'static str,
    /// The group of rows that it may be averaged with.
    pub group: Group,
    /// Description in one line.
    pub about: &'static str,
    /// Number of operations of a run, for a synthetic workload. An operation is usually an allocation and its free. The
    /// row has nanoseconds for each operation, or bytes in [`Group::Block`]. `None` for programs.
    pub operations: Option<fn(Scale) -> usize>,
    /// Makes the input. This is not measured.
    pub prepare: fn(Scale) -> Run,
}

/// The workload of that name among these sets.
pub fn find(sets: impl IntoIterator<Item = &'static [Workload]>, name: &str) -> Option<&'static Workload> {
    sets.into_iter().flatten().find(|workload| workload.name == name)
}

/// Workloads that belong together in a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Nearly all requests are for 256 bytes or less, and little is done besides making, reading and dropping blocks.
    Small,
    /// Programs that do their own work too. The sizes of blocks are those that the work needs.
    Program,
    /// Nearly all requests are for more than 256 bytes.
    Large,
    /// Hardly allocates: only resident memory means anything.
    Minimal,
    /// Synthetic: one block at a time, allocated and freed.
    Pair,
    /// Synthetic: a number of blocks allocated, then freed in some order.
    Batch,
    /// Synthetic: random blocks of a live set replaced.
    Live,
    /// Synthetic: bursts of many sizes, freed partly in order, partly in reverse.
    Mix,
    /// Synthetic: several threads.
    Threads,
    /// Synthetic: the resident memory of blocks, without a time.
    Block,
}

impl Group {
    /// All groups in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Small,
        Self::Program,
        Self::Large,
        Self::Minimal,
        Self::Pair,
        Self::Batch,
        Self::Live,
        Self::Mix,
        Self::Threads,
        Self::Block,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Program => "program",
            Self::Large => "large",
            Self::Minimal => "minimal",
            Self::Pair => "pair",
            Self::Batch => "batch",
            Self::Live => "live",
            Self::Mix => "mix",
            Self::Threads => "threads",
            Self::Block => "block",
        }
    }

    /// Whether the time of a run means anything.
    pub const fn is_timed(self) -> bool {
        !matches!(self, Self::Minimal | Self::Block)
    }

    /// Unit of the figures of its rows.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Small | Self::Program | Self::Large | Self::Minimal => Unit::Milliseconds,
            Self::Pair | Self::Batch | Self::Live | Self::Mix | Self::Threads => Unit::NanosecondsAnOperation,
            Self::Block => Unit::BytesABlock,
        }
    }
}

/// Unit of the figures of a row. Rows of one unit stand in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Milliseconds of the run.
    Milliseconds,
    /// Nanoseconds of the run for each of its operations.
    NanosecondsAnOperation,
    /// Bytes of resident memory for each of its blocks.
    BytesABlock,
}

impl Unit {
    /// All units in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Milliseconds, Self::NanosecondsAnOperation, Self::BytesABlock];

    /// The unit's name in the head of a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::NanosecondsAnOperation => "ns/op",
            Self::BytesABlock => "bytes/block",
        }
    }
}

/// Share of a workload to run, in thousandths.
///
/// It scales the number of repetitions and not the size of the live structures, as far as that is possible. So a quick
/// run has about the same ratios, and about the same peak memory, as a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale(u32);

impl Scale {
    /// The whole workload: about a third of a second under system malloc.
    pub const FULL: Self = Self(1000);
    /// A quarter, for a quick look.
    pub const QUICK: Self = Self(250);
    /// The least that gives a result, for tests.
    pub const TINY: Self = Self(1);

    /// A scale in thousandths of the whole workload.
    pub const fn thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// This scale in thousandths of the whole workload.
    pub const fn as_thousandths(self) -> u32 {
        self.0
    }

    /// The share of `full` at this scale, at least one.
    pub const fn of(self, full: usize) -> usize {
        let scaled = full * self.0 as usize / 1000;
        if scaled == 0 { 1 } else { scaled }
    }

    /// Number of blocks that live at a time, if there are `full` at full scale: all of them, but only a thousandth in
    /// [`TINY`](Self::TINY).
    pub fn live(self, full: usize) -> usize {
        if self == Self::TINY { self.of(full) } else { full }
    }
}

/// The random numbers of all workloads: the same on every machine, in every run.
pub type Random = Pcg64Mcg;

/// A random generator that depends only on `seed`.
pub fn random(seed: u64) -> Random {
    Random::seed_from_u64(seed)
}

/// The standard library's hash map, without random keys, so that all runs do the same.
pub type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// One number for a result, so that runs can be compared and the compiler cannot optimize results away.
pub fn checksum(result: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    result.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_never_makes_work_vanish() {
        assert_eq!(Scale::FULL.of(40), 40);
        assert_eq!(Scale::QUICK.of(40), 10);
        assert_eq!(Scale::TINY.of(40), 1);
        assert_eq!(Scale::thousandths(0).of(40), 1);
    }
}
