//! What [`find`](super::find) tells: plain data, and its text.

use crate::figures::Address;
use std::time::Duration;

/// How a block is leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum LeakKind {
    /// Nothing points to it, not even another leaked block.
    Direct,
    /// Only leaked blocks point to it, and it leads to none of those.
    Indirect,
    /// It is part of the cycle with this number, from 0: blocks that lead to each other, or an `Rc` or `Arc` that holds
    /// itself.
    Cycle(u32),
}

/// The counts of what looks like an `Rc` or `Arc`, in the first two words of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RcCounts {
    /// The strong count.
    pub strong: u64,
    /// The weak count as it is stored: one more than there are `Weak` pointers, since all strong ones together hold
    /// one.
    pub weak: u64,
}

/// A live block that no root leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakedBlock {
    /// Where it begins.
    pub address: Address,
    /// Its bytes: of a small block those of its size class, of a large one as requested. In debug mode, those requested
    /// of any block.
    pub bytes: u64,
    /// In debug mode, its number: the first block of the process is 1. A block that was resized has a new one.
    pub serial: Option<u64>,
    /// Number of the backtrace of its allocation, if that was recorded: the same place has the same number.
    pub backtrace: Option<u32>,
    /// How it is leaked.
    pub kind: LeakKind,
    /// The counts in its first words, if together they are exactly the pointers that leaked blocks have to its start:
    /// then it is held from among the leaked alone, as CPython's `gc` finds out by the same sum.
    pub counts: Option<RcCounts>,
    /// The leaked blocks that point to it: their positions in [`LeakReport::blocks`], ascending.
    pub referrers: Vec<usize>,
    /// The leaked blocks that it points to, likewise.
    pub referents: Vec<usize>,
}

/// Leaked blocks that lead to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Cycle {
    /// Its blocks: their positions in [`LeakReport::blocks`], ascending.
    pub blocks: Vec<usize>,
    /// Whether the cycle holds itself, and nothing else does: some of its blocks have counts, as an `Rc` or `Arc` has,
    /// and wherever the first words could be counts they are exactly the pointers found from inside of it.
    pub is_counted: bool,
}

/// Leaked blocks of one size, and of one backtrace if those were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakGroup {
    /// Bytes of each block.
    pub block_bytes: u64,
    /// Number of the backtrace of their allocation, if that was recorded.
    pub backtrace: Option<u32>,
    /// Blocks that are leaked directly.
    pub direct: u64,
    /// Blocks that are leaked indirectly.
    pub indirect: u64,
    /// Blocks in cycles.
    pub in_cycles: u64,
}

/// Blocks and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BlockCount {
    /// How many.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl BlockCount {
    /// Adds a block.
    pub(super) fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes += bytes;
    }
}

/// What a search for leaks has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakReport {
    /// All live blocks, leaked or not: small ones, and large ones that are indexed.
    pub live: BlockCount,
    /// Leaked blocks that nothing points to.
    pub direct: BlockCount,
    /// Leaked blocks that only leaked ones point to, outside of cycles.
    pub indirect: BlockCount,
    /// Leaked blocks in cycles.
    pub in_cycles: BlockCount,
    /// Every leaked block; small ones first, by address.
    pub blocks: Vec<LeakedBlock>,
    /// The cycles, by the first of their blocks.
    pub cycles: Vec<Cycle>,
    /// The leaked blocks by size, smallest first, and by backtrace.
    pub groups: Vec<LeakGroup>,
    /// Whether large blocks were looked at one by one: those served since the finder was armed. Else all memory of the
    /// backend is part of the roots: no large block is reported, and what one points to is not leaked.
    pub is_armed: bool,
    /// Bytes of the roots that were read.
    pub root_bytes: u64,
    /// Blocks that were under way between threads, or of a time before a fork, so that they count as reached.
    pub undecided_blocks: u64,
    /// Other threads that were stopped.
    pub stopped_threads: u64,
    /// Numbers of the threads that could not be stopped. Their stacks were scanned whole, but not their registers, and
    /// they may have moved pointers meanwhile: with one here, what is reported may be reachable.
    pub running_threads: Vec<u32>,
    /// How long the other threads were stopped.
    pub stopped_for: Duration,
}

impl LeakReport {
    /// Leaked blocks of all kinds.
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
