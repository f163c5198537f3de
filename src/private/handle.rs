//! A private heap for one thread at a time.

use super::serve::{PrivateCore, put};
use super::shared::SharedPrivateHeap;
use crate::figures::{Name, PrivateHeapReport, ReleaseStats};
use core::alloc::Layout;
use core::cell::Cell;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::ptr::NonNull;
use static_assertions::{assert_impl_all, assert_not_impl_any};

/// A private heap: pools and arenas that hold only its own blocks, and that it gives back all at once.
///
/// It serves blocks as the process's allocator does, and out of the same region: up to 256 bytes from pools, larger
/// ones from the system's malloc. The program's global allocator need not be [`PoolMalloc`](crate::PoolMalloc).
///
/// Dropping the heap, or a [`reset`](Self::reset), frees all blocks that are still live. The time depends on the number
/// of its arenas and of its blocks over 256 bytes, and not on the number of its small blocks. *No destructor of a value
/// in the blocks runs*: memory or files that such a value owns elsewhere, the text of a `String` for instance, are
/// leaked.
///
/// Most programs need no private heap: the global allocator keeps the blocks that a thread frees for its next requests
/// anyway. docs/guide/private-heaps.md says when a private heap pays, and what it costs: at least an arena of 256 KiB
/// while it holds a small block.
///
/// # Ways to use it
/// * As the allocator of collections: `&PrivateHeap` is an `Allocator` of the crate `allocator-api2` with the feature
///   of that name, and of the standard library on a nightly compiler, with `--cfg poolmalloc_nightly`.
/// * [`make`](Self::make) puts a value into a block, for as long as the heap lives.
/// * [`alloc`](Self::alloc), [`realloc`](Self::realloc) and [`dealloc`](Self::dealloc) are for data structures that you
///   build on the heap.
///
/// # What may cross threads
/// The heap itself may move to another thread while nothing borrows it: it is `Send`. It is not `Sync`, so one thread
/// at a time allocates from it and frees to it. The heap takes no lock and does not check which thread calls it. That
/// makes it as fast as the global allocator.
///
/// `&PrivateHeap`, `Box<T, &PrivateHeap>` and `Vec<T, &PrivateHeap>` are not `Send`, since they would allocate or free
/// on the other thread. [`make`](Self::make) returns a plain reference, which frees nothing: it may go to a scoped
/// thread if `T` is `Send`. [`SharedPrivateHeap`] is for many threads.
///
/// In safe code no block is used after its heap is gone, since each reference, box and collection in the heap borrows
/// the heap. The examples after the first one show uses that do not compile.
///
/// # Examples
/// ```
/// use poolmalloc::PrivateHeap;
///
/// struct Node<'h> {
///     name: &'static str,
///     below: Option<&'h Node<'h>>,
/// }
///
/// let heap = PrivateHeap::named("tree");
/// let leaf: &Node<'_> = heap.make(Node { name: "leaf", below: None });
/// let root = heap.make(Node { name: "root", below: Some(leaf) });
/// assert_eq!(root.below.map(|node| node.name), Some("leaf"));
/// let stats = heap.stats();
/// assert_eq!(stats.small.live_blocks + stats.large.live_blocks, 2);
/// drop(heap); // Both nodes at once.
/// ```
/// A block does not outlive its heap:
/// ```compile_fail,E0505
/// let heap = poolmalloc::PrivateHeap::new();
/// let value = heap.make(1);
/// drop(heap);
/// println!("{value}");
/// ```
/// ```compile_fail,E0597
/// let value = {
///     let heap = poolmalloc::PrivateHeap::new();
///     heap.make(1)
/// };
/// println!("{value}");
/// ```
/// A block does not outlive a [`reset`](Self::reset) either:
/// ```compile_fail,E0502
/// let mut heap = poolmalloc::PrivateHeap::new();
/// let value = heap.make(1);
/// heap.reset();
/// println!("{value}");
/// ```
/// Two threads do not use one heap at once:
/// ```compile_fail,E0277
/// let heap = poolmalloc::PrivateHeap::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| heap.make(1));
/// });
/// ```
/// A heap does not move to another thread while a block is in use:
/// ```compile_fail,E0505
/// let heap = poolmalloc::PrivateHeap::new();
/// let value = heap.make(1);
/// std::thread::spawn(move || drop(heap));
/// println!("{value}");
/// ```
pub struct PrivateHeap {
    private: PrivateCore,
    _not_sync: PhantomData<Cell<()>>,
}

