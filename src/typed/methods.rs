//! The methods that both sorts of typed pools have, written once, as macros. A file that uses a macro imports the names
//! in it.

use super::stock::{Shelves, Stock};
use core::ptr::NonNull;

/// Most ready blocks that a typed pool keeps by default.
pub(super) const DEFAULT_CAPACITY: usize = 128;

/// Makes a value, then a new block for it, and returns the block with the value in it.
pub(super) fn make_with<T, S: Shelves>(stock: &Stock<S>, make: impl FnOnce() -> T) -> NonNull<T> {
    let value = make();
    let block = stock.make().cast::<T>();
    // SAFETY: a block for a `T`, which no other code has.
    unsafe { block.write(value) };
    block
}

/// Defines the methods of a typed pool.
macro_rules! methods {
    ($pool:ident, $inline:meta, $pool_box:ident, $borrow:path, $owned_box:ident, $share:ident) => {
        impl<T> $pool<T> {
            /// Makes a typed pool without a name that keeps up to 128 ready blocks.
            #[must_use]
            pub fn new() -> Self {
                Self::with_capacity(DEFAULT_CAPACITY)
            }

            /// Makes a typed pool without a name that keeps up to `most` ready blocks.
            ///
            /// A list of ready blocks takes 8 bytes for each block that it may hold. Its memory is allocated when it
            /// must hold a second block. Without that memory, the list holds one block. A `TypedPool` has one list, a
            /// `SyncTypedPool` has eight, which share `most`.
            #[must_use]
            pub fn with_capacity(most: usize) -> Self {
                Self::named("", most)
            }

            /// Makes a typed pool with a name that keeps up to `most` ready blocks, as
            /// [`with_capacity`](Self::with_capacity) does. [`stats`](crate::stats()) lists it under its name. It lists
            /// pools of the same name together, for instance if each thread has a pool of its own.
            #[must_use]
            pub fn named(name: &str, most: usize) -> Self {
                Self::of_kind(Name::new(name), most)
            }

            /// Turns this pool into one that keeps the values of dropped boxes and hands them out again. It has the
            /// same name and bound. Blocks that are ready now are freed, and the statistics begin anew.
            #[must_use]
            pub fn reusing(self) -> $pool<T, Reuse>
            where
                T: Reusable,
            {
                let (name, most) = (self.stock.name(), self.capacity());
                // Dropped first, so that the statistics never list both.
                drop(self);
                $pool::of_kind(name, most)
            }

            /// Puts the value into a ready block, or into a new one if none is found.
            ///
            /// # Panics
            /// If there is no memory, `std::alloc::handle_alloc_error` is called, as by `Box::new`.
            #[$inline]
            #[must_use]
            pub fn get(&self, value: T) -> $pool_box<'_, T> {
                let block = self.stock.take().cast::<T>();
                // SAFETY: a block for a `T`, which no other code has.
                unsafe { block.write(value) };
                // SAFETY: as above, and the value is there.
                unsafe { HomeBox::new(block, $borrow(self)) }
            }

            /// Takes a block as [`get`](Self::get) does, then calls `make` for its value. So the compiler may build a
            /// large value right in the block.
            ///
            /// # Panics
            /// As [`get`](Self::get) does. If `make` panics, the block goes back to the pool.
            #[inline]
            #[must_use]
            pub fn get_with(&self, make: impl FnOnce() -> T) -> $pool_box<'_, T> {
                let back = GiveBackOnDrop { stock: &*self.stock, block: self.stock.take() };
                let block = back.block.cast::<T>();
                // SAFETY: a block for a `T`, which no other code has.
                unsafe { block.write(make()) };
                forget(back);
                // SAFETY: as above, and the value is there.
                unsafe { HomeBox::new(block, $borrow(self)) }
            }

            /// Puts the value into a block as [`get`](Self::get) does. The box has a share of the pool and does not
            /// borrow it.
            ///
            /// # Panics
            /// As [`get`](Self::get) does.
            #[inline]
            #[must_use]
            pub fn get_owned(self: &$share<Self>, value: T) -> $owned_box<T> {
                let block = self.stock.take().cast::<T>();
                // SAFETY: a block for a `T`, which no other code has.
                unsafe { block.write(value) };
                // SAFETY: as above, and the value is there.
                unsafe { HomeBox::new(block, self.clone()) }
            }
        }

        impl<T: Reusable> $pool<T, Reuse> {
            /// Returns a kept value, if one is found. Its [`Reusable::reuse`] has made it ready.
            #[inline]
            #[must_use]
            pub fn get_ready(&self) -> Option<$pool_box<'_, T, Reuse>> {
                let block = self.stock.take_ready()?;
                // SAFETY: a ready block of this kind holds a value, and no other code has it.
                Some(unsafe { HomeBox::new(block.cast(), $borrow(self)) })
            }

            /// Returns a kept value or, if none is found, a value that `make` returns, in a new block.
            ///
            /// # Panics
            /// If `make` does. If there is no memory, `std::alloc::handle_alloc_error` is called, as by `Box::new`.
            #[inline]
            #[must_use]
            pub fn get_ready_or(&self, make: impl FnOnce() -> T) -> $pool_box<'_, T, Reuse> {
                if let Some(ready) = self.get_ready() {
                    return ready;
                }
                // SAFETY: the block was made for this pool, and the value is there.
                unsafe { HomeBox::new(make_with(&self.stock, make), $borrow(self)) }
            }

            /// Returns a kept value or one that `make` returns, as [`get_ready_or`](Self::get_ready_or) does. The box
            /// has a share of the pool and does not borrow it.
            ///
            /// # Panics
            /// As [`get_ready_or`](Self::get_ready_or) does.
            #[inline]
            #[must_use]
            pub fn get_ready_or_owned(self: &$share<Self>, make: impl FnOnce() -> T) -> $owned_box<T, Reuse> {
                let block = self.stock.take_ready().map_or_else(|| make_with(&self.stock, make), NonNull::cast);
                // SAFETY: a block of this pool that holds a value, and that no other code has.
                unsafe { HomeBox::new(block, self.clone()) }
            }
        }

        impl<T, K: TypedKind<T>> $pool<T, K> {
            /// Frees all ready blocks, and drops the values that they hold in a pool that reuses values.
            ///
            /// # Panics
            /// If the destructor of a value panics. The other blocks are freed first. If a second destructor panics,
            /// the process aborts.
            pub fn clear(&self) {
                self.stock.clear();
            }

            /// Number of boxes now, with those that were leaked or forgotten.
            #[must_use]
            pub fn len(&self) -> usize {
                self.stats().live as usize
            }

            /// Whether there are no boxes now: [`len`](Self::len) is 0.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Number of ready blocks now.
            #[must_use]
            pub fn ready(&self) -> usize {
                self.stats().ready as usize
            }

            /// Most blocks that the pool keeps ready.
            #[must_use]
            pub fn capacity(&self) -> usize {
                self.stats().capacity as usize
            }

            /// The name; empty if the pool has none.
            #[must_use]
            pub fn name(&self) -> Name {
                self.stock.name()
            }

            /// The statistics of the pool: what it holds now, and its counts so far.
            ///
            /// Keeping them costs one increment when a dropped box leaves its block ready. The other counts change only
            /// when a block is made or freed.
            #[must_use]
            pub fn stats(&self) -> TypedPoolFigures {
                self.stock.figures()
            }
        }

        impl<T> Default for $pool<T> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<T, K: TypedKind<T>> Debug for $pool<T, K> {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                let name = self.name();
                let TypedPoolFigures { live, ready, capacity, .. } = self.stats();
                let mut shown = f.debug_struct(stringify!($pool));
                shown.field("name", &name).field("live", &live).field("ready", &ready);
                shown.field("capacity", &capacity).finish_non_exhaustive()
            }
        }
    };
}

/// Implements `Home` for references to a pool or shares of it.
macro_rules! home {
    ($pool:ident: $($home:ty),*) => {$(
        // SAFETY: the stock that handed a block out takes it back.
        unsafe impl<T, K: TypedKind<T>> Home<T> for $home {
            #[inline(always)]
            unsafe fn take_back(&self, block: NonNull<T>) {
                // SAFETY: the caller's promises, and the pool's kind is that of its stock.
                unsafe { K::retire($pool::stock(self), block) }
            }

            #[inline(always)]
            unsafe fn take_back_empty(&self, block: NonNull<T>) {
                K::give_empty($pool::stock(self), block);
            }
        }
    )*};
}

pub(super) use home;
pub(super) use methods;
