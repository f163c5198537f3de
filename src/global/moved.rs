//! `realloc` out of a pool, into a pool, and within the backend.

use super::backend::Backend;
use super::pooled::{alloc_from_pools_or_magazine, count_moved, dealloc_without_heap, note};
use super::sampled::sample_if_due;
use crate::geometry::{SMALL_MAX, block_bytes};
use crate::process::{Mode, dealloc_small, moved, tls};
use core::alloc::{GlobalAlloc, Layout};

/// Copies a block of a pool with blocks of `bytes` to `new`, which serves a request of `new_size`, and frees the old
/// block. If `new` is null, nothing is done. Returns `new`.
///
/// The caller allocates `new`, since this function would need a closure to do it. A sample's backtrace would then show
/// that closure as a function of the program.
///
/// # Safety
/// * The block is a live one of a pool with blocks of `bytes`, and the caller gives it up unless `new` is null.
/// * If `new` is not null, it is another live block of at least `new_size` bytes.
#[inline(always)]
pub(super) unsafe fn move_from_pool(block: *mut u8, bytes: usize, new: *mut u8, new_size: usize) -> *mut u8 {
    let free = || {
        let front = tls::front();
        match front.offset_of(block.addr()) {
            Some(offset) => dealloc_small(front, offset, block),
            None => _ = dealloc_without_heap(block),
        }
        count_moved();
    };
    // SAFETY: if `new` is not null, the blocks are distinct, live, and at least as long as the bytes copied.
    unsafe { moved(block, new, bytes.min(new_size), free) }
}

impl<B: GlobalAlloc> Backend<B> {
    /// Resizes a block of the backend in a process with the mode `mode`. In mode `Pools` the block moves to a pool if
    /// it becomes small and is no sample; else it stays with the backend. For a profile the resized block is a new
    /// request, except if it is a small sample and stays in its size class in mode `Pools`. Returns null, with nothing
    /// done, if there is no memory.
    ///
    /// # Safety
    /// * As for [`realloc`](Self::realloc).
    #[inline(always)]
    pub(super) unsafe fn resize(&self, block: *mut u8, layout: Layout, new_size: usize, mode: Mode) -> *mut u8 {
        if mode == Mode::Pools {
            // SAFETY: the caller's promises.
            if let Some(same) = unsafe { self.realloc_sample(block, layout, new_size) } {
                if !same.is_null() {
                    note(|watch| watch.moved((block, same), new_size, layout.size(), new_size));
                }
                return same;
            }
        }
        let sample = sample_if_due(new_size);
        if sample.is_none() && mode == Mode::Pools && block_bytes(new_size, layout.align()) <= SMALL_MAX {
            // SAFETY: the caller's promises.
            let new = unsafe { self.move_to_pool(block, layout, new_size) };
            if !new.is_null() {
                return new;
            }
        }
        // SAFETY: the caller's promises.
        let new = unsafe { self.realloc(block, layout, new_size, sample) };
        if !new.is_null() {
            note(|watch| watch.moved((block, new), new_size, layout.size(), new_size));
        }
        new
    }

    /// Moves a block of the backend into a pool. Returns null, with nothing done, if the pools cannot serve it.
    ///
    /// # Safety
    /// * The block is one of this backend's, asked for with `layout`, and the caller gives it up unless the result is
    ///   null.
    unsafe fn move_to_pool(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let new = alloc_from_pools_or_magazine(new_size, layout.align());
        let free = || {
            note(|watch| watch.freed(block, layout.size()));
            // SAFETY: the caller promises that the old block is the backend's, and gives it up.
            unsafe { self.dealloc(block, layout) };
            count_moved();
        };
        // SAFETY: if `new` is not null, the blocks are distinct, live, and at least as long as the bytes copied.
        unsafe { moved(block, new, layout.size().min(new_size), free) }
    }
}
