//! A private heap for many threads.

use super::serve::{PrivateCore, put};
use crate::figures::{Name, PrivateHeapReport, ReleaseStats};
use crate::heap::{Front, Heap};
use crate::process::NO_HEAP;
use crate::sync::{LockCell, LockCellGuard, WatchedPtr};
use core::alloc::Layout;
use core::fmt::{self, Debug, Formatter};
use core::ptr::NonNull;

/// A private heap for many threads: any thread may allocate from it and free to it.
///
/// An allocation waits for the heap's own lock. A free takes the lock if no other thread holds it. Else it posts the
/// block as a remote free, as the process's allocator does, with two or three atomic operations. The heap collects such
/// blocks before it takes more memory. So the free of a block from a pool never waits. The free of a block from the
/// system's malloc waits for the lock: these are the blocks over 256 bytes, and small ones that were served when there
/// was no memory for pools.
///
/// The heap is `Sync`, so a `Box<T, &SharedPrivateHeap>` or a `Vec<T, &SharedPrivateHeap>` may go to another thread if
/// `T` is `Send`, and free its block there. While a block is in use, the heap can be neither dropped nor
/// [`reset`](Self::reset). The same holds for a [`PrivateHeap`](crate::PrivateHeap).
///
/// The child of a `fork` can use the heap, too. If another thread held the lock at that moment, the child loses the
/// blocks that the heap had. They stay usable, but neither a drop nor a `reset` frees them, and the blocks of pools are
/// never served again. From then on the system's malloc serves all requests of the heap in that child.
///
/// # Examples
/// ```
/// use poolmalloc::SharedPrivateHeap;
///
/// let heap = SharedPrivateHeap::named("words");
/// std::thread::scope(|scope| {
///     for number in 0..4 {
///         let heap = &heap;
///         scope.spawn(move || assert_eq!(*heap.make(number), number));
///     }
/// });
/// let stats = heap.stats();
/// assert_eq!(stats.small.live_blocks + stats.large.live_blocks, 4);
/// ```
/// A block does not outlive its heap here either:
/// ```compile_fail,E0505
/// let heap = poolmalloc::SharedPrivateHeap::new();
/// let value = heap.make(1);
/// drop(heap);
/// println!("{value}");
/// ```
/// ```compile_fail,E0502
/// let mut heap = poolmalloc::SharedPrivateHeap::new();
/// let value = heap.make(1);
/// heap.reset();
/// println!("{value}");
/// ```
/// A block does not go to a thread that may outlive the heap:
/// ```compile_fail,E0597
/// let heap = poolmalloc::SharedPrivateHeap::new();
/// let value: &mut i32 = heap.make(1);
/// std::thread::spawn(move || *value += 1);
/// ```
/// A value that is not `Send` stays on its thread:
/// ```compile_fail,E0277
/// let heap = poolmalloc::SharedPrivateHeap::new();
/// let value = heap.make(std::rc::Rc::new(1));
/// std::thread::scope(|scope| {
///     scope.spawn(move || println!("{value}"));
/// });
/// ```
pub struct SharedPrivateHeap {
    name: Name,
    /// The front of `private`, for a free without the lock. Changes at most once, in the child of a fork.
    front: WatchedPtr<Front>,
    private: LockCell<PrivateCore>,
}

impl SharedPrivateHeap {
    /// Makes a shared private heap without a name. In some processes it has no pools: see
    /// [`PrivateHeap::new`](crate::PrivateHeap::new).
    #[must_use]
    pub fn new() -> Self {
        Self::named("")
    }

