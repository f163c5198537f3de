//! Numbers of pools and arenas in the region.

use crate::geometry::{POOL_BYTES, POOLS_PER_ARENA, WORDS_PER_POOL};

/// Number of a pool in the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PoolId(pub(crate) u32);

/// Number of an arena in the region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ArenaId(pub(crate) u32);

impl PoolId {
    /// The pool that an offset in the region lies in.
    #[inline]
    pub(crate) fn of_offset(offset: usize) -> Self {
        Self((offset / POOL_BYTES) as u32)
    }

    /// The pool that a word of a map belongs to.
    #[inline]
    pub(crate) fn of_word(index: u32) -> Self {
        Self(index / WORDS_PER_POOL as u32)
    }

    #[inline]
    pub(crate) fn arena(self) -> ArenaId {
        ArenaId(self.0 / POOLS_PER_ARENA as u32)
    }

    /// Position in its arena.
    #[inline]
    pub(crate) fn position(self) -> u32 {
        self.0 % POOLS_PER_ARENA as u32
    }

    /// The first of the words of a map that cover this pool.
    #[inline]
    pub(crate) fn first_word(self) -> u32 {
        self.0 * WORDS_PER_POOL as u32
    }
}

impl ArenaId {
    #[inline]
    pub(crate) fn pool(self, position: u32) -> PoolId {
        PoolId(self.0 * POOLS_PER_ARENA as u32 + position)
    }
}
