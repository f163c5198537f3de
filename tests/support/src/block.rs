//! Blocks of the global allocator that know their content.

use poolmalloc_oracle::Global;

pub use poolmalloc_oracle::block::{assert_disjoint, fill, is_filled, layout};

/// A block of the process's allocator that knows its content.
pub type Block = poolmalloc_oracle::Block<Global>;
