//! What private heaps hold, as plain data: each by its handle, all of them by name in the statistics of the process.

use super::name::Name;
use super::named::{ByName, Figures, NamedFigures};
use super::parts::{ClassStats, LargeStats, SmallStats};
use crate::geometry::{CLASSES, POOLS_PER_ARENA};
use core::fmt::{self, Display, Formatter};

/// What a private heap holds, and has done since it was made: the answer of
/// [`PrivateHeap::stats`](crate::PrivateHeap::stats).
///
/// Exact at any moment. The words and the sums are those of [`Stats`](crate::Stats): for each class
/// `live + cached + free` blocks fill its pools, and `allocations - frees` is `live`. What a
/// [`reset`](crate::PrivateHeap::reset) gives back counts as freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateHeapReport {
    /// The heap's name; empty if it has none.
    pub name: Name,
    /// Sums over all size classes.
    pub small: SmallStats,
    /// What the backend served: requests over 256 bytes, and small ones when there was no memory for pools.
    pub large: LargeStats,
    /// Blocks that a `realloc` moved to another size class, or between a pool and the backend.
    pub moved: u64,
    /// Arenas of 256 KiB that the heap has now.
    pub arenas: u64,
    /// Pools of those that have a class.
    pub pools: u64,
    /// Each size class, smallest blocks first.
    pub classes: [ClassStats; CLASSES],
}

impl PrivateHeapReport {
    /// Pools of the heap's arenas that have no class now.
    #[must_use]
    pub fn unused_pools(&self) -> u64 {
        (self.arenas * POOLS_PER_ARENA as u64).saturating_sub(self.pools)
    }
}

impl Display for PrivateHeapReport {
    /// One line with the sums, and one for each class with a pool. Does not allocate.
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
                "\n  {block_bytes:>5} bytes: {live_blocks} live, {cached_blocks} cached, {free_blocks} free in {pools} pools"
            )?;
        }
        Ok(())
    }
}

/// What some private heaps hold now, added up. All figures go up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateHeapFigures {
    /// Heaps that have a handle.
    pub heaps: u64,
    /// Arenas of theirs.
    pub arenas: u64,
    /// Pools of those that have a class.
    pub pools: u64,
    /// Small blocks that the program holds.
    pub live_blocks: u64,
    /// Bytes of those blocks.
    pub live_bytes: u64,
    /// Blocks of the backend that the program holds.
    pub large_blocks: u64,
    /// Bytes of those blocks, as requested.
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

/// The private heaps of one name; an empty one for those without.
pub type NamedPrivateHeaps = NamedFigures<PrivateHeapFigures>;

/// The part of [`Stats`](crate::Stats) that is private heaps'. It is in the sums there, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateHeapStats {
    /// All private heaps. Those without pools are not counted: their blocks are the backend's.
    pub all: PrivateHeapFigures,
    by_name: ByName<PrivateHeapFigures>,
}

impl PrivateHeapStats {
    /// The heaps by name, in the order in which their names were found: one entry for each of up to 15 names, and one
    /// for all others.
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
