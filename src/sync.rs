//! The atomics that the shared protocols use. The models in `loom-tests` compile the protocol files against a `sync` of
//! their own, made of loom's types, so those files name atomics only through this module.

pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Spins, then yields the processor: for a wait that another thread ends soon.
pub(crate) use crossbeam_utils::Backoff;
