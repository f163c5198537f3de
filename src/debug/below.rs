//! The source of the debug layer's memory.

use core::alloc::Layout;

/// The source of the debug layer's memory: pools, and a backend.
pub(crate) trait Below {
    /// # Safety
    /// * As for `GlobalAlloc::alloc`.
    unsafe fn take(&self, layout: Layout, content: Content) -> *mut u8;

    /// # Safety
    /// * As for `GlobalAlloc::dealloc`.
    unsafe fn give_back(&self, block: *mut u8, layout: Layout);

    /// The function that gives a large block back later, on any thread; `None` if the backend may be gone by then.
    fn late(&self) -> Option<unsafe fn(*mut u8, Layout)>;
}

/// The content that a request wants in its block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Any,
    /// Zeros. Only large requests ask for them.
    Zeros,
}
