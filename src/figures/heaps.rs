//! The figures of private heaps, as plain data: a report for one handle, and sums by name for the statistics.

use super::name::Name;
use super::named::{ByName, Figures, NamedFigures};
use super::parts::{ClassStats, LargeStats, SmallStats};
use crate::geometry::{CLASSES, POOLS_PER_ARENA};
use core::fmt::{self, Display, Formatter};

/// Figures of one private heap: blocks and memory held now, requests and frees since the heap was made.
/// [`PrivateHeap::stats`](crate::PrivateHeap::stats) returns them.
///
/// Exact at any moment. The words and the sums are those of [`Stats`](crate::Stats): for each class
/// `live + cached + free` blocks fill its pools, and `allocations - frees` is `live`. Blocks that a
/// [`reset`](crate::PrivateHeap::reset) gives back count as freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateHeapReport {
    /// The name of the heap. Empty if it has none.
    pub name: Name,
    /// Blocks of pools: sums over all size classes.
    pub small: SmallStats,
    /// Blocks that the backend served: requests over 256 bytes, and small ones when there was no memory for pools. If
    /// the heap has no pools, all its requests count here.
    pub large: LargeStats,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each counts as an
    /// allocation and as a free too. Only grows.
    pub moved: u64,
    /// Arenas of 256 KiB that the heap owns now. Goes up and down.
    pub arenas: u64,
    /// Pools with a class now, in these arenas. Each has 4096 bytes. Goes up and down.
    pub pools: u64,
    /// Figures of each size class, smallest blocks first.
    pub classes: [ClassStats; CLASSES],
}

impl PrivateHeapReport {
    /// Number of pools without a class now, in the heap's arenas. Each has 4096 bytes. Goes up and down.
    #[must_use]
    pub fn unused_pools(&self) -> u64 {
        (self.arenas * POOLS_PER_ARENA as u64).saturating_sub(self.pools)
    }
}

impl Display for PrivateHeapReport {
    /// Writes one line with the sums, and one line for each class that has a pool. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { small, large, arenas, pools, .. } = self;
        let name = if self.name.as_str().is_empty() { "(unnamed)" } else { self.name.as_str() };
        write!(
            f,
            "heap {name}: {} blocks, {} bytes live in {pools} pools of {arenas} arenas; ",
            small.live_blocks, small.live_bytes
        )?;
        write!(f, "{} large blocks, {} bytes", large.live_blocks, large.live_bytes)?;
        for class in self.classes.iter().filter(|class| class.pools > 0) {
            let ClassStats { block_bytes, pools, live_blocks, cached_blocks, free_blocks, .. } = class;
            write!(
                f,
                "\n  {block_bytes:>5} bytes: {live_blocks} live, {cached_blocks} cached, {free_blocks} free \
                 in {pools} pools"
            )?;
        }
        Ok(())
    }
}

/// Sums over some private heaps, as they are now. All figures go up and down.
///
/// Each heap is read separately, so figures of heaps in use by other threads may mix moments a few operations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateHeapFigures {
    /// Heaps that have a handle and can have pools.
    pub heaps: u64,
    /// Arenas of 256 KiB that these heaps own.
    pub arenas: u64,
    /// Pools with a class, in these arenas. Each has 4096 bytes.
    pub pools: u64,
    /// Blocks of pools that the program holds: those of 256 bytes or less.
    pub live_blocks: u64,
    /// Bytes of the live blocks, at block size.
    pub live_bytes: u64,
    /// Blocks of the backend that the program holds.
    pub large_blocks: u64,
    /// Bytes of the large blocks, as requested.
    pub large_bytes: u64,
}

impl Figures for PrivateHeapFigures {
    fn add(&mut self, more: &Self) {
        self.heaps += more.heaps;
        self.arenas += more.arenas;
        self.pools += more.pools;
        self.live_blocks += more.live_blocks;
        self.live_bytes += more.live_bytes;
        self.large_blocks += more.large_blocks;
        self.large_bytes += more.large_bytes;
    }
}

/// The figures of the private heaps of one name. The name is empty for heaps without a name.
pub type NamedPrivateHeaps = NamedFigures<PrivateHeapFigures>;

/// The part of [`Stats`](crate::Stats) that belongs to private heaps. The sums of `Stats` include these blocks, pools
/// and arenas, but [`Stats::heaps`](crate::Stats::heaps) does not count these heaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateHeapStats {
    /// Sums over all private heaps that can have pools. A heap whose requests all go to the backend is not counted
    /// here: its blocks are in [`Stats::large`](crate::Stats::large) alone.
    pub all: PrivateHeapFigures,
    by_name: ByName<PrivateHeapFigures>,
}

impl PrivateHeapStats {
    /// Figures of the heaps by name, in the order in which the names were found. There is one entry for each of up to
    /// 15 names, and one entry, `(others)`, for all other names.
    #[must_use]
    pub fn by_name(&self) -> &[NamedPrivateHeaps] {
        self.by_name.list()
    }

    /// Adds the figures of one heap.
    pub(crate) fn add(&mut self, name: Name, figures: &PrivateHeapFigures) {
        self.all.add(figures);
        self.by_name.add(name, figures);
    }
}
