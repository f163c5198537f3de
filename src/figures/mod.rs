//! Plain data for users, and its texts. Nothing here looks at the heap.

pub(crate) mod name;
pub(crate) mod named;
pub(crate) mod address;
pub(crate) mod parts;
pub(crate) mod heaps;
pub(crate) mod pools;
pub(crate) mod stats;
pub(crate) mod thread;
pub(crate) mod delta;
pub(crate) mod released;
pub(crate) mod report;
pub(crate) mod export;

pub use address::Address;
pub use delta::{ClassDelta, Delta, LargeDelta, SmallDelta};
pub use heaps::{NamedPrivateHeaps, PrivateHeapFigures, PrivateHeapReport, PrivateHeapStats};
pub(crate) use name::NAME_BYTES;
pub use name::Name;
pub use named::NamedFigures;
pub use parts::{ArenaStats, ClassStats, HeapStats, LargeStats, RegionStats, SmallStats};
pub use pools::{NamedTypedPools, TypedPoolFigures, TypedPoolStats};
pub use released::ReleaseStats;
pub use stats::Stats;
pub use thread::{ThreadClassStats, ThreadLargeStats, ThreadSmallStats, ThreadStats};
