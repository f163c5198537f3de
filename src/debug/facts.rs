//! Facts about blocks of the debug layer, for the search for leaks.

use super::block::{DebugBlock, HeaderFacts};
use super::find::small_around;
use crate::traces::TraceId;

/// The debug layer's knowledge of a block of a pool.
pub(crate) enum PoolBlockState {
    /// It holds a live block of the program, which begins at this address.
    Live { start: usize, facts: BlockFacts },
    /// The program has freed it.
    Free,
    /// It has no sound header: it is on its way to or from the program, or damaged.
    Unknown,
}

/// The facts about a block that the search for leaks reports.
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

/// The state of the pool's block around `memory`, which lies at `offset` of the region. The pool has blocks of `bytes`.
pub(crate) fn inside(memory: *mut u8, offset: usize, bytes: usize) -> PoolBlockState {
    match small_around(memory, offset, bytes) {
        Some((block, known, true)) => {
            PoolBlockState::Live { start: block.address().expose_provenance(), facts: BlockFacts::of(&known) }
        }
        Some((_, _, false)) => PoolBlockState::Free,
        None => PoolBlockState::Unknown,
    }
}

/// The facts in the header of a large block; `None` if the header is not sound.
///
/// # Safety
/// * The index has a block of the debug layer at this address. The caller holds the lock of the index.
pub(crate) unsafe fn facts_of_large(address: *mut u8) -> Option<BlockFacts> {
    // SAFETY: the caller's promise.
    unsafe { DebugBlock::at(address) }.known().map(|(known, _)| BlockFacts::of(&known))
}
