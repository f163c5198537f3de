//! Functions for the global allocator and the debug layer: frees of blocks of the region, the slow half of small
//! allocations, the counts of large requests, and the copy to a moved block. Private heaps use only the last of them.

use super::tls::{Entry, SHARED};
use crate::geometry::SizeClass;
use crate::heap::{Front, LargeCounters};
use crate::process::tls;
use crate::sync::Counter;
use core::ptr;

/// Frees a block of the region. The fast path pushes it onto its magazine.
#[inline(always)]
pub(crate) fn dealloc_small(front: &Front, offset: usize, block: *mut u8) {
    if let Some(head) = front.own_head(front.tag_at(offset)) {
        if head.push(block) {
            return;
        }
    }
    dealloc_slow(block);
}

/// Frees a block of the region when its magazine is full or absent, or when another heap owns it.
#[cold]
#[inline(never)]
fn dealloc_slow(block: *mut u8) {
    // A front without a heap finds no block in the region, and then the fast path does not come here.
    let Some(offset) = tls::front().offset_of(block.addr()) else { return };
    if let Some(heap) = tls::heap_if_any() {
        heap.free(&SHARED, block, offset);
    }
}

/// Frees a block of the region, whatever the calling thread's front is.
pub(crate) fn free_to_pool(block: *mut u8) {
    if let Entry::Heap(heap) = tls::heap_or_make() {
        if let Some(offset) = heap.region.offset_of(block.addr()) {
            heap.free(&SHARED, block, offset);
        }
    } else if let Some((offset, _)) = SHARED.locate(block.addr()) {
        // If there is no memory for the stragglers' heap, no heap can take the block: it stays live.
        SHARED.with_stragglers(|heap| heap.free(&SHARED, block, offset));
    }
}

/// Returns a block of `bytes`, at most 256, when the loaded magazine is empty; null if the pools cannot serve it.
#[cold]
#[inline(never)]
pub(crate) fn alloc_from_pools(bytes: usize) -> *mut u8 {
    let class = SizeClass::of_block(bytes);
    match tls::heap_or_make() {
        Entry::Heap(heap) => heap.alloc(&SHARED, class),
        Entry::Stragglers => {
            let block = SHARED.with_stragglers(|heap| heap.alloc(&SHARED, class));
            block.unwrap_or(ptr::null_mut())
        }
        Entry::NoRegion => ptr::null_mut(),
    }
}

/// Counts a request to the backend. A thread with a heap uses its heap's counters, which it alone writes. Other threads
/// use shared counters.
#[inline]
pub(crate) fn count_large(change: impl Fn(&LargeCounters, fn(&Counter, usize))) {
    match tls::heap_or_make() {
        Entry::Heap(heap) => change(&heap.large, Counter::add),
        _ => change(&SHARED.large, Counter::add_shared),
    }
}

/// Copies the content of a block to a new one and calls `free` for the old one. If `new` is null, nothing is done.
/// Returns `new`.
///
/// # Safety
/// * If `new` is not null, both are live blocks of at least `bytes`, and distinct.
#[inline(always)]
pub(crate) unsafe fn moved(old: *mut u8, new: *mut u8, bytes: usize, free: impl FnOnce()) -> *mut u8 {
    if !new.is_null() {
        // SAFETY: the caller's promise.
        unsafe { ptr::copy_nonoverlapping(old, new, bytes) };
        free();
    }
    new
}
