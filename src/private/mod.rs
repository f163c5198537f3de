//! Private heaps: pools that a part of the program has to itself, and gives back all at once.

pub(crate) mod large;
pub(crate) mod serve;
pub(crate) mod shared;
pub(crate) mod handle;
pub(crate) mod allocator;

pub use handle::PrivateHeap;
pub use shared::SharedPrivateHeap;
