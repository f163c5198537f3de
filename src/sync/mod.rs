//! Data that threads share: words, counters, locks, stacks, queues, and values that are decided once.
//!
//! `loom-tests` compiles `counter`, `lock`, `lock_cell`, `once`, `stack` and `shards` against loom. So these files name
//! atomics only through `atoms`, which the models replace.

mod watched;
mod atoms;
mod counter;
mod generation;
mod lock;
mod lock_cell;
mod once;
mod stack;
mod queue;
mod shards;
mod consts;

pub(crate) use atoms::{AtomicU32, AtomicU64, Exclusive, Ordering};
pub(crate) use counter::Counter;
pub(crate) use generation::current_generation;
pub(crate) use lock::Lock;
pub(crate) use lock_cell::{LockCell, LockCellGuard};
pub(crate) use once::{Decision, Once};
pub(crate) use queue::Queue;
pub(crate) use shards::Shards;
pub(crate) use stack::{Stack, StackLinks};
pub(crate) use watched::{WatchedPtr, WatchedU8, WatchedU32, WatchedU64, WatchedUsize};
