//! The debug layer's `alloc`, `dealloc` and `realloc`.

use super::below::{Below, Content};
use super::block::{DebugBlock, HeaderFacts, InitialBytes, Shape};
use super::find::{FoundBlock, Operation, checked, free_already};
use super::keep::{CheckTime, drain_for, keep};
use super::quarantine::{Origin, QuarantinedBlock};
use super::report::trace;
use crate::large::LARGE;
use crate::process::{SHARED, moved};
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Number of blocks handed out so far. Relaxed: each block gets its own number, and nothing else depends on it.
static SERIALS: AtomicU64 = AtomicU64::new(0);

fn next_serial() -> u64 {
    SERIALS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Hands out a block. Returns null if there is no memory.
///
/// `entry` is the address of a variable of the function that the program called. The backtrace begins at that
/// function's caller.
///
/// # Safety
/// * As for `GlobalAlloc::alloc`. A size of 0 is served too.
pub(crate) unsafe fn alloc(below: &dyn Below, layout: Layout, content: Content, entry: *const u8) -> *mut u8 {
    let shape = Shape::of(layout);
    let Some(whole) = shape.whole() else { return ptr::null_mut() };
    let allocated = trace(entry);
    // SAFETY: `whole` has more than 0 bytes, since it has room for the header.
    let mut memory = unsafe { below.take(whole, content) };
    if memory.is_null() && drain_for(CheckTime::Early) {
        // SAFETY: as above.
        memory = unsafe { below.take(whole, content) };
    }
    if memory.is_null() {
        return memory;
    }
    let is_small = is_in_region(memory);
    let fill = match content {
        Content::Any => InitialBytes::Clean,
        // These zeros come from the backend: only large requests ask for them, and `alloc_zeroed` zeroes small blocks
        // itself.
        Content::Zeros => InitialBytes::AsItIs,
    };
    let known = HeaderFacts { shape, serial: next_serial(), allocated, freed: None };
    // SAFETY: `below` has just served this memory, for this shape.
    let block = unsafe { DebugBlock::create(memory, &known, fill) };
    if !is_small && LARGE.insert(block.address(), shape.size).is_none() {
        // The block is not handed out: the index would not know it, so its free would be reported as the free of a
        // foreign pointer. SAFETY: `below` has served the block with this layout, and no other code has it.
        unsafe { below.give_back(memory, whole) };
        return ptr::null_mut();
    }
    block.address()
}

/// Takes a block back, or reports an error of the program. `entry` is as for [`alloc`].
///
/// # Safety
/// * The caller gives up the block at `address`.
pub(crate) unsafe fn dealloc(below: &dyn Below, address: *mut u8, layout: Layout, entry: *const u8) {
    let FoundBlock { block, known, is_small } = checked(address, layout, Operation::Free);
    let freed = trace(entry);
    if !block.mark_freed(known.shape, freed) {
        // Another thread has freed the block first.
        free_already(block, &block.known().map_or(known, |(known, _)| known), Operation::Free);
    }
    if !is_small {
        LARGE.remove(address);
    }
    // SAFETY: the block was found by its header, and this thread is the one that has marked it as freed.
    unsafe { block.fill_dead(known.shape) };
    let known = HeaderFacts { freed, ..known };
    let origin = if is_small { Some(Origin::Pool) } else { below.late().map(Origin::Backend) };
    match origin {
        Some(origin) => keep(QuarantinedBlock::new(address, known, origin)),
        None => {
            if let Some(whole) = known.shape.whole() {
                // SAFETY: `below` has served the block with this layout, and the caller has given it up.
                unsafe { below.give_back(address.wrapping_sub(known.shape.before()), whole) };
            }
        }
    }
}

/// Moves a block to a new block of another size, or reports an error of the program. Returns null, with nothing done,
/// if there is no memory. `entry` is as for [`alloc`].
///
/// # Safety
/// * As for `GlobalAlloc::realloc`. An `address` or a `layout` that the layer can see to be wrong is reported.
pub(crate) unsafe fn realloc(
    below: &dyn Below,
    address: *mut u8,
    layout: Layout,
    new_size: usize,
    entry: *const u8,
) -> *mut u8 {
    checked(address, layout, Operation::Realloc);
    // SAFETY: `realloc` promises that the new size at the same alignment makes a layout.
    let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    // SAFETY: the caller's promises.
    let new = unsafe { alloc(below, new_layout, Content::Any, entry) };
    // SAFETY: the caller gives the old block up.
    let free = || unsafe { dealloc(below, address, layout, entry) };
    // SAFETY: if `new` is not null, the blocks are distinct, live, and at least as long as the bytes copied.
    unsafe { moved(address, new, layout.size().min(new_size), free) }
}

fn is_in_region(memory: *mut u8) -> bool {
    SHARED.locate(memory.addr()).is_some()
}
