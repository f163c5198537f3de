//! The parts of the statistics: plain data.

/// Blocks of pools, all size classes together. Bytes count at block size: a 20-byte request adds 24.
///
/// `allocations - frees` is `live_blocks`. Each number of blocks is the sum of the same figure over the size classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SmallStats {
    /// Requests served: `frees + live_blocks`. A `realloc` that moves a block adds one here and one to `frees`; a
    /// `realloc` in place adds nothing. Only grows, if you read it while other threads are quiet; while they run, it
    /// may be a little too high or too low.
    pub allocations: u64,
    /// Blocks freed, by any thread. Only grows.
    pub frees: u64,
    /// The part of `frees` done by threads that did not own the block's pool. Only grows.
    pub remote_frees: u64,
    /// Blocks that the program holds now. Blocks in magazines and remote frees do not count. Goes up and down.
    pub live_blocks: u64,
    /// Bytes of the live blocks, at block size. Goes up and down.
    pub live_bytes: u64,
    /// Freed blocks that are not back in a pool: in a magazine, or waiting as remote frees. Goes up and down.
    pub cached_blocks: u64,
    /// Bytes of the cached blocks, at block size. Goes up and down.
    pub cached_bytes: u64,
    /// The part of `cached_blocks` that waits as remote frees: freed by another thread, and not collected by the owner
    /// yet. Goes up and down.
    pub waiting_blocks: u64,
    /// Blocks in pools with a class that are neither live nor cached. Goes up and down.
    pub free_blocks: u64,
    /// Bytes of the free blocks, at block size. Goes up and down.
    pub free_bytes: u64,
    /// Bytes at the ends of pools that are too few for one more block. Goes up and down.
    pub rounding_bytes: u64,
}

/// Blocks of one size class.
///
/// `live_blocks + cached_blocks + free_blocks` is `pools * (4096 / block_bytes)`, the quotient rounded down, and
/// `allocations - frees` is `live_blocks`. The first sum is exact while other threads are quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block: 8, 16, ... 256. Does not change.
    pub block_bytes: u64,
    /// Pools of 4096 bytes that have this class now. Goes up and down.
    pub pools: u64,
    /// Requests served. Grows as [`SmallStats::allocations`] does.
    pub allocations: u64,
    /// Blocks freed, by any thread. Only grows.
    pub frees: u64,
    /// The part of `frees` done by threads that did not own the block's pool. Only grows.
    pub remote_frees: u64,
    /// Blocks that the program holds now. Goes up and down.
    pub live_blocks: u64,
    /// Freed blocks that are not back in a pool: in a magazine, or waiting as remote frees. Goes up and down.
    pub cached_blocks: u64,
    /// The part of `cached_blocks` that waits as remote frees. Goes up and down.
    pub waiting_blocks: u64,
    /// Blocks in this class's pools that are neither live nor cached. Goes up and down.
    pub free_blocks: u64,
}

/// Blocks that the backend served: requests over 256 bytes, by their size or their alignment. Bytes count as requested.
///
/// Small requests count here when the backend serves them: when there is no memory for pools, when the request is a
/// sample of a profile (feature `profile`), with `POOLMALLOC=malloc`, and under the memcheck of valgrind.
/// `allocations - frees` is `live_blocks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LargeStats {
    /// Requests served. A `realloc` that makes a small block large adds one. Only grows.
    pub allocations: u64,
    /// Blocks freed. A `realloc` that makes a large block small adds one. Only grows.
    pub frees: u64,
    /// Blocks that the backend's `realloc` resized, moved or not. They add nothing to `allocations` and `frees`. Only
    /// grows.
    pub reallocations: u64,
    /// Blocks that the program holds now. Goes up and down.
    pub live_blocks: u64,
    /// Bytes of the live blocks as requested: the sizes in their layouts. Wrong if a block is freed with another size
    /// than it was requested with. Goes up and down.
    pub live_bytes: u64,
}

/// Arenas: 256 KiB each, 64 pools each. Both figures are of the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ArenaStats {
    /// Arenas that heaps own, or that are kept for heaps. Arenas are kept until the process ends, so this is also their
    /// high-water mark. Only grows.
    pub open: u64,
    /// The part of `open` that no heap owns: any heap may take these arenas. Wholly free arenas that a heap keeps do
    /// not count. Goes up and down.
    pub free: u64,
}

/// Heaps of threads: one for each thread that has allocated or freed. [`PrivateHeapStats`](crate::PrivateHeapStats)
/// counts private heaps.
///
/// Both figures are of the same moment. A parked heap counts as in use while another thread gives its memory back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HeapStats {
    /// Heaps of running threads. Goes up and down.
    ///
    /// In the child of a `fork`, the heaps of the parent's other threads count here forever. If one of those threads
    /// was changing the list of parked heaps at the fork, the parked heaps count here too.
    pub in_use: u64,
    /// Heaps of ended threads, which new threads will take over. A parked heap keeps the pools of its live blocks. Goes
    /// up and down.
    pub parked: u64,
}

/// Addresses and tables. Nothing of them is in memory before it is touched.
///
/// `open_bytes + metadata_bytes` is all memory that was taken from the system for small blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RegionStats {
    /// Bytes of addresses reserved for arenas: a power of two. 0 if nothing was allocated yet, if the system refused,
    /// or under the memcheck of valgrind. Does not change once it is not 0.
    pub reserved_bytes: u64,
    /// The part of `reserved_bytes` that is open for use: arenas in use, and arenas opened ahead of use. Only grows.
    pub open_bytes: u64,
    /// Bytes of the tables that are open: for those arenas, for the heaps and for the magazines, in whole system pages.
    /// Only grows.
    pub metadata_bytes: u64,
    /// The part of `open_bytes` and `metadata_bytes` that is in memory now, as the kernel says (`mincore`): pages that
    /// were touched and not given back or swapped out. 0 where the system does not say. Goes up and down. It is read
    /// after the other figures.
    pub resident_bytes: u64,
}
