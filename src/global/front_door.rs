//! `PoolMalloc`, the allocator that programs install: the fast paths of `alloc` and `dealloc`, and their slow halves.
//!
//! On a fast path there is no locked instruction, no access to the block, and no test whether the thread has a heap.
//! The slow halves are out of line, so that the fast paths need not save a register.

use super::backend::Backend;
use super::moved::move_from_pool;
use super::sampled::sample_if_due;
use crate::debug::Content;
use crate::geometry::{SMALL_MAX, block_bytes};
use crate::process::{Mode, alloc_from_pools, dealloc_small, tls};
#[cfg(feature = "profile")]
use crate::profile;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use std::alloc::System;

/// CPython's small-object allocator, for threads: blocks of up to 256 bytes come from pools, larger ones from the
/// backend `B`.
///
/// ```
/// use poolmalloc::PoolMalloc;
///
/// #[global_allocator]
/// static ALLOC: PoolMalloc = PoolMalloc::new();
/// # fn main() { assert_eq!(vec![1, 2, 3].len(), 3); }
/// ```
///
/// All values of this type use the same pools: there is one set of them in a process. A value holds nothing but its
/// backend. A request is small if its size, rounded up to a multiple of 8 and of its alignment, is at most 256 bytes.
///
/// On their fast paths `alloc` and `dealloc` take 40 instructions together, on x86-64.
///
/// Freed memory stays pooled: only [`release_unused`](crate::release_unused) returns it to the system. It serves later
/// requests of the same thread and size class at once, requests of any class when its pool is wholly free, and requests
/// of other threads when its arena of 256 KiB is wholly free. The allocator searches for wholly free pools as memory is
/// freed and before the heap grows.
///
/// # Errors
/// If there is no memory, `alloc`, `alloc_zeroed` and `realloc` return null; a block that could not grow is left as it
/// was. Frees and `realloc` find a block by its address, so a `Layout` that is not the block's own is harmless for
/// blocks from pools. Freeing a block twice is a bug of the program. If the allocator notices it, it writes one line to
/// stderr and aborts.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolMalloc<B = System> {
    backend: Backend<B>,
}

impl PoolMalloc {
    /// The allocator with the system's malloc behind it.
    #[must_use]
    pub const fn new() -> Self {
        Self { backend: Backend(System) }
    }
}

impl<B> PoolMalloc<B> {
    /// The allocator with `backend` behind it. The backend serves large requests, and small ones too when there is no
    /// memory left for pools.
    ///
    /// Values with different backends share the pools, but a large block must be freed through a value with the backend
    /// that served it.
    ///
    /// If the type `B` has size 0, any thread must be able to use the backend at any time: the debug mode gives freed
    /// blocks back to such a backend late.
    #[must_use]
    pub const fn with_backend(backend: B) -> Self {
        Self { backend: Backend(backend) }
    }
}

