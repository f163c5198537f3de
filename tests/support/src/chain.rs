//! A list of blocks that needs no memory of its own, for tests that use memory up.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::ptr::NonNull;

use crate::block::{fill, is_filled, layout};

/// Blocks of one layout, each holding the address of the next.
pub struct Chain {
    layout: Layout,
    first: Option<NonNull<u8>>,
    count: usize,
}

impl Chain {
    /// Bytes at the start of a block that are written: the link, then a pattern. Writing more would make large blocks
    /// resident.
    const WRITTEN: usize = 64;

    /// An empty chain for blocks of `size` bytes.
    pub fn new(size: usize) -> Self {
        assert!(size >= Self::WRITTEN);
        Self { layout: layout(size, 8), first: None, count: 0 }
    }

    /// The layout of each block.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Blocks in the chain.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds at most `most` blocks, and stops at the first null. Returns whether there was a null.
    pub fn grow(&mut self, most: usize) -> bool {
        for _ in 0..most {
            // SAFETY: the size is not zero.
            let start = black_box(unsafe { alloc(self.layout) });
            let Some(start) = NonNull::new(start) else {
                return true;
            };
            // SAFETY: the block is long enough and aligned for a pointer.
            unsafe { start.cast::<Option<NonNull<u8>>>().write(self.first) };
            // SAFETY: the block is `WRITTEN` bytes long or longer.
            let rest = unsafe { start.add(size_of::<usize>()) };
            // SAFETY: as above; no other reference to it exists.
            let rest = unsafe { std::slice::from_raw_parts_mut(rest.as_ptr(), Self::WRITTEN - size_of::<usize>()) };
            fill(rest, start.addr().get());
            self.first = Some(start);
            self.count += 1;
        }
        false
    }

    /// Checks and frees all blocks except the `kept` oldest.
    pub fn free_to(&mut self, kept: usize) {
        while self.count > kept {
            let start = self.first.expect("as many blocks as were counted");
            // SAFETY: `grow` wrote the link.
            self.first = unsafe { start.cast::<Option<NonNull<u8>>>().read() };
            // SAFETY: the block is `WRITTEN` bytes long or longer.
            let rest = unsafe { start.add(size_of::<usize>()) };
            // SAFETY: as above, and `grow` wrote it.
            let rest = unsafe { std::slice::from_raw_parts(rest.as_ptr(), Self::WRITTEN - size_of::<usize>()) };
            assert!(is_filled(rest, start.addr().get()), "content lost in a block of {:?}", self.layout);
            // SAFETY: `grow` allocated it with this layout, and the list no longer holds it.
            unsafe { dealloc(start.as_ptr(), self.layout) };
            self.count -= 1;
        }
        assert!(self.count > 0 || self.first.is_none());
    }

    /// Checks and frees every block.
    pub fn free(&mut self) {
        self.free_to(0);
    }
}
