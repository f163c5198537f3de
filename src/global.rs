//! The allocator that programs install: the fast paths of `alloc` and `dealloc`, and where requests go that they do not
//! serve.
//!
//! A hit costs no locked instruction, no touch of the block and no test for "is there a heap". The slow halves are out
//! of line, so that no register has to be saved on the fast ones.

use crate::counter::Counter;
use crate::debug::{self, Below, Content};
use crate::heap::{Front, LargeCounters, tag_block_bytes};
#[cfg(feature = "profile")]
use crate::leaks::Large;
use crate::leaks::Sample;
use crate::mode::Mode;
use crate::os;
#[cfg(feature = "profile")]
use crate::profile;
use crate::size_class::{SMALL_MAX, SizeClass, block_bytes};
use crate::statics::{LARGE, MODE, SHARED};
use crate::tls::{self, Entry};
use crate::watch::Watch;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use std::alloc::System;

/// This file, as debug information knows it: backtraces of requests begin in it.
#[cfg(feature = "profile")]
pub(crate) const FILE: &str = file!();

/// CPython's small-object allocator, for threads: blocks of up to 256 bytes come from pools, larger ones from the
/// backend `B`.
///
/// ```
/// use poolmalloc::PoolMalloc;
///
/// #[global_allocator]
/// static ALLOC: PoolMalloc = PoolMalloc::new();
/// # fn main() { assert_eq!(vec![1, 2, 3].len(), 3); }
/// ```
///
/// Every value shares the process's one set of pools, as `System` does; a value is only a name for it, and a backend. A
/// request is small if its size, rounded up to a multiple of 8 and of its alignment, is at most 256 bytes.
///
/// A hit costs 36 instructions on x86-64 for `alloc` and `dealloc` together. Freed memory stays pooled and is returned
/// to the system only by [`release_unused`](crate::release_unused): it serves later requests of its thread at once,
/// those of any size class when its pool is wholly free, and those of other threads when 256 KiB around it are, which is
/// looked for as memory is freed and before the heap grows.
///
/// # Errors
/// Out of memory, `alloc`, `alloc_zeroed` and `realloc` return null; a block that could not grow is left as it was.
/// A free, and `realloc`, find a block by its address: a `Layout` that is not the block's own is harmless for blocks
/// from pools. Freeing a block twice is a bug of the program; where the allocator sees it, it writes one line to stderr
/// and aborts.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolMalloc<B = System> {
    backend: B,
}

impl PoolMalloc {
    /// The allocator with the system's malloc behind it.
    #[must_use]
    pub const fn new() -> Self {
        Self { backend: System }
    }
}

impl<B> PoolMalloc<B> {
    /// The allocator with `backend` behind it, which serves requests over 256 bytes, and small ones too when there is
    /// no memory left for pools.
    ///
    /// In debug mode a backend of no bytes is one that any thread may use, at any time: freed blocks go back to it late.
    ///
    /// Values with different backends share the pools, but a large block must be freed through a value with the backend
    /// that served it.
    #[must_use]
    pub const fn with_backend(backend: B) -> Self {
        Self { backend }
    }
}

