//! The answers to users: statistics, measurements, maps, releases, and the check of the heap.

pub(crate) mod collect;
pub(crate) mod heaps;
pub(crate) mod stats;
pub(crate) mod thread;
pub(crate) mod watch;
pub(crate) mod measure;
pub(crate) mod heap_map;
pub(crate) mod release;
pub(crate) mod verify;

pub use heap_map::{ArenaMap, PoolMap, arenas, heap_map, pinned};
pub use measure::{Peak, measure, measure_peak};
pub use release::release_unused;
pub use stats::stats;
pub use thread::thread_stats;
pub use verify::{Violation, check_heap};

pub(crate) use watch::{Watch, watched};
