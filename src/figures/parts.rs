//! The parts of the statistics: plain data.

/// Requests served from pools, of all size classes. Bytes are counted at block size: a 20-byte request adds 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SmallStats {
    /// Requests served. A `realloc` that moves a block adds one here and one to `frees`; one in place adds nothing.
    /// Only grows while threads are quiet.
    pub allocations: u64,
    /// Blocks freed, by whichever thread. Only grows.
    pub frees: u64,
    /// The part of `frees` done by threads that did not own the block's pool. Only grows.
    pub remote_frees: u64,
    /// Blocks the program holds. Goes up and down.
    pub live_blocks: u64,
    /// Bytes of the blocks the program holds. Goes up and down.
    pub live_bytes: u64,
    /// Freed blocks that are not back in a pool: in a magazine, or waiting as remote frees. Goes up and down.
    pub cached_blocks: u64,
    /// Bytes of those blocks.
    pub cached_bytes: u64,
    /// The part of `cached_blocks` freed by other threads and not yet collected by the owner. Goes up and down.
    pub waiting_blocks: u64,
    /// Blocks in pools of a class that no one has. Goes up and down.
    pub free_blocks: u64,
    /// Bytes of those blocks.
    pub free_bytes: u64,
    /// Bytes at the ends of pools that are too few for a block. Goes up and down.
    pub rounding_bytes: u64,
}

/// One size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block: 8, 16, ... 256.
    pub block_bytes: u64,
    /// Pools of 4096 bytes that have this class now.
    pub pools: u64,
    /// Requests served, as in [`SmallStats::allocations`].
    pub allocations: u64,
    /// Blocks freed, as in [`SmallStats::frees`].
    pub frees: u64,
    /// Blocks freed by threads that did not own them, as in [`SmallStats::remote_frees`].
    pub remote_frees: u64,
    /// Blocks the program holds.
    pub live_blocks: u64,
    /// Freed blocks not back in a pool, as in [`SmallStats::cached_blocks`].
    pub cached_blocks: u64,
    /// The part of `cached_blocks` that waits as remote frees.
    pub waiting_blocks: u64,
    /// Blocks in this class's pools that no one has.
    pub free_blocks: u64,
}

/// What the backend served: requests over 256 bytes, and small ones when there was no memory for pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LargeStats {
    /// Requests served, `realloc` from a small block included. Only grows.
    pub allocations: u64,
    /// Blocks freed, `realloc` to a small block included. Only grows.
    pub frees: u64,
    /// Blocks resized by the backend's `realloc`, moved or not. Only grows.
    pub reallocations: u64,
    /// Blocks the program holds. Goes up and down.
    pub live_blocks: u64,
    /// Bytes of those blocks as requested: the sizes in their layouts. Wrong if a block is freed with another size.
    pub live_bytes: u64,
}

/// Arenas: 256 KiB each, 64 pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ArenaStats {
    /// Arenas in use by heaps or kept for them. They are kept until the process ends, so this is their high-water mark
    /// too. Only grows.
    pub open: u64,
    /// The part of `open` that no heap owns and any heap may take. Wholly free arenas that a heap keeps are not in it.
    pub free: u64,
}

/// Heaps: one for each thread that has allocated or freed. Private ones are counted in
/// [`PrivateHeapStats`](crate::PrivateHeapStats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HeapStats {
    /// Heaps of running threads. After a `fork`, the child counts for ever those of the parent's other threads, and
    /// parked ones if another thread was just changing their list.
    pub in_use: u64,
    /// Heaps of ended threads, to be taken over by new ones. A parked heap keeps the pools of its live blocks.
    pub parked: u64,
}

/// Addresses and tables. None of it counts as resident before it is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RegionStats {
    /// Bytes of addresses reserved for arenas: a power of two; 0 if nothing was allocated yet or the system refused.
    pub reserved_bytes: u64,
    /// The part of them opened for use. Only grows.
    pub open_bytes: u64,
    /// Bytes of the tables opened for those arenas, for the heaps and for the magazines, in whole system pages. Only
    /// grows.
    pub metadata_bytes: u64,
    /// The part of `open_bytes` and `metadata_bytes` that is in memory now, as the kernel says (`mincore`): pages that
    /// were touched and not given back or swapped out. 0 where the system does not say. Goes up and down.
    pub resident_bytes: u64,
}
