//! A typed pool for many threads.

use super::kinds::{Back, Fresh, Kind, New, Reuse, Reused};
use super::shards::Shards;
use super::shelf::Shelf;
use super::stock::{OwnedStock, Shelves, Stock};
use super::{ArcPoolBox, DEFAULT_CAPACITY, PoolFigures, Pooled, SyncPoolBox, figures, make_with};
use crate::name::Name;
use crate::statics::SHARED;
use crate::tls;
use core::alloc::Layout;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::mem::forget;
use core::ptr::NonNull;
use std::sync::Arc;

/// Shelves of a pool: threads beyond that number share them.
const SHELVES: usize = 8;

/// Shelves with a lock each.
pub(super) struct SharedShelves(Shards<Shelf, SHELVES>);

impl SharedShelves {
    /// Shelves with room for `most` blocks together.
    fn new(most: usize) -> Self {
        Self(Shards::new(|number| Shelf::new(most / SHELVES + usize::from(number < most % SHELVES))))
    }
}

impl Shelves for SharedShelves {
    const IS_SHARED: bool = true;

    fn pop(&self) -> *mut u8 {
        let pop = |shelf: &Shelf| Some(shelf.pop()).filter(|block| !block.is_null());
        let found = self.0.find(tls::thread_number(), SHARED.generation(), |shelf| shelf.ready() > 0, pop);
        found.unwrap_or(core::ptr::null_mut())
    }

    fn push(&self, block: *mut u8) -> bool {
        let push = |shelf: &Shelf| shelf.push(block).then_some(());
        self.0.find(tls::thread_number(), SHARED.generation(), Shelf::has_room, push).is_some()
    }

    fn make_room(&self) -> bool {
        let make_room = |shelf: &Shelf| shelf.make_room().then_some(());
        self.0.find(tls::thread_number(), SHARED.generation(), Shelf::has_room, make_room).is_some()
    }

    fn take_all(&self, take: &mut dyn FnMut(*mut u8)) {
        let mut left = None;
        self.0.each(
            || SHARED.generation(),
            |shelf, guard| {
                if guard.is_inherited {
                    shelf.forget();
                }
                let left_here = left.unwrap_or(shelf.ready());
                let block = if left_here > 0 { shelf.pop() } else { core::ptr::null_mut() };
                // What `take` runs may come back here.
                drop(guard);
                if block.is_null() {
                    left = None;
                    return false;
                }
                left = Some(left_here - 1);
                take(block);
                true
            },
        );
    }

    fn figures(&self) -> [u64; 3] {
        self.0.iter().fold([0; 3], |[ready, kept, room], shelf| {
            [ready + shelf.ready() as u64, kept + shelf.kept(), room + shelf.room() as u64]
        })
    }
}

/// A [`Pool`](super::Pool) for many threads: boxes are taken and dropped on any.
///
/// It has eight lists of ready blocks, each with a lock, and each thread uses one of them; if that one is empty, full or in
/// use, it goes on to the next, and never waits. So taking a box and dropping it costs two locked instructions, and is slower than a
/// `Box` with this crate's allocator, which needs none: this is for values that are worth [reusing](Self::reusing), and for
/// figures by owner. docs/typed-pools.md has the measurements.
///
/// In the child of a `fork` it can be used, too. A list that another thread was just using at that moment serves nobody there
/// until [`clear`](Self::clear) is called, and its ready blocks are lost to the child.
///
/// # Examples
/// ```
/// use poolmalloc::SyncPool;
/// use std::sync::LazyLock;
///
/// static BUFFERS: LazyLock<SyncPool<Vec<u8>, poolmalloc::Reused>> =
///     LazyLock::new(|| SyncPool::named("buffers", 64).reusing());
///
/// let mut buffer = BUFFERS.get_ready_or(|| Vec::with_capacity(4096));
/// std::thread::spawn(move || {
///     buffer.extend(b"dropped here");
/// })
/// .join().unwrap();
/// assert_eq!(BUFFERS.get_ready().map(|buffer| (buffer.len(), buffer.capacity())), Some((0, 4096)));
/// ```
/// A box does not outlive the pool here either:
/// ```compile_fail,E0505
/// let pool = poolmalloc::SyncPool::new();
/// let value = pool.get(1);
/// drop(pool);
/// println!("{value}");
/// ```
/// ```compile_fail,E0597
/// let pool = poolmalloc::SyncPool::new();
/// let value = pool.get(1);
/// std::thread::spawn(move || drop(value));
/// ```
/// What is not `Send` stays on its thread:
/// ```compile_fail,E0277
/// let pool = poolmalloc::SyncPool::new();
/// let value = pool.get(std::rc::Rc::new(1));
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(value));
/// });
/// ```
/// ```compile_fail,E0277
/// let pool = poolmalloc::SyncPool::new();
/// let value = pool.get(std::cell::Cell::new(1));
/// std::thread::scope(|scope| {
///     scope.spawn(|| value.set(2));
/// });
/// ```
pub struct SyncPool<T, K: Kind<T> = Fresh> {
    stock: OwnedStock<SharedShelves>,
    _owns: K::Owns,
    /// Neither `Send` nor `Sync` by itself. It takes and hands out values of exactly this type.
    _values: PhantomData<*mut T>,
}

