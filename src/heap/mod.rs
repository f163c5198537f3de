//! A thread's heap: its magazines, pools and arenas, and the slow halves of the two fast paths.
//!
//! A file uses only files before it in the list below. `state` has the heap itself. The files after it add methods:
//! those of `OwnedHeap` are for the owner of the heap, and those of `Heap` for any thread.

pub(crate) mod magazine;
pub(crate) mod front;
pub(crate) mod counters;
pub(crate) mod counts;
pub(crate) mod label;
pub(crate) mod supply;
#[cfg(feature = "profile")]
pub(crate) mod sampler;
pub(crate) mod class_state;
pub(crate) mod state;
#[cfg(feature = "profile")]
pub(crate) mod due;
pub(crate) mod account;
pub(crate) mod misuse;
pub(crate) mod spare;
pub(crate) mod free_map;
pub(crate) mod pools;
pub(crate) mod remote;
pub(crate) mod foreign;
pub(crate) mod flush;
pub(crate) mod alloc;
pub(crate) mod free;
pub(crate) mod settle;
pub(crate) mod bulk;

pub(crate) use bulk::RemoteLeftovers;
pub(crate) use counters::LargeCounters;
pub(crate) use counts::Counts;
pub(crate) use front::Front;
pub(crate) use magazine::{Magazine, SLOTS, capacity, is_absent};
pub(crate) use misuse::refuse;
pub(crate) use state::{Heap, OwnedHeap};
pub(crate) use supply::Supply;
