//! Everything that a process has once, such as its mode and its pools; and each thread's way to its heap. The process
//! starts in `startup`.

pub(crate) mod mode;
pub(crate) mod options;
#[cfg(feature = "profile")]
pub(crate) mod sampling;
pub(crate) mod startup;
pub(crate) mod view;
pub(crate) mod parked;
pub(crate) mod state;
pub(crate) mod shared;
pub(crate) mod detour;
pub(crate) mod tls;
pub(crate) mod serve;

pub(crate) use detour::Detour;
pub(crate) use mode::{MODE, Mode};
#[cfg(feature = "profile")]
pub(crate) use sampling::SAMPLING;
pub(crate) use serve::{alloc_from_pools, count_large, dealloc_small, free_to_pool, moved};
pub(crate) use shared::SharedState;
pub(crate) use startup::options;
pub(crate) use tls::{Entry, NO_HEAP, SHARED};
pub(crate) use view::View;