// SAFETY: a block comes from a pool of its class, is in no magazine, map or list while it is live (Pool invariant 2,
// Magazine invariants 1 to 3), and its size and alignment follow from `block_bytes`; anything else is the backend's.
unsafe impl<B: GlobalAlloc> GlobalAlloc for PoolMalloc<B> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = block_bytes(layout.size(), layout.align());
        if bytes > SMALL_MAX {
            // SAFETY: the caller's promises.
            return unsafe { Self::alloc_large(layout.size(), layout.align(), self) };
        }
        let block = tls::front().head_of_block(bytes).pop();
        if block.is_null() {
            // SAFETY: the caller's promises.
            return unsafe { Self::alloc_slow(layout.size(), layout.align(), self) };
        }
        block
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let front = tls::front();
        let Some(offset) = front.offset_of(block.addr()) else {
            // SAFETY: the caller's promises.
            return unsafe { Self::dealloc_large(block, layout.size(), layout.align(), self) };
        };
        dealloc_small(front, offset, block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let front = tls::front();
        let Some(offset) = front.offset_of(block.addr()) else {
            // SAFETY: the caller's promises.
            return unsafe { self.realloc_large(block, layout, new_size) };
        };
        let bytes = front.tag_at(offset).block_bytes();
        if block_bytes(new_size, layout.align()) == bytes {
            return block;
        }
        // SAFETY: the caller's promises; `bytes` is the block's true size.
        unsafe { self.move_from_pool(block, bytes, layout, new_size) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if block_bytes(layout.size(), layout.align()) > SMALL_MAX {
            // SAFETY: the caller's promises.
            return unsafe { self.alloc_zeroed_large(layout) };
        }
        // SAFETY: the caller's promises.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: a fresh block of at least this size.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }
}

/// The slow halves. Each rests on the promises of the `GlobalAlloc` method that calls it.
///
/// `alloc` and `dealloc` get the parts of a layout in registers. Their slow halves take these parts in the same order,
/// and the allocator last, so that the fast paths need not move registers for the call.
impl<B: GlobalAlloc> PoolMalloc<B> {
    /// Serves a small request when the fast path found no block.
    ///
    /// While the thread is sampled, all its small allocations come here. Most of them are no samples, and are served as
    /// on the fast path. The code for all other cases is out of line, so that this function need not save a register
    /// for it.
    #[cold]
    #[inline(never)]
    unsafe fn alloc_slow(size: usize, align: usize, this: &Self) -> *mut u8 {
        #[cfg(feature = "profile")]
        if let (true, Some(heap)) = (tls::front().has_heap(), tls::heap_if_any()) {
            if tls::is_sampled(heap) {
                if heap.is_due(size) {
                    // SAFETY: `alloc`'s promises.
                    return unsafe { Self::alloc_sample(size, align, this) };
                }
                let block = heap.front.head_of_block(block_bytes(size, align)).pop();
                if !block.is_null() {
                    return block;
                }
            }
        }
        // SAFETY: `alloc`'s promises.
        unsafe { Self::alloc_unsampled(size, align, this) }
    }

    /// Serves a small request that is due to be sampled. The backend serves the sample. So blocks of the region are
    /// never samples, and a free of such a block need not ask whether it is one. Pools serve the request if it becomes
    /// no sample, or if the backend has no memory.
    #[cfg(feature = "profile")]
    #[cold]
    #[inline(never)]
    unsafe fn alloc_sample(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // A `match` and no closure: the backtrace would show a closure's frame as one of the program's.
        let sample = match tls::heap_if_any() {
            Some(heap) => profile::sample(heap, size),
            None => None,
        };
        if sample.is_some() {
            // SAFETY: no request of 0 bytes is a sample.
            let block = unsafe { this.backend.alloc_noted(layout, Content::Any, sample) };
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: `alloc`'s promises.
        unsafe { Self::alloc_unsampled(size, align, this) }
    }

    /// Serves a small request that has had its chance to be a sample.
    #[cfg_attr(feature = "profile", cold, inline(never))]
    #[cfg_attr(not(feature = "profile"), inline(always))]
    unsafe fn alloc_unsampled(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        if !tls::front().has_heap() {
            // SAFETY: `alloc`'s promises.
            return unsafe { this.backend.alloc_detoured(layout, Content::Any) };
        }
        // A request of 0 bytes is served as one of 1 byte, so that it gets its alignment.
        let bytes = block_bytes(size.max(1), align);
        let block = if bytes <= SMALL_MAX { alloc_from_pools(bytes) } else { ptr::null_mut() };
        if block.is_null() {
            // The pools have no memory for it, or it asks for 0 bytes at an alignment over 256.
            #[cfg(feature = "profile")]
            // SAFETY: `alloc`'s promises.
            return unsafe { this.backend.alloc_noted(layout, Content::Any, None) };
            // Without samples `alloc_large` does the same. A call of it keeps the code in one place.
            #[cfg(not(feature = "profile"))]
            // SAFETY: as above.
            return unsafe { Self::alloc_large(size, align, this) };
        }
        block
    }

    /// Serves a large request.
    #[inline(never)]
    unsafe fn alloc_large(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: `alloc`'s promises.
        unsafe { this.alloc_large_with(layout, Content::Any) }
    }

    /// Serves a large request with zeros.
    #[inline(never)]
    unsafe fn alloc_zeroed_large(&self, layout: Layout) -> *mut u8 {
        // SAFETY: `alloc_zeroed`'s promises.
        unsafe { self.alloc_large_with(layout, Content::Zeros) }
    }

    #[inline(always)]
    unsafe fn alloc_large_with(&self, layout: Layout, content: Content) -> *mut u8 {
        if !tls::front().has_heap() {
            // SAFETY: the promises of `alloc` or `alloc_zeroed`.
            return unsafe { self.backend.alloc_detoured(layout, content) };
        }
        if let Some(sample) = sample_if_due(layout.size()) {
            // SAFETY: a large request is of more than 0 bytes.
            let block = unsafe { self.backend.alloc_noted(layout, content, Some(sample)) };
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: as above.
        unsafe { self.backend.alloc_noted(layout, content, None) }
    }

    /// Frees a block that this thread's front does not find in the region.
    #[inline(never)]
    unsafe fn dealloc_large(block: *mut u8, size: usize, align: usize, this: &Self) {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        if tls::front().has_heap() {
            // SAFETY: the block is not in the region, so the backend served it; `dealloc` promises that this is its
            // layout.
            return unsafe { this.backend.dealloc(block, layout) };
        }
        // SAFETY: `dealloc`'s promises.
        unsafe { this.backend.dealloc_detoured(block, layout) }
    }

    /// Moves a block of `bytes` out of its pool's class.
    #[inline(never)]
    unsafe fn move_from_pool(&self, block: *mut u8, bytes: usize, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: `realloc` promises that the new size at the same alignment makes a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `realloc` promises a new size above 0.
        let new = unsafe { self.alloc(new_layout) };
        // SAFETY: `realloc`'s promises; `bytes` is the block's true size.
        unsafe { move_from_pool(block, bytes, new, new_size) }
    }

    /// Resizes a block that this thread's front does not find in the region.
    #[inline(never)]
    unsafe fn realloc_large(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !tls::front().has_heap() {
            // SAFETY: `realloc`'s promises.
            return unsafe { self.backend.realloc_detoured(block, layout, new_size) };
        }
        // SAFETY: the block is not in the region, so the backend served it; `realloc` promises that this is its layout.
        unsafe { self.backend.resize(block, layout, new_size, Mode::Pools) }
    }
}
