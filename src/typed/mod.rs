//! Typed pools: ready blocks for values of one type, as CPython keeps some for floats, tuples and lists.

mod boxes;
mod kinds;
mod registry;
mod report;
mod shards;
mod shelf;
mod stock;
mod sync_pool;

pub use boxes::{ArcPoolBox, Home, PoolBox, Pooled, RcPoolBox, SyncPoolBox};
pub use kinds::{Fresh, Kind, Reuse, Reused};
pub(crate) use registry::Registry;
pub use report::{NamedPools, PoolFigures, TypedStats};
pub use sync_pool::SyncPool;

use crate::name::Name;
use boxes::Borrowed;
use core::alloc::Layout;
use core::convert::identity;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::mem::forget;
use core::ptr::NonNull;
use kinds::{Back, New};
use shelf::Shelf;
use std::rc::Rc;
use std::sync::Arc;
use stock::{OwnedStock, Stock};

/// Ready blocks that a pool keeps unless it is told another number.
const DEFAULT_CAPACITY: usize = 128;

/// A pool of blocks for values of one type: when a box is dropped, its block is kept for the next value, up to a bound.
///
/// Blocks come from the program's global allocator and go back to it when the list of ready blocks is full, by
/// [`clear`](Self::clear), and when the pool is dropped. Taking one and giving it back costs less than half the instructions of a
/// `Box` with this crate's allocator. Most programs need no pool: docs/typed-pools.md says when one pays.
///
/// A pool of the kind [`Reused`], which [`reusing`](Self::reusing) makes, keeps the *values* of dropped boxes, too.
///
/// # What may cross threads
/// The pool itself, while nothing borrows it, if `T` is `Send`. It is not `Sync`: one thread at a time takes blocks and gives them
/// back, without a lock. So a [`PoolBox`] stays on the thread; [`SyncPool`] is for many.
///
/// A box borrows its pool, which can be neither dropped nor moved meanwhile. [`get_owned`](Self::get_owned) makes one that has
/// a share of the pool instead. Values may borrow the pool that their blocks come from, as the nodes of a tree do.
///
/// # Examples
/// ```
/// use poolmalloc::{Pool, PoolBox};
///
/// struct Node<'p> {
///     key: u32,
///     next: Option<PoolBox<'p, Node<'p>>>,
/// }
///
/// let nodes = Pool::named("nodes", 1000);
/// let mut list = None;
/// for key in 0..10 {
///     list = Some(nodes.get(Node { key, next: list }));
/// }
/// assert_eq!((nodes.len(), list.as_ref().map(|node| node.key)), (10, Some(9)));
/// drop(list);
/// assert_eq!((nodes.len(), nodes.ready(), nodes.stats().hits), (0, 10, 0));
/// # println!("{}", poolmalloc::stats());
/// ```
/// What would let a box outlive its pool does not compile:
/// ```compile_fail,E0505
/// let pool = poolmalloc::Pool::new();
/// let value = pool.get(1);
/// drop(pool);
/// println!("{value}");
/// ```
/// ```compile_fail,E0597
/// let value = {
///     let pool = poolmalloc::Pool::new();
///     pool.get(1)
/// };
/// println!("{value}");
/// ```
/// ```compile_fail,E0515
/// fn make<'p>() -> poolmalloc::PoolBox<'p, i32> {
///     let pool = poolmalloc::Pool::new();
///     pool.get(1)
/// }
/// ```
/// Nor what would use it on two threads:
/// ```compile_fail,E0277
/// let pool = poolmalloc::Pool::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| pool.get(1));
/// });
/// ```
/// ```compile_fail,E0277
/// let pool = poolmalloc::Pool::new();
/// let value = pool.get(1);
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(value));
/// });
/// ```
/// ```compile_fail,E0277
/// let pool = std::rc::Rc::new(poolmalloc::Pool::new());
/// let value = pool.get_owned(1);
/// std::thread::spawn(move || drop(value));
/// ```
/// ```compile_fail,E0277
/// let pool = poolmalloc::Pool::<std::rc::Rc<i32>>::new();
/// std::thread::spawn(move || drop(pool));
/// ```
/// A pool has blocks of one type, and knows whether they hold values:
/// ```compile_fail,E0308
/// let pool = poolmalloc::Pool::new();
/// let number = pool.get(1);
/// let text = pool.get("one");
/// ```
/// ```compile_fail,E0308
/// use poolmalloc::{Pool, PoolBox};
///
/// let pool = Pool::<String>::new().reusing();
/// let fresh: PoolBox<'_, String> = pool.get_ready_or(String::new);
/// ```
/// Values that a pool keeps outlive it:
/// ```compile_fail,E0597
/// let pool = poolmalloc::Pool::new().reusing();
/// let word = String::from("word");
/// pool.get_ready_or(Vec::new).push(&word);
/// ```
/// A value that is a share of it has to be `'static` or no longer than what it borrows:
/// ```compile_fail,E0597
/// let pool = std::rc::Rc::new(poolmalloc::Pool::new());
/// let value = {
///     let word = String::from("word");
///     pool.get_owned(&word)
/// };
/// println!("{value}");
/// ```
pub struct Pool<T, K: Kind<T> = Fresh> {
    stock: OwnedStock<Shelf>,
    _owns: K::Owns,
    /// Neither `Send` nor `Sync` by itself. It takes and hands out values of exactly this type.
    _values: PhantomData<*mut T>,
}

