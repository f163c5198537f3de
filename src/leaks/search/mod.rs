//! The search for leaks, where threads can be stopped: on Linux on x86-64 and aarch64.

pub(crate) mod found;
pub(crate) mod scan;
pub(crate) mod marks;
pub(crate) mod read;
pub(crate) mod blocks;
pub(crate) mod live;
pub(crate) mod stacks;
pub(crate) mod roots;
pub(crate) mod reach;
pub(crate) mod setup;
pub(crate) mod graph;
pub(crate) mod judge;
pub(crate) mod finder;
pub(crate) mod pointers;

pub(crate) use crate::os::world::clear_stack;
pub(crate) use finder::{IS_SUPPORTED, find, find_among, use_signal};
pub(crate) use pointers::{live_blocks, referents, referrers};
