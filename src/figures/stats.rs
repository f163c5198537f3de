//! The statistics of the process: plain data, and the sums that follow from it.

use super::heaps::PrivateHeapStats;
use super::parts::{ArenaStats, ClassStats, HeapStats, LargeStats, RegionStats, SmallStats};
use super::pools::TypedPoolStats;
use crate::geometry::{CLASSES, POOL_BYTES, POOLS_PER_ARENA, SizeClass};

/// Figures of the whole process: blocks and memory held now, requests and frees so far. [`stats()`](crate::stats())
/// returns them.
///
/// The figures of each heap are read separately. So while other threads run, the whole may mix moments a few operations
/// apart; while they are quiet it is exact. In debug mode (`POOLMALLOC=debug`) a block counts with what lies around it,
/// and small blocks in the quarantine count as cached. The fields add up:
///
/// * for each class, `live + cached + free` blocks fill its pools: `pools * (4096 / block_bytes)`, the quotient rounded
///   down;
/// * `allocations - frees` is `live`, for each class, for [`small`](Self::small), and for [`large`](Self::large);
/// * `arenas.open` times 256 KiB is `live_bytes + cached_bytes + free_bytes + rounding_bytes` of
///   [`small`](Self::small), plus the pools without a class ([`unused_pools`](Self::unused_pools)) at 4096 bytes each;
/// * `region.open_bytes + region.metadata_bytes` is all memory that was taken from the system for small blocks: arenas
///   in use, arenas opened ahead of use, and tables. Only the backend knows how much memory it takes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// Blocks of pools: sums over all size classes.
    pub small: SmallStats,
    /// Blocks that the backend served.
    pub large: LargeStats,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each counts as an
    /// allocation and as a free too. In debug mode every `realloc` counts here. Only grows.
    pub moved: u64,
    /// Arenas of 256 KiB, those of private heaps included.
    pub arenas: ArenaStats,
    /// Heaps of threads.
    pub heaps: HeapStats,
    /// The reserved range of addresses, and the tables beside it.
    pub region: RegionStats,
    /// Figures of each size class, smallest blocks first.
    pub classes: [ClassStats; CLASSES],
    /// Private heaps. Their blocks, pools and arenas are also part of the other fields.
    pub private: PrivateHeapStats,
    /// The named typed pools. If [`PoolMalloc`](crate::PoolMalloc) is the global allocator, their blocks are also live
    /// blocks in the other fields.
    pub typed: TypedPoolStats,
}

impl Stats {
    /// Number of pools in all arenas that have no class now, 4096 bytes each. Goes up and down.
    #[must_use]
    pub fn unused_pools(&self) -> u64 {
        let used: u64 = self.classes.iter().map(|class| class.pools).sum();
        (self.arenas.open * POOLS_PER_ARENA as u64).saturating_sub(used)
    }

    /// Statistics of zeros, with the block size of each class.
    pub(crate) fn new() -> Self {
        let mut stats = Self::default();
        for class in SizeClass::all() {
            stats.classes[class.index()].block_bytes = class.bytes() as u64;
        }
        stats
    }

    /// Computes the figures that follow from the parts, after all parts were added. A figure that mixes moments may be
    /// below zero: it becomes 0.
    pub(crate) fn sum(&mut self) {
        let not_negative = |figure: &mut u64| *figure = (*figure as i64).max(0) as u64;
        for class in &mut self.classes {
            not_negative(&mut class.frees);
            not_negative(&mut class.remote_frees);
            not_negative(&mut class.waiting_blocks);
            not_negative(&mut class.cached_blocks);
            not_negative(&mut class.live_blocks);
            not_negative(&mut class.free_blocks);
            class.cached_blocks += class.waiting_blocks;
            class.allocations = class.frees + class.live_blocks;
            let small = &mut self.small;
            small.allocations += class.allocations;
            small.frees += class.frees;
            small.remote_frees += class.remote_frees;
            small.live_blocks += class.live_blocks;
            small.live_bytes += class.live_blocks * class.block_bytes;
            small.cached_blocks += class.cached_blocks;
            small.cached_bytes += class.cached_blocks * class.block_bytes;
            small.waiting_blocks += class.waiting_blocks;
            small.free_blocks += class.free_blocks;
            small.free_bytes += class.free_blocks * class.block_bytes;
            small.rounding_bytes += class.pools * (POOL_BYTES as u64 % class.block_bytes);
        }
        not_negative(&mut self.large.live_bytes);
        self.large.live_blocks = self.large.allocations.saturating_sub(self.large.frees);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_mix_moments_are_not_negative() {
        let mut stats = Stats::new();
        let below = 1_u64.wrapping_neg();
        let class = &mut stats.classes[1];
        (class.frees, class.remote_frees, class.waiting_blocks, class.cached_blocks) = (below, below, below, below);
        (class.live_blocks, class.free_blocks) = (below, below);
        (stats.classes[2].frees, stats.classes[2].remote_frees) = (5, 4);
        stats.sum();
        let class = &stats.classes[1];
        assert_eq!([class.frees, class.remote_frees, class.waiting_blocks, class.cached_blocks], [0; 4]);
        assert_eq!([class.live_blocks, class.free_blocks, class.allocations], [0; 3]);
        assert_eq!((stats.small.frees, stats.small.remote_frees, stats.small.allocations), (5, 4, 5));
    }
}
