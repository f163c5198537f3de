//! What a private heap's handle does, for whoever owns the heap at the moment.

use super::large::{LargeBlocks, is_indexed};
use crate::at_exit::name_exit_entry;
use crate::figures::{Name, PrivateHeapReport, ReleaseStats};
use crate::geometry::{SMALL_MAX, SizeClass, block_bytes};
use crate::heap::{Front, Heap, LargeCounters, OwnedHeap, RemoteLeftovers, refuse};
use crate::process::{MODE, NO_HEAP, SHARED, moved};
use crate::sync::{Counter, current_generation};
use core::alloc::Layout;
use core::ptr::{self, NonNull};
use std::alloc::{GlobalAlloc, System};

/// A private heap.
///
/// Private invariant 1: who has a reference to this owns the heap behind `front` (Heap invariant 1), if that is a
/// heap's: the handle took it, and no other handle or thread has it. The type is not `Sync`.
/// Private invariant 2: every block that was handed out and not given back is one of that heap or on the list of large
/// ones; no block is used any more when the whole is dropped or reset.
pub(super) struct PrivateCore {
    front: NonNull<Front>,
    large: LargeBlocks,
    name: Name,
    /// What was served without a heap.
    unpooled: LargeCounters,
    /// The copy of the memory that it was made in.
    generation: u32,
    /// Whether a fork has come in the middle of a change: then blocks may be of a heap that was given up.
    is_lost: bool,
}

// SAFETY: Private invariant 1: the heap goes with the handle; whoever moves that to another thread orders what the last
// owner wrote before what the next one does.
unsafe impl Send for PrivateCore {}

/// The front that finds no pools.
fn no_heap() -> NonNull<Front> {
    NonNull::from(&NO_HEAP)
}

/// The front of a heap that serves by its magazines.
fn front_of(heap: NonNull<Heap>) -> NonNull<Front> {
    NonNull::new(Heap::front_of(heap, false).cast_mut()).unwrap_or_else(no_heap)
}

impl PrivateCore {
    /// With a heap of its own if there is one to be had.
    pub(super) fn new(name: Name) -> Self {
        name_exit_entry();
        let mut heap = SHARED.take_private(name);
        if MODE.get().is_bypass() {
            // The backend is to serve all, or the debug layer, which says of every block of a pool what it is.
            heap.take().into_iter().for_each(|heap| SHARED.give_private(heap));
        }
        Self {
            front: heap.map_or_else(no_heap, front_of),
            large: LargeBlocks::new(),
            name,
            unpooled: LargeCounters::new(),
            generation: current_generation(),
            is_lost: false,
        }
    }

    /// Forgets the heap and its large blocks, which a fork has left half-changed. From here on the backend serves all.
    pub(super) fn give_up(&mut self) {
        self.front = no_heap();
        self.large = LargeBlocks::new();
        self.unpooled = LargeCounters::new();
        self.is_lost = true;
    }

    /// As if this were a copy that a fork has made.
    #[cfg(test)]
    pub(super) fn pretend_to_be_copied(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    #[inline(always)]
    pub(super) fn front(&self) -> &Front {
        // SAFETY: a front without a heap is a static, and heaps are never unmapped.
        unsafe { self.front.as_ref() }
    }

    pub(super) fn front_pointer(&self) -> NonNull<Front> {
        self.front
    }

    /// Whether there are pools.
    #[inline]
    pub(super) fn has_pools(&self) -> bool {
        self.front().has_heap()
    }

    fn heap(&self) -> Option<OwnedHeap<'_>> {
        if !self.has_pools() {
            return None;
        }
        // SAFETY: it has pools, so it is the front of a heap, made by `front_of`.
        let heap = unsafe { Heap::of_front(self.front.as_ptr()) };
        // SAFETY: Private invariant 1.
        Some(unsafe { heap.owned() })
    }

