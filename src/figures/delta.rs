//! The difference between two moments: of the process, or of a thread.

use super::stats::Stats;
use super::thread::ThreadStats;
use crate::geometry::{CLASSES, SizeClass};
use core::fmt::{self, Display, Formatter};
use core::ops::Sub;

/// The difference between two moments: later [`Stats`] less earlier [`Stats`], or later [`ThreadStats`] less earlier
/// [`ThreadStats`], as [`measure`](crate::measure()) returns it.
///
/// Every figure but `block_bytes` is signed: a thread may free more than it allocates, and you may subtract the later
/// moment from the earlier one. `live_blocks` is `allocations - frees` everywhere. Differences never overflow, and
/// nothing here panics. A difference is as exact as its two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Delta {
    /// Blocks of pools, all size classes together. Bytes count at block size.
    pub small: SmallDelta,
    /// Blocks of the backend. Bytes count as requested.
    pub large: LargeDelta,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each counts as an
    /// allocation and as a free too. In debug mode every `realloc` counts here.
    pub moved: i64,
    /// Differences of each size class, smallest blocks first.
    pub classes: [ClassDelta; CLASSES],
}

/// The part of a [`Delta`] that pools served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SmallDelta {
    /// Requests served.
    pub allocations: i64,
    /// Blocks freed.
    pub frees: i64,
    /// The part of `frees` done by a thread that did not own the block's pool.
    pub remote_frees: i64,
    /// `allocations - frees`.
    pub live_blocks: i64,
    /// Bytes of the blocks allocated less bytes of the blocks freed, at block size.
    pub live_bytes: i64,
}

/// The part of a [`Delta`] that the backend served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LargeDelta {
    /// Requests served.
    pub allocations: i64,
    /// Blocks freed.
    pub frees: i64,
    /// Blocks that the backend resized, in place or not. They add nothing to `allocations` and `frees`.
    pub reallocations: i64,
    /// `allocations - frees`.
    pub live_blocks: i64,
    /// Bytes requested less bytes given back. A resized block adds its new size less its old size.
    pub live_bytes: i64,
}

/// The part of a [`Delta`] that one size class served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ClassDelta {
    /// Bytes of a block: 8, 16, ... 256.
    pub block_bytes: u64,
    /// Requests served.
    pub allocations: i64,
    /// Blocks freed.
    pub frees: i64,
    /// The part of `frees` done by a thread that did not own the block's pool.
    pub remote_frees: i64,
    /// `allocations - frees`.
    pub live_blocks: i64,
}

impl Delta {
    /// Requests served by pools and by the backend.
    #[must_use]
    pub fn allocations(&self) -> i64 {
        self.small.allocations.wrapping_add(self.large.allocations)
    }

    /// Blocks of pools and of the backend that were freed.
    #[must_use]
    pub fn frees(&self) -> i64 {
        self.small.frees.wrapping_add(self.large.frees)
    }

    /// Blocks allocated less blocks freed.
    #[must_use]
    pub fn live_blocks(&self) -> i64 {
        self.allocations().wrapping_sub(self.frees())
    }

    /// Bytes of the blocks allocated less bytes of the blocks freed: small ones at block size, large ones as requested.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.small.live_bytes.wrapping_add(self.large.live_bytes)
    }

    /// Adds up the classes, and computes the figures that follow from others.
    fn sum(&mut self) {
        for (class, delta) in SizeClass::all().zip(&mut self.classes) {
            delta.block_bytes = class.bytes() as u64;
            delta.live_blocks = delta.allocations.wrapping_sub(delta.frees);
            let bytes = delta.live_blocks.wrapping_mul(class.bytes() as i64);
            let small = &mut self.small;
            small.allocations = small.allocations.wrapping_add(delta.allocations);
            small.frees = small.frees.wrapping_add(delta.frees);
            small.remote_frees = small.remote_frees.wrapping_add(delta.remote_frees);
            small.live_blocks = small.live_blocks.wrapping_add(delta.live_blocks);
            small.live_bytes = small.live_bytes.wrapping_add(bytes);
        }
        self.large.live_blocks = self.large.allocations.wrapping_sub(self.large.frees);
    }
}

