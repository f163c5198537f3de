//! Blocks of the backend that belong to a private heap: each has a header before it, by which they are linked, so that
//! all of them can be freed at once.
//!
//! ```text
//!   backend's block │ padding │ header │ block
//!                                       ^ aligned as asked for
//! ```
//! Large invariant 1: every header on the list is that of a live block of the backend, as the header says. The list is
//! used by the owner of the heap alone.

use crate::check::{Misuse, misuse};
use crate::large::{LARGE, forget_large};
use crate::process::MODE;
use crate::sync::{AtomicU64, Ordering};
use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use static_assertions::const_assert_eq;
use std::alloc::{GlobalAlloc, System};

/// Lists of private heaps' large blocks that there have been.
static LARGE_LISTS: AtomicU64 = AtomicU64::new(0);

/// What is known of a block. As aligned as the system's blocks are.
#[repr(C, align(16))]
struct LargeHeader {
    next: *mut LargeHeader,
    previous: *mut LargeHeader,
    /// The list that the block is on.
    list: u64,
    /// What was asked for.
    layout: Layout,
}

const_assert_eq!(size_of::<LargeHeader>(), 48);

/// The layout of the backend's block for a request, and where the request's block lies in it.
fn whole(layout: Layout) -> Option<(Layout, usize)> {
    // The header lies right before the block, and the padding before it: the sum is the same.
    Layout::new::<LargeHeader>().extend(layout).ok()
}

/// Whether blocks are noted for the leak finder. The debug mode takes what is noted for its own: there they are part of
/// the roots.
pub(super) fn is_indexed() -> bool {
    LARGE.is_armed() && !MODE.get().is_debug()
}

/// The header of a block.
fn header_of(block: NonNull<u8>) -> *mut LargeHeader {
    block.as_ptr().wrapping_sub(size_of::<LargeHeader>()).cast()
}

/// The block of a header.
fn block_of(header: *mut LargeHeader) -> *mut u8 {
    header.wrapping_add(1).cast()
}

/// The blocks of one heap.
pub(super) struct LargeBlocks {
    first: Cell<*mut LargeHeader>,
    /// Number of this list: no other has it, and none is 0.
    number: u64,
}

/// How many blocks, and how many bytes of them as requested.
#[derive(Default)]
pub(super) struct FreedBlocks {
    pub(super) blocks: usize,
    pub(super) bytes: usize,
}

impl LargeBlocks {
    pub(super) fn new() -> Self {
        // Relaxed: each number is handed out once, and nothing else hangs on it.
        let number = LARGE_LISTS.fetch_add(1, Ordering::Relaxed) + 1;
        Self { first: Cell::new(ptr::null_mut()), number }
    }

    /// A block of the backend; null if there is no memory.
    pub(super) fn alloc(&self, layout: Layout, serve: unsafe fn(&System, Layout) -> *mut u8) -> *mut u8 {
        let Some((whole, offset)) = whole(layout) else { return ptr::null_mut() };
        // SAFETY: the layout has the size of a header at least.
        let base = unsafe { serve(&System, whole) };
        if base.is_null() {
            return base;
        }
        let block = base.wrapping_add(offset);
        let header = block.wrapping_sub(size_of::<LargeHeader>()).cast::<LargeHeader>();
        // SAFETY: inside the block that was just served, and aligned: its base is to 16 bytes and so is the offset.
        unsafe {
            header.write(LargeHeader { next: ptr::null_mut(), previous: ptr::null_mut(), list: self.number, layout })
        };
        self.link(header);
        if is_indexed() && layout.size() > 0 {
            // Without memory it is part of the roots.
            let _ = LARGE.insert(block, layout.size());
        }
        block
    }

    /// Puts a block first.
    fn link(&self, header: *mut LargeHeader) {
        let next = self.first.replace(header);
        // SAFETY: Large invariant 1: the caller's block is live; so for the next line.
        unsafe { (*header).next = next };
        // SAFETY: as above.
        unsafe { (*header).previous = ptr::null_mut() };
        if !next.is_null() {
            // SAFETY: Large invariant 1.
            unsafe { (*next).previous = header };
        }
    }

