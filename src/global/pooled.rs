//! Small requests of a thread that may be watched: pools serve them, and the watch notes each.

use crate::geometry::{SMALL_MAX, block_bytes};
use crate::observe::{Watch, watched};
use crate::process::{SHARED, alloc_from_pools, count_large, free_to_pool, tls};
use core::alloc::Layout;

/// Calls `what` with the topmost watch of the calling thread, if there is one.
pub(super) fn note(what: impl FnOnce(&Watch)) {
    if let Some(watch) = watched() {
        what(watch);
    }
}

/// Bytes that a watch counts for a request: those of the block that would serve it without the debug layer.
pub(super) fn counted(size: usize, align: usize) -> usize {
    let bytes = block_bytes(size.max(1), align);
    if bytes <= SMALL_MAX { bytes } else { size }
}

/// Notes a resized block as the watch would see it without the debug layer.
pub(super) fn note_resized(watch: &Watch, (old, new): (*mut u8, *mut u8), layout: Layout, new_size: usize) {
    let (from, to) = (counted(layout.size(), layout.align()), counted(new_size, layout.align()));
    let is_moved = from != to && from.min(to) <= SMALL_MAX;
    if is_moved {
        watch.allocated(new, new_size, to);
        watch.freed(old, from);
    } else {
        watch.moved((old, new), new_size, from, to);
    }
}

/// Returns a small block: from the loaded magazine, or else from the pools. Null if the pools cannot serve it.
pub(super) fn alloc_from_pools_or_magazine(size: usize, align: usize) -> *mut u8 {
    let bytes = block_bytes(size, align);
    let block = tls::front().head_of_block(bytes).pop();
    if !block.is_null() {
        return block;
    }
    alloc_from_pools_noted(size, bytes)
}

/// Returns a block from pools, noted by the watch. Out of line, so that the caller need not save a register.
#[cold]
#[inline(never)]
fn alloc_from_pools_noted(size: usize, bytes: usize) -> *mut u8 {
    let block = alloc_from_pools(bytes);
    if !block.is_null() {
        note(|watch| watch.allocated(block, size, bytes));
    }
    block
}

/// Frees a block of the region for a thread whose front has no heap. Returns false, with nothing done, if the block is
/// not in the region.
#[cold]
#[inline(never)]
pub(super) fn dealloc_without_heap(block: *mut u8) -> bool {
    let Some((_, tag)) = SHARED.locate(block.addr()) else { return false };
    note(|watch| watch.freed(block, tag.block_bytes()));
    free_to_pool(block);
    true
}

/// Counts a block that `realloc` moved from a pool, or to one.
#[inline]
pub(super) fn count_moved() {
    count_large(|counters, add| add(&counters.moved, 1));
}
