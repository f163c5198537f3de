//! What a scan finds: plain data, which the report is made of.

use crate::debug::BlockFacts;
use crate::figures::Address;
use std::time::Duration;

/// A live block: its place in the region in steps of 8 bytes, or its number among the large ones. Ordered as addresses
/// are within each kind.
pub(super) type Node = u64;

/// A block that nothing leads to.
#[derive(Clone, Copy)]
pub(super) struct UnreachableBlock {
    pub(super) address: Address,
    pub(super) bytes: usize,
    /// Its first two words: of an `Rc` or `Arc`, the counts. A pointer is told as 0: it would come into the report,
    /// even where that says that there are no counts, and hold what it points to.
    pub(super) words: [u64; 2],
    /// What the debug mode knows of it.
    pub(super) facts: Option<BlockFacts>,
}

/// A pointer from one leaked block to another, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Whether it points to the block's first byte.
    pub(super) is_to_start: bool,
}

/// What a scan has found.
#[derive(Clone, Copy, Default)]
pub(super) struct ScanSums {
    pub(super) live_blocks: u64,
    pub(super) live_bytes: u64,
    pub(super) root_bytes: u64,
    /// Blocks that count as roots since nobody can say whether they are live.
    pub(super) undecided_blocks: u64,
}

/// What the report says besides the leaked blocks.
pub(super) struct SearchFacts {
    pub(super) sums: ScanSums,
    pub(super) is_armed: bool,
    pub(super) stopped_threads: u64,
    pub(super) running_threads: Vec<u32>,
    pub(super) stopped_for: Duration,
}

/// Where a word lies that is scanned.
#[derive(Clone, Copy)]
pub(super) enum ScanPlace {
    /// In the mapping with this number.
    Root(usize),
    Block(Node),
}
