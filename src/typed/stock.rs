//! The stock of a typed pool: its shelves of ready blocks, and the counts of all its blocks.
//!
//! The code is the same for all types of values, and for one thread or many. A stock lies in a block of its own that
//! does not move, so that boxes and the process's statistics can find it. It does not name the type of the values. So
//! the compiler sees no value in a pool that keeps none, and lets values borrow the pool that their blocks come from.
//!
//! Stock invariant 1: each block was made by [`make`](Stock::make) with the stock's layout. It is on a shelf, or owned
//! by one box, or leaked, or given back to the allocator. A block on a shelf is a ready block as `shelf` defines it.

use super::registry::{RegistryEntry, TYPED};
use super::shelf::Shelf;
use crate::figures::{Name, TypedPoolFigures};
use crate::sync::{AtomicU64, Counter, Ordering};
use core::alloc::Layout;
use core::ops::Deref;
use core::ptr::NonNull;

/// The shelves of a pool: one for one thread, or several with a lock each.
pub trait Shelves: Sized {
    /// Whether several threads may change a pool at once.
    const IS_SHARED: bool;
    /// Takes a ready block; null if none is found.
    fn pop(&self) -> *mut u8;
    /// Puts a block on a shelf. Returns false, and does nothing, if no shelf with room is found.
    fn push(&self, block: *mut u8) -> bool;
    /// Allocates the slots of a shelf that has none yet. Returns false if nothing has changed.
    fn make_room(&self) -> bool;
    /// Takes from each shelf as many blocks as it has at first, and calls `take` with each block. Lets `make_room` try
    /// again.
    fn take_all(&self, take: &mut dyn FnMut(*mut u8));
    /// Three figures: blocks ready now, blocks put on a shelf so far, and most blocks that the shelves may hold.
    fn figures(&self) -> [u64; 3];
}

impl Shelves for Shelf {
    const IS_SHARED: bool = false;

    #[inline(always)]
    fn pop(&self) -> *mut u8 {
        self.pop()
    }

    #[inline(always)]
    fn push(&self, block: *mut u8) -> bool {
        self.push(block)
    }

    fn make_room(&self) -> bool {
        self.make_room()
    }

    fn take_all(&self, take: &mut dyn FnMut(*mut u8)) {
        self.allow();
        for _ in 0..self.ready() {
            let block = self.pop();
            if block.is_null() {
                break;
            }
            take(block);
        }
    }

    fn figures(&self) -> [u64; 3] {
        [self.ready() as u64, self.kept(), self.room() as u64]
    }
}

/// The shelves of a pool, and the counts of its blocks.
pub struct Stock<S> {
    shelves: S,
    layout: Layout,
    /// Drops the value in a ready block. `None` if ready blocks hold no values, or values that need no drop.
    drop_value: Option<unsafe fn(*mut u8)>,
    /// Number of blocks made so far.
    made: Counter,
    /// Number of blocks given back to the allocator so far.
    freed: Counter,
    /// Number of blocks that came back so far and were not put on a shelf.
    passed: Counter,
    /// Most live blocks at once so far; with several threads, most blocks, live or ready.
    most: AtomicU64,
    entry: RegistryEntry,
}

impl<S: Shelves> Stock<S> {
    fn new(name: Name, layout: Layout, drop_value: Option<unsafe fn(*mut u8)>, shelves: S) -> Self {
        let (made, freed, passed) = (Counter::new(), Counter::new(), Counter::new());
        Self {
            shelves,
            layout,
            drop_value,
            made,
            freed,
            passed,
            most: AtomicU64::new(0),
            entry: RegistryEntry::new(name),
        }
    }

    /// Adds 1 to a counter, as its only writer or as one of many.
    fn count(counter: &Counter) {
        if S::IS_SHARED {
            counter.add_shared(1);
        } else {
            counter.add(1);
        }
    }

    /// Takes a ready block or, if none is found, makes one. For pools whose ready blocks hold no values.
    #[inline(always)]
    pub(super) fn take(&self) -> NonNull<u8> {
        match NonNull::new(self.shelves.pop()) {
            Some(block) => block,
            None => self.make(),
        }
    }