// SAFETY: nothing borrows a pool that is sent, so all its blocks are ready ones or leaked; values in them are sent along.
unsafe impl<T: Send, K: Kind<T>> Send for Pool<T, K> {}

/// A block made now, with a value made before it.
fn make_with<T, S: stock::Shelves>(stock: &Stock<S>, make: impl FnOnce() -> T) -> NonNull<T> {
    let value = make();
    let block = stock.make().cast::<T>();
    // SAFETY: a block for a `T`, which nobody else has.
    unsafe { block.write(value) };
    block
}

impl<T, K: Kind<T>> Pool<T, K> {
    fn of_kind(name: Name, most: usize) -> Self {
        let stock = OwnedStock::new(name, Layout::new::<T>(), K::DROP_READY, Shelf::new(most));
        Self { stock, _owns: K::Owns::NEW, _values: PhantomData }
    }

    #[inline(always)]
    fn stock(&self) -> &Stock<Shelf> {
        &self.stock
    }
}

/// What both sorts of pools do, and tell.
macro_rules! methods {
    ($pool:ident, $inline:meta, $pool_box:ident, $borrow:path, $owned_box:ident, $share:ident) => {
        impl<T> $pool<T> {
            /// A pool without a name that keeps up to 128 ready blocks.
            #[must_use]
            pub fn new() -> Self {
                Self::with_capacity(DEFAULT_CAPACITY)
            }

            /// A pool without a name that keeps up to `most` ready blocks. Its list takes 8 bytes for each of `most` when the
            /// first comes back; without memory for that, the pool keeps one block.
            #[must_use]
            pub fn with_capacity(most: usize) -> Self {
                Self::named("", most)
            }

            /// As [`with_capacity`](Self::with_capacity), with a name under which [`stats`](crate::stats()) lists it. Pools of
            /// one name are listed together: those that each thread has of a kind, for instance.
            #[must_use]
            pub fn named(name: &str, most: usize) -> Self {
                Self::of_kind(Name::new(name), most)
            }

            /// The same, but that it keeps the values of dropped boxes and hands them out again. What is ready by now is freed.
            #[must_use]
            pub fn reusing(self) -> $pool<T, Reused>
            where
                T: Reuse,
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
                unsafe { Pooled::new(block, $borrow(self)) }
            }

            /// As [`get`](Self::get), but that the value is made when there is a block for it: a large one may be made in its
            /// place.
            ///
            /// # Panics
            /// As [`get`](Self::get) does, and if `make` does: then the block comes back to the pool.
            #[inline]
            #[must_use]
            pub fn get_with(&self, make: impl FnOnce() -> T) -> $pool_box<'_, T> {
                let back = Back { stock: &*self.stock, block: self.stock.take() };
                let block = back.block.cast::<T>();
                // SAFETY: a block for a `T`, which nobody else has.
                unsafe { block.write(make()) };
                forget(back);
                // SAFETY: as above, and the value is there.
                unsafe { Pooled::new(block, $borrow(self)) }
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
                unsafe { Pooled::new(block, self.clone()) }
            }
        }

        impl<T: Reuse> $pool<T, Reused> {
            /// A value that came back, if one is found: made ready by its [`Reuse::reuse`].
            #[inline]
            #[must_use]
            pub fn get_ready(&self) -> Option<$pool_box<'_, T, Reused>> {
                let block = self.stock.take_ready()?;
                // SAFETY: a ready block of this kind holds a value, and nobody else has it.
                Some(unsafe { Pooled::new(block.cast(), $borrow(self)) })
            }

            /// A value that came back, else one made now in a new block.
            ///
            /// # Panics
            /// As `Box::new` does when there is no memory, and if `make` does.
            #[inline]
            #[must_use]
            pub fn get_ready_or(&self, make: impl FnOnce() -> T) -> $pool_box<'_, T, Reused> {
                if let Some(ready) = self.get_ready() {
                    return ready;
                }
                // SAFETY: made for this pool, and the value is there.
                unsafe { Pooled::new(make_with(&self.stock, make), $borrow(self)) }
            }

            /// As [`get_ready_or`](Self::get_ready_or), in a box that has a share of the pool and does not borrow it.
            ///
            /// # Panics
            /// As [`get_ready_or`](Self::get_ready_or) does.
            #[inline]
            #[must_use]
            pub fn get_ready_or_owned(self: &$share<Self>, make: impl FnOnce() -> T) -> $owned_box<T, Reused> {
                let block = self.stock.take_ready().map_or_else(|| make_with(&self.stock, make), NonNull::cast);
                // SAFETY: a block of this pool that nobody else has, and that holds a value.
                unsafe { Pooled::new(block, self.clone()) }
            }
        }

        impl<T, K: Kind<T>> $pool<T, K> {
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
            pub fn stats(&self) -> PoolFigures {
                self.stock.figures()
            }
        }

        impl<T> Default for $pool<T> {
            fn default() -> Self {
                Self::new()
            }
        }

        impl<T, K: Kind<T>> Debug for $pool<T, K> {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                let name = self.name();
                let PoolFigures { live, ready, capacity, .. } = self.stats();
                let mut shown = f.debug_struct(stringify!($pool));
                shown.field("name", &name).field("live", &live).field("ready", &ready);
                shown.field("capacity", &capacity).finish_non_exhaustive()
            }
        }
    };
}

methods!(Pool, inline(always), PoolBox, Borrowed::new, RcPoolBox, Rc);
methods!(SyncPool, inline, SyncPoolBox, identity, ArcPoolBox, Arc);
