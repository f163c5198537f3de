//! What the search for leaks asks of blocks of the debug layer.

use super::block::{DebugBlock, HeaderFacts};
use super::find::small_around;
use crate::traces::TraceId;

/// What the program knows of a block of a pool.
pub(crate) enum PoolBlockState {
    /// It is live there, and begins at this address.
    Live { start: usize, facts: BlockFacts },
    /// It is free for the program.
    Free,
    /// It is on its way to or from the program.
    Unknown,
}

/// What the search for leaks tells of a block.
#[derive(Clone, Copy)]
pub(crate) struct BlockFacts {
    pub(crate) bytes: usize,
    pub(crate) serial: u64,
    pub(crate) allocated: Option<TraceId>,
}

impl BlockFacts {
    fn of(known: &HeaderFacts) -> Self {
        Self { bytes: known.shape.size, serial: known.serial, allocated: known.allocated }
    }
}

/// What the program has in the block of a pool that begins at `memory`, an offset of the region, and has `bytes`.
pub(crate) fn inside(memory: *mut u8, offset: usize, bytes: usize) -> PoolBlockState {
    match small_around(memory, offset, bytes) {
        Some((block, known, true)) => {
            PoolBlockState::Live { start: block.address().expose_provenance(), facts: BlockFacts::of(&known) }
        }
        Some((_, _, false)) => PoolBlockState::Free,
        None => PoolBlockState::Unknown,
    }
}

/// What the header of a large block says that is in the index.
///
/// # Safety
/// * The index has a block of this mode there, and is held.
pub(crate) unsafe fn facts_of_large(address: *mut u8) -> Option<BlockFacts> {
    // SAFETY: the caller's promise.
    unsafe { DebugBlock::at(address) }.known().map(|(known, _)| BlockFacts::of(&known))
}
