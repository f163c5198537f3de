//! The library's `sync`, with loom's types in place of `atoms`. All other files are the library's own.

#![allow(unused_imports, reason = "the models use them, which are tests")]

mod atoms;
#[path = "../../../src/sync/counter.rs"]
mod counter;
#[path = "../../../src/sync/lock.rs"]
mod lock;
#[path = "../../../src/sync/lock_cell.rs"]
mod lock_cell;
#[path = "../../../src/sync/once.rs"]
mod once;
#[path = "../../../src/sync/stack.rs"]
mod stack;
#[path = "../../../src/sync/shards.rs"]
mod shards;

pub(crate) use atoms::{AtomicU32, AtomicU64, Exclusive, Ordering, PlainCell};
pub(crate) use counter::Counter;
pub(crate) use lock::{Guard, Lock};
pub(crate) use lock_cell::LockCell;
pub(crate) use once::{Decision, Once};
pub(crate) use shards::Shards;
pub(crate) use stack::{Stack, StackLinks};
