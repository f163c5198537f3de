//! The region of addresses that all arenas are carved from, and the tables beside it.

pub(crate) mod ids;
pub(crate) mod tag;
pub(crate) mod list;
pub(crate) mod records;
pub(crate) mod layout;
pub(crate) mod remote;
pub(crate) mod tables;
pub(crate) mod pool;
pub(crate) mod arena;

pub(crate) use arena::Arenas;
pub(crate) use ids::{ArenaId, PoolId};
pub(crate) use layout::{ARENAS_PER_CHUNK, MAGAZINE_BYTES, REGION_ALIGN, Slot};
pub(crate) use list::NONE;
pub(crate) use pool::PoolList;
pub(crate) use records::PoolState;
pub(crate) use remote::{CombinedFrees, END, PendingList, RemoteMap};
pub(crate) use tables::{Region, SplitChunks};
pub(crate) use tag::{HEAD_BYTES, HeapKind, SAMPLING, Tag, is_owner_of, owner};
