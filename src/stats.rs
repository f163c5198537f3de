//! What the heap holds: figures that the allocator keeps anyway, added up when somebody asks.
//!
//! Only frees are counted where they happen. What is live follows from what the slow paths know: blocks moved out of
//! pools, less those moved back, less those in magazines, less those that other threads freed. Allocations are frees
//! plus live.

use crate::heap::{Heap, LargeCounters};
use crate::private::PrivateStats;
use crate::size_class::{CLASSES, POOL_BYTES, SizeClass};
use crate::statics::{SHARED, TYPED};
use crate::tls;
use crate::typed::TypedStats;

/// What the allocator holds and has done: the answer of [`stats()`].
///
/// While other threads allocate, each of their figures is read separately, so the whole may mix moments a few
/// operations apart; when they are quiet it is exact. The fields add up:
///
/// * for each class, `live + cached + free` blocks fill its pools: `pools * (4096 / block_bytes)`;
/// * `allocations - frees` is `live`, for each class, for [`small`](Self::small), and for [`large`](Self::large);
/// * `arenas.open` times 256 KiB is `live_bytes + cached_bytes + free_bytes + rounding_bytes` of [`small`](Self::small),
///   plus the pools without a class ([`unused_pools`](Self::unused_pools)) at 4096 bytes each;
/// * `region.open_bytes + region.metadata_bytes` is all that was taken from the system for small blocks: the open
///   arenas, those opened ahead of use, and the tables. What the backend takes, it alone knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stats {
    /// Sums over all size classes.
    pub small: SmallStats,
    /// What the backend served.
    pub large: LargeStats,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each is an allocation and
    /// a free too. Only grows.
    pub moved: u64,
    /// Arenas of 256 KiB.
    pub arenas: ArenaStats,
    /// Threads' heaps.
    pub heaps: HeapStats,
    /// The reserved range of addresses and the tables beside it.
    pub region: RegionStats,
    /// Each size class, smallest blocks first.
    pub classes: [ClassStats; CLASSES],
    /// The part of all these that is private heaps'.
    pub private: PrivateStats,
    /// The named typed pools, whose blocks are in all these, too.
    pub typed: TypedStats,
}

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

/// Heaps: one for each thread that has allocated or freed. Private ones are counted in [`PrivateStats`].
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

/// What the allocator holds and has done so far, in the whole process.
///
/// Reads the figures of 32 classes of each heap there is, under the lock that guards new arenas, and asks the kernel
/// which of the opened pages are in memory: its cost grows with the number of threads and with the arenas, not with the
/// number of blocks. It never allocates. The statistics cost the fast paths one increment for each free.
///
/// # Examples
/// ```
/// use poolmalloc::{PoolMalloc, stats};
///
/// #[global_allocator]
/// static ALLOC: PoolMalloc = PoolMalloc::new();
///
/// let before = stats();
/// let held = std::hint::black_box(Box::new([1u8; 48]));
/// let now = stats();
/// assert!(now.small.live_blocks > before.small.live_blocks);
/// assert!(now.small.live_bytes >= before.small.live_bytes + 48);
/// # drop(held);
/// println!("{now}");
/// ```
#[must_use]
pub fn stats() -> Stats {
    if let Some(heap) = tls::current() {
        // A thread that never frees again must not hold back what others own.
        heap.post_all();
    }
    let mut stats = SHARED.stats();
    stats.typed = TYPED.stats();
    stats
}

impl Stats {
    /// Pools that have no class now, of all arenas.
    #[must_use]
    pub fn unused_pools(&self) -> u64 {
        let used: u64 = self.classes.iter().map(|class| class.pools).sum();
        (self.arenas.open * crate::size_class::POOLS_PER_ARENA as u64).saturating_sub(used)
    }

    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let mut stats = Self::default();
        for class in SizeClass::all() {
            stats.classes[class.index()].block_bytes = class.bytes() as u64;
        }
        stats
    }

    /// Adds what one heap knows. The parts of a class add up only when all heaps are in: `live_blocks` and
    /// `waiting_blocks` wrap below zero until then.
    pub(crate) fn add_heap(&mut self, heap: &Heap) {
        for class in SizeClass::all() {
            let (head, state, sum) = (heap.head(class), heap.class(class), &mut self.classes[class.index()]);
            let in_magazines = heap.cached_blocks(class) as u64;
            let (filled, flushed, collected) = (state.filled.value(), state.flushed.value(), state.collected.value());
            let (remote_frees, adopted) = (state.remote_frees.value(), state.adopted.value());
            let pools = state.pools.value();
            // The program has freed these.
            let [kept, kept_remote] = heap.kept(class);
            sum.pools += pools;
            add(&mut sum.frees, (head.frees() + remote_frees).wrapping_add(kept), 0);
            add(&mut sum.remote_frees, remote_frees.wrapping_add(kept_remote), 0);
            add(&mut sum.cached_blocks, in_magazines.wrapping_add(kept), 0);
            add(&mut sum.waiting_blocks, remote_frees, collected.wrapping_add(adopted));
            let gone = (flushed + in_magazines + remote_frees).wrapping_add(kept);
            add(&mut sum.live_blocks, filled.wrapping_add(adopted), gone);
            add(&mut sum.free_blocks, pools * class.blocks_per_pool() as u64 + flushed + collected, filled);
        }
        self.add_large(&heap.large);
    }

    pub(crate) fn add_large(&mut self, large: &LargeCounters) {
        self.large.allocations += large.allocations.value();
        let [kept, kept_bytes] = large.kept.value();
        add(&mut self.large.frees, large.frees.value().wrapping_add(kept), 0);
        self.large.reallocations += large.reallocations.value();
        self.moved += large.moved.value();
        add(&mut self.large.live_bytes, large.bytes_in.value(), large.bytes_out.value().wrapping_add(kept_bytes));
    }

    /// Derives what follows from the parts, when all are in. A figure that mixes moments and would be below zero is 0.
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

/// Adds a difference that may be negative.
fn add(sum: &mut u64, plus: u64, minus: u64) {
    *sum = sum.wrapping_add(plus).wrapping_sub(minus);
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
