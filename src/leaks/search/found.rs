//! Plain data that a scan finds, and from which the report is made.

use crate::debug::BlockFacts;
use crate::figures::Address;
use std::time::Duration;

/// A live block: its offset in the region in steps of 8 bytes, or its number among the large ones. Within each kind,
/// numbers are in the order of addresses.
pub(super) type Node = u64;

/// A block that nothing leads to.
#[derive(Clone, Copy)]
pub(super) struct UnreachableBlock {
    pub(super) address: Address,
    pub(super) bytes: usize,
    /// Its first two words: the counts, if it is an `Rc` or `Arc`. A pointer to a live block is stored as 0. Otherwise
    /// the pointer would lie in the report's memory, even if the report shows no counts for this block. A later search
    /// would find it there and take the block that it points to for held.
    pub(super) words: [u64; 2],
    /// The debug layer's facts about it.
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

/// The sums of a scan.
#[derive(Clone, Copy, Default)]
pub(super) struct ScanSums {
    pub(super) live_blocks: u64,
    pub(super) live_bytes: u64,
    pub(super) root_bytes: u64,
    /// Blocks that count as reached, because the scan cannot know whether they are live.
    pub(super) undecided_blocks: u64,
}

/// The report's facts besides the leaked blocks.
pub(super) struct SearchFacts {
    pub(super) sums: ScanSums,
    pub(super) is_armed: bool,
    pub(super) stopped_threads: u64,
    pub(super) running_threads: Vec<u32>,
    pub(super) stopped_for: Duration,
}

/// The place of a word that is scanned.
#[derive(Clone, Copy)]
pub(super) enum ScanPlace {
    /// In the mapping with this number.
    Root(usize),
    Block(Node),
}