    /// Makes a shared private heap with a name. [`stats`](crate::stats()) lists it under that name, together with all
    /// other private heaps of the name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = Name::new(name);
        let private = PrivateCore::new(name);
        Self { name, front: WatchedPtr::new(private.front_pointer().as_ptr()), private: LockCell::new(private) }
    }

    /// Makes a shared private heap with a name if it can have pools. Returns `None` where [`named`](Self::named) would
    /// return a heap without pools.
    #[must_use]
    pub fn try_new(name: &str) -> Option<Self> {
        let heap = Self::named(name);
        heap.front().has_heap().then_some(heap)
    }

    /// The front; see the field. Needs no lock.
    fn front(&self) -> &Front {
        // SAFETY: a front without a heap is a static, and heaps are never unmapped.
        unsafe { &*self.front.get() }
    }

    /// Waits for the lock and takes it. In the child of a fork, gives the heap up if another thread held the lock at
    /// the fork.
    fn hold(&self) -> LockCellGuard<'_, PrivateCore> {
        self.private.hold(|private| {
            private.give_up();
            self.front.set((&raw const NO_HEAP).cast_mut());
        })
    }

    /// The name; empty if the heap has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Puts a value into a block of its own and returns a reference to it. The heap does not drop the value: see
    /// [`PrivateHeap::make`](crate::PrivateHeap::make).
    ///
    /// # Panics
    /// If there is no memory, `std::alloc::handle_alloc_error` is called, as by `Box::new`.
    #[expect(clippy::mut_from_ref, reason = "each call returns another block")]
    #[inline]
    pub fn make<T>(&self, value: T) -> &mut T {
        // SAFETY: a fresh block for a `T`, which lives as long as the heap is borrowed.
        unsafe { put(self.alloc(Layout::new::<T>()), value) }
    }

    /// Allocates a block, under the lock; `None` if there is no memory. Its content is not initialized. See
    /// [`PrivateHeap::alloc`](crate::PrivateHeap::alloc).
    #[must_use]
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.hold().alloc(layout))
    }

    /// Allocates a block that is filled with zeros, under the lock; `None` if there is no memory.
    #[must_use]
    pub fn alloc_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.hold().alloc_zeroed(layout))
    }

    /// Frees a block, on any thread. If the lock is taken, a block from a pool is posted as a remote free, so that its
    /// free never waits. A wrong free aborts as in [`PrivateHeap::dealloc`](crate::PrivateHeap::dealloc).
    ///
    /// # Safety
    /// * As for [`PrivateHeap::dealloc`](crate::PrivateHeap::dealloc).
    pub unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // A post without the lock touches only atomics (Heap invariant 1). It borrows the heap, so it has ended before
        // any code has a `&mut` to the heap.
        let held = if let Some(held) = self.private.try_hold() {
            held
        } else {
            // Read once: in the child of a fork, another thread may take the lock over meanwhile and give the heap up.
            let pointer = self.front.get().cast_const();
            // SAFETY: a front without a heap is a static, and heaps are never unmapped.
            let front = unsafe { &*pointer };
            if let Some(offset) = front.offset_of(block.as_ptr().addr()) {
                // SAFETY: the front found the block in its region, so it is the front of a heap, made by `front_of`.
                let heap = unsafe { Heap::of_front(pointer) };
                return heap.post_private(block.as_ptr(), offset);
            }
            self.hold()
        };
        // SAFETY: the caller's promises.
        unsafe { held.dealloc(block, layout) }
    }

    /// Resizes a block, on any thread and under the lock, and returns the new block, which may be the same one. Returns
    /// `None` if there is no memory; the old block is unchanged then. See
    /// [`PrivateHeap::realloc`](crate::PrivateHeap::realloc).
    ///
    /// # Safety
    /// * As for [`PrivateHeap::realloc`](crate::PrivateHeap::realloc).
    #[must_use]
    pub unsafe fn realloc(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises.
        NonNull::new(unsafe { self.hold().resize(block, old, new) })
    }

    /// Frees all blocks at once. The heap's arenas become free for all threads, and the heap is empty and usable.
    ///
    /// No destructor of a value in the blocks runs.
    pub fn reset(&mut self) {
        // `get_mut` does not look at the lock. If another thread held the lock when a fork made this process, `hold`
        // gives the heap up.
        drop(self.hold());
        // SAFETY: each reference into a block borrows the heap. The users of blocks from `alloc` have given them up by
        // now, as `PrivateHeap::dealloc` demands.
        unsafe { self.private.get_mut().free_all() };
    }

    /// Gives the memory of pools without a block back to the system, under the lock. Returns how much. See
    /// [`PrivateHeap::release_unused`](crate::PrivateHeap::release_unused).
    pub fn release_unused(&self) -> ReleaseStats {
        self.hold().release_unused()
    }

    /// The statistics of this heap: what it holds now, and its counts since it was made.
    #[must_use]
    pub fn stats(&self) -> PrivateHeapReport {
        self.hold().stats()
    }
}

impl Drop for SharedPrivateHeap {
    fn drop(&mut self) {
        // As in `reset`: gives up a heap that a fork left half-changed. The field `private` frees the blocks when it is
        // dropped.
        drop(self.hold());
    }
}

