//! The state of a scan: the live blocks, the blocks that can be reached, and the rest. Memory is read while all other
//! threads are stopped.
//!
//! ```text
//!   live map     blocks of pools that are in no map and no magazine; large blocks of the index
//!   roots        mappings, without the allocator's own memory, unused parts of stacks, and large blocks
//!   marks        blocks that a root leads to, directly or through other blocks
//!   leaked       live blocks that are not marked, and the pointers among them
//! ```
//! Any aligned word with a value inside a live block is a pointer to that block. Nothing here asks the allocator for
//! memory, takes a lock or panics.
//!
//! Scan invariant 1: a live block of a pool stays readable, since pools are never unmapped. A large block is read like
//! a mapping, since the program may have made one of its pages unreadable.

use super::found::{Node, ScanSums};
use crate::large::LargeBlock;
use crate::os::MappedSlice;
use crate::os::world::{Mapping, Memory};
use crate::process::View;
use core::cell::RefCell;

/// Bytes of a word that may be a pointer.
pub(super) const WORD: usize = size_of::<u64>();

/// Number of words that are read at once, into a buffer on the finder's own stack.
pub(super) const READ_AT_ONCE: usize = 8192;

/// The bit of a [`Node`] that says that it is a large block.
pub(super) const LARGE_NODE: u64 = 1 << 63;

/// The blocks that are reached, and those among them whose words have not been read yet.
pub(super) struct Marks {
    pub(super) small: MappedSlice<u64>,
    pub(super) large: MappedSlice<u64>,
    pub(super) work: MappedSlice<Node>,
}

/// The live blocks, and which of them are reached.
pub(super) struct Scan<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) large: MappedSlice<LargeBlock>,
    /// A bit for each step of 8 bytes of the region, as in the free map.
    pub(super) live: MappedSlice<u64>,
    pub(super) marks: RefCell<Marks>,
    /// Whether the debug layer is on. It says which bytes of a block are the program's.
    pub(super) is_debug: bool,
    pub(super) mappings: MappedSlice<Mapping>,
    /// The parts of mappings that are not scanned, by address. They may overlap.
    pub(super) holes: MappedSlice<(usize, usize)>,
    /// Addresses in stacks in use, and the start of the caller's signal stack. They count as pointers, although they
    /// may be nowhere in the scanned memory.
    pub(super) stacks: MappedSlice<usize>,
    pub(super) memory: Memory,
    /// Start of the part of the calling thread's stack that is scanned.
    pub(super) caller_stack: usize,
    pub(super) sums: ScanSums,
}
