//! Blocks of the backend that belong to a private heap. Each has a header before it. The headers form a list, so that
//! all blocks can be freed at once.
//!
//! ```text
//!   backend's block │ padding │ header │ block
//!                                       ^ aligned as requested
//! ```
//! Large invariant 1: each header on the list belongs to a live block of the backend and has its layout. Only the owner
//! of the heap uses the list.

use crate::check::{Misuse, misuse};
use crate::large::{LARGE, forget_large};
use crate::process::MODE;
use crate::sync::{AtomicU64, Ordering};
use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::{self, NonNull};
use static_assertions::assert_eq_size;
use std::alloc::{GlobalAlloc, System};

/// Number of lists of large blocks made so far in this process.
static LARGE_LISTS: AtomicU64 = AtomicU64::new(0);

/// The header of a block. Aligned to 16 bytes, as blocks of the system's malloc are.
#[repr(C, align(16))]
struct LargeHeader {
    next: *mut LargeHeader,
    previous: *mut LargeHeader,
    /// Number of the list that the block is on; 0 once it is off the list.
    list: u64,
    /// The block's layout as requested.
    layout: Layout,
}

assert_eq_size!(LargeHeader, [u8; 48]);

/// The layout of the backend's block for a request, and the offset of the program's block in the backend's block.
fn whole(layout: Layout) -> Option<(Layout, usize)> {
    // `extend` puts the padding behind the header. Here it lies before the header: the offset of the block is the same.
    Layout::new::<LargeHeader>().extend(layout).ok()
}

/// Whether blocks are noted in the index for the leak finder. In debug mode they are not, since the debug layer takes
/// every block in the index for one of its own. They count as roots there.
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

/// The list of one private heap's large blocks.
pub(super) struct LargeBlocks {
    first: Cell<*mut LargeHeader>,
    /// Number of this list: no other has it, and none is 0.
    number: u64,
}

/// Number of freed blocks, and their bytes as requested.
#[derive(Default)]
pub(super) struct FreedBlocks {
    pub(super) blocks: usize,
    pub(super) bytes: usize,
}

impl LargeBlocks {
    pub(super) fn new() -> Self {
        // Relaxed: each number is handed out once, and it orders nothing else.
        let number = LARGE_LISTS.fetch_add(1, Ordering::Relaxed) + 1;
        Self { first: Cell::new(ptr::null_mut()), number }
    }

    /// Allocates a block of the backend and puts it on the list; null if there is no memory.
    pub(super) fn alloc(&self, layout: Layout, serve: unsafe fn(&System, Layout) -> *mut u8) -> *mut u8 {
        let Some((whole, offset)) = whole(layout) else { return ptr::null_mut() };
        // SAFETY: the layout has the size of a header at least.
        let base = unsafe { serve(&System, whole) };
        if base.is_null() {
            return base;
        }
        let block = base.wrapping_add(offset);
        let header = block.wrapping_sub(size_of::<LargeHeader>()).cast::<LargeHeader>();
        // SAFETY: the header lies inside the backend's block, and is aligned: `base` and `offset` are multiples of 16.
        unsafe {
            header.write(LargeHeader { next: ptr::null_mut(), previous: ptr::null_mut(), list: self.number, layout })
        };
        self.link(header);
        if is_indexed() && layout.size() > 0 {
            // Without memory for the index, the block is not noted and counts as a root.
            let _ = LARGE.insert(block, layout.size());
        }
        block
    }

    /// Puts a block at the start of the list.
    fn link(&self, header: *mut LargeHeader) {
        let next = self.first.replace(header);
        // SAFETY: Large invariant 1: the caller's block is live. This also holds for the next line.
        unsafe { (*header).next = next };
        // SAFETY: as above.
        unsafe { (*header).previous = ptr::null_mut() };
        if !next.is_null() {
            // SAFETY: Large invariant 1.
            unsafe { (*next).previous = header };
        }
    }

    /// Takes a block off the list and returns its layout.
    ///
    /// Aborts if the block is on another list, unless `may_be_of_others`. If `may_be_of_others` is true, that list was
    /// given up: no code reads it any more, and the block stays on it.
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
        // No list has the number 0. So a second free of the block is seen above if the backend has not overwritten it
        // yet.
        // SAFETY: as above.
        unsafe { (*header).list = 0 };
        layout
    }

    /// Gives a block back to the backend. Returns its bytes as requested.
    ///
    /// # Safety
    /// * The block is live and not used after this call.
    /// * It is on this list or, if `may_be_of_others`, on a list that was given up.
    pub(super) unsafe fn free(&self, block: NonNull<u8>, may_be_of_others: bool) -> usize {
        let header = header_of(block);
        let layout = self.unlink(header, may_be_of_others);
        // SAFETY: no list in use has the block any more, and the caller gives it up.
        unsafe { give_back(header, layout) };
        layout.size()
    }

    /// Gives all blocks on the list back to the backend.
    ///
    /// # Safety
    /// * None of the blocks is used any more.
    pub(super) unsafe fn free_all(&self) -> FreedBlocks {
        let mut freed = FreedBlocks::default();
        let mut next = self.first.replace(ptr::null_mut());
        while !next.is_null() {
            // SAFETY: Large invariant 1.
            let header = unsafe { next.read() };
            freed.blocks += 1;
            freed.bytes += header.layout.size();
            // SAFETY: the list is empty by now, and the caller promises that the block is not used.
            unsafe { give_back(next, header.layout) };
            next = header.next;
        }
        freed
    }

    /// Resizes a block by the backend's `realloc`, at the same alignment, and puts it on this list. Returns null if
    /// there is no memory; the block then stays as large as it was.
    ///
    /// # Safety
    /// * As for `free`. If the result is null, the block may still be used.
    /// * `new` has the alignment of the block's layout.
    pub(super) unsafe fn resize(&self, block: NonNull<u8>, new: Layout, may_be_of_others: bool) -> *mut u8 {
        let header = header_of(block);
        // SAFETY: Large invariant 1.
        let old = unsafe { (*header).layout };
        let (Some((new_whole, offset)), Some((old_whole, _))) = (whole(new), whole(old)) else {
            return ptr::null_mut();
        };
        let base = block.as_ptr().wrapping_sub(offset);
        self.unlink(header, may_be_of_others);
        // SAFETY: this is the backend's block and its layout; the size is not 0.
        let moved = unsafe { System.realloc(base, old_whole, new_whole.size()) };
        let (base, layout) = if moved.is_null() { (base, old) } else { (moved, new) };
        let header = base.wrapping_add(offset - size_of::<LargeHeader>()).cast::<LargeHeader>();
        // SAFETY: the header is here: the backend's `realloc` has moved it with the block or left it. This also holds
        // for the next line.
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
/// * The header is that of a live block with this layout. No list in use has it, and the block is not used any more.
unsafe fn give_back(header: *mut LargeHeader, layout: Layout) {
    let block = block_of(header);
    if is_indexed() {
        // SAFETY: the caller gives the block up.
        unsafe { forget_large(block) };
    }
    let Some((whole, offset)) = whole(layout) else { return };
    // SAFETY: the backend served this block with this layout.
    unsafe { System.dealloc(block.wrapping_sub(offset), whole) };
}
