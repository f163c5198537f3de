//! The sums of the check: numbers found by the walk, and the counts to compare them with.

use super::violation::ViolationPlace;
use crate::geometry::{ARENA_BYTES, CLASSES};
use crate::process::View;
use crate::region::ArenaId;

/// Sums over all heaps. A pair has two sums that must be equal: they come from two places.
#[derive(Default)]
pub(super) struct HeapSums {
    pub(super) classes: [ClassSums; CLASSES],
    /// Pools with free blocks: by the free map, and by the classes' lists.
    pub(super) listed_pools: [usize; 2],
    /// Words with remote frees: by the remote map, and by the pending lists.
    pub(super) waiting_words: [usize; 2],
    /// Arenas found on heaps' lists.
    pub(super) listed_arenas: usize,
    /// Magazines found in heaps.
    pub(super) magazines: usize,
}

/// Sums of one class over all heaps. A pair has the number found, and the number that the heaps have counted.
#[derive(Default, Clone, Copy)]
pub(super) struct ClassSums {
    /// Pools of the class.
    pub(super) pools: [usize; 2],
    /// Blocks out of their pools. The first number comes from the free map.
    pub(super) taken: [u64; 2],
    /// Blocks that wait as remote frees. The first number comes from the remote map and the foreign magazines.
    pub(super) waiting: [u64; 2],
    /// Blocks found in magazines, without the foreign ones.
    pub(super) cached: u64,
}

impl View<'_> {
    /// The place of an arena, for a violation.
    pub(super) fn arena_place(&self, arena: ArenaId) -> ViolationPlace {
        ViolationPlace::Arena { address: self.region.block(arena.0 as usize * ARENA_BYTES).addr() }
    }
}
