//! A typed pool for many threads.

use super::boxes::{Home, HomeBox};
use super::kinds::{Fresh, GiveBackOnDrop, New, Reusable, Reuse, TypedKind};
use super::methods::{DEFAULT_CAPACITY, home, make_with, methods};
use super::shelf::Shelf;
use super::stock::{OwnedStock, Shelves, Stock};
use crate::figures::{Name, TypedPoolFigures};
use crate::process::tls;
use crate::sync::{Shards, current_generation};
use core::alloc::Layout;
use core::convert::identity;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::mem::forget;
use core::ptr::NonNull;
use std::sync::Arc;

/// Number of shelves of a pool. More threads than that share shelves.
const SHELVES: usize = 8;

/// The shelves of a pool for many threads, each with a lock.
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
        let found = self.0.find(tls::thread_number(), current_generation(), |shelf| shelf.ready() > 0, pop);
        found.unwrap_or(core::ptr::null_mut())
    }

    fn push(&self, block: *mut u8) -> bool {
        let push = |shelf: &Shelf| shelf.push(block).then_some(());
        self.0.find(tls::thread_number(), current_generation(), Shelf::has_room, push).is_some()
    }

    fn make_room(&self) -> bool {
        let make_room = |shelf: &Shelf| shelf.make_room().then_some(());
        self.0.find(tls::thread_number(), current_generation(), Shelf::has_room, make_room).is_some()
    }

    fn take_all(&self, take: &mut dyn FnMut(*mut u8)) {
        let mut left = None;
        self.0.each(current_generation, |shelf, guard| {
            if guard.is_inherited {
                shelf.forget();
            }
            shelf.allow();
            let left_here = left.unwrap_or(shelf.ready());
            let block = if left_here > 0 { shelf.pop() } else { core::ptr::null_mut() };
            // Unlocked first: `take` may run the destructor of a value, which may use this pool.
            drop(guard);
            if block.is_null() {
                left = None;
                return false;
            }
            left = Some(left_here - 1);
            take(block);
            true
        });
    }

    fn figures(&self) -> [u64; 3] {
        self.0.iter().fold([0; 3], |[ready, kept, room], shelf| {
            [ready + shelf.ready() as u64, kept + shelf.kept(), room + shelf.room() as u64]
        })
    }
}

/// A typed pool for many threads: any thread may take boxes and drop them. See [`TypedPool`](super::pool::TypedPool).
///
/// The pool has eight lists of ready blocks, each with a lock. Each thread begins at one of them. If that list is empty
/// (when a block is taken), full (when one comes back) or in use, the thread goes on to the next list. It never waits.
///
/// Taking a box and dropping it costs two locked instructions. A `Box` with this crate's allocator needs none, and is
/// faster. So this pool is for values that are worth [reusing](Self::reusing), and for statistics by owner.
/// docs/guide/typed-pools.md has the measurements.
///
/// The child of a `fork` can use the pool, too. If another thread was using a list at that moment, that list serves no
/// thread of the child until [`clear`](Self::clear) is called, and its ready blocks are lost to the child.
///
/// # Examples
/// ```
/// use poolmalloc::SyncTypedPool;
/// use std::sync::LazyLock;
///
/// static BUFFERS: LazyLock<SyncTypedPool<Vec<u8>, poolmalloc::Reuse>> =
///     LazyLock::new(|| SyncTypedPool::named("buffers", 64).reusing());
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
/// let pool = poolmalloc::SyncTypedPool::new();
/// let value = pool.get(1);
/// drop(pool);
/// println!("{value}");
/// ```
/// ```compile_fail,E0597
/// let pool = poolmalloc::SyncTypedPool::new();
/// let value = pool.get(1);
/// std::thread::spawn(move || drop(value));
/// ```
/// A value that is not `Send` stays on its thread. A reference to a box stays there if the value is not `Sync`:
/// ```compile_fail,E0277
/// let pool = poolmalloc::SyncTypedPool::new();
/// let value = pool.get(std::rc::Rc::new(1));
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(value));
/// });
/// ```
/// ```compile_fail,E0277
/// let pool = poolmalloc::SyncTypedPool::new();
/// let value = pool.get(std::cell::Cell::new(1));
/// std::thread::scope(|scope| {
///     scope.spawn(|| value.set(2));
/// });
/// ```
pub struct SyncTypedPool<T, K: TypedKind<T> = Fresh> {
    pub(super) stock: OwnedStock<SharedShelves>,
    _owns: K::ValueOwner,
    /// Makes the pool neither `Send` nor `Sync` by itself, and invariant in `T`: it takes and hands out values of
    /// exactly this type.
    _values: PhantomData<*mut T>,
}

// SAFETY: as for `TypedPool`.
unsafe impl<T: Send, K: TypedKind<T>> Send for SyncTypedPool<T, K> {}

// SAFETY: Shard invariant 1; the rest of the stock is atomic or never changes. A value may come from one thread and go
// to another, so `T` is `Send`.
unsafe impl<T: Send, K: TypedKind<T>> Sync for SyncTypedPool<T, K> {}

impl<T, K: TypedKind<T>> SyncTypedPool<T, K> {
    pub(super) fn of_kind(name: Name, most: usize) -> Self {
        let stock = OwnedStock::new(name, Layout::new::<T>(), K::DROP_READY, SharedShelves::new(most));
        Self { stock, _owns: K::ValueOwner::NEW, _values: PhantomData }
    }

    #[inline(always)]
    pub(super) fn stock(&self) -> &Stock<SharedShelves> {
        &self.stock
    }
}

methods!(SyncTypedPool, inline, SyncTypedBox, identity, ArcTypedBox, Arc);

home!(SyncTypedPool: &SyncTypedPool<T, K>, Arc<SyncTypedPool<T, K>>);

/// A box with a value in a block of a [`SyncTypedPool`]. It borrows the pool.
pub type SyncTypedBox<'p, T, K = Fresh> = HomeBox<T, &'p SyncTypedPool<T, K>>;

/// A box with a value in a block of a [`SyncTypedPool`]. It has a share of the pool.
pub type ArcTypedBox<T, K = Fresh> = HomeBox<T, Arc<SyncTypedPool<T, K>>>;