impl PrivateHeap {
    /// Makes a private heap without a name.
    ///
    /// In some processes the heap has no pools: where there is no memory or place for them, under valgrind's memcheck,
    /// and with `POOLMALLOC=malloc` or `POOLMALLOC=debug` in the environment. Then the system's malloc serves all its
    /// requests, and everything else is as documented.
    #[must_use]
    pub fn new() -> Self {
        Self::named("")
    }

    /// Makes a private heap with a name. [`stats`](crate::stats()) lists it under that name, together with all other
    /// private heaps of the name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { private: PrivateCore::new(Name::new(name)), _not_sync: PhantomData }
    }

    /// Makes a private heap with a name if it can have pools. Returns `None` where [`named`](Self::named) would return
    /// a heap without pools.
    #[must_use]
    pub fn try_new(name: &str) -> Option<Self> {
        let heap = Self::named(name);
        heap.private.has_pools().then_some(heap)
    }

    /// The name; empty if the heap has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.private.name().as_str()
    }

    /// Puts a value into a block of its own and returns a reference to it.
    ///
    /// The heap does not drop the value. If its destructor must run, call `std::ptr::drop_in_place` on it before you
    /// drop the heap.
    ///
    /// # Panics
    /// If there is no memory, `std::alloc::handle_alloc_error` is called, as by `Box::new`.
    #[expect(clippy::mut_from_ref, reason = "each call returns another block")]
    #[inline]
    pub fn make<T>(&self, value: T) -> &mut T {
        // SAFETY: a fresh block for a `T`, which lives as long as the heap is borrowed.
        unsafe { put(self.alloc(Layout::new::<T>()), value) }
    }

    /// Allocates a block; `None` if there is no memory. Its content is not initialized. It belongs to the heap and is
    /// freed with the heap at the latest. A request of 0 bytes takes no memory.
    #[must_use]
    #[inline(always)]
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.private.alloc(layout))
    }

    /// Allocates a block that is filled with zeros; `None` if there is no memory. See [`alloc`](Self::alloc).
    #[must_use]
    #[inline]
    pub fn alloc_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.private.alloc_zeroed(layout))
    }

    /// Frees a block, so that the heap can serve it again.
    ///
    /// To free a block twice, or a block of another heap, is a bug of the program. If the heap detects the bug, it
    /// writes one line to stderr and aborts the process.
    ///
    /// # Safety
    /// * The block was served by this heap and has not been freed since, neither alone nor by a [`reset`](Self::reset).
    /// * The block is not used after this call.
    /// * `layout` is the layout given to the last call that returned the block, be it an allocation or a
    ///   [`realloc`](Self::realloc).
    #[inline(always)]
    pub unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { self.private.dealloc(block, layout) }
    }

    /// Resizes a block to `new` and returns the new block, which may be the same one. The content is kept up to the
    /// smaller of both sizes. Returns `None` if there is no memory; the old block is unchanged then.
    ///
    /// # Safety
    /// * As for [`dealloc`](Self::dealloc) of `block` with `old`. If the result is `None`, the block may still be used.
    #[must_use]
    #[inline]
    pub unsafe fn realloc(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises.
        NonNull::new(unsafe { self.private.resize(block, old, new) })
    }

    /// Frees all blocks at once. The heap's arenas become free for all threads, and the heap is empty and usable.
    ///
    /// No destructor of a value in the blocks runs.
    pub fn reset(&mut self) {
        // SAFETY: each reference into a block borrows the heap. The users of blocks from `alloc` have given them up by
        // now, as `dealloc` demands.
        unsafe { self.private.free_all() };
    }

    /// Gives the memory of pools without a block back to the system. Returns how much.
    ///
    /// It empties the heap's caches and collects remote frees first. Arenas that are then wholly free go back to all
    /// threads. Their memory, and that of dropped heaps, is released by [`release_unused`](crate::release_unused).
    pub fn release_unused(&self) -> ReleaseStats {
        self.private.release_unused()
    }

    /// The statistics of this heap: what it holds now, and its counts since it was made.
    #[must_use]
    pub fn stats(&self) -> PrivateHeapReport {
        self.private.stats()
    }
}

impl Default for PrivateHeap {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for PrivateHeap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateHeap").field("name", self.private.name()).finish_non_exhaustive()
    }
}

/// The examples of docs/guide/private-heaps.md, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/private-heaps.md")]
struct Page;

assert_impl_all!(PrivateHeap: Send);
assert_not_impl_any!(PrivateHeap: Sync);
assert_impl_all!(SharedPrivateHeap: Send, Sync);
