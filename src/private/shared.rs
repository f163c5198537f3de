//! A private heap for many threads.

use super::serve::{PrivateCore, put};
use crate::figures::{Name, PrivateHeapReport, ReleaseStats};
use crate::heap::{Front, Heap};
use crate::process::NO_HEAP;
use crate::sync::{LockCell, LockCellGuard, WatchedPtr};
use core::alloc::Layout;
use core::fmt::{self, Debug, Formatter};
use core::ptr::NonNull;

/// A [`PrivateHeap`](crate::PrivateHeap) that any thread may allocate from and free to.
///
/// Allocations take a lock, which is the heap's own. So does a free, if the lock is free at that moment; else the block
/// is posted as a remote free of the process's allocator is, with one atomic operation or two, and the heap collects it
/// before it takes more memory: no small free ever waits. Blocks over 256 bytes need the lock.
///
/// It is `Sync`, so a `Box<T, &SharedPrivateHeap>` or a `Vec<T, &SharedPrivateHeap>` may go to another thread if `T`
/// may, and free there. What the handle cannot do while a block is in use is the same as for
/// [`PrivateHeap`](crate::PrivateHeap): to be dropped or [`reset`](Self::reset).
///
/// In the child of a `fork` it can be used, too. Only if another thread was in the middle of a call at that moment, the
/// child loses what the heap had in pools: those blocks stay usable, but are never reused, and from then on the
/// system's malloc serves the heap's requests there.
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
/// Nor on a thread that may outlive the heap:
/// ```compile_fail,E0597
/// let heap = poolmalloc::SharedPrivateHeap::new();
/// let value: &mut i32 = heap.make(1);
/// std::thread::spawn(move || *value += 1);
/// ```
/// What is not `Send` stays on its thread:
/// ```compile_fail,E0277
/// let heap = poolmalloc::SharedPrivateHeap::new();
/// let value = heap.make(std::rc::Rc::new(1));
/// std::thread::scope(|scope| {
///     scope.spawn(move || println!("{value}"));
/// });
/// ```
pub struct SharedPrivateHeap {
    name: Name,
    /// That of `private`, for who frees without the lock. Changes once at most, in the child of a fork.
    front: WatchedPtr<Front>,
    private: LockCell<PrivateCore>,
}

impl SharedPrivateHeap {
    /// A heap without a name. Where there are no pools for it, it is as [`PrivateHeap::new`](crate::PrivateHeap::new)
    /// says.
    #[must_use]
    pub fn new() -> Self {
        Self::named("")
    }