// SAFETY: a block comes from a pool of its class, is in no magazine, map or list while it is live (Pool invariant 2,
// Magazine invariants 1 to 3), and its size and alignment follow from `block_bytes`; anything else is the backend's.
unsafe impl<B: GlobalAlloc> GlobalAlloc for PoolMalloc<B> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = block_bytes(layout.size(), layout.align());
        if bytes > SMALL_MAX {
            // SAFETY: the caller's promises.
            return unsafe { Self::alloc_large(layout.size(), layout.align(), self) };
        }
        let block = tls::front().head_of_block(bytes).pop();
        if block.is_null() {
            // SAFETY: the caller's promises.
            return unsafe { Self::alloc_slow(layout.size(), layout.align(), self) };
        }
        block
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let front = tls::front();
        let Some(offset) = front.offset_of(block.addr()) else {
            // SAFETY: the caller's promises.
            return unsafe { Self::dealloc_large(block, layout.size(), layout.align(), self) };
        };
        dealloc_small(front, offset, block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let front = tls::front();
        let Some(offset) = front.offset_of(block.addr()) else {
            // SAFETY: the caller's promises.
            return unsafe { self.realloc_large(block, layout, new_size) };
        };
        let bytes = tag_block_bytes(front.tag_at(offset));
        if block_bytes(new_size, layout.align()) == bytes {
            return block;
        }
        // SAFETY: the caller's promises; `bytes` is the block's true size.
        unsafe { self.move_from_pool(block, bytes, layout, new_size) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if block_bytes(layout.size(), layout.align()) > SMALL_MAX {
            // SAFETY: the caller's promises.
            return unsafe { self.alloc_zeroed_large(layout) };
        }
        // SAFETY: the caller's promises.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: a fresh block of at least this size.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }
}

/// Frees a block of the region: onto its magazine if it can.
#[inline(always)]
fn dealloc_small(front: &Front, offset: usize, block: *mut u8) {
    if let Some(head) = front.own_head(front.tag_at(offset)) {
        if head.push(block) {
            return;
        }
    }
    dealloc_slow(block);
}

/// Frees a block of the region when its magazine is full or absent, or when another heap owns it.
#[cold]
#[inline(never)]
fn dealloc_slow(block: *mut u8) {
    // Only a front with a heap finds a block in the region.
    if let Some(heap) = tls::in_front() {
        if let Some(offset) = heap.region.offset_of(block.addr()) {
            heap.free(&SHARED, block, offset);
        }
    }
}

/// Frees a block of the region for a thread whose front knows none. False, and nothing done, if it is no such block.
#[cold]
#[inline(never)]
fn dealloc_without_heap(block: *mut u8) -> bool {
    let Some((_, tag)) = SHARED.locate(block.addr()) else { return false };
    note(|watch| watch.freed(block, tag_block_bytes(tag)));
    free_to_pool(block);
    true
}

/// Frees a block of the region, whatever the calling thread's front is.
pub(crate) fn free_to_pool(block: *mut u8) {
    if let Entry::Heap(heap) = tls::enter() {
        if let Some(offset) = heap.region.offset_of(block.addr()) {
            heap.free(&SHARED, block, offset);
        }
    } else if let Some((offset, _)) = SHARED.locate(block.addr()) {
        // Without memory for the stragglers' heap the block stays live: there is nobody to free it.
        SHARED.with_stragglers(|heap| heap.free(&SHARED, block, offset));
    }
}

/// A block of `bytes`, at most 256, when the loaded magazine has none; null if pools cannot serve it.
#[cold]
#[inline(never)]
fn alloc_from_pools(bytes: usize) -> *mut u8 {
    let class = SizeClass::of_block(bytes);
    match tls::enter() {
        Entry::Heap(heap) => heap.alloc(&SHARED, class),
        Entry::Stragglers => {
            let block = SHARED.with_stragglers(|heap| heap.alloc(&SHARED, class));
            block.unwrap_or(ptr::null_mut())
        }
        Entry::NoRegion => ptr::null_mut(),
    }
}

/// Counts what goes to the backend: in the calling thread's heap as its single writer, else in what all share.
#[inline]
fn count_large(change: impl Fn(&LargeCounters, fn(&Counter, usize))) {
    if let Some(heap) = tls::in_front() {
        return change(&heap.large, Counter::add);
    }
    match tls::enter() {
        Entry::Heap(heap) => change(&heap.large, Counter::add),
        _ => change(&SHARED.large, Counter::add_shared),
    }
}

/// What goes past the pools.
impl<B: GlobalAlloc> PoolMalloc<B> {
    /// Takes the parts of the layout in the order in which `alloc` gets them in registers, and the allocator last: nothing
    /// has to be moved on the fast path for the sake of this one.
    #[cold]
    #[inline(never)]
    #[cfg(not(feature = "profile"))]
    unsafe fn alloc_slow(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: the caller's promises.
        unsafe { Self::alloc_unsampled(size, align, this) }
    }

    /// As above. While the thread's requests are sampled all of them come here; most are no samples, and are served as on the
    /// fast path. What is more is out of line, so that no register has to be saved for it.
    #[cold]
    #[inline(never)]
    #[cfg(feature = "profile")]
    unsafe fn alloc_slow(size: usize, align: usize, this: &Self) -> *mut u8 {
        if let Some(heap) = tls::in_front() {
            if tls::is_sampled(heap) {
                if heap.is_due(size) {
                    // SAFETY: the caller's promises.
                    return unsafe { Self::alloc_sample(size, align, this) };
                }
                let block = heap.front.head_of_block(block_bytes(size, align)).pop();
                if !block.is_null() {
                    return block;
                }
            }
        }
        // SAFETY: the caller's promises.
        unsafe { Self::alloc_unsampled(size, align, this) }
    }

    /// A block for a small request that is due to be sampled: of the backend, so that no free has to look up a block of the
    /// region; of pools if the backend has none.
    #[cfg(feature = "profile")]
    #[cold]
    #[inline(never)]
    unsafe fn alloc_sample(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // No closure, whose frame would be told as the program's.
        let sample = match tls::current() {
            Some(heap) => profile::sample(heap, size),
            None => None,
        };
        // SAFETY: the caller's promises.
        match unsafe { this.alloc_as_sample(layout, Content::Any, sample) } {
            Some(block) => block,
            // SAFETY: as above.
            None => unsafe { Self::alloc_unsampled(size, align, this) },
        }
    }

    /// A block of the backend for a request that is a sample, if it is and there is one.
    #[inline(always)]
    unsafe fn alloc_as_sample(&self, layout: Layout, content: Content, sample: Option<Sample>) -> Option<*mut u8> {
        let sample = sample?;
        // SAFETY: the caller's promises.
        let block = unsafe { self.alloc_counted(layout, content) };
        if block.is_null() {
            return None;
        }
        note_large(block, layout.size(), Some(sample));
        Some(block)
    }

    /// A block for a small request that has had its chance to be a sample.
    #[cfg_attr(feature = "profile", cold, inline(never))]
    #[cfg_attr(not(feature = "profile"), inline(always))]
    unsafe fn alloc_unsampled(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        if !tls::front().has_heap() {
            // SAFETY: the caller's promises.
            return unsafe { this.alloc_elsewhere(layout, Content::Any) };
        }
        // A request of 0 bytes is served as one of 1, to be aligned as it asks.
        let bytes = block_bytes(size.max(1), align);
        let block = if bytes <= SMALL_MAX { alloc_from_pools(bytes) } else { ptr::null_mut() };
        if block.is_null() {
            // The region is used up.
            #[cfg(feature = "profile")]
            // SAFETY: the caller's promises.
            return unsafe { this.alloc_noted(layout, Content::Any) };
            // The same, without its code once more.
            #[cfg(not(feature = "profile"))]
            // SAFETY: as above.
            return unsafe { Self::alloc_large(size, align, this) };
        }
        block
    }

    /// A block for a thread whose front is no heap's: it takes a heap now, or is watched, or the process is in a mode of its
    /// own. Zeros are seen to in blocks of the backend.
    #[cold]
    #[inline(never)]
    unsafe fn alloc_elsewhere(&self, layout: Layout, content: Content) -> *mut u8 {
        let entry = 0_u8;
        let (size, bytes) = (layout.size(), block_bytes(layout.size().max(1), layout.align()));
        let (block, counted) = match mode() {
            Mode::Debug | Mode::DebugBackend => {
                // SAFETY: the caller's promises.
                (unsafe { debug::alloc(self, layout, content, &raw const entry) }, counted(size, layout.align()))
            }
            // SAFETY: as above.
            mode => match unsafe { self.alloc_as_sample(layout, content, sample_if_due(size)) } {
                Some(block) => (block, size),
                None => {
                    let is_small = mode == Mode::Pools && bytes <= SMALL_MAX;
                    let block = if is_small { alloc_from_pools(bytes) } else { ptr::null_mut() };
                    if block.is_null() {
                        // SAFETY: as above.
                        (unsafe { self.alloc_noted(layout, content) }, size)
                    } else {
                        (block, bytes)
                    }
                }
            },
        };
        if !block.is_null() {
            note(|watch| watch.allocated(block, size, counted));
        }
        block
    }

    /// A block of the backend, counted, and in the index if there is one.
    #[inline(always)]
    unsafe fn alloc_noted(&self, layout: Layout, content: Content) -> *mut u8 {
        // SAFETY: the caller's promises.
        let block = unsafe { self.alloc_counted(layout, content) };
        if !block.is_null() {
            note_large(block, layout.size(), None);
        }
        block
    }

    #[inline]
    unsafe fn alloc_counted(&self, layout: Layout, content: Content) -> *mut u8 {
        let block = match content {
            // SAFETY: the caller's promises.
            Content::Any => unsafe { self.backend.alloc(layout) },
            // SAFETY: as above.
            Content::Zeros => unsafe { self.backend.alloc_zeroed(layout) },
        };
        if !block.is_null() {
            count_large(|large, add| large.count_allocation(layout.size(), add));
        }
        block
    }

    /// Takes the parts of the layout, as `alloc_slow` does.
    #[inline(never)]
    unsafe fn alloc_large(size: usize, align: usize, this: &Self) -> *mut u8 {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        if !tls::front().has_heap() {
            // SAFETY: the caller's promises.
            return unsafe { this.alloc_elsewhere(layout, Content::Any) };
        }
        // SAFETY: the caller's promises.
        unsafe { this.alloc_large_in_front(layout, Content::Any) }
    }

    /// A large block for a thread with a heap in front.
    #[inline(always)]
    unsafe fn alloc_large_in_front(&self, layout: Layout, content: Content) -> *mut u8 {
        // SAFETY: the caller's promises.
        match unsafe { self.alloc_as_sample(layout, content, sample_if_due(layout.size())) } {
            Some(block) => block,
            // SAFETY: as above.
            None => unsafe { self.alloc_noted(layout, content) },
        }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed_large(&self, layout: Layout) -> *mut u8 {
        if !tls::front().has_heap() {
            // SAFETY: the caller's promises.
            return unsafe { self.alloc_elsewhere(layout, Content::Zeros) };
        }
        // SAFETY: the caller's promises.
        unsafe { self.alloc_large_in_front(layout, Content::Zeros) }
    }

    /// Takes the parts of the layout, as `alloc_slow` does.
    #[inline(never)]
    unsafe fn dealloc_large(block: *mut u8, size: usize, align: usize, this: &Self) {
        // SAFETY: they are the parts of a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        if tls::front().has_heap() {
            // SAFETY: not in the region, so the backend's, with the layout that it was asked for.
            return unsafe { this.dealloc_backend(block, layout) };
        }
        // SAFETY: the caller's promises.
        unsafe { this.dealloc_elsewhere(block, layout) }
    }

    /// Frees a block for a thread whose front is no heap's.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_elsewhere(&self, block: *mut u8, layout: Layout) {
        let (entry, mode) = (0_u8, mode());
        if mode.is_debug() {
            // SAFETY: the caller's promises.
            unsafe { debug::dealloc(self, block, layout, &raw const entry) };
            note(|watch| watch.freed(block, counted(layout.size(), layout.align())));
        } else if mode == Mode::Backend || !dealloc_without_heap(block) {
            note(|watch| watch.freed(block, layout.size()));
            // SAFETY: no pool's, so the backend's, with the layout that it was asked for.
            unsafe { self.dealloc_backend(block, layout) }
        }
    }

    #[inline]
    unsafe fn dealloc_backend(&self, block: *mut u8, layout: Layout) {
        count_large(|large, add| large.count_free(layout.size(), add));
        if LARGE.is_in_use() {
            // SAFETY: the caller gives the block up.
            unsafe { forget_large(block) };
        }
        // SAFETY: the caller promises that the block is the backend's.
        unsafe { self.backend.dealloc(block, layout) }
    }

    /// Has the backend resize a block of its own, to one that is a sample or none.
    #[inline]
    unsafe fn realloc_backend(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        sample: Option<Sample>,
    ) -> *mut u8 {
        let new = if LARGE.is_in_use() {
            // SAFETY: the caller promises that the block is the backend's.
            unsafe { self.realloc_indexed(block, layout, new_size, |new| note_large(new, new_size, sample)) }
        } else {
            // SAFETY: as above.
            unsafe { self.backend.realloc(block, layout, new_size) }
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

    /// As the backend's own `realloc`, while blocks of it may be in the index: `put` is to note the new one there.
    #[cold]
    #[inline(never)]
    unsafe fn realloc_indexed(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        put: impl FnOnce(*mut u8),
    ) -> *mut u8 {
        if LARGE.is_armed() {
            // SAFETY: the caller's promises.
            return unsafe { self.realloc_moved(block, layout, new_size, put) };
        }
        let old = LARGE.take_out(block);
        // SAFETY: the caller's promises.
        let new = unsafe { self.backend.realloc(block, layout, new_size) };
        if !new.is_null() {
            put(new);
        } else if let Some(old) = old {
            // Its place is still there.
            let _ = LARGE.put(old);
        }
        new
    }

    /// As the backend's own `realloc`, but that the block always moves: what it held is wiped where it was.
    unsafe fn realloc_moved(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
        put: impl FnOnce(*mut u8),
    ) -> *mut u8 {
        // SAFETY: `realloc` promises that the new size at the same alignment makes a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller's promises.
        let new = unsafe { self.backend.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both are live blocks of at least so many bytes, and distinct.
            unsafe { ptr::copy_nonoverlapping(block, new, new_size.min(layout.size())) };
            // First, or a sample would be there twice for a moment.
            // SAFETY: the caller gives the old block up.
            unsafe { forget_large(block) };
            put(new);
            // SAFETY: the caller promises that the old block is the backend's.
            unsafe { self.backend.dealloc(block, layout) };
        }
        new
    }

    /// Moves a block of `bytes` out of its pool's class.
    #[inline(never)]
    unsafe fn move_from_pool(&self, block: *mut u8, bytes: usize, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: `realloc` promises that the new size at the same alignment makes a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: the caller's promises.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both are live blocks of at least so many bytes, and distinct.
            unsafe { ptr::copy_nonoverlapping(block, new, bytes.min(new_size)) };
            let front = tls::front();
            match front.offset_of(block.addr()) {
                Some(offset) => dealloc_small(front, offset, block),
                None => _ = dealloc_without_heap(block),
            }
            count_moved();
        }
        new
    }

    #[inline(never)]
    unsafe fn realloc_large(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !tls::front().has_heap() {
            // SAFETY: the caller's promises.
            return unsafe { self.realloc_elsewhere(block, layout, new_size) };
        }
        // SAFETY: the caller's promises.
        if let Some(same) = unsafe { self.realloc_sample(block, layout, new_size) } {
            return same;
        }
        // What grows or shrinks counts as a new request.
        let sample = sample_if_due(new_size);
        if sample.is_none() && block_bytes(new_size, layout.align()) <= SMALL_MAX {
            // SAFETY: the caller's promises.
            if let Some(moved) = unsafe { self.move_to_pool(block, layout, new_size) } {
                return moved;
            }
        }
        // SAFETY: not in the region, so the backend's, with the layout that it was asked for.
        unsafe { self.realloc_backend(block, layout, new_size, sample) }
    }

    /// Resizes a block for a thread whose front is no heap's.
    #[cold]
    #[inline(never)]
    unsafe fn realloc_elsewhere(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
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
        if mode == Mode::Pools {
            if let Some((_, tag)) = SHARED.locate(block.addr()) {
                let bytes = tag_block_bytes(tag);
                if block_bytes(new_size, layout.align()) == bytes {
                    note(|watch| watch.resized(new_size, bytes, bytes));
                    return block;
                }
                // SAFETY: the caller's promises; `bytes` is the block's true size.
                return unsafe { self.move_from_pool(block, bytes, layout, new_size) };
            }
        }
        if mode == Mode::Pools {
            // SAFETY: the caller's promises.
            if let Some(same) = unsafe { self.realloc_sample(block, layout, new_size) } {
                if !same.is_null() {
                    note(|watch| watch.moved((block, same), new_size, layout.size(), new_size));
                }
                return same;
            }
        }
        // As in `realloc_large`.
        let sample = sample_if_due(new_size);
        if sample.is_none() && mode == Mode::Pools && block_bytes(new_size, layout.align()) <= SMALL_MAX {
            // SAFETY: the caller's promises.
            if let Some(moved) = unsafe { self.move_to_pool(block, layout, new_size) } {
                return moved;
            }
        }
        // SAFETY: no pool's, so the backend's, with the layout that it was asked for.
        let new = unsafe { self.realloc_backend(block, layout, new_size, sample) };
        if !new.is_null() {
            note(|watch| watch.moved((block, new), new_size, layout.size(), new_size));
        }
        new
    }

    /// Resizes a small block that lies with the backend because it is a sample, if one in a pool would stay where it is: so
    /// this is no new request either, and the block goes on to be that sample. `None` if it is none.
    #[inline]
    unsafe fn realloc_sample(&self, block: *mut u8, layout: Layout, new_size: usize) -> Option<*mut u8> {
        #[cfg(feature = "profile")]
        if block_bytes(layout.size(), layout.align()) <= SMALL_MAX
            && block_bytes(new_size, layout.align()) == block_bytes(layout.size(), layout.align())
        {
            let sample = LARGE.sample_of(block)?;
            let put = |new: *mut u8| {
                // Without memory it is no sample any more.
                let _ = LARGE.put(Large { start: new.expose_provenance(), bytes: new_size, sample: Some(sample) });
            };
            // SAFETY: the caller's promises: what is in the index is the backend's.
            let new = unsafe { self.realloc_indexed(block, layout, new_size, put) };
            if !new.is_null() {
                count_large(|large, add| {
                    add(&large.bytes_in, new_size);
                    add(&large.bytes_out, layout.size());
                });
            }
            return Some(new);
        }
        #[cfg(not(feature = "profile"))]
        let _ = (block, layout, new_size);
        None
    }

    /// Moves a block of the backend into a pool; `None` if the pools cannot serve it.
    unsafe fn move_to_pool(&self, block: *mut u8, layout: Layout, new_size: usize) -> Option<*mut u8> {
        let new = alloc_from_pools_or_magazine(new_size, layout.align());
        if new.is_null() {
            return None;
        }
        // SAFETY: both are live blocks of at least so many bytes, and distinct.
        unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(new_size)) };
        note(|watch| watch.freed(block, layout.size()));
        // SAFETY: the caller gives the old block, the backend's, up.
        unsafe { self.dealloc_backend(block, layout) };
        count_moved();
        Some(new)
    }
}