    /// A block; null if there is no memory.
    #[inline(always)]
    pub(super) fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = block_bytes(layout.size(), layout.align());
        if bytes > SMALL_MAX {
            return self.alloc_large(layout, System::alloc);
        }
        let block = self.front().head_of_block(bytes).pop();
        if block.is_null() {
            return self.alloc_slow(layout);
        }
        block
    }

    /// As [`alloc`](Self::alloc), with zeros.
    #[inline]
    pub(super) fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if block_bytes(layout.size(), layout.align()) > SMALL_MAX {
            return self.alloc_large(layout, System::alloc_zeroed);
        }
        let block = self.alloc(layout);
        if !block.is_null() {
            // SAFETY: a fresh block of at least this size; for size 0 nothing is written.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// * The block is a live one of this heap, asked for with `layout`, and nobody uses it any more.
    #[inline(always)]
    pub(super) unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        let front = self.front();
        if let Some(offset) = front.offset_of(block.as_ptr().addr()) {
            if let Some(head) = front.own_head(front.tag_at(offset)) {
                if head.push(block.as_ptr()) {
                    return;
                }
            }
        }
        // SAFETY: the caller's promises.
        unsafe { self.dealloc_slow(block, layout) }
    }

    /// The block with another layout, what it held copied as far as there is room; null, and nothing done, if there is
    /// no memory.
    ///
    /// # Safety
    /// * As for `dealloc` of a block asked for with `old`, if the result is not null.
    #[inline]
    pub(super) unsafe fn resize(&self, block: NonNull<u8>, old: Layout, new: Layout) -> *mut u8 {
        let front = self.front();
        if let Some(offset) = front.offset_of(block.as_ptr().addr()) {
            let bytes = front.tag_at(offset).block_bytes();
            if block_bytes(new.size(), new.align()) == bytes {
                return block.as_ptr();
            }
        }
        // SAFETY: the caller's promises.
        unsafe { self.resize_slow(block, old, new) }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, layout: Layout) -> *mut u8 {
        if layout.size() == 0 {
            // Takes no memory.
            return ptr::without_provenance_mut(layout.align());
        }
        let class = SizeClass::of_block(block_bytes(layout.size(), layout.align()));
        let block = self.heap().map_or(ptr::null_mut(), |heap| heap.alloc(&SHARED, class));
        if block.is_null() { self.alloc_large(layout, System::alloc) } else { block }
    }

    #[cold]
    #[inline(never)]
    fn alloc_large(&self, layout: Layout, serve: unsafe fn(&System, Layout) -> *mut u8) -> *mut u8 {
        let block = self.large.alloc(layout, serve);
        if !block.is_null() {
            self.count(|large, add| {
                add(&large.allocations, 1);
                add(&large.bytes_in, layout.size());
            });
        }
        block
    }

    #[cold]
    #[inline(never)]
    unsafe fn dealloc_slow(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        if let Some((offset, tag)) = SHARED.locate(block.as_ptr().addr()) {
            return match self.heap() {
                Some(heap) => heap.free_private(&SHARED, block.as_ptr(), offset),
                // Of the heap that was given up. It waits there for ever.
                None if self.is_lost => {}
                None => refuse(block.as_ptr(), tag),
            };
        }
        // SAFETY: not in the region, so on the list of large ones, and the caller gives it up.
        let bytes = unsafe { self.large.free(block, self.is_lost) };
        self.count(|large, add| {
            add(&large.frees, 1);
            add(&large.bytes_out, bytes);
        });
    }

    #[cold]
    #[inline(never)]
    unsafe fn resize_slow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> *mut u8 {
        let is_pooled = |block: *mut u8| SHARED.locate(block.addr()).is_some();
        let is_kept_large = old.size() > 0 && new.size() > 0 && block_bytes(new.size(), new.align()) > SMALL_MAX;
        if is_kept_large && old.align() == new.align() && !is_pooled(block.as_ptr()) && !is_indexed() {
            // SAFETY: the caller's promises; not in the region, so on the list.
            let moved = unsafe { self.large.resize(block, new, self.is_lost) };
            if !moved.is_null() {
                self.count(|large, add| {
                    add(&large.reallocations, 1);
                    add(&large.bytes_in, new.size());
                    add(&large.bytes_out, old.size());
                });
            }
            return moved;
        }
        let to = self.alloc(new);
        let free = || {
            // SAFETY: the caller gives the old block up.
            unsafe { self.dealloc(block, old) };
            let is_moved = old.size() > 0 && new.size() > 0;
            if is_moved && (is_pooled(block.as_ptr()) || is_pooled(to)) {
                self.count(|large, add| add(&large.moved, 1));
            }
        };
        // SAFETY: both are blocks of at least so many bytes, and distinct; of 0 bytes nothing is copied.
        unsafe { moved(block.as_ptr(), to, old.size().min(new.size()), free) }
    }

    /// Counts what goes to the backend.
    fn count(&self, change: impl Fn(&LargeCounters, fn(&Counter, usize))) {
        match self.heap() {
            Some(heap) => change(&heap.large, Counter::add),
            None => {
                change(&self.unpooled, Counter::add);
                change(&SHARED.large, Counter::add_shared);
            }
        }
    }

    /// Frees every block.
    ///
    /// # Safety
    /// * Nobody uses a block of this heap any more.
    pub(super) unsafe fn free_all(&mut self) {
        // SAFETY: the caller's promise.
        let freed = unsafe { self.large.free_all() };
        self.count(|large, add| {
            add(&large.frees, freed.blocks);
            add(&large.bytes_out, freed.bytes);
        });
        if let Some(heap) = self.heap() {
            let is_of_parent = current_generation() != self.generation;
            heap.free_all(&SHARED, if is_of_parent { RemoteLeftovers::Anywhere } else { RemoteLeftovers::Queued });
        }
    }

    /// Gives memory that holds no block back to the system.
    pub(super) fn release_unused(&self) -> ReleaseStats {
        let Some(heap) = self.heap() else { return ReleaseStats::default() };
        ReleaseStats::of_pools(heap.release(&SHARED))
    }

    pub(super) fn stats(&self) -> PrivateHeapReport {
        PrivateHeapReport::of(self.name, self.heap(), &self.unpooled)
    }
}

impl Drop for PrivateCore {
    fn drop(&mut self) {
        // SAFETY: Private invariant 2.
        unsafe { self.free_all() };
        if let Some(heap) = self.heap() {
            SHARED.give_private(NonNull::from(&*heap));
        }
    }
}

/// Puts a value into the block, if there was memory for it.
///
/// # Safety
/// * It is a block for a `T`, nobody else has it, and it lives for `'a`.
#[inline(always)]
pub(super) unsafe fn put<'a, T>(block: Option<NonNull<u8>>, value: T) -> &'a mut T {
    let Some(block) = block else { std::alloc::handle_alloc_error(Layout::new::<T>()) };
    let place = block.cast::<T>();
    // SAFETY: the caller's promises.
    unsafe { place.write(value) };
    // SAFETY: the caller's promises, and just written.
    unsafe { &mut *place.as_ptr() }
}
