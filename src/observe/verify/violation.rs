//! The error of the check of the heap.

use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// The first thing that [`check_heap`](crate::check_heap) found wrong: the allocator's own records contradict each
/// other.
///
/// Either the program has damaged them (it freed a block twice, or wrote through a wild pointer), or the allocator has
/// a bug, or other threads allocated or freed during the check. Its `Display` is one line; making and printing it
/// allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    what: &'static str,
    place: ViolationPlace,
}

/// Where a violation was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViolationPlace {
    /// The part of the allocator that all heaps share.
    Process,
    /// The heap with this index.
    Heap { index: usize },
    /// A class of a heap.
    Class { heap: usize, block_bytes: usize },
    /// A class, over all heaps.
    Classes { block_bytes: usize },
    /// The arena at this address.
    Arena { address: usize },
    /// The pool at this address.
    Pool { address: usize },
    /// The place of a block.
    Block { address: usize, block_bytes: usize },
}

impl Violation {
    pub(crate) fn new(what: &'static str, place: ViolationPlace) -> Self {
        Self { what, place }
    }
}

impl Error for Violation {}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match self.place {
            ViolationPlace::Process => Ok(()),
            ViolationPlace::Heap { index } => write!(f, ", in heap {index}"),
            ViolationPlace::Class { heap, block_bytes } => write!(f, ", in heap {heap}, blocks of {block_bytes} bytes"),
            ViolationPlace::Classes { block_bytes } => write!(f, ", blocks of {block_bytes} bytes"),
            ViolationPlace::Arena { address } => write!(f, ", in the arena at {address:#x}"),
            ViolationPlace::Pool { address } => write!(f, ", in the pool at {address:#x}"),
            ViolationPlace::Block { address, block_bytes } => {
                write!(f, ", at {address:#x}, a block of {block_bytes} bytes")
            }
        }
    }
}

/// `Err` with the violation unless the condition holds.
pub(crate) fn demand(condition: bool, what: &'static str, place: ViolationPlace) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation::new(what, place)) }
}
