//! The state of a scan: what is live, what can be reached, and what is left. Read while all other threads are stopped.
//!
//! ```text
//!   live map     blocks of pools that are in no map and no magazine; large blocks of the index
//!   roots        what is mapped, but for the allocator's own memory, unused parts of stacks, and large blocks
//!   marks        what a root leads to, over any number of blocks
//!   leaked       what is live and not marked, with the pointers among it
//! ```
//! Any aligned word with a value inside a live block is a pointer to it. Nothing here asks the allocator for memory,
//! takes a lock or panics.
//!
//! Scan invariant 1: a live block of a pool stays readable, since pools are never unmapped. Those of the backend are
//! read as the roots are: the program may have closed a page of one.

use super::found::{Node, ScanSums};
use crate::large::LargeBlock;
use crate::os::MappedSlice;
use crate::os::world::{Mapping, Memory};
use crate::process::View;
use core::cell::RefCell;

/// Bytes of a word that may be a pointer.
pub(super) const WORD: usize = size_of::<u64>();

/// Words read at once: on the finder's own stack.
pub(super) const READ_AT_ONCE: usize = 8192;

/// Marks the number of a large block.
pub(super) const LARGE_NODE: u64 = 1 << 63;

/// What is reached, and what of it has not been looked into.
pub(super) struct Marks {
    pub(super) small: MappedSlice<u64>,
    pub(super) large: MappedSlice<u64>,
    pub(super) work: MappedSlice<Node>,
}

/// The live blocks, and what is reached of them.
pub(super) struct Scan<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) large: MappedSlice<LargeBlock>,
    /// A bit for each step of 8 bytes of the region, as in the free map.
    pub(super) live: MappedSlice<u64>,
    pub(super) marks: RefCell<Marks>,
    /// Whether blocks are those of the debug layer, which says what of them is the program's.
    pub(super) is_debug: bool,
    pub(super) mappings: MappedSlice<Mapping>,
    /// What of the mappings is not scanned, by address; they may overlap.
    pub(super) holes: MappedSlice<(usize, usize)>,
    /// Addresses in stacks that are in use, and in one for signals: pointers that are nowhere in memory.
    pub(super) stacks: MappedSlice<usize>,
    pub(super) memory: Memory,
    /// Where the part of the calling thread's stack begins that is scanned.
    pub(super) caller_stack: usize,
    pub(super) sums: ScanSums,
}
