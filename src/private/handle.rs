//! A private heap for one thread at a time.

use super::serve::{PrivateCore, put};
use super::shared::SharedPrivateHeap;
use crate::figures::{Name, PrivateHeapReport, ReleaseStats};
use core::alloc::Layout;
use core::cell::Cell;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A private heap: pools and arenas of its own, which nobody else's blocks share, and which it gives back all at once.
///
/// It serves blocks like the process's allocator and out of the same region, up to 256 bytes from pools and larger ones
/// from the system's malloc; the program's global allocator need not be [`PoolMalloc`](crate::PoolMalloc). Dropping it,
/// or [`reset`](Self::reset), frees every block that is still there, in a time that depends on the number of its arenas
/// and of its blocks over 256 bytes, and not on that of its small blocks. *No destructor of a value in them runs then*:
/// what such a value owns elsewhere, a `String`'s text or a file, is leaked.
///
/// Most programs need none: the global allocator keeps what a thread frees for its next requests anyway.
/// docs/private-heaps.md says when one pays, and what it costs: an arena of 256 KiB at least while it holds a small
/// block.
///
/// # Ways to use it
/// * As the allocator of collections: `&PrivateHeap` is an `Allocator` of the crate `allocator-api2` with the feature
///   of that name, and of the standard library on a nightly compiler, with `--cfg poolmalloc_nightly`.
/// * [`make`](Self::make) puts a value into a block, for as long as the heap lives.
/// * [`alloc`](Self::alloc), [`realloc`](Self::realloc) and [`dealloc`](Self::dealloc) are for what is built on it.
///
/// # What may cross threads
/// The heap itself, when nothing borrows it: it is `Send`, and belongs to whoever has it. It is not `Sync`, so one
/// thread at a time allocates from it and frees to it, without a lock or a look at the thread: that is what makes it as
/// fast as the global allocator. Hence `&PrivateHeap` is not `Send`, and neither is a `Box<T, &PrivateHeap>` or a
/// `Vec<T, &PrivateHeap>`, which would free on the other thread. What [`make`](Self::make) returns is a plain
/// reference, and crosses to scoped threads if `T` may: nobody frees by it. [`SharedPrivateHeap`] is for many threads.
///
/// No block outlives the heap, since whatever holds one borrows the heap. The examples below do not compile.
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
/// Nor a [`reset`](Self::reset):
/// ```compile_fail,E0502
/// let mut heap = poolmalloc::PrivateHeap::new();
/// let value = heap.make(1);
/// heap.reset();
/// println!("{value}");
/// ```
/// Two threads do not use a heap at once:
/// ```compile_fail,E0277
/// let heap = poolmalloc::PrivateHeap::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| heap.make(1));
/// });
/// ```
/// And it does not change threads while a block is in use:
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
    /// A heap without a name.
    ///
    /// Where there is no memory or place for its pools, as under valgrind's memcheck, it has none, and the system's
    /// malloc serves all its requests: everything else is as it is documented.
    #[must_use]
    pub fn new() -> Self {
        Self::named("")
    }

    /// A heap with a name, under which [`stats`](crate::stats()) lists it. Heaps of one name are listed together.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { private: PrivateCore::new(Name::new(name)), _not_sync: PhantomData }
    }

    /// As [`named`](Self::named), but `None` where there are no pools for it.
    #[must_use]
    pub fn try_new(name: &str) -> Option<Self> {
        let heap = Self::named(name);
        heap.private.has_pools().then_some(heap)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.private.name().as_str()
    }

    /// Puts a value into a block of its own. It is not dropped with the heap: `std::ptr::drop_in_place` is how to do
    /// that before.
    ///
    /// # Panics
    /// As `Box::new` does when there is no memory.
    #[expect(clippy::mut_from_ref, reason = "each call returns another block")]
    #[inline]
    pub fn make<T>(&self, value: T) -> &mut T {
        // SAFETY: a fresh block for a `T`, which lives as long as the heap is borrowed.
        unsafe { put(self.alloc(Layout::new::<T>()), value) }
    }

    /// A block of memory, with anything in it; `None` if there is no memory. It belongs to the heap, and is freed with
    /// it at the latest. A request of 0 bytes takes no memory.
    #[must_use]
    #[inline(always)]
    pub fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.private.alloc(layout))
    }

    /// As [`alloc`](Self::alloc), with zeros in it.
    #[must_use]
    #[inline]
    pub fn alloc_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(self.private.alloc_zeroed(layout))
    }

    /// Gives a block back, to be served again. A block that is freed twice, or of another heap, is a bug of the
    /// program; where that is seen, one line is written to stderr, and the process aborts.
    ///
    /// # Safety
    /// * The block is one that this heap has served and not got back, by drop or [`reset`](Self::reset) either, and
    ///   nobody uses it any more.
    /// * `layout` is what it was asked for with, last.
    #[inline(always)]
    pub unsafe fn dealloc(&self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { self.private.dealloc(block, layout) }
    }

    /// A block of `new` in place of another, with what that one held as far as there is room; it may be the same block.
    /// `None`, and nothing done, if there is no memory.
    ///
    /// # Safety
    /// * As for [`dealloc`](Self::dealloc) of `block` with `old`, unless the result is `None`.
    #[must_use]
    #[inline]
    pub unsafe fn realloc(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promises.
        NonNull::new(unsafe { self.private.resize(block, old, new) })
    }

    /// Frees every block at once. Its arenas go back to all threads, and the heap is as new.
    ///
    /// What is in the blocks is not dropped.
    pub fn reset(&mut self) {
        // SAFETY: whoever uses a block borrows the heap, or has promised not to use it by now (`dealloc`).
        unsafe { self.private.free_all() };
    }

    /// Gives the memory of pools and arenas without a block back to the system, as
    /// [`release_unused`](crate::release_unused) does for the calling thread. A dropped heap's memory is released by
    /// that function.
    pub fn release_unused(&self) -> ReleaseStats {
        self.private.release_unused()
    }

    /// What this heap holds, and has done since it was made.
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

/// The examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/private-heaps.md")]
struct Page;

const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<PrivateHeap>();
    is_send::<SharedPrivateHeap>();
    is_sync::<SharedPrivateHeap>();
};
