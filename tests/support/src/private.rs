//! A private heap as a `GlobalAlloc`, the trait that the engine of random programs uses.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{self, NonNull};
use std::sync::LazyLock;

use poolmalloc::SharedPrivateHeap;

/// The allocator of one private heap, which all threads share and which lives as long as the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Private;

static HEAP: LazyLock<SharedPrivateHeap> = LazyLock::new(|| SharedPrivateHeap::named("random"));

// SAFETY: the heap is never dropped or reset, and each block has the size and alignment of its layout.
unsafe impl GlobalAlloc for Private {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HEAP.alloc_zeroed(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let block = NonNull::new(block).expect("a block");
        // SAFETY: the caller's promises.
        unsafe { HEAP.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let block = NonNull::new(block).expect("a block");
        let new = Layout::from_size_align(size, layout.align()).expect("a legal layout");
        // SAFETY: the caller's promises.
        unsafe { HEAP.realloc(block, layout, new) }.map_or(ptr::null_mut(), NonNull::as_ptr)
    }
}
