//! The counts of a heap's threads, as plain numbers.

use crate::geometry::CLASSES;

/// Counts of all requests of a heap's threads since the heap was made.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// Allocations, frees, and remote frees of each class.
    pub(super) classes: [[u64; 3]; CLASSES],
    pub(super) large: [u64; 6],
}

impl Counts {
    pub(crate) const ZERO: Self = Self { classes: [[0; 3]; CLASSES], large: [0; 6] };

    /// Allocations, frees, and remote frees of each class.
    pub(crate) fn classes(&self) -> &[[u64; 3]; CLASSES] {
        &self.classes
    }

    /// Counts of the backend: allocations, frees, reallocations, bytes requested, bytes given back, and blocks moved.
    pub(crate) fn large(&self) -> [u64; 6] {
        self.large
    }
}