/// The figures that a difference is computed from: those that only grow, and the bytes of live large blocks.
struct Flows {
    /// Allocations, frees and remote frees of each class.
    classes: [[u64; 3]; CLASSES],
    /// Allocations, frees and reallocations.
    large: [u64; 3],
    large_bytes: u64,
    moved: u64,
}

impl Flows {
    fn since(&self, earlier: &Self) -> Delta {
        let less = |later: u64, earlier: u64| later.wrapping_sub(earlier) as i64;
        let mut delta = Delta { moved: less(self.moved, earlier.moved), ..Delta::default() };
        for ((to, now), then) in delta.classes.iter_mut().zip(&self.classes).zip(&earlier.classes) {
            [to.allocations, to.frees, to.remote_frees] = core::array::from_fn(|flow| less(now[flow], then[flow]));
        }
        let large = &mut delta.large;
        [large.allocations, large.frees, large.reallocations] =
            core::array::from_fn(|flow| less(self.large[flow], earlier.large[flow]));
        large.live_bytes = less(self.large_bytes, earlier.large_bytes);
        delta.sum();
        delta
    }
}

impl From<&Stats> for Flows {
    fn from(stats: &Stats) -> Self {
        let large = &stats.large;
        Self {
            classes: stats.classes.map(|class| [class.allocations, class.frees, class.remote_frees]),
            large: [large.allocations, large.frees, large.reallocations],
            large_bytes: large.live_bytes,
            moved: stats.moved,
        }
    }
}

impl From<&ThreadStats> for Flows {
    fn from(stats: &ThreadStats) -> Self {
        let large = &stats.large;
        Self {
            classes: stats.classes.map(|class| [class.allocations, class.frees, class.remote_frees]),
            large: [large.allocations, large.frees, large.reallocations],
            large_bytes: large.allocated_bytes.wrapping_sub(large.freed_bytes),
            moved: stats.moved,
        }
    }
}

impl Sub for Stats {
    type Output = Delta;

    /// Returns what the whole process allocated and freed between `earlier` and `self`. Cached blocks, free blocks and
    /// open arenas are not part of it.
    fn sub(self, earlier: Self) -> Delta {
        Flows::from(&self).since(&Flows::from(&earlier))
    }
}

impl Sub for ThreadStats {
    type Output = Delta;

    /// Returns what the thread allocated and freed between `earlier` and `self`.
    fn sub(self, earlier: Self) -> Delta {
        Flows::from(&self).since(&Flows::from(&earlier))
    }
}

impl Display for Delta {
    /// Writes one line with the sums, one for each class with an allocation or a free, and one for large blocks if
    /// there were any. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (live_blocks, live_bytes) = (self.live_blocks(), self.live_bytes());
        write!(
            f,
            "{} allocations, {} frees: {live_blocks:+} blocks, {live_bytes:+} bytes",
            self.allocations(),
            self.frees()
        )?;
        for class in self.classes.iter().filter(|class| class.allocations != 0 || class.frees != 0) {
            let ClassDelta { block_bytes, allocations, frees, live_blocks, .. } = class;
            write!(f, "\n  {block_bytes:>5} bytes: {allocations} allocations, {frees} frees: {live_blocks:+} blocks")?;
        }
        let LargeDelta { allocations, frees, reallocations, live_blocks, live_bytes } = self.large;
        if allocations != 0 || frees != 0 || reallocations != 0 {
            write!(f, "\n  larger blocks: {allocations} allocations, {frees} frees, {reallocations} resized: ")?;
            write!(f, "{live_blocks:+} blocks, {live_bytes:+} bytes")?;
        }
        Ok(())
    }
}