// SAFETY: as for `Pool`.
unsafe impl<T: Send, K: Kind<T>> Send for SyncPool<T, K> {}
// SAFETY: Shard invariant 1; the rest of the stock is atomic, or never changes. Values come from one thread and go to another.
unsafe impl<T: Send, K: Kind<T>> Sync for SyncPool<T, K> {}

impl<T> SyncPool<T> {
    /// A pool without a name that keeps up to 128 ready blocks.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// A pool without a name that keeps up to `most` ready blocks.
    #[must_use]
    pub fn with_capacity(most: usize) -> Self {
        Self::named("", most)
    }

    /// As [`with_capacity`](Self::with_capacity), with a name under which [`stats`](crate::stats()) lists it.
    #[must_use]
    pub fn named(name: &str, most: usize) -> Self {
        Self::of_kind(Name::new(name), most)
    }

    /// The same, but that it keeps the values of dropped boxes and hands them out again. What is ready by now is freed.
    #[must_use]
    pub fn reusing(self) -> SyncPool<T, Reused>
    where
        T: Reuse,
    {
        let (name, most) = (self.stock.name(), self.capacity());
        // First: the statistics never list it twice.
        drop(self);
        SyncPool::of_kind(name, most)
    }

    /// As [`Pool::get`](super::Pool::get).
    ///
    /// # Panics
    /// As `Box::new` does when there is no memory.
    #[inline]
    #[must_use]
    pub fn get(&self, value: T) -> SyncPoolBox<'_, T> {
        let block = self.stock.take().cast::<T>();
        // SAFETY: a block for a `T`, which nobody else has.
        unsafe { block.write(value) };
        // SAFETY: as above, and the value is there.
        unsafe { Pooled::new(block, self) }
    }

    /// As [`Pool::get_with`](super::Pool::get_with).
    ///
    /// # Panics
    /// As [`get`](Self::get) does, and if `make` does: then the block comes back to the pool.
    #[inline]
    #[must_use]
    pub fn get_with(&self, make: impl FnOnce() -> T) -> SyncPoolBox<'_, T> {
        let back = Back { stock: &*self.stock, block: self.stock.take() };
        let block = back.block.cast::<T>();
        // SAFETY: a block for a `T`, which nobody else has.
        unsafe { block.write(make()) };
        forget(back);
        // SAFETY: as above, and the value is there.
        unsafe { Pooled::new(block, self) }
    }

    /// As [`get`](Self::get), in a box that has a share of the pool and does not borrow it.
    ///
    /// # Panics
    /// As [`get`](Self::get) does.
    #[inline]
    #[must_use]
    pub fn get_owned(self: &Arc<Self>, value: T) -> ArcPoolBox<T> {
        let block = self.stock.take().cast::<T>();
        // SAFETY: a block for a `T`, which nobody else has.
        unsafe { block.write(value) };
        // SAFETY: as above, and the value is there.
        unsafe { Pooled::new(block, self.clone()) }
    }
}

impl<T: Reuse> SyncPool<T, Reused> {
    /// A value that came back, if one is found: made ready by its [`Reuse::reuse`].
    #[inline]
    #[must_use]
    pub fn get_ready(&self) -> Option<SyncPoolBox<'_, T, Reused>> {
        let block = self.stock.take_ready()?;
        // SAFETY: a ready block of this kind holds a value, and nobody else has it.
        Some(unsafe { Pooled::new(block.cast(), self) })
    }

    /// A value that came back, else one made now in a new block.
    ///
    /// # Panics
    /// As [`get`](SyncPool::get) does, and if `make` does.
    #[inline]
    #[must_use]
    pub fn get_ready_or(&self, make: impl FnOnce() -> T) -> SyncPoolBox<'_, T, Reused> {
        if let Some(ready) = self.get_ready() {
            return ready;
        }
        // SAFETY: made for this pool, and the value is there.
        unsafe { Pooled::new(make_with(&self.stock, make), self) }
    }

    /// As [`get_ready_or`](Self::get_ready_or), in a box that has a share of the pool and does not borrow it.
    ///
    /// # Panics
    /// As [`get_ready_or`](Self::get_ready_or) does.
    #[inline]
    #[must_use]
    pub fn get_ready_or_owned(self: &Arc<Self>, make: impl FnOnce() -> T) -> ArcPoolBox<T, Reused> {
        let block = self.stock.take_ready().map_or_else(|| make_with(&self.stock, make), NonNull::cast);
        // SAFETY: a block of this pool that nobody else has, and that holds a value.
        unsafe { Pooled::new(block, self.clone()) }
    }
}

impl<T, K: Kind<T>> SyncPool<T, K> {
    fn of_kind(name: Name, most: usize) -> Self {
        let stock = OwnedStock::new(name, Layout::new::<T>(), K::DROP_READY, SharedShelves::new(most));
        Self { stock, _owns: K::Owns::NEW, _values: PhantomData }
    }

    #[inline(always)]
    pub(super) fn stock(&self) -> &Stock<SharedShelves> {
        &self.stock
    }
}

figures!(SyncPool);
