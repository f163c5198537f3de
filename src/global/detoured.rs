//! Requests of a thread whose front has no heap. There are three reasons: the thread has no heap (not yet, no longer,
//! or none can be made); a watch is on; or the process is not in the usual mode (`POOLMALLOC=debug` or `malloc`).

use super::backend::Backend;
use super::moved::move_from_pool;
use super::pooled::{count_moved, counted, dealloc_without_heap, note, note_resized};
use super::sampled::sample_if_due;
use crate::at_exit::name_exit_entry;
use crate::debug;
use crate::debug::{Below, Content};
use crate::geometry::{SMALL_MAX, block_bytes};
use crate::process::{MODE, Mode, SHARED, alloc_from_pools, count_large, tls};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

/// The mode of the process, for a thread whose front has no heap.
fn mode() -> Mode {
    // The first such call in the process reads the environment.
    tls::heap_or_make();
    MODE.get()
}

impl<B: GlobalAlloc> Backend<B> {
    /// Returns a block of a pool or of the backend; null if there is no memory. A block of a pool is not zeroed,
    /// whatever `content` is.
    ///
    /// # Safety
    /// * As for `GlobalAlloc::alloc`. A size of 0 is served too, unless the block has to come from the backend.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn alloc_detoured(&self, layout: Layout, content: Content) -> *mut u8 {
        name_exit_entry();
        let entry = 0_u8;
        let mode = mode();
        if mode.is_debug() {
            // SAFETY: the caller's promises.
            let block = unsafe { debug::alloc(self, layout, content, &raw const entry) };
            if !block.is_null() {
                let bytes = counted(layout.size(), layout.align());
                note(|watch| watch.allocated(block, layout.size(), bytes));
            }
            return block;
        }
        // SAFETY: the caller's promises.
        let (block, bytes) = unsafe { self.alloc_served(layout, content, mode) };
        if !block.is_null() {
            note(|watch| watch.allocated(block, layout.size(), bytes));
        }
        block
    }

    /// Returns a block of a pool or of the backend, and the bytes that a watch counts for it.
    ///
    /// # Safety
    /// * As for [`alloc_detoured`](Self::alloc_detoured).
    #[inline(always)]
    unsafe fn alloc_served(&self, layout: Layout, content: Content, mode: Mode) -> (*mut u8, usize) {
        let (size, bytes) = (layout.size(), block_bytes(layout.size().max(1), layout.align()));
        if let Some(sample) = sample_if_due(size) {
            // SAFETY: no request of 0 bytes is due.
            let block = unsafe { self.alloc_noted(layout, content, Some(sample)) };
            if !block.is_null() {
                return (block, size);
            }
        }
        if mode == Mode::Pools && bytes <= SMALL_MAX {
            let block = alloc_from_pools(bytes);
            if !block.is_null() {
                return (block, bytes);
            }
        }
        // SAFETY: the caller's promises.
        (unsafe { self.alloc_noted(layout, content, None) }, size)
    }

    /// Frees a block of a pool or of the backend.
    ///
    /// # Safety
    /// * As for `GlobalAlloc::dealloc`.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn dealloc_detoured(&self, block: *mut u8, layout: Layout) {
        let (entry, mode) = (0_u8, mode());
        if mode.is_debug() {
            // SAFETY: the caller's promises.
            unsafe { debug::dealloc(self, block, layout, &raw const entry) };
            note(|watch| watch.freed(block, counted(layout.size(), layout.align())));
        } else if mode == Mode::Backend || !dealloc_without_heap(block) {
            note(|watch| watch.freed(block, layout.size()));
            // SAFETY: the block is in no pool, so the backend served it; `dealloc` promises that `layout` is its
            // layout.
            unsafe { self.dealloc(block, layout) }
        }
    }

    /// Resizes a block of a pool or of the backend. Returns null, with nothing done, if there is no memory.
    ///
    /// # Safety
    /// * As for `GlobalAlloc::realloc`.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn realloc_detoured(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (entry, mode) = (0_u8, mode());
        if mode.is_debug() {
            // SAFETY: the caller's promises.
            let new = unsafe { debug::realloc(self, block, layout, new_size, &raw const entry) };
            if !new.is_null() {
                count_moved();
                note(|watch| note_resized(watch, (block, new), layout, new_size));
            }
            return new;
        }
        if let (Mode::Pools, Some((_, tag))) = (mode, SHARED.locate(block.addr())) {
            let bytes = tag.block_bytes();
            if block_bytes(new_size, layout.align()) == bytes {
                note(|watch| watch.resized(new_size, bytes, bytes));
                return block;
            }
            // SAFETY: `realloc` promises that the new size at the same alignment makes a layout.
            let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
            // SAFETY: `realloc` promises a new size above 0.
            let new = unsafe { self.alloc_detoured(new_layout, Content::Any) };
            // SAFETY: the caller's promises; `bytes` is the block's true size.
            return unsafe { move_from_pool(block, bytes, new, new_size) };
        }
        // SAFETY: the block is in no pool, so the backend served it; `realloc` promises that `layout` is its layout.
        unsafe { self.resize(block, layout, new_size, mode) }
    }
}

/// The source of the debug layer's memory.
impl<B: GlobalAlloc> Below for Backend<B> {
    unsafe fn take(&self, layout: Layout, content: Content) -> *mut u8 {
        let bytes = block_bytes(layout.size(), layout.align());
        if MODE.get() == Mode::Debug && bytes <= SMALL_MAX {
            let block = alloc_from_pools(bytes);
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller promises that the size is not 0.
        unsafe { self.alloc_counted(layout, content) }
    }

    unsafe fn give_back(&self, block: *mut u8, layout: Layout) {
        count_large(|large, add| large.count_free(layout.size(), add));
        // SAFETY: the caller's promises. The debug layer gives back only blocks that are in no pool, so the backend
        // served this one.
        unsafe { self.0.dealloc(block, layout) }
    }

    fn late(&self) -> Option<unsafe fn(*mut u8, Layout)> {
        /// Frees through a backend of size 0. Such a backend has no state, so any pointer will do for it.
        unsafe fn dealloc<B: GlobalAlloc>(block: *mut u8, layout: Layout) {
            let backend = NonNull::<Backend<B>>::dangling();
            // SAFETY: a backend of this type has no bytes, and one existed when this function was chosen.
            let backend = unsafe { backend.as_ref() };
            // SAFETY: the caller's promises.
            unsafe { Below::give_back(backend, block, layout) }
        }
        (size_of::<B>() == 0).then_some(dealloc::<B>)
    }
}
