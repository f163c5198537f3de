//! The debug layer's alloc, dealloc and realloc.

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

/// Blocks handed out so far. Relaxed: each is a number of its own.
static SERIALS: AtomicU64 = AtomicU64::new(0);

fn next_serial() -> u64 {
    SERIALS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Hands out a block. Null without memory.
///
/// `entry` is the address of a variable of the function that came from the program: its backtrace begins there.
///
/// # Safety
/// * As for `GlobalAlloc::alloc`, but that a size of 0 is served.
pub(crate) unsafe fn alloc(below: &dyn Below, layout: Layout, content: Content, entry: *const u8) -> *mut u8 {
    let shape = Shape::of(layout);
    let Some(whole) = shape.whole() else { return ptr::null_mut() };
    let allocated = trace(entry);
    // SAFETY: never of 0 bytes.
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
        // Pools are not asked for zeros: small requests are made zero where they come from.
        Content::Zeros => InitialBytes::AsItIs,
    };
    let known = HeaderFacts { shape, serial: next_serial(), allocated, freed: None };
    // SAFETY: just got from below by this shape.
    let block = unsafe { DebugBlock::create(memory, &known, fill) };
    if !is_small && LARGE.insert(block.address(), shape.size).is_none() {
        // A block that the index does not know would be a foreign one when it is freed.
        // SAFETY: from there, by this layout, and nobody else has it.
        unsafe { below.give_back(memory, whole) };
        return ptr::null_mut();
    }
    block.address()
}

/// Takes a block back, or reports. `entry` is as for [`alloc`].
///
/// # Safety
/// * The caller gives up what it has at `address`.
pub(crate) unsafe fn dealloc(below: &dyn Below, address: *mut u8, layout: Layout, entry: *const u8) {
    let FoundBlock { block, known, is_small } = checked(address, layout, Operation::Free);
    let freed = trace(entry);
    if !block.mark_freed(known.shape, freed) {
        // Another thread was faster.
        free_already(block, &block.known().map_or(known, |(known, _)| known), Operation::Free);
    }
    if !is_small {
        LARGE.remove(address);
    }
    // SAFETY: found by its header; this thread alone has marked it as freed.
    unsafe { block.fill_dead(known.shape) };
    let known = HeaderFacts { freed, ..known };
    let origin = if is_small { Some(Origin::Pool) } else { below.late().map(Origin::Backend) };
    match origin {
        Some(origin) => keep(QuarantinedBlock::new(address, known, origin)),
        None => {
            if let Some(whole) = known.shape.whole() {
                // SAFETY: it came from there by this layout, and is nobody's any more.
                unsafe { below.give_back(address.wrapping_sub(known.shape.before()), whole) };
            }
        }
    }
}

/// Moves a block to one of another size, or reports. Null, and nothing done, without memory. `entry` is as for
/// [`alloc`].
///
/// # Safety
/// * As for `GlobalAlloc::realloc`, but that what can be seen to be wrong is reported.
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
    // SAFETY: both are live blocks of at least so many bytes, and distinct.
    unsafe { moved(address, new, layout.size().min(new_size), free) }
}

fn is_in_region(memory: *mut u8) -> bool {
    SHARED.locate(memory.addr()).is_some()
}
