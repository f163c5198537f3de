//! The report of [`find`](super::find) as plain data.

use crate::figures::Address;
use std::time::Duration;

/// How a block is leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum LeakKind {
    /// Nothing points to it, except perhaps itself.
    Direct,
    /// Only leaked blocks point to it, and it is in no cycle.
    Indirect,
    /// It is part of the cycle with this number, from 0: blocks that lead to each other, or an `Rc` or `Arc` that holds
    /// itself.
    Cycle(u32),
}

/// The counts in the first two words of a block that looks like an `Rc` or `Arc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RcCounts {
    /// The strong count.
    pub strong: u64,
    /// The weak count as it is stored: one more than the number of `Weak` pointers, since all strong pointers together
    /// hold one.
    pub weak: u64,
}

/// A live block that no root leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakedBlock {
    /// Address of its first byte.
    pub address: Address,
    /// Its size in bytes. For a small block, this is the size of its size class; for a large one, the requested size.
    /// In debug mode it is the requested size for all blocks.
    pub bytes: u64,
    /// Its number in debug mode: the first block of the process is 1. A block that was resized has a new one.
    pub serial: Option<u64>,
    /// Number of the backtrace of its allocation, if one was recorded. Allocations at the same place have the same
    /// number.
    pub backtrace: Option<u32>,
    /// How it is leaked.
    pub kind: LeakKind,
    /// The counts in its first words, if their sum minus 1 is exactly the number of pointers from leaked blocks to its
    /// start. Then only leaked blocks hold it. CPython's `gc` finds garbage by the same sum.
    pub counts: Option<RcCounts>,
    /// The leaked blocks that point to it: their positions in [`LeakReport::blocks`], ascending.
    pub referrers: Vec<usize>,
    /// The leaked blocks that it points to: their positions in [`LeakReport::blocks`], ascending.
    pub referents: Vec<usize>,
}

/// A cycle: leaked blocks that lead to each other, or a block that holds itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Cycle {
    /// Its blocks: their positions in [`LeakReport::blocks`], ascending.
    pub blocks: Vec<usize>,
    /// Whether the cycle holds itself, and nothing else does. Two things must be true for this. Some of its blocks have
    /// counts, as an `Rc` or `Arc` has. And in each block whose first words could be counts, they account for exactly
    /// the pointers found from inside the cycle.
    pub is_counted: bool,
}

/// Sums of the leaked blocks of one size, and of one backtrace if backtraces were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakGroup {
    /// Bytes of each block.
    pub block_bytes: u64,
    /// Number of the backtrace of their allocation, if one was recorded.
    pub backtrace: Option<u32>,
    /// Number of blocks that are leaked directly.
    pub direct: u64,
    /// Number of blocks that are leaked indirectly.
    pub indirect: u64,
    /// Number of blocks in cycles.
    pub in_cycles: u64,
}

/// A number of blocks, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BlockCount {
    /// Number of blocks.
    pub blocks: u64,
    /// Sum of their bytes.
    pub bytes: u64,
}

impl BlockCount {
    /// Adds a block.
    pub(super) fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes += bytes;
    }
}

/// The result of a search for leaks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakReport {
    /// All live blocks, leaked or not: small ones, and large ones in the index.
    pub live: BlockCount,
    /// Leaked blocks that nothing points to, except perhaps themselves.
    pub direct: BlockCount,
    /// Leaked blocks that only leaked ones point to, outside of cycles.
    pub indirect: BlockCount,
    /// Leaked blocks in cycles.
    pub in_cycles: BlockCount,
    /// All leaked blocks: first small ones, then large ones, each by address.
    pub blocks: Vec<LeakedBlock>,
    /// The cycles, in the order of their first blocks.
    pub cycles: Vec<Cycle>,
    /// Sums of the leaked blocks by size, smallest first, and then by backtrace.
    pub groups: Vec<LeakGroup>,
    /// Whether the finder was armed, so that the search looked at each large block served since then. Otherwise all
    /// memory of the backend is part of the roots: no large block is reported, and a block that a large one points to
    /// is not leaked.
    pub is_armed: bool,
    /// Bytes of the roots that were read.
    pub root_bytes: u64,
    /// Number of blocks that could not be judged and count as reached. They were on their way between pools and
    /// magazines, or belonged to another thread's heap when the process was forked.
    pub undecided_blocks: u64,
    /// Number of other threads that were stopped.
    pub stopped_threads: u64,
    /// Numbers of the threads that could not be stopped. Their whole stacks were scanned, but not their registers, and
    /// they may have moved pointers during the search. If there is such a thread, a reported block may still be
    /// reachable.
    pub running_threads: Vec<u32>,
    /// How long the other threads were stopped.
    pub stopped_for: Duration,
}

impl LeakReport {
    /// Sum of the leaked blocks of all kinds.
    #[must_use]
    pub fn leaked(&self) -> BlockCount {
        BlockCount {
            blocks: self.direct.blocks + self.indirect.blocks + self.in_cycles.blocks,
            bytes: self.direct.bytes + self.indirect.bytes + self.in_cycles.bytes,
        }
    }

    /// Whether nothing is leaked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}