/// What the debug layer gets its memory from.
impl<B: GlobalAlloc> Below for PoolMalloc<B> {
    unsafe fn take(&self, layout: Layout, content: Content) -> *mut u8 {
        let bytes = block_bytes(layout.size(), layout.align());
        if MODE.get() == Mode::Debug && bytes <= SMALL_MAX {
            let block = alloc_from_pools(bytes);
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller's promises.
        unsafe { self.alloc_counted(layout, content) }
    }

    unsafe fn give_back(&self, block: *mut u8, layout: Layout) {
        count_large(|large, add| large.count_free(layout.size(), add));
        // SAFETY: the caller's promises, and what is given back in this way is large.
        unsafe { self.backend.dealloc(block, layout) }
    }

    fn late(&self) -> Option<unsafe fn(*mut u8, Layout)> {
        /// Frees through a backend without a state, which need not be where it was.
        unsafe fn dealloc<B: GlobalAlloc>(block: *mut u8, layout: Layout) {
            let backend = NonNull::<PoolMalloc<B>>::dangling();
            // SAFETY: it has no bytes, and one was there when this function was chosen.
            let backend = unsafe { backend.as_ref() };
            // SAFETY: the caller's promises.
            unsafe { Below::give_back(backend, block, layout) }
        }
        (size_of::<B>() == 0).then_some(dealloc::<B>)
    }
}

/// Has the watch over the calling thread note something, if there is one.
fn note(what: impl FnOnce(&Watch)) {
    if let Some(watch) = tls::watched() {
        what(watch);
    }
}

/// What a request counts as for a watch: a small one as the block that serves it when there is no debug layer in between.
fn counted(size: usize, align: usize) -> usize {
    let bytes = block_bytes(size.max(1), align);
    if bytes <= SMALL_MAX { bytes } else { size }
}

/// Has a watch note what it would without the debug layer.
fn note_resized(watch: &Watch, (old, new): (*mut u8, *mut u8), layout: Layout, new_size: usize) {
    let (from, to) = (counted(layout.size(), layout.align()), counted(new_size, layout.align()));
    let is_moved = from != to && from.min(to) <= SMALL_MAX;
    if is_moved {
        watch.allocated(new, new_size, to);
        watch.freed(old, from);
    } else {
        watch.moved((old, new), new_size, from, to);
    }
}

fn alloc_from_pools_or_magazine(size: usize, align: usize) -> *mut u8 {
    let bytes = block_bytes(size, align);
    let block = tls::front().head_of_block(bytes).pop();
    if !block.is_null() {
        return block;
    }
    alloc_from_pools_noted(size, bytes)
}

/// As [`alloc_from_pools`], and a watch notes the block. Out of line, so that no register has to be saved for it.
#[cold]
#[inline(never)]
fn alloc_from_pools_noted(size: usize, bytes: usize) -> *mut u8 {
    let block = alloc_from_pools(bytes);
    if !block.is_null() {
        note(|watch| watch.allocated(block, size, bytes));
    }
    block
}

/// Counts a block that `realloc` moved from a pool, or to one.
#[inline]
fn count_moved() {
    count_large(|counters, add| add(&counters.moved, 1));
}

/// Notes a block of the backend, if those are noted or it is a sample. The environment has been read by now.
#[inline(always)]
fn note_large(block: *mut u8, bytes: usize, sample: Option<Sample>) {
    #[cfg(feature = "profile")]
    if let Some(sample) = sample {
        // Without memory it is not counted, and part of the roots.
        let _ = LARGE.insert_sample(block, bytes, sample);
        return;
    }
    #[cfg(not(feature = "profile"))]
    let _ = sample;
    if LARGE.is_armed() && bytes > 0 {
        // Without memory it is part of the roots.
        let _ = LARGE.insert(block, bytes);
    }
}

/// What a request stands for, if it is due to be sampled, for a thread that has a heap by now if it can have one.
#[inline(always)]
fn sample_if_due(bytes: usize) -> Option<Sample> {
    #[cfg(feature = "profile")]
    {
        let heap = tls::current()?;
        if tls::is_sampled(heap) && heap.is_due(bytes) { profile::sample(heap, bytes) } else { None }
    }
    #[cfg(not(feature = "profile"))]
    {
        let _ = bytes;
        None
    }
}

/// The mode of the process, for a thread whose front is no heap's.
fn mode() -> Mode {
    // The first request of all reads the environment there.
    tls::enter();
    MODE.get()
}

/// Takes a large block out of the index, and wipes it for the finder of leaks: what it points to is no longer held.
///
/// # Safety
/// * The caller owns the block.
#[cold]
#[inline(never)]
pub(crate) unsafe fn forget_large(block: *mut u8) {
    /// From so many bytes on, pages are given back instead: the program may never have touched most of them.
    const SPARSE: usize = 32 * 1024;
    if let (Some(bytes), true) = (LARGE.remove(block), LARGE.is_armed()) {
        let (before, pages) = pages_within(block.addr(), bytes, os::page_bytes());
        // SAFETY: whole pages inside a block that the caller owns.
        let is_given_back = bytes >= SPARSE && unsafe { os::give_back(block.wrapping_add(before), pages) };
        let (first, rest) = if is_given_back { (before, bytes - before - pages) } else { (bytes, 0) };
        // SAFETY: the index says that so many were asked for, and the caller owns them.
        unsafe { ptr::write_bytes(block, 0, first) };
        // SAFETY: as above, the end of it.
        unsafe { ptr::write_bytes(block.wrapping_add(bytes - rest), 0, rest) };
        // Else the compiler would leave out what nobody reads before the block is freed.
        core::hint::black_box(block);
    }
}

/// Bytes of a block before the first page that begins in it, and bytes of the whole pages from there on. All of the block lies
/// before, if no page begins in it: one may be larger.
fn pages_within(address: usize, bytes: usize, page: usize) -> (usize, usize) {
    let before = (address.next_multiple_of(page) - address).min(bytes);
    (before, (bytes - before) & !(page - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wiped_of_a_block_is_the_block() {
        assert_eq!(pages_within(0x1_0010, 40_000, 0x1000), (0xFF0, 0x8000));
        assert_eq!(pages_within(0x1_0000, 0x1_0000, 0x1000), (0, 0x1_0000));
        for page in [0x1000, 0x4000, 0x1_0000] {
            for address in (0x10_0000..0x10_0000 + page).step_by(16) {
                for bytes in [1, page - 1, page, 32 * 1024, 40_000, 65_000, 2 * page, 3 * page + 8] {
                    let (before, pages) = pages_within(address, bytes, page);
                    assert!(before + pages <= bytes, "{bytes} bytes at {address:#x}");
                    assert!(pages == 0 || (address + before) % page == 0 && pages % page == 0);
                }
            }
        }
    }
}