impl Default for SharedPrivateHeap {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for SharedPrivateHeap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPrivateHeap").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::RemoteMap;
    use crate::sync::{Ordering, current_generation};

    const LAYOUT: Layout = Layout::new::<[u64; 6]>();

    fn blocks(heap: &SharedPrivateHeap) -> Vec<NonNull<u8>> {
        (0..500).map(|_| heap.alloc(LAYOUT).unwrap()).collect()
    }

    /// The heap behind the handle, and for each block the index of its word in the remote map.
    fn words<'h>(heap: &'h SharedPrivateHeap, blocks: &[NonNull<u8>]) -> (&'h Heap, Vec<u32>) {
        // SAFETY: the heap has pools, so this is the front of a heap, made by `front_of`.
        let pooled = unsafe { Heap::of_front(heap.front.get()) };
        let offset = |block: &NonNull<u8>| pooled.region.offset_of(block.addr().get()).unwrap();
        (pooled, blocks.iter().map(|block| Heap::word_and_bit(offset(block)).0).collect())
    }

    /// Whether private heaps have pools in the mode in which the tests run.
    fn has_pools() -> bool {
        // The first request for a heap chooses the mode.
        crate::process::tls::heap_or_make();
        !crate::process::MODE.get().is_bypass()
    }

    #[test]
    fn a_free_posts_when_the_lock_is_taken_and_a_reset_takes_what_was_posted() {
        if !has_pools() {
            return;
        }
        let mut heap = SharedPrivateHeap::new();
        for round in 1..4 {
            let blocks = blocks(&heap);
            let held = heap.hold();
            // SAFETY: the blocks are live and unused.
            blocks[..300].iter().for_each(|block| unsafe { heap.dealloc(*block, LAYOUT) });
            drop(held);
            let report = heap.stats();
            assert_eq!((report.small.waiting_blocks, report.small.live_blocks), (300, 200));
            assert_eq!(report.small.remote_frees, 300 * round);
            let (pooled, words) = words(&heap, &blocks);
            let (region, pending) = (pooled.region, pooled.pending());
            assert!(!pending.is_empty());
            let is_zero = |word: &u32| region.word(*word).load(Ordering::Relaxed) == 0;
            assert!(!words.iter().all(is_zero));
            assert!({
                heap.reset();
                words.iter().all(is_zero)
            });
            assert_eq!((heap.stats().small.waiting_blocks, heap.stats().small.frees), (0, 500 * round));
        }
    }

    #[test]
    fn what_a_fork_has_cut_off_from_the_list_is_not_left_in_the_map() {
        if !has_pools() {
            return;
        }
        let mut heap = SharedPrivateHeap::new();
        let blocks = blocks(&heap);
        let (pooled, words) = words(&heap, &blocks);
        let (region, word) = (pooled.region, words[0]);
        // A thread has set a block's bit in the remote map, and has not queued the word yet. A fork does not copy that
        // thread, so in the child the word is on no list.
        let class = crate::geometry::SizeClass::of_block(48);
        pooled.class(class).remote_frees.add_shared(1);
        let offset = region.offset_of(blocks[0].addr().get()).unwrap();
        region.word(word).store(Heap::word_and_bit(offset).1, Ordering::Relaxed);
        heap.private.get_mut().pretend_to_be_copied();
        heap.reset();
        assert_eq!(region.word(word).load(Ordering::Relaxed), 0);
        assert_eq!((heap.stats().small.frees, heap.stats().small.waiting_blocks), (500, 0));
    }

    #[test]
    fn a_lost_heap_serves_from_the_backend_and_frees_what_was_before() {
        let heap = SharedPrivateHeap::new();
        let large = Layout::new::<[u64; 100]>();
        let (small, before) = (blocks(&heap), heap.alloc(large).unwrap());
        // Leaves the lock as in the child of a fork that did not copy the lock's holder.
        heap.private.leave_behind(current_generation().wrapping_add(1));
        let after = blocks(&heap);
        assert_eq!((heap.stats().large.live_blocks, heap.stats().small.allocations), (500, 0));
        for block in small.into_iter().chain(after) {
            // SAFETY: the block is live and not used any more. This also holds for the block below.
            unsafe { heap.dealloc(block, LAYOUT) };
        }
        // SAFETY: as above.
        unsafe { heap.dealloc(before, large) };
        assert_eq!(heap.stats().large.live_bytes, 0);
    }
}
