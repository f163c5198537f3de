//! The core of a private heap's handle: serves, resizes and frees blocks for the heap's owner, without a lock.

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

/// A private heap: the heap that serves its small blocks, and the list of its large ones.
///
/// Private invariant 1: if `front` is the front of a heap, a thread with a reference to this `PrivateCore` owns that
/// heap (Heap invariant 1). The handle took the heap, and no other handle or thread has it. The type is not `Sync`.
/// Private invariant 2: every live block belongs to that heap, or is on the list of large blocks. If `is_lost`, a live
/// block may also belong to the heap that was given up, or be on the list that was given up. No block is used any more
/// when the `PrivateCore` is dropped or reset.
pub(super) struct PrivateCore {
    front: NonNull<Front>,
    large: LargeBlocks,
    name: Name,
    /// Counts of the backend's blocks while there is no heap to count in.
    unpooled: LargeCounters,
    /// The generation of the process in which the `PrivateCore` was made: a child of a fork has another one.
    generation: u32,
    /// Whether the heap was given up, since a fork came in the middle of a change. Blocks may be of that heap then.
    is_lost: bool,
}

// SAFETY: Private invariant 1: the heap goes with the handle. The move of the handle to another thread orders the
// writes of the last owner before those of the next.
unsafe impl Send for PrivateCore {}

/// The front without a heap: every request takes its slow path.
fn no_heap() -> NonNull<Front> {
    NonNull::from(&NO_HEAP)
}

/// The front of this heap that serves from its magazines, and not its sampling front.
fn front_of(heap: NonNull<Heap>) -> NonNull<Front> {
    NonNull::new(Heap::front_of(heap, false).cast_mut()).unwrap_or_else(no_heap)
}

impl PrivateCore {
    /// Makes a private heap. It has pools if the mode is `Pools` and the process has a heap for it.
    pub(super) fn new(name: Name) -> Self {
        name_exit_entry();
        let mut heap = SHARED.take_private(name);
        if MODE.get().is_bypass() {
            // In these modes either the backend serves all requests, or the debug layer expects a header of its own in
            // every live block of a pool. Blocks of a private heap have none.
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

    /// Forgets the heap and its large blocks, which a fork has left half-changed. From now on the backend serves all
    /// requests.
    pub(super) fn give_up(&mut self) {
        self.front = no_heap();
        self.large = LargeBlocks::new();
        self.unpooled = LargeCounters::new();
        self.is_lost = true;
    }

    /// Makes the heap look as if it was made before a fork, and this process was the child.
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

    /// Whether the private heap has pools.
    #[inline]
    pub(super) fn has_pools(&self) -> bool {
        self.front().has_heap()
    }

    fn heap(&self) -> Option<OwnedHeap<'_>> {
        if !self.has_pools() {
            return None;
        }
        // SAFETY: this is the front of a heap, made by `front_of`.
        let heap = unsafe { Heap::of_front(self.front.as_ptr()) };
        // SAFETY: Private invariant 1.
        Some(unsafe { heap.owned() })
    }

    /// Allocates a block; null if there is no memory.
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

    /// Allocates a block that is filled with zeros; null if there is no memory.
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

    /// Frees a block.
    ///
    /// # Safety
    /// * The block is a live one of this heap with this layout, and is not used after this call.
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

    /// Resizes a block to `new`, in place or by a move. The content is kept up to the smaller of both sizes. Returns
    /// null if there is no memory; the block then stays as it is.
    ///
    /// # Safety
    /// * As for `dealloc` of a block with the layout `old`. If the result is null, the block may still be used.
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
            // A request of 0 bytes takes no memory.
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
                // The block is of the heap that was given up, and is never served again.
                None if self.is_lost => {}
                None => refuse(block.as_ptr(), tag),
            };
        }
        // SAFETY: the block is not in the region, so it is a large one. It is on the list or, if `is_lost`, on a list
        // that was given up. The caller gives it up.
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
            // SAFETY: the caller's promises; the block is not in the region, so it is a large one, as in
            // `dealloc_slow`.
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
        // SAFETY: both are distinct blocks of at least the smaller size; if that is 0, nothing is copied.
        unsafe { moved(block.as_ptr(), to, old.size().min(new.size()), free) }
    }

    /// Changes the counts of the backend's blocks: in the heap or, without one, here and in the process's counters.
    fn count(&self, change: impl Fn(&LargeCounters, fn(&Counter, usize))) {
        match self.heap() {
            Some(heap) => change(&heap.large, Counter::add),
            None => {
                change(&self.unpooled, Counter::add);
                change(&SHARED.large, Counter::add_shared);
            }
        }
    }

    /// Frees all blocks.
    ///
    /// # Safety
    /// * No block of this heap is used any more.
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

    /// Gives the memory of pools without a block back to the system, and wholly free arenas to all threads.
    pub(super) fn release_unused(&self) -> ReleaseStats {
        let Some(heap) = self.heap() else { return ReleaseStats::default() };
        ReleaseStats::of_pools(SHARED.release_private(heap))
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

/// Puts a value into a block and returns a reference to it. If `block` is `None`, calls `handle_alloc_error`.
///
/// # Safety
/// * The block fits a `T`, no other code has it, and it lives for `'a`.
#[inline(always)]
pub(super) unsafe fn put<'a, T>(block: Option<NonNull<u8>>, value: T) -> &'a mut T {
    let Some(block) = block else { std::alloc::handle_alloc_error(Layout::new::<T>()) };
    let place = block.cast::<T>();
    // SAFETY: the caller's promises.
    unsafe { place.write(value) };
    // SAFETY: the caller's promises, and the value was just written.
    unsafe { &mut *place.as_ptr() }
}
