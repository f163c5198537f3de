//! Private heaps as allocators of collections.
//!
//! The trait is that of the crate `allocator-api2`, which `hashbrown`, `bumpalo` and others use on stable compilers; with
//! `--cfg poolmalloc_nightly` it is the standard library's, which that crate hands on with its own feature `nightly`.

#[cfg(all(feature = "allocator-api2", not(poolmalloc_nightly)))]
use allocator_api2::alloc::{AllocError, Allocator};
#[cfg(poolmalloc_nightly)]
use std::alloc::{AllocError, Allocator};

#[cfg(any(feature = "allocator-api2", poolmalloc_nightly))]
macro_rules! allocator {
    ($heap:ty) => {
        // SAFETY: a block stays where it is until it is given back or the heap is dropped or reset, which cannot be while this
        // reference or a copy of it is in use; and every copy is of the same heap.
        unsafe impl Allocator for &$heap {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                slice(self.alloc(layout), layout)
            }

            #[inline]
            fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                slice(self.alloc_zeroed(layout), layout)
            }

            #[inline]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller's promises.
                unsafe { self.dealloc(block, layout) }
            }

            #[inline]
            unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
                // SAFETY: the caller's promises.
                slice(unsafe { self.realloc(block, old, new) }, new)
            }

            #[inline]
            unsafe fn shrink(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
                // SAFETY: the caller's promises.
                slice(unsafe { self.realloc(block, old, new) }, new)
            }
        }
    };
}

#[cfg(any(feature = "allocator-api2", poolmalloc_nightly))]
mod implementation {
    use super::{AllocError, Allocator};
    use crate::{Heap, SharedHeap};
    use core::alloc::Layout;
    use core::ptr::NonNull;

    /// As many bytes as were asked for, though the block may have more.
    #[inline]
    fn slice(block: Option<NonNull<u8>>, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        block.map(|block| NonNull::slice_from_raw_parts(block, layout.size())).ok_or(AllocError)
    }

    allocator!(Heap);
    allocator!(SharedHeap);
}
