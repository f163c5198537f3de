//! What the calling thread has done, whatever other threads do.

use crate::heap::Heap;
use crate::size_class::{CLASSES, SizeClass};
use crate::tls;

/// What the calling thread has allocated and freed since it began: the answer of [`thread_stats()`].
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

/// What the calling thread has allocated and freed since it began.
///
/// Exact, and unaffected by what other threads do: neither their allocations nor their frees of this thread's blocks
/// count. It reads some 200 figures of the thread's own heap, without lock or system call, and never allocates.
///
/// What a thread does in destructors that run after its heap was given back counts for the process alone: from then on
/// all figures are 0. So they are where there is no memory for a heap.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// use poolmalloc::thread_stats;
///
/// let before = thread_stats();
/// drop(std::hint::black_box(Box::new([1u8; 48])));
/// let delta = thread_stats() - before;
/// assert_eq!((delta.allocations(), delta.frees()), (1, 1));
/// ```
#[must_use]
pub fn thread_stats() -> ThreadStats {
    let mut stats = ThreadStats::default();
    for class in SizeClass::all() {
        stats.classes[class.index()].block_bytes = class.bytes() as u64;
    }
    let Some(heap) = tls::enter_own() else { return stats };
    let (now, then) = (Counts::of(&heap), heap.counts_at_start());
    for class in SizeClass::all() {
        let (now, then) = (&now.classes[class.index()], &then.classes[class.index()]);
        let to = &mut stats.classes[class.index()];
        to.allocations = now[0].wrapping_sub(then[0]);
        to.frees = now[1].wrapping_sub(then[1]);
        to.remote_frees = now[2].wrapping_sub(then[2]);
        let (small, bytes) = (&mut stats.small, class.bytes() as u64);
        small.allocations += to.allocations;
        small.frees += to.frees;
        small.remote_frees += to.remote_frees;
        small.allocated_bytes += to.allocations * bytes;
        small.freed_bytes += to.frees * bytes;
    }
    let large: [u64; 6] = core::array::from_fn(|figure| now.large[figure].wrapping_sub(then.large[figure]));
    [stats.large.allocations, stats.large.frees, stats.large.reallocations, ..] = large;
    [.., stats.large.allocated_bytes, stats.large.freed_bytes, stats.moved] = large;
    stats
}

/// What a heap's threads have done since it was made.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// Allocations, frees, and remote frees of each class.
    classes: [[u64; 3]; CLASSES],
    large: [u64; 6],
}

impl Counts {
    pub(crate) const ZERO: Self = Self { classes: [[0; 3]; CLASSES], large: [0; 6] };

    /// Of each class.
    pub(crate) fn classes(&self) -> &[[u64; 3]; CLASSES] {
        &self.classes
    }

    /// Of the backend: allocations, frees, reallocations, bytes requested and given back, and blocks moved.
    pub(crate) fn large(&self) -> [u64; 6] {
        self.large
    }

    /// Exact for the heap's owner. A block allocated is one that came into a magazine, from a pool, by a free or with
    /// the foreign magazine, and is neither there now nor went back; what others free, and what settling moves, changes
    /// nothing.
    pub(crate) fn of(heap: &Heap) -> Self {
        let mut counts = Self::ZERO;
        for class in SizeClass::all() {
            let state = heap.class(class);
            let (filled, remote_frees) = (state.filled.value(), state.remote_frees.value());
            let own_frees = heap.head(class).frees();
            let [kept, kept_remote] = heap.kept(class);
            if filled | remote_frees | own_frees | kept | kept_remote == 0 {
                continue;
            }
            let gone = state.flushed.value().wrapping_add(heap.cached_blocks(class) as u64);
            let allocations = filled.wrapping_add(state.adopted.value()).wrapping_add(own_frees).wrapping_sub(gone);
            // The program has freed what is in the quarantine.
            let frees = (own_frees + remote_frees).wrapping_add(kept);
            counts.classes[class.index()] = [allocations, frees, remote_frees.wrapping_add(kept_remote)];
        }
        let large = &heap.large;
        counts.large =
            [&large.allocations, &large.frees, &large.reallocations, &large.bytes_in, &large.bytes_out, &large.moved]
                .map(|counter| counter.value());
        let [kept, kept_bytes] = large.kept.value();
        counts.large[1] = counts.large[1].wrapping_add(kept);
        counts.large[4] = counts.large[4].wrapping_add(kept_bytes);
        counts
    }
}
