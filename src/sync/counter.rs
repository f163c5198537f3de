//! Counters for the statistics.
//!
//! Counter invariant 1: a counter has one writer at a time or many writers. One writer uses [`add`](Counter::add) and
//! [`subtract`](Counter::subtract). Many writers use only [`add_shared`](Counter::add_shared).
//!
//! # Ordering
//! Relaxed everywhere: each figure stands for itself. A reader sees the figures of one counter in the order in which
//! they were written, and never a part of one. Of two counters a reader may see the later change without the earlier
//! one. So the sum or difference of two counters is exact only if the writers are quiet, and if the reader has
//! synchronized with them since. A thread that takes a heap over has synchronized with the last owner, so it adds to
//! the last figures.

use super::atoms::{AtomicU64, Ordering};

/// A figure for the statistics.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// A counter around its word. The caller makes the word, because loom's atomics have no `const` constructor.
    pub(crate) const fn around(word: AtomicU64) -> Self {
        Self(word)
    }

    /// Adds for a single writer, without a read-modify-write.
    #[inline]
    pub(crate) fn add(&self, count: usize) {
        self.0.store(self.value().wrapping_add(count as u64), Ordering::Relaxed);
    }

    /// Subtracts for a single writer, for the few figures that also shrink.
    pub(crate) fn subtract(&self, count: usize) {
        self.0.store(self.value().wrapping_sub(count as u64), Ordering::Relaxed);
    }

    /// Adds for many writers.
    pub(crate) fn add_shared(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
