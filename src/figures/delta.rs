//! The difference between two moments: of the process, or of a thread.

use super::stats::Stats;
use super::thread::ThreadStats;
use crate::geometry::{CLASSES, SizeClass};
use core::fmt::{self, Display, Formatter};
use core::ops::Sub;

/// What happened between two moments: [`Stats`] less earlier [`Stats`], or [`ThreadStats`] less earlier ones, as
/// [`measure`](crate::measure()) returns.
///
/// Every figure is signed: the later moment may be the one subtracted, and a thread may free more than it allocates.
/// `live_blocks` is `allocations - frees` everywhere. Differences never overflow; nothing here panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Delta {
    /// Requests served from pools, all size classes together. Bytes are counted at block size.
    pub small: SmallDelta,
    /// Requests served by the backend. Bytes are counted as requested.
    pub large: LargeDelta,
    /// Blocks that `realloc` moved to another size class, or between a pool and the backend. Each is an allocation and
    /// a free too.
    pub moved: i64,
    /// Each size class, smallest blocks first.
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
    /// Bytes of the blocks allocated less those of the blocks freed.
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
    /// Blocks resized by the backend, in place or not.
    pub reallocations: i64,
    /// `allocations - frees`.
    pub live_blocks: i64,
    /// Bytes requested less bytes given back.
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
    /// Requests served, by pools and backend.
    #[must_use]
    pub fn allocations(&self) -> i64 {
        self.small.allocations.wrapping_add(self.large.allocations)
    }

    /// Blocks freed, of pools and backend.
    #[must_use]
    pub fn frees(&self) -> i64 {
        self.small.frees.wrapping_add(self.large.frees)
    }

    /// Blocks allocated less blocks freed.
    #[must_use]
    pub fn live_blocks(&self) -> i64 {
        self.allocations().wrapping_sub(self.frees())
    }

    /// Bytes of the blocks allocated less those of the blocks freed: small ones at block size, large ones as requested.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.small.live_bytes.wrapping_add(self.large.live_bytes)
    }

    /// Sums up the classes and derives what follows from other figures.
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

/// What only grows, and the bytes live in large blocks: all that a difference is made of.
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

    /// What the whole process allocated and freed since `earlier`. What was cached, free or open at either moment is in
    /// neither sum.
    fn sub(self, earlier: Self) -> Delta {
        Flows::from(&self).since(&Flows::from(&earlier))
    }
}

impl Sub for ThreadStats {
    type Output = Delta;

    /// What the thread allocated and freed since `earlier`.
    fn sub(self, earlier: Self) -> Delta {
        Flows::from(&self).since(&Flows::from(&earlier))
    }
}

impl Display for Delta {
    /// One line with the sums, and one for each class with an allocation or a free. Does not allocate.
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
