//! Typed pools: ready blocks for values of one type, as CPython keeps some for floats, tuples and lists.

pub(crate) mod shelf;
pub(crate) mod registry;
pub(crate) mod stock;
pub(crate) mod kinds;
pub(crate) mod boxes;
pub(crate) mod methods;
pub(crate) mod pool;
pub(crate) mod sync_pool;

pub use boxes::{Home, Pooled};
pub use kinds::{Fresh, Kind, Reuse, Reused};
pub use pool::{Pool, PoolBox, RcPoolBox};
pub(crate) use registry::TYPED;
pub use sync_pool::{ArcPoolBox, SyncPool, SyncPoolBox};
