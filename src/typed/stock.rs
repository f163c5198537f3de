//! What a typed pool has, whatever the type and however many threads: its shelves, and what is known of all its blocks.
//!
//! It lies in a block of its own that stays where it is, so that boxes and the process's statistics can find it, and
//! knows no type: a pool without values needs none to be dropped, so values may borrow the pool that their blocks come
//! from.
//!
//! Stock invariant 1: each block was made by [`make`](Stock::make), with the layout, and is on a shelf, with one box,
//! leaked, or given back to the allocator. One on a shelf is as told in `shelf`.

use super::registry::{RegistryEntry, TYPED};
use super::shelf::Shelf;
use crate::figures::{Name, TypedPoolFigures};
use crate::sync::{AtomicU64, Counter, Ordering};
use core::alloc::Layout;
use core::ops::Deref;
use core::ptr::NonNull;

/// Where ready blocks lie.
pub trait Shelves: Sized {
    /// Whether several threads may change a pool at once.
    const IS_SHARED: bool;
    /// Takes a ready block; null if there is none.
    fn pop(&self) -> *mut u8;
    /// Puts a block there. False, and nothing done, if there is no room.
    fn push(&self, block: *mut u8) -> bool;
    /// Makes sure that there is room as far as there may be. False if nothing has changed.
    fn make_room(&self) -> bool;
    /// Calls `take` with ready blocks, until none is left of those that were there.
    fn take_all(&self, take: &mut dyn FnMut(*mut u8));
    /// Blocks that are ready, that were put there so far, and that there may be.
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

/// The shelves, and what is known of the blocks that were and are there.
pub struct Stock<S> {
    shelves: S,
    layout: Layout,
    /// Drops the value in a ready block, if there is one.
    drop_value: Option<unsafe fn(*mut u8)>,
    /// Blocks made, and given back to the allocator.
    made: Counter,
    freed: Counter,
    /// Blocks that came back and were not put on a shelf.
    passed: Counter,
    /// Most blocks that there were.
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

    /// Counts one, as the only writer or as one of many.
    fn count(counter: &Counter) {
        if S::IS_SHARED {
            counter.add_shared(1);
        } else {
            counter.add(1);
        }
    }

    /// A block that holds what ready ones hold, or, if there was none ready, one that was made now and holds nothing.
    #[inline(always)]
    pub(super) fn take(&self) -> NonNull<u8> {
        match NonNull::new(self.shelves.pop()) {
            Some(block) => block,
            None => self.make(),
        }
    }

    /// A ready block.
    #[inline(always)]
    pub(super) fn take_ready(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.shelves.pop())
    }

    /// Makes a block that holds nothing.
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
        // The frees first: what others make and free in between makes it too high, never less than nothing. Relaxed: a
        // figure.
        let freed = self.freed.value();
        // The maker of a value may have taken and dropped a box.
        let ready = if S::IS_SHARED { 0 } else { self.shelves.figures()[0] };
        let blocks = self.made.value().saturating_sub(freed + ready);
        if blocks > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(blocks, Ordering::Relaxed);
        }
        block
    }

    /// Takes a block back that holds what ready ones hold.
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

    /// Takes a block back that holds nothing, though ready ones do.
    #[cold]
    pub(super) fn give_empty(&self, block: NonNull<u8>) {
        Self::count(&self.passed);
        self.free(block.as_ptr());
    }

    /// Frees a block that holds what ready ones hold.
    fn dispose(&self, block: *mut u8) {
        /// Frees the block also if the value's destructor panics.
        struct FreeOnDrop<'a, S: Shelves>(&'a Stock<S>, *mut u8);
        impl<S: Shelves> Drop for FreeOnDrop<'_, S> {
            fn drop(&mut self) {
                self.0.free(self.1);
            }
        }
        let _free = FreeOnDrop(self, block);
        if let Some(drop_value) = self.drop_value {
            // SAFETY: Stock invariant 1: the block holds a value, which nobody else has.
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

    /// Frees all ready blocks. If destructors of values panic, the first of them goes on after all are freed.
    pub(super) fn clear(&self) {
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

    /// For any thread; exact while no other uses the pool.
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

/// A stock in its own block, and in the list of the process if it has a name.
pub(super) struct OwnedStock<S: Shelves>(NonNull<Stock<S>>);

impl<S: Shelves> OwnedStock<S> {
    pub(super) fn new(name: Name, layout: Layout, drop_value: Option<unsafe fn(*mut u8)>, shelves: S) -> Self {
        let stock = NonNull::from(Box::leak(Box::new(Stock::new(name, layout, drop_value, shelves))));
        let owned = Self(stock);
        if !name.as_str().is_empty() {
            /// # Safety
            /// * There is a stock.
            unsafe fn figures<S: Shelves>(stock: NonNull<()>) -> TypedPoolFigures {
                // SAFETY: the caller's promise.
                unsafe { stock.cast::<Stock<S>>().as_ref() }.figures()
            }
            // SAFETY: it stays where it is until it is removed, and its figures may be read by any thread.
            unsafe { TYPED.add(&owned.entry, stock.cast(), figures::<S>) };
        }
        owned
    }
}

impl<S: Shelves> Deref for OwnedStock<S> {
    type Target = Stock<S>;

    #[inline(always)]
    fn deref(&self) -> &Stock<S> {
        // SAFETY: made in `new`, and freed by no one but `drop`.
        unsafe { self.0.as_ref() }
    }
}

impl<S: Shelves> Drop for OwnedStock<S> {
    fn drop(&mut self) {
        TYPED.remove(&self.entry);
        // SAFETY: made from a box in `new`; nobody else knows it any more, since boxes borrow the pool or own a share
        // of it.
        let stock = unsafe { Box::from_raw(self.0.as_ptr()) };
        stock.clear();
    }
}
