//! What private heaps hold: each by its handle, all of them by name in the statistics of the process.

use crate::heap::{Heap, LargeCounters, OwnedHeap};
use crate::name::Name;
use crate::size_class::{CLASSES, POOLS_PER_ARENA};
use crate::stats::{ClassStats, LargeStats, SmallStats, Stats};
use crate::thread_stats::Counts;
use core::fmt::{self, Display, Formatter};

/// Names that the statistics list one by one.
const NAMES: usize = 16;
/// The name under which those beyond are listed.
const OTHERS: &str = "(others)";

/// What a private heap holds, and has done since it was made: the answer of [`Heap::stats`](crate::Heap::stats).
///
/// Exact at any moment. The words and the sums are those of [`Stats`]: for each class `live + cached + free` blocks fill its
/// pools, and `allocations - frees` is `live`. What a [`reset`](crate::Heap::reset) gives back counts as freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HeapReport {
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

impl HeapReport {
    pub(super) fn of(name: Name, heap: Option<OwnedHeap<'_>>, unpooled: &LargeCounters) -> Self {
        let mut stats = Stats::new();
        let (mut arenas, mut pools) = (0, 0);
        match heap {
            Some(heap) => {
                stats.add_heap(&heap);
                (arenas, pools) = (heap.arenas().count() as u64, heap.pools() as u64);
                stats.subtract_earlier(&heap.counts_at_start());
            }
            None => stats.add_large(unpooled),
        }
        stats.sum();
        let Stats { small, large, moved, classes, .. } = stats;
        Self { name, small, large, moved, arenas, pools, classes }
    }

    /// Pools of the heap's arenas that have no class now.
    #[must_use]
    pub fn unused_pools(&self) -> u64 {
        (self.arenas * POOLS_PER_ARENA as u64).saturating_sub(self.pools)
    }
}

impl Display for HeapReport {
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
pub struct HeapFigures {
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

impl HeapFigures {
    fn of(heap: &Heap) -> Self {
        let mut alone = Stats::new();
        alone.add_heap(heap);
        alone.sum();
        Self {
            heaps: 1,
            arenas: heap.arenas().count() as u64,
            pools: heap.pools() as u64,
            live_blocks: alone.small.live_blocks,
            live_bytes: alone.small.live_bytes,
            large_blocks: alone.large.live_blocks,
            large_bytes: alone.large.live_bytes,
        }
    }

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

/// The private heaps of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NamedHeaps {
    /// The name; empty for those without one, `(others)` for those of the names that there was no room for.
    pub name: Name,
    /// What they hold.
    pub figures: HeapFigures,
}

/// The part of [`Stats`] that is private heaps'. It is in the sums there, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PrivateStats {
    /// All private heaps. Those without pools are not counted: their blocks are the backend's.
    pub all: HeapFigures,
    by_name: ByName,
}

/// As many names as there is room for: the statistics are made without memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "Vec<NamedHeaps>", into = "Vec<NamedHeaps>")
)]
struct ByName {
    list: [NamedHeaps; NAMES],
    length: usize,
}

#[cfg(feature = "serde")]
impl From<Vec<NamedHeaps>> for ByName {
    fn from(named: Vec<NamedHeaps>) -> Self {
        let mut by_name = Self::default();
        named.into_iter().for_each(|named| by_name.add(named));
        by_name
    }
}

#[cfg(feature = "serde")]
impl From<ByName> for Vec<NamedHeaps> {
    fn from(by_name: ByName) -> Self {
        by_name.list[..by_name.length].into()
    }
}

impl ByName {
    fn add(&mut self, named: NamedHeaps) {
        let known = self.list[..self.length].iter().position(|known| known.name == named.name);
        let place = known.unwrap_or(self.length.min(NAMES - 1));
        if place == self.length {
            // The last place is for all that there is no other for.
            let is_last = place == NAMES - 1;
            self.list[place].name = if is_last { Name::new(OTHERS) } else { named.name };
            self.length += 1;
        }
        self.list[place].figures.add(&named.figures);
    }
}

impl PrivateStats {
    /// The heaps by name, in the order in which their names were found: one entry for each of up to 15 names, and one for all
    /// others.
    #[must_use]
    pub fn by_name(&self) -> &[NamedHeaps] {
        &self.by_name.list[..self.by_name.length]
    }

    pub(crate) fn add(&mut self, name: Name, heap: &Heap) {
        let figures = HeapFigures::of(heap);
        self.all.add(&figures);
        self.by_name.add(NamedHeaps { name, figures });
    }
}

impl Stats {
    /// Takes away what was counted before a private heap got its handle.
    fn subtract_earlier(&mut self, earlier: &Counts) {
        for (class, [_, frees, remote_frees]) in self.classes.iter_mut().zip(earlier.classes()) {
            class.frees -= frees;
            class.remote_frees -= remote_frees;
        }
        let [allocations, frees, reallocations, _, _, moved] = earlier.large();
        self.large.allocations -= allocations;
        self.large.frees -= frees;
        self.large.reallocations -= reallocations;
        self.moved -= moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_room_are_listed_together() {
        let mut by_name = ByName::default();
        for number in 0..40 {
            let figures = HeapFigures { heaps: 1, live_bytes: number, ..HeapFigures::default() };
            by_name.add(NamedHeaps { name: Name::new(&format!("n{}", number % 20)), figures });
        }
        let all = PrivateStats { all: HeapFigures::default(), by_name };
        let told: Vec<_> = all.by_name().iter().map(|named| (named.name.as_str(), named.figures.heaps)).collect();
        let mut expected: Vec<_> = (0..15).map(|number| (format!("n{number}"), 2)).collect();
        expected.push((OTHERS.into(), 10));
        assert_eq!(told, expected.iter().map(|(name, heaps)| (name.as_str(), *heaps)).collect::<Vec<_>>());
        assert_eq!(all.by_name()[3].figures.live_bytes, 3 + 23);
    }
}
