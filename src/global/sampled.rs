//! Requests that become samples of a profile. Without the cargo feature `profile` there are none.

use super::backend::Backend;
#[cfg(feature = "profile")]
use crate::geometry::{SMALL_MAX, block_bytes};
use crate::large::Sample;
#[cfg(feature = "profile")]
use crate::large::{LARGE, LargeBlock};
#[cfg(feature = "profile")]
use crate::process::{count_large, tls};
#[cfg(feature = "profile")]
use crate::profile;
use core::alloc::{GlobalAlloc, Layout};

/// The sample that a request of `bytes` becomes; `None` if it becomes none.
///
/// A thread without a heap is never sampled. So the caller makes sure that the thread has taken its heap, if it can
/// have one.
#[inline(always)]
pub(super) fn sample_if_due(bytes: usize) -> Option<Sample> {
    #[cfg(feature = "profile")]
    {
        let heap = tls::heap_if_any()?;
        if tls::is_sampled(heap) && heap.is_due(bytes) { profile::sample(heap, bytes) } else { None }
    }
    #[cfg(not(feature = "profile"))]
    {
        let _ = bytes;
        None
    }
}

impl<B: GlobalAlloc> Backend<B> {
    /// Resizes a sampled small block, which the backend has served, within its size class. It stays the same sample,
    /// and is no new request. The reason: if a block of a pool is resized within its size class, it stays where it is
    /// and is not counted as a new request. A sampled block has to count in the same way.
    ///
    /// `None`, with nothing done, if the block is not a sample, is not small, or would change its class. Null if there
    /// is no memory.
    ///
    /// # Safety
    /// * If the block is the backend's, the promises of [`realloc`](Self::realloc) hold.
    #[inline]
    pub(super) unsafe fn realloc_sample(&self, block: *mut u8, layout: Layout, new_size: usize) -> Option<*mut u8> {
        #[cfg(feature = "profile")]
        {
            let bytes = block_bytes(layout.size(), layout.align());
            if bytes > SMALL_MAX || block_bytes(new_size, layout.align()) != bytes {
                return None;
            }
            let sample = LARGE.sample_of(block)?;
            let put = |new: *mut u8| {
                // Without memory for the index the block is a sample no longer.
                let _ = LARGE.put(LargeBlock { start: new.expose_provenance(), bytes: new_size, sample: Some(sample) });
            };
            // SAFETY: the caller's promises: a block in the index is the backend's.
            let new = unsafe { self.realloc_indexed(block, layout, new_size, put) };
            if !new.is_null() {
                count_large(|large, add| {
                    add(&large.bytes_in, new_size);
                    add(&large.bytes_out, layout.size());
                });
            }
            Some(new)
        }
        #[cfg(not(feature = "profile"))]
        {
            let _ = (block, layout, new_size);
            None
        }
    }
}
