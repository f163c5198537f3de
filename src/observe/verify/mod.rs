//! The check of the heap: compares all of it with every invariant and every count.

pub(crate) mod violation;
pub(crate) mod sums;
pub(crate) mod pools;
pub(crate) mod heaps;
pub(crate) mod check;

pub use check::check_heap;
#[cfg(test)]
pub(crate) use check::check_of;
pub use violation::Violation;