    /// Takes a block off the list. One of a list that was given up stays where it is: nobody reads that one.
    fn unlink(&self, header: *mut LargeHeader, may_be_of_others: bool) -> Layout {
        // SAFETY: Large invariant 1: the caller gives a live block.
        let LargeHeader { next, previous, list, layout } = unsafe { header.read() };
        if list != self.number {
            if !may_be_of_others {
                misuse(&Misuse::WrongHeap { address: block_of(header).addr(), block_bytes: layout.size() });
            }
            return layout;
        }
        if previous.is_null() {
            self.first.set(next);
        } else {
            // SAFETY: Large invariant 1.
            unsafe { (*previous).next = next };
        }
        if !next.is_null() {
            // SAFETY: Large invariant 1.
            unsafe { (*next).previous = previous };
        }
        // So that it is seen to be on no list if it is freed again before the backend has overwritten it.
        // SAFETY: as above.
        unsafe { (*header).list = 0 };
        layout
    }

    /// Gives a block back to the backend, and says how many bytes had been asked for.
    ///
    /// # Safety
    /// * The block is a live one of this list, or of one given up if `may_be_of_others`, and nobody uses it any more.
    pub(super) unsafe fn free(&self, block: NonNull<u8>, may_be_of_others: bool) -> usize {
        let header = header_of(block);
        let layout = self.unlink(header, may_be_of_others);
        // SAFETY: unlinked, and the caller gives it up.
        unsafe { give_back(header, layout) };
        layout.size()
    }

    /// Gives all blocks back to the backend.
    ///
    /// # Safety
    /// * Nobody uses any of them any more.
    pub(super) unsafe fn free_all(&self) -> FreedBlocks {
        let mut freed = FreedBlocks::default();
        let mut next = self.first.replace(ptr::null_mut());
        while !next.is_null() {
            // SAFETY: Large invariant 1.
            let header = unsafe { next.read() };
            freed.blocks += 1;
            freed.bytes += header.layout.size();
            // SAFETY: the list is given up, and the caller promises the rest.
            unsafe { give_back(next, header.layout) };
            next = header.next;
        }
        freed
    }

    /// The block resized by the backend, at the same alignment; null, and nothing done, if there is no memory.
    ///
    /// # Safety
    /// * As for `free`, if the result is not null.
    /// * `new` has the alignment that the block was asked for with.
    pub(super) unsafe fn resize(&self, block: NonNull<u8>, new: Layout, may_be_of_others: bool) -> *mut u8 {
        let header = header_of(block);
        // SAFETY: Large invariant 1.
        let old = unsafe { (*header).layout };
        let (Some((new_whole, offset)), Some((old_whole, _))) = (whole(new), whole(old)) else {
            return ptr::null_mut();
        };
        let base = block.as_ptr().wrapping_sub(offset);
        self.unlink(header, may_be_of_others);
        // SAFETY: the backend's block, with the layout that it was asked for; the size is not 0.
        let moved = unsafe { System.realloc(base, old_whole, new_whole.size()) };
        let (base, layout) = if moved.is_null() { (base, old) } else { (moved, new) };
        let header = base.wrapping_add(offset - size_of::<LargeHeader>()).cast::<LargeHeader>();
        // SAFETY: where the header was, or where it has been moved; so for the next line.
        unsafe { (*header).layout = layout };
        // SAFETY: as above.
        unsafe { (*header).list = self.number };
        self.link(header);
        if moved.is_null() { moved } else { block_of(header) }
    }
}

/// Gives a block back to the backend.
///
/// # Safety
/// * The header is that of a live block on no list, which was asked for with `layout` and which nobody uses any more.
unsafe fn give_back(header: *mut LargeHeader, layout: Layout) {
    let block = block_of(header);
    if is_indexed() {
        // SAFETY: the caller gives the block up.
        unsafe { forget_large(block) };
    }
    let Some((whole, offset)) = whole(layout) else { return };
    // SAFETY: as it was served.
    unsafe { System.dealloc(block.wrapping_sub(offset), whole) };
}
