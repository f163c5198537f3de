//! Two allocators in one. The alignment of a request decides which of them serves it, and no `realloc` changes the
//! alignment.

use std::alloc::{GlobalAlloc, Layout};

/// Serves alignments of an even power of two (1, 4, 16 and so on) by `A`, and the other alignments by `B`. So a program
/// has blocks of both allocators at the same time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByAlignment<A, B> {
    even: A,
    odd: B,
}

impl<A, B> ByAlignment<A, B> {
    fn is_even(layout: Layout) -> bool {
        layout.align().trailing_zeros() & 1 == 0
    }
}

// SAFETY: a block goes back to the allocator that served it, since its layout keeps its alignment.
unsafe impl<A: GlobalAlloc, B: GlobalAlloc> GlobalAlloc for ByAlignment<A, B> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::is_even(layout) {
            // SAFETY: the caller's promises.
            unsafe { self.even.alloc(layout) }
        } else {
            // SAFETY: as above.
            unsafe { self.odd.alloc(layout) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if Self::is_even(layout) {
            // SAFETY: the caller's promises.
            unsafe { self.even.alloc_zeroed(layout) }
        } else {
            // SAFETY: as above.
            unsafe { self.odd.alloc_zeroed(layout) }
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if Self::is_even(layout) {
            // SAFETY: the caller's promises.
            unsafe { self.even.dealloc(start, layout) };
        } else {
            // SAFETY: as above.
            unsafe { self.odd.dealloc(start, layout) };
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Self::is_even(layout) {
            // SAFETY: the caller's promises.
            unsafe { self.even.realloc(start, layout, size) }
        } else {
            // SAFETY: as above.
            unsafe { self.odd.realloc(start, layout, size) }
        }
    }
}
