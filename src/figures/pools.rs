//! The figures of typed pools: of one pool, and sums by name for the statistics.

use super::name::Name;
use super::named::{ByName, Figures, NamedFigures};
use core::fmt::{self, Display, Formatter};

/// Figures of one typed pool, or sums over several pools.
///
/// The figures add up: `gets - drops` is `live`, and `gets - hits - freed` is `live + ready`, the number of all blocks.
/// They are exact while no other thread uses the pool. The allocator that the blocks come from counts ready blocks as
/// live.
///
/// "Only grows" holds for one pool. In the sums of the statistics a figure falls when a pool is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TypedPoolFigures {
    /// Number of pools: 1 for a pool alone. In the statistics it goes up and down.
    pub pools: u64,
    /// Most blocks that the pools keep ready. Does not change for one pool.
    pub capacity: u64,
    /// Boxes that were taken. Only grows.
    pub gets: u64,
    /// The part of `gets` that a ready block served. For each other box a block was made. Only grows.
    pub hits: u64,
    /// Boxes that were dropped or taken apart (`into_inner`). Only grows.
    pub drops: u64,
    /// Blocks that were given back to the allocator: by `clear`, because there was no room for one more ready block, or
    /// because a pool that reuses values got a block back without its value. Only grows.
    pub freed: u64,
    /// Boxes that exist now, with those that were leaked or forgotten. Goes up and down.
    pub live: u64,
    /// Blocks that are ready now. Goes up and down.
    pub ready: u64,
    /// Most boxes that existed at once. For a `SyncTypedPool` it is the most blocks, live or ready, that existed at
    /// once: this can be a few more. For several pools it is the sum of their figures. Only grows.
    pub high_water: u64,
    /// Bytes of the blocks of live boxes, at the size of the type. Goes up and down.
    pub live_bytes: u64,
    /// Bytes of the ready blocks, at the size of the type. Goes up and down.
    pub ready_bytes: u64,
}

impl Figures for TypedPoolFigures {
    fn add(&mut self, more: &Self) {
        // The capacities of a few pools may add up to more than fits into a `u64`.
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.pools, more.pools);
        add(&mut self.capacity, more.capacity);
        add(&mut self.gets, more.gets);
        add(&mut self.hits, more.hits);
        add(&mut self.drops, more.drops);
        add(&mut self.freed, more.freed);
        add(&mut self.live, more.live);
        add(&mut self.ready, more.ready);
        add(&mut self.high_water, more.high_water);
        add(&mut self.live_bytes, more.live_bytes);
        add(&mut self.ready_bytes, more.ready_bytes);
    }
}

impl Display for TypedPoolFigures {
    /// Writes one line. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { capacity, gets, hits, live, ready, high_water, live_bytes, ready_bytes, .. } = self;
        write!(f, "{live} live ({live_bytes} bytes, {high_water} at most), {ready} of {capacity} ready ")?;
        write!(f, "({ready_bytes} bytes), {hits} hits in {gets} gets")
    }
}

/// The figures of the typed pools of one name.
pub type NamedTypedPools = NamedFigures<TypedPoolFigures>;

/// The named typed pools that exist now, in [`Stats`](crate::Stats).
///
/// Their blocks come from the program's global allocator. If that is [`PoolMalloc`](crate::PoolMalloc), the other
/// figures of the statistics count the blocks as live, the ready ones too. In the child of a `fork`, pools that were
/// made before the fork are missing if another thread was using the list of pools at the fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TypedPoolStats {
    /// Sums over all named typed pools.
    pub all: TypedPoolFigures,
    by_name: ByName<TypedPoolFigures>,
}

impl TypedPoolStats {
    /// Figures of the pools by name, the name of the newest pool first. There is one entry for each of up to 15 names,
    /// and one entry, `(others)`, for all other names.
    #[must_use]
    pub fn by_name(&self) -> &[NamedTypedPools] {
        self.by_name.list()
    }

    /// Adds the figures of one pool.
    pub(crate) fn add(&mut self, name: Name, figures: &TypedPoolFigures) {
        self.all.add(figures);
        self.by_name.add(name, figures);
    }
}
