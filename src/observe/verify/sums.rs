//! What the check has found, and what the heaps have counted.

use super::violation::ViolationPlace;
use crate::geometry::{ARENA_BYTES, CLASSES, POOL_BYTES, POOLS_PER_ARENA};
use crate::process::View;
use crate::region::ArenaId;
use static_assertions::const_assert_eq;

/// Sums of what has been found, and of what the heaps have counted.
#[derive(Default)]
pub(super) struct HeapSums {
    pub(super) classes: [ClassSums; CLASSES],
    /// Pools that are on a class's list, by their state, and as found on the lists.
    pub(super) listed_pools: [usize; 2],
    /// Words of the remote map that are not zero, and as found on pending lists.
    pub(super) waiting_words: [usize; 2],
    /// Arenas found on heaps' lists.
    pub(super) listed_arenas: usize,
    /// Magazines found in heaps.
    pub(super) magazines: usize,
}

/// Sums of one class over all heaps.
#[derive(Default, Clone, Copy)]
pub(super) struct ClassSums {
    /// Pools found, and as counted.
    pub(super) pools: [usize; 2],
    /// Blocks out of their pools, by the free map, and as counted.
    pub(super) taken: [u64; 2],
    /// Blocks that wait as remote frees, by the remote map and the foreign magazines, and as counted.
    pub(super) waiting: [u64; 2],
    /// Blocks found in magazines, without the foreign ones.
    pub(super) cached: u64,
}

const_assert_eq!(POOLS_PER_ARENA * POOL_BYTES, ARENA_BYTES);

impl View<'_> {
    /// The place of an arena, for a violation.
    pub(super) fn arena_place(&self, arena: ArenaId) -> ViolationPlace {
        ViolationPlace::Arena { address: self.region.block(arena.0 as usize * ARENA_BYTES).addr() }
    }
}
