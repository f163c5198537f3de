//! What the debug layer gets its memory from.

use core::alloc::Layout;

/// What the debug layer gets its memory from: pools, and a backend.
pub(crate) trait Below {
    /// # Safety
    /// * As for `GlobalAlloc::alloc`.
    unsafe fn take(&self, layout: Layout, content: Content) -> *mut u8;

    /// # Safety
    /// * As for `GlobalAlloc::dealloc`.
    unsafe fn give_back(&self, block: *mut u8, layout: Layout);

    /// How a large block is given back later, by any thread; `None` if the backend may be gone by then.
    fn late(&self) -> Option<unsafe fn(*mut u8, Layout)>;
}

/// What a request wants to find in its block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Any,
    /// Zeros: only large requests.
    Zeros,
}
