//! tmp
mod arena;
mod check;
mod global;
mod heap;
mod lock;
mod magazine;
mod os;
mod pool;
mod region;
mod remote;
mod report;
mod shared;
mod size_class;
mod statics;
mod stats;
mod sync;
mod tls;

pub use global::PoolMalloc;
pub use stats::{
    ArenaStats, ClassStats, HeapStats, LargeStats, RegionStats, SmallStats, Stats, stats,
};
