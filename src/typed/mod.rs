//! Typed pools: ready blocks for values of one type, as CPython keeps some for floats, tuples and lists.

pub(crate) mod shelf;
pub(crate) mod registry;
pub(crate) mod stock;
pub(crate) mod kinds;
pub(crate) mod boxes;
pub(crate) mod methods;
pub(crate) mod pool;
pub(crate) mod sync_pool;

pub use boxes::{Home, HomeBox};
pub use kinds::{Fresh, Reusable, Reuse, TypedKind};
pub use pool::{RcTypedBox, TypedBox, TypedPool};
pub(crate) use registry::TYPED;
pub use sync_pool::{ArcTypedBox, SyncTypedBox, SyncTypedPool};
