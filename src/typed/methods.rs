//! What both sorts of typed pools do. The macros write it once; who uses them names what they name.

use super::stock::{Shelves, Stock};
use core::ptr::NonNull;

/// Ready blocks that a pool keeps unless it is told another number.
pub(super) const DEFAULT_CAPACITY: usize = 128;

/// A block made now, with a value made before it.
pub(super) fn make_with<T, S: Shelves>(stock: &Stock<S>, make: impl FnOnce() -> T) -> NonNull<T> {
    let value = make();
    let block = stock.make().cast::<T>();
    // SAFETY: a block for a `T`, which nobody else has.
    unsafe { block.write(value) };
    block
}

/// Defines the methods of a typed pool.
macro_rules! methods {
    ($pool:ident, $inline:meta, $pool_box:ident, $borrow:path, $owned_box:ident, $share:ident) => {
        impl<T> $pool<T> {
            /// A pool without a name that keeps up to 128 ready blocks.
            #[must_use]
            pub fn new() -> Self {
                Self::with_capacity(DEFAULT_CAPACITY)
            }

            /// A pool without a name that keeps up to `most` ready blocks. Its list takes 8 bytes for each of `most`
            /// when the first comes back; without memory for that, the pool keeps one block.
            #[must_use]
            pub fn with_capacity(most: usize) -> Self {
                Self::named("", most)
            }

            /// As [`with_capacity`](Self::with_capacity), with a name under which [`stats`](crate::stats()) lists it.
            /// Pools of one name are listed together: those that each thread has of a kind, for instance.
            #[must_use]
            pub fn named(name: &str, most: usize) -> Self {
                Self::of_kind(Name::new(name), most)
            }

            /// The same, but that it keeps the values of dropped boxes and hands them out again. What is ready by now
            /// is freed.
            #[must_use]
            pub fn reusing(self) -> $pool<T, Reuse>
            where
                T: Reusable,
            {
                let (name, most) = (self.stock.name(), self.capacity());
                // First: the statistics never list it twice.
                drop(self);
                $pool::of_kind(name, most)
            }

            /// Puts the value into a ready block, or a new one if there is none.
            ///
            /// # Panics
            /// As `Box::new` does when there is no memory.
            #[$inline]
            #[must_use]
            pub fn get(&self, value: T) -> $pool_box<'_, T> {
                let block = self.stock.take().cast::<T>();
                // SAFETY: a block for a `T`, which nobody else has.
                unsafe { block.write(value) };
                // SAFETY: as above, and the value is there.
                unsafe { HomeBox::new(block, $borrow(self)) }
            }

            /// As [`get`](Self::get), but that the value is made when there is a block for it: a large one may be made
            /// in its place.
            ///
            /// # Panics
            /// As [`get`](Self::get) does, and if `make` does: then the block comes back to the pool.
            #[inline]
            #[must_use]
            pub fn get_with(&self, make: impl FnOnce() -> T) -> $pool_box<'_, T> {
                let back = GiveBackOnDrop { stock: &*self.stock, block: self.stock.take() };
                let block = back.block.cast::<T>();
                // SAFETY: a block for a `T`, which nobody else has.
                unsafe { block.write(make()) };
                forget(back);
                // SAFETY: as above, and the value is there.
                unsafe { HomeBox::new(block, $borrow(self)) }
            }

            /// As [`get`](Self::get), in a box that has a share of the pool and does not borrow it.
            ///
            /// # Panics
            /// As [`get`](Self::get) does.
            #[inline]
            #[must_use]
            pub fn get_owned(self: &$share<Self>, value: T) -> $owned_box<T> {
                let block = self.stock.take().cast::<T>();
                // SAFETY: a block for a `T`, which nobody else has.
                unsafe { block.write(value) };
                // SAFETY: as above, and the value is there.
                unsafe { HomeBox::new(block, self.clone()) }
            }
        }

        impl<T: Reusable> $pool<T, Reuse> {
            /// A value that came back, if one is found: made ready by its [`Reusable::reuse`].
            #[inline]
            #[must_use]
            pub fn get_ready(&self) -> Option<$pool_box<'_, T, Reuse>> {
                let block = self.stock.take_ready()?;
                // SAFETY: a ready block of this kind holds a value, and nobody else has it.
                Some(unsafe { HomeBox::new(block.cast(), $borrow(self)) })
            }

            /// A value that came back, else one made now in a new block.
            ///
            /// # Panics
            /// As `Box::new` does when there is no memory, and if `make` does.
            #[inline]
            #[must_use]
            pub fn get_ready_or(&self, make: impl FnOnce() -> T) -> $pool_box<'_, T, Reuse> {
                if let Some(ready) = self.get_ready() {
                    return ready;
                }
                // SAFETY: made for this pool, and the value is there.
                unsafe { HomeBox::new(make_with(&self.stock, make), $borrow(self)) }
            }

            /// As [`get_ready_or`](Self::get_ready_or), in a box that has a share of the pool and does not borrow it.
            ///
            /// # Panics
            /// As [`get_ready_or`](Self::get_ready_or) does.
            #[inline]
            #[must_use]
            pub fn get_ready_or_owned(self: &$share<Self>, make: impl FnOnce() -> T) -> $owned_box<T, Reuse> {
                let block = self.stock.take_ready().map_or_else(|| make_with(&self.stock, make), NonNull::cast);
                // SAFETY: a block of this pool that nobody else has, and that holds a value.
                unsafe { HomeBox::new(block, self.clone()) }
            }
        }

        impl<T, K: TypedKind<T>> $pool<T, K> {
            /// Frees all ready blocks, and drops the values in them if they hold some.
            ///
            /// # Panics
            /// If the destructor of a value does; all blocks are freed nevertheless.
            pub fn clear(&self) {
                self.stock.clear();
            }

            /// Boxes that there are, with those that were leaked or forgotten.
            #[must_use]
            pub fn len(&self) -> usize {
                self.stats().live as usize
            }

            /// Whether there is no box.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Blocks that are ready.
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

            /// What the pool holds, and has done so far. Nothing of it costs the boxes more than one increment.
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

/// Defines how boxes know a pool by these references or shares.
macro_rules! home {
    ($pool:ident: $($home:ty),*) => {$(
        // SAFETY: a stock takes back what it handed out.
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