    /// A heap with a name, under which [`stats`](crate::stats()) lists it. Heaps of one name are listed together.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = Name::new(name);
        let private = PrivateCore::new(name);
        Self { name, front: WatchedPtr::new(private.front_pointer().as_ptr()), private: LockCell::new(private) }
    }

    /// As [`named`](Self::named), but `None` where there are no pools for it.
    #[must_use]
    pub fn try_new(name: &str) -> Option<Self> {
        let heap = Self::named(name);
        heap.front().has_heap().then_some(heap)
    }

    /// The front; see the field.
    fn front(&self) -> &Front {
        // SAFETY: a front without a heap is a static, and heaps are never unmapped.
        unsafe { &*self.front.get() }
    }

    /// Waits for the lock. In the child of a fork the heap is given up if another thread was just using it.
    fn hold(&self) -> LockCellGuard<'_, PrivateCore> {
        self.private.hold(|private| {
            private.give_up();
            self.front.set((&raw const NO_HEAP).cast_mut());
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// As [`PrivateHeap::make`](crate::PrivateHeap::make).
    ///
    /// # Panics
    /// As `Box::new` does when there is no memory.
    #[expect(clippy::mut_from_ref, reason = "each call returns another block")]
    #[inline]
    pub fn make<T>(&self, value: T) -> &mut T {
        // SAFETY: a fresh block for a `T`, which lives as long as the heap is borrowed.
        unsafe { put(self.alloc(Layout::new::<T>()), value) }
    }

    /// As [`PrivateHeap::alloc`](crate::PrivateHeap::alloc).
    #[must_use]
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.hold().alloc(layout))
    }

    /// As [`PrivateHeap::alloc_zeroed`](crate::PrivateHeap::alloc_zeroed).
    #[must_use]
    pub fn alloc_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.hold().alloc_zeroed(layout))
    }

    /// As [`PrivateHeap::dealloc`](crate::PrivateHeap::dealloc), on any thread.
    ///
    /// # Safety
    /// * As for [`PrivateHeap::dealloc`](crate::PrivateHeap::dealloc).
    pub unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // A post without the lock touches only atomics (Heap invariant 1), and has ended when a `&mut` to the whole is
        // had: it borrows the heap.
        let held = if let Some(held) = self.private.try_hold() {
            held
        } else {
            // Once: in the child of a fork another thread may take the lock over meanwhile, and give the heap up.
            let pointer = self.front.get().cast_const();
            // SAFETY: a front without a heap is a static, and heaps are never unmapped.
            let front = unsafe { &*pointer };
            if let Some(offset) = front.offset_of(block.as_ptr().addr()) {
                // SAFETY: it has found the block, so it is a heap's.
                let heap = unsafe { Heap::of_front(pointer) };
                return heap.post_private(block.as_ptr(), offset);
            }
            self.hold()
        };
        // SAFETY: the caller's promises.
        unsafe { held.dealloc(block, layout) }
    }

    /// As [`PrivateHeap::realloc`](crate::PrivateHeap::realloc), on any thread.
    ///
    /// # Safety
    /// * As for [`PrivateHeap::realloc`](crate::PrivateHeap::realloc).
    #[must_use]
    pub unsafe fn realloc(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises.
        NonNull::new(unsafe { self.hold().resize(block, old, new) })
    }

    /// As [`PrivateHeap::reset`](crate::PrivateHeap::reset).
    pub fn reset(&mut self) {
        // A lock that a fork has copied is seen here too.
        drop(self.hold());
        // SAFETY: whoever uses a block borrows the heap, or has promised not to use it by now (`dealloc`).
        unsafe { self.private.get_mut().free_all() };
    }

    /// As [`PrivateHeap::release_unused`](crate::PrivateHeap::release_unused).
    pub fn release_unused(&self) -> ReleaseStats {
        self.hold().release_unused()
    }

    /// What this heap holds, and has done since it was made.
    #[must_use]
    pub fn stats(&self) -> PrivateHeapReport {
        self.hold().stats()
    }
}

impl Drop for SharedPrivateHeap {
    fn drop(&mut self) {
        // As in `reset`; what is left is dropped with the field.
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

    /// The heap's part for its owner, and the words of its blocks.
    fn words<'h>(heap: &'h SharedPrivateHeap, blocks: &[NonNull<u8>]) -> (&'h Heap, Vec<u32>) {
        // SAFETY: the heap has pools, so this is a heap's front.
        let pooled = unsafe { Heap::of_front(heap.front.get()) };
        let offset = |block: &NonNull<u8>| pooled.region.offset_of(block.addr().get()).unwrap();
        (pooled, blocks.iter().map(|block| Heap::word_and_bit(offset(block)).0).collect())
    }

    /// Whether the tests do not run in a mode in which private heaps have none.
    fn has_pools() -> bool {
        // The mode is chosen when the first heap is asked for.
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
            // SAFETY: the blocks are live and unused; so below.
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
        // As a thread leaves it that has set its bit and was not copied: nothing is queued.
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
        // Held by a thread that a fork has not copied.
        heap.private.leave_behind(current_generation().wrapping_add(1));
        let after = blocks(&heap);
        assert_eq!((heap.stats().large.live_blocks, heap.stats().small.allocations), (500, 0));
        for block in small.into_iter().chain(after) {
            // SAFETY: live and unused, as is the next one.
            unsafe { heap.dealloc(block, LAYOUT) };
        }
        // SAFETY: as above.
        unsafe { heap.dealloc(before, large) };
        assert_eq!(heap.stats().large.live_bytes, 0);
    }
}
