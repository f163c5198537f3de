//! The backend: it serves large requests, and small ones when no memory is left for pools. This file counts its blocks,
//! and notes in the index those that are samples. If the leak finder is armed, it notes all of them.

use crate::debug::Content;
use crate::heap::LargeCounters;
use crate::large::{LARGE, Sample, forget_large};
use crate::process::{count_large, moved};
use crate::sync::Counter;
use core::alloc::{GlobalAlloc, Layout};
use core::fmt::{self, Debug, Formatter};

/// The backend, which serves large requests, and small ones when no memory is left for pools.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Backend<B>(pub(crate) B);

impl<B: Debug> Debug for Backend<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<B: GlobalAlloc> Backend<B> {
    /// Allocates a block and counts it. Returns null if there is no memory.
    ///
    /// # Safety
    /// * The size is not 0.
    #[inline]
    pub(super) unsafe fn alloc_counted(&self, layout: Layout, content: Content) -> *mut u8 {
        let block = match content {
            // SAFETY: the caller promises that the size is not 0.
            Content::Any => unsafe { self.0.alloc(layout) },
            // SAFETY: as above.
            Content::Zeros => unsafe { self.0.alloc_zeroed(layout) },
        };
        if !block.is_null() {
            count_large(|large, add| large.count_allocation(layout.size(), add));
        }
        block
    }

    /// Allocates a block, counts it, and puts it into the index if the leak finder is armed or the block is a sample.
    /// Returns null if there is no memory.
    ///
    /// # Safety
    /// * The size is not 0.
    #[inline(always)]
    pub(super) unsafe fn alloc_noted(&self, layout: Layout, content: Content, sample: Option<Sample>) -> *mut u8 {
        // SAFETY: the caller promises that the size is not 0.
        let block = unsafe { self.alloc_counted(layout, content) };
        if !block.is_null() {
            note(block, layout.size(), sample);
        }
        block
    }

    /// Frees a block and counts the free.
    ///
    /// # Safety
    /// * The block is one of this backend's, asked for with `layout`, and the caller gives it up.
    #[inline]
    pub(super) unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_large(|large, add| large.count_free(layout.size(), add));
        if LARGE.is_in_use() {
            // SAFETY: the caller gives the block up.
            unsafe { forget_large(block) };
        }
        // SAFETY: the caller's promises.
        unsafe { self.0.dealloc(block, layout) }
    }

    /// Resizes a block and counts that. The new block is a sample if `sample` is given. Returns null, with nothing
    /// done, if there is no memory.
    ///
    /// # Safety
    /// * The block is one of this backend's, asked for with `layout`, and the caller gives it up unless the result is
    ///   null.
    /// * The new size is not 0, and makes a layout at the same alignment.
    #[inline]
    pub(super) unsafe fn realloc(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        sample: Option<Sample>,
    ) -> *mut u8 {
        let new = if LARGE.is_in_use() {
            // SAFETY: the caller's promises.
            unsafe { self.realloc_indexed(block, layout, new_size, |new| note(new, new_size, sample)) }
        } else {
            // SAFETY: as above.
            unsafe { self.0.realloc(block, layout, new_size) }
        };
        if !new.is_null() {
            let change = |large: &LargeCounters, add: fn(&Counter, usize)| {
                add(&large.reallocations, 1);
                add(&large.bytes_in, new_size);
                add(&large.bytes_out, layout.size());
            };
            count_large(change);
        }
        new
    }

    /// Resizes a block while the index is in use. `put` notes the new block there.
    ///
    /// # Safety
    /// * As for [`realloc`](Self::realloc).
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn realloc_indexed(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        put: impl FnOnce(*mut u8),
    ) -> *mut u8 {
        if LARGE.is_armed() {
            // SAFETY: the caller's promises.
            return unsafe { self.realloc_to_new(block, layout, new_size, put) };
        }
        let old = LARGE.take_out(block);
        // SAFETY: the caller's promises.
        let new = unsafe { self.0.realloc(block, layout, new_size) };
        if !new.is_null() {
            put(new);
        } else if let Some(old) = old {
            // The index most likely still has room for the old block. If it has none, and there is no memory for more,
            // the block counts as a root from now on and is no sample any more.
            let _ = LARGE.put(old);
        }
        new
    }

    /// Resizes a block by allocating a new one, even where the old one could grow. So the old content is wiped in every
    /// case, and the leak finder does not take it for pointers.
    ///
    /// # Safety
    /// * As for [`realloc`](Self::realloc).
    unsafe fn realloc_to_new(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        put: impl FnOnce(*mut u8),
    ) -> *mut u8 {
        // SAFETY: the caller promises that the new size at the same alignment makes a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller promises that the new size is not 0.
        let new = unsafe { self.0.alloc(new_layout) };
        let free = || {
            // The old block leaves the index before the new one enters it. Otherwise a sample would be in it twice for
            // a moment.
            // SAFETY: the caller gives the old block up.
            unsafe { forget_large(block) };
            put(new);
            // SAFETY: the caller promises that the old block is the backend's.
            unsafe { self.0.dealloc(block, layout) };
        };
        // SAFETY: if `new` is not null, the blocks are distinct, live, and at least as long as the bytes copied.
        unsafe { moved(block, new, new_size.min(layout.size()), free) }
    }
}

/// Puts a block of the backend into the index, if the leak finder is armed or the block is a sample. By now the process
/// has read the environment, which may arm the finder.
#[inline(always)]
fn note(block: *mut u8, bytes: usize, sample: Option<Sample>) {
    #[cfg(feature = "profile")]
    if let Some(sample) = sample {
        // Without memory for the index the sample is lost, and the block counts as a root.
        let _ = LARGE.insert_sample(block, bytes, sample);
        return;
    }
    #[cfg(not(feature = "profile"))]
    let _ = sample;
    if LARGE.is_armed() && bytes > 0 {
        // Without memory for the index the block counts as a root.
        let _ = LARGE.insert(block, bytes);
    }
}