    /// Takes a ready block, with the value in it if the pool reuses values; `None` if none is found.
    #[inline(always)]
    pub(super) fn take_ready(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.shelves.pop())
    }

    /// Makes a block without a value. Calls `handle_alloc_error` if there is no memory.
    #[cold]
    #[inline(never)]
    pub(super) fn make(&self) -> NonNull<u8> {
        let block = if self.layout.size() == 0 {
            self.layout.align() as *mut u8
        } else {
            // SAFETY: the size is not 0.
            unsafe { std::alloc::alloc(self.layout) }
        };
        let Some(block) = NonNull::new(block) else { std::alloc::handle_alloc_error(self.layout) };
        Self::count(&self.made);
        // `freed` is read before `made`: blocks that other threads make and free in between can only make the
        // difference larger. Relaxed: these are figures for the statistics.
        let freed = self.freed.value();
        // Blocks may be ready by now: the closure that made the value may have taken a box of this pool and dropped it.
        let ready = if S::IS_SHARED { 0 } else { self.shelves.figures()[0] };
        let blocks = self.made.value().saturating_sub(freed + ready);
        if blocks > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(blocks, Ordering::Relaxed);
        }
        block
    }

    /// Takes a block back and keeps it ready or, without room, frees it. The block holds a value if ready blocks do.
    #[inline(always)]
    pub(super) fn give(&self, block: NonNull<u8>) {
        if !self.shelves.push(block.as_ptr()) {
            self.give_slow(block);
        }
    }

    #[cold]
    #[inline(never)]
    fn give_slow(&self, block: NonNull<u8>) {
        if !(self.shelves.make_room() && self.shelves.push(block.as_ptr())) {
            Self::count(&self.passed);
            self.dispose(block.as_ptr());
        }
    }

    /// Takes back a block without a value, in a pool whose ready blocks hold values. So it is freed.
    #[cold]
    pub(super) fn give_empty(&self, block: NonNull<u8>) {
        Self::count(&self.passed);
        self.free(block.as_ptr());
    }

    /// Frees a block, and drops the value in it if ready blocks hold one.
    fn dispose(&self, block: *mut u8) {
        /// Frees the block when dropped, so also if the value's destructor panics.
        struct FreeOnDrop<'a, S: Shelves>(&'a Stock<S>, *mut u8);
        impl<S: Shelves> Drop for FreeOnDrop<'_, S> {
            fn drop(&mut self) {
                self.0.free(self.1);
            }
        }
        let _free = FreeOnDrop(self, block);
        if let Some(drop_value) = self.drop_value {
            // SAFETY: Stock invariant 1: the block holds a value, which no other code has.
            unsafe { drop_value(block) };
        }
    }

    fn free(&self, block: *mut u8) {
        if self.layout.size() > 0 {
            // SAFETY: Stock invariant 1.
            unsafe { std::alloc::dealloc(block, self.layout) };
        }
        Self::count(&self.freed);
    }

    /// Frees all ready blocks. If the destructor of a value panics, the panic goes on after the other blocks are freed.
    /// A second panic meanwhile aborts the process.
    pub(super) fn clear(&self) {
        /// Goes on with the blocks that are left, if a panic unwinds.
        struct ClearOnDrop<'a, S: Shelves>(&'a Stock<S>);
        impl<S: Shelves> Drop for ClearOnDrop<'_, S> {
            fn drop(&mut self) {
                self.0.shelves.take_all(&mut |block| self.0.dispose(block));
            }
        }
        let rest = ClearOnDrop(self);
        self.shelves.take_all(&mut |block| self.dispose(block));
        core::mem::forget(rest);
    }

    pub(super) fn name(&self) -> Name {
        self.entry.name()
    }

    /// The figures of the pool. Any thread may call this. They are exact while no other thread uses the pool.
    pub(super) fn figures(&self) -> TypedPoolFigures {
        let [ready, kept, capacity] = self.shelves.figures();
        let (made, freed) = (self.made.value(), self.freed.value());
        let drops = kept + self.passed.value();
        let live = made.saturating_sub(freed).saturating_sub(ready);
        let bytes = self.layout.size() as u64;
        TypedPoolFigures {
            pools: 1,
            capacity,
            gets: drops + live,
            hits: (drops + live).saturating_sub(made),
            drops,
            freed,
            live,
            ready,
            high_water: self.most.load(Ordering::Relaxed),
            live_bytes: live * bytes,
            ready_bytes: ready * bytes,
        }
    }
}

/// A stock in its own block. It is in the process's list of typed pools if it has a name.
pub(super) struct OwnedStock<S: Shelves>(NonNull<Stock<S>>);

impl<S: Shelves> OwnedStock<S> {
    pub(super) fn new(name: Name, layout: Layout, drop_value: Option<unsafe fn(*mut u8)>, shelves: S) -> Self {
        let stock = NonNull::from(Box::leak(Box::new(Stock::new(name, layout, drop_value, shelves))));
        let owned = Self(stock);
        if !name.as_str().is_empty() {
            /// # Safety
            /// * The pointer is to a stock that lives.
            unsafe fn figures<S: Shelves>(stock: NonNull<()>) -> TypedPoolFigures {
                // SAFETY: the caller's promise.
                unsafe { stock.cast::<Stock<S>>().as_ref() }.figures()
            }
            // SAFETY: the entry is new, and does not move until `drop` removes it. Any thread may read the figures.
            unsafe { TYPED.add(&owned.entry, stock.cast(), figures::<S>) };
        }
        owned
    }
}

impl<S: Shelves> Deref for OwnedStock<S> {
    type Target = Stock<S>;

    #[inline(always)]
    fn deref(&self) -> &Stock<S> {
        // SAFETY: `new` made the stock, and only `drop` frees it.
        unsafe { self.0.as_ref() }
    }
}

impl<S: Shelves> Drop for OwnedStock<S> {
    fn drop(&mut self) {
        TYPED.remove(&self.entry);
        // SAFETY: `new` made it from a box. No typed box uses it any more, since each borrows the pool or has a share
        // of it.
        let stock = unsafe { Box::from_raw(self.0.as_ptr()) };
        stock.clear();
    }
}
