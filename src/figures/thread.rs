//! The statistics of a thread: plain data.

use crate::geometry::CLASSES;

/// Figures of the calling thread: requests and frees since it began. [`thread_stats()`](crate::thread_stats()) returns
/// them.
///
/// Exact. All figures only grow, until the thread has given its heap back at its end: from then on they are 0.
///
/// A thread may free blocks that other threads allocated, so it has no figure of live blocks. The sum of
/// `allocations - frees` over all threads, ended ones included, is the number of live blocks. That sum leaves out
/// private heaps, and requests of threads without a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadStats {
    /// Blocks of pools, all size classes together. Bytes count at block size.
    pub small: ThreadSmallStats,
    /// Blocks of the backend. Bytes count as requested.
    pub large: ThreadLargeStats,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each counts as an
    /// allocation and as a free too. In debug mode every `realloc` counts here.
    pub moved: u64,
    /// Figures of each size class, smallest blocks first.
    pub classes: [ThreadClassStats; CLASSES],
}

/// Requests and frees of a thread in pools, all size classes together. All figures only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadSmallStats {
    /// Requests served.
    pub allocations: u64,
    /// Blocks freed.
    pub frees: u64,
    /// The part of `frees` whose blocks lay in pools of another thread's heap.
    pub remote_frees: u64,
    /// Bytes of the blocks allocated, at block size.
    pub allocated_bytes: u64,
    /// Bytes of the blocks freed, at block size.
    pub freed_bytes: u64,
}

/// Requests and frees of a thread at the backend. All figures only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadLargeStats {
    /// Requests served.
    pub allocations: u64,
    /// Blocks freed.
    pub frees: u64,
    /// Blocks that the backend resized, in place or not. They add nothing to `allocations` and `frees`.
    pub reallocations: u64,
    /// Bytes requested. A reallocation adds the new size here and the old size to `freed_bytes`.
    pub allocated_bytes: u64,
    /// Bytes given back, as requested.
    pub freed_bytes: u64,
}

/// Requests and frees of a thread in one size class. All figures except `block_bytes` only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadClassStats {
    /// Bytes of a block: 8, 16, ... 256. Does not change.
    pub block_bytes: u64,
    /// Requests served.
    pub allocations: u64,
    /// Blocks freed.
    pub frees: u64,
    /// The part of `frees` whose blocks lay in pools of another thread's heap.
    pub remote_frees: u64,
}
