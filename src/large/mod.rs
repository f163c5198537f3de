//! The index of large blocks: those that were served while the leak finder was armed, and those that are samples.

pub(crate) mod table;
pub(crate) mod index;

pub(crate) use index::{IndexGuard, LARGE, Lookup, forget_large};
pub(crate) use table::{BlockSet, LargeBlock, Sample};
