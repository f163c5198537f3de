//! The statistics of a thread: plain data.

use crate::geometry::CLASSES;

/// What the calling thread has allocated and freed since it began: the answer of
/// [`thread_stats()`](crate::thread_stats()).
///
/// All figures only grow. A thread may free what others allocated, so it has no figure of live blocks;
/// `allocations - frees` of all threads together is what is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadStats {
    /// Requests served from pools, all size classes together. Bytes are counted at block size.
    pub small: ThreadSmallStats,
    /// Requests served by the backend. Bytes are counted as requested.
    pub large: ThreadLargeStats,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each is an allocation and
    /// a free too.
    pub moved: u64,
    /// Each size class, smallest blocks first.
    pub classes: [ThreadClassStats; CLASSES],
}

/// What pools served to a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadSmallStats {
    /// Requests served.
    pub allocations: u64,
    /// Blocks freed.
    pub frees: u64,
    /// The part of `frees` of blocks whose pools another thread owned.
    pub remote_frees: u64,
    /// Bytes of the blocks allocated.
    pub allocated_bytes: u64,
    /// Bytes of the blocks freed.
    pub freed_bytes: u64,
}

/// What the backend served to a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadLargeStats {
    /// Requests served.
    pub allocations: u64,
    /// Blocks freed.
    pub frees: u64,
    /// Blocks resized by the backend, in place or not.
    pub reallocations: u64,
    /// Bytes requested; a reallocation adds the new size here and the old one to `freed_bytes`.
    pub allocated_bytes: u64,
    /// Bytes given back.
    pub freed_bytes: u64,
}

/// What pools of one size class served to a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadClassStats {
    /// Bytes of a block: 8, 16, ... 256.
    pub block_bytes: u64,
    /// Requests served.
    pub allocations: u64,
    /// Blocks freed.
    pub frees: u64,
    /// The part of `frees` of blocks whose pools another thread owned.
    pub remote_frees: u64,
}
