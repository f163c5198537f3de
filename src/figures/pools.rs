//! What typed pools hold: each by itself, and by name in the statistics of the process.

use super::name::Name;
use super::named::{ByName, Figures, NamedFigures};
use core::fmt::{self, Display, Formatter};

/// What a typed pool holds and has done, or several together.
///
/// The figures add up: `gets - drops` is `live`, and `gets - hits - freed` is `live + ready`, all blocks that there
/// are. They are exact while no other thread uses the pool. Ready blocks are live ones for the allocator that they come
/// from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TypedPoolFigures {
    /// Pools. Goes up and down.
    pub pools: u64,
    /// Most blocks that they keep ready.
    pub capacity: u64,
    /// Boxes that were taken. Only grows.
    pub gets: u64,
    /// The part of `gets` that a ready block served; for the others one was made.
    pub hits: u64,
    /// Boxes that were dropped or taken apart (`into_inner`). Only grows.
    pub drops: u64,
    /// Blocks that were given back to the allocator: past the bound, and by `clear`. Only grows.
    pub freed: u64,
    /// Boxes that there are, with those that were leaked or forgotten. Goes up and down.
    pub live: u64,
    /// Blocks that are ready. Goes up and down.
    pub ready: u64,
    /// Most boxes that there were at once. Of a `SyncTypedPool`, the most blocks, which can be a few more; of several
    /// pools, the sum.
    pub high_water: u64,
    /// Bytes of the blocks of boxes, at the size of the type. Goes up and down.
    pub live_bytes: u64,
    /// Bytes of the blocks that are ready. Goes up and down.
    pub ready_bytes: u64,
}

impl Figures for TypedPoolFigures {
    fn add(&mut self, more: &Self) {
        // A capacity may be as large as a number can be.
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
    /// One line. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { capacity, gets, hits, live, ready, high_water, live_bytes, ready_bytes, .. } = self;
        write!(f, "{live} live ({live_bytes} bytes, {high_water} at most), {ready} of {capacity} ready ")?;
        write!(f, "({ready_bytes} bytes), {hits} hits in {gets} gets")
    }
}

/// The typed pools of one name.
pub type NamedTypedPools = NamedFigures<TypedPoolFigures>;

/// The named typed pools, in [`Stats`](crate::Stats): those that there are now.
///
/// Their blocks come from the program's global allocator. Where that is [`PoolMalloc`](crate::PoolMalloc) they are in
/// the sums of the statistics as live blocks, the ready ones, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TypedPoolStats {
    /// All of them.
    pub all: TypedPoolFigures,
    by_name: ByName<TypedPoolFigures>,
}

impl TypedPoolStats {
    /// The pools by name, those made last first: one entry for each of up to 15 names, and one for all others.
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
