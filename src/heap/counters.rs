//! Counters of a heap besides those of [`ClassState`](super::class_state::ClassState): for the backend, and for the
//! quarantine of the debug mode.

use crate::sync::{AtomicU64, Counter};
use core::sync::atomic::Ordering;

/// Counts of what the backend served, and of blocks that `realloc` moved.
pub(crate) struct LargeCounters {
    pub(crate) allocations: Counter,
    pub(crate) frees: Counter,
    pub(crate) reallocations: Counter,
    /// Bytes requested, in all: the sizes of allocations and the new sizes of reallocations.
    pub(crate) bytes_in: Counter,
    /// Bytes given back, in all: the sizes of frees and the old sizes of reallocations.
    pub(crate) bytes_out: Counter,
    /// Blocks that `realloc` moved from a pool, or to one.
    pub(crate) moved: Counter,
    /// Large blocks that the program has freed and that are not counted as frees yet.
    pub(crate) kept: LargeInQuarantine,
}

/// Counts of large blocks in the quarantine of the [debug mode](crate::debug): those that one heap's threads have put
/// in minus those that they have taken out. All threads without a heap share one `LargeInQuarantine`, so figures are
/// added with `fetch_add`. Relaxed: each figure stands for itself. `bytes` includes everything that the debug mode puts
/// around the program's bytes.
pub(crate) struct LargeInQuarantine {
    pub(super) blocks: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl LargeInQuarantine {
    /// Adds a block of this many bytes if `change` is 1, and takes one away if it is -1.
    pub(crate) fn add(&self, change: i64, bytes: usize) {
        self.blocks.fetch_add(change as u64, Ordering::Relaxed);
        self.bytes.fetch_add((change * bytes as i64) as u64, Ordering::Relaxed);
    }

    /// Blocks and bytes. A count below zero wraps.
    pub(crate) fn value(&self) -> [u64; 2] {
        [&self.blocks, &self.bytes].map(|figure| figure.load(Ordering::Relaxed))
    }
}

/// Counts of blocks of one class in the quarantine, as in [`LargeInQuarantine`]. `remote` counts those that other heaps
/// own.
pub(super) struct SmallInQuarantine {
    pub(super) blocks: AtomicU64,
    pub(super) remote: AtomicU64,
}

impl LargeCounters {
    pub(crate) const fn new() -> Self {
        Self {
            allocations: Counter::new(),
            frees: Counter::new(),
            reallocations: Counter::new(),
            bytes_in: Counter::new(),
            bytes_out: Counter::new(),
            moved: Counter::new(),
            kept: LargeInQuarantine { blocks: AtomicU64::new(0), bytes: AtomicU64::new(0) },
        }
    }

    /// Counts a block of this many bytes that was served. `add` is [`Counter::add`] or [`Counter::add_shared`].
    #[inline]
    pub(crate) fn count_allocation(&self, bytes: usize, add: fn(&Counter, usize)) {
        add(&self.allocations, 1);
        add(&self.bytes_in, bytes);
    }

    /// Counts a block of this many bytes that was freed. `add` is [`Counter::add`] or [`Counter::add_shared`].
    #[inline]
    pub(crate) fn count_free(&self, bytes: usize, add: fn(&Counter, usize)) {
        add(&self.frees, 1);
        add(&self.bytes_out, bytes);
    }
}
