//! Private heaps as allocators of collections: references to them implement `Allocator`.
//!
//! `Allocator` is the trait of the crate `allocator-api2`, which `hashbrown`, `bumpalo` and others use on stable
//! compilers. With `--cfg poolmalloc_nightly` it is the trait of the standard library, which `allocator-api2`
//! re-exports with its feature `nightly`.

#[cfg(all(feature = "allocator-api2", not(poolmalloc_nightly)))]
use allocator_api2::alloc::{AllocError, Allocator};
#[cfg(poolmalloc_nightly)]
use std::alloc::{AllocError, Allocator};

#[cfg(any(feature = "allocator-api2", poolmalloc_nightly))]
macro_rules! allocator {
    ($heap:ty) => {
        // SAFETY: a block stays valid until it is freed or the heap is dropped or reset. Neither drop nor reset is
        // possible while a copy of this reference is in use, and all copies are of the same heap.
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

/// Collections in a private heap borrow it, and stay on its thread:
/// ```
/// use allocator_api2::{boxed::Box, vec::Vec};
///
/// let heap = poolmalloc::PrivateHeap::new();
/// let mut numbers = Vec::new_in(&heap);
/// numbers.extend(0..1000);
/// let boxed = Box::new_in(numbers, &heap);
/// assert_eq!(boxed.iter().sum::<i32>(), 499_500);
/// drop(boxed);
/// assert_eq!(heap.stats().small.live_blocks + heap.stats().large.live_blocks, 0);
/// ```
/// A collection does not outlive its heap or a `reset`. This does not compile:
/// ```compile_fail,E0505
/// let heap = poolmalloc::PrivateHeap::new();
/// let boxed = allocator_api2::boxed::Box::new_in(1, &heap);
/// drop(heap);
/// println!("{boxed}");
/// ```
/// ```compile_fail,E0502
/// let mut heap = poolmalloc::PrivateHeap::new();
/// let numbers = allocator_api2::vec::Vec::<i32, _>::new_in(&heap);
/// heap.reset();
/// drop(numbers);
/// ```
/// ```compile_fail,E0597
/// let leaked: &'static mut i32 = {
///     let heap = poolmalloc::PrivateHeap::new();
///     allocator_api2::boxed::Box::leak(allocator_api2::boxed::Box::new_in(1, &heap))
/// };
/// ```
/// A box of a `PrivateHeap` does not go to another thread, which would free it. This does not compile:
/// ```compile_fail,E0277
/// let heap = poolmalloc::PrivateHeap::new();
/// let boxed = allocator_api2::boxed::Box::new_in(1, &heap);
/// std::thread::scope(|scope| {
///     scope.spawn(move || println!("{boxed}"));
/// });
/// ```
/// A box of a `SharedPrivateHeap` may be freed by another thread:
/// ```
/// let heap = poolmalloc::SharedPrivateHeap::new();
/// let boxed = allocator_api2::boxed::Box::new_in(1, &heap);
/// std::thread::scope(|scope| {
///     scope.spawn(move || assert_eq!(*boxed, 1));
/// });
/// assert_eq!(heap.stats().small.live_blocks, 0);
/// ```
/// Collections of a `PrivateHeap`, a `SharedPrivateHeap` and the global allocator do not mix. This does not compile:
/// ```compile_fail,E0308
/// let (heap, shared) = (poolmalloc::PrivateHeap::new(), poolmalloc::SharedPrivateHeap::new());
/// let mut numbers = allocator_api2::vec::Vec::<i32, _>::new_in(&heap);
/// numbers = allocator_api2::vec::Vec::new_in(&shared);
/// ```
/// ```compile_fail,E0308
/// let heap = poolmalloc::PrivateHeap::new();
/// let mut numbers = allocator_api2::vec::Vec::<i32, _>::new_in(&heap);
/// numbers = allocator_api2::vec::Vec::new();
/// ```
#[cfg(any(feature = "allocator-api2", poolmalloc_nightly))]
mod implementation {
    use super::{AllocError, Allocator};
    use crate::private::handle::PrivateHeap;
    use crate::private::shared::SharedPrivateHeap;
    use core::alloc::Layout;
    use core::ptr::NonNull;

    /// The requested bytes of a block, which may have more.
    #[inline]
    fn slice(block: Option<NonNull<u8>>, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        block.map(|block| NonNull::slice_from_raw_parts(block, layout.size())).ok_or(AllocError)
    }

    allocator!(PrivateHeap);
    allocator!(SharedPrivateHeap);
}
