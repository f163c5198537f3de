//! Blocks of the global allocator that know their content.

use poolmalloc_oracle::Global;

pub(crate) use poolmalloc_oracle::block::{assert_disjoint, fill, is_filled, layout};

pub(crate) type Block = poolmalloc_oracle::Block<Global>;
