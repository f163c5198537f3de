//! A typed pool for one thread at a time.

use super::boxes::{Home, HomeBox};
use super::kinds::{Fresh, GiveBackOnDrop, New, Reusable, Reuse, TypedKind};
use super::methods::{DEFAULT_CAPACITY, home, make_with, methods};
use super::shelf::Shelf;
use super::stock::{OwnedStock, Stock};
use crate::figures::{Name, TypedPoolFigures};
use core::alloc::Layout;
use core::fmt::{self, Debug, Formatter};
use core::marker::PhantomData;
use core::mem::forget;
use core::ptr::NonNull;
use std::rc::Rc;

/// A typed pool: it keeps the blocks of dropped boxes, up to a bound, for the next values of its type.
///
/// Blocks come from the program's global allocator. They go back to it when the list of ready blocks is full, when you
/// call [`clear`](Self::clear), and when the pool is dropped. Taking a box and dropping it costs less than half the
/// instructions of a `Box` with this crate's allocator. Most programs need no typed pool: docs/guide/typed-pools.md
/// says when one pays.
///
/// A typed pool of the kind [`Reuse`] keeps the *values* of dropped boxes, too. [`reusing`](Self::reusing) makes one.
///
/// # What may cross threads
/// The pool itself may move to another thread while nothing borrows it, if `T` is `Send`. It is not `Sync`: one thread
/// at a time takes blocks and gives them back, without a lock. So a [`TypedBox`] stays on its thread.
/// [`SyncTypedPool`](crate::SyncTypedPool) is for many threads.
///
/// A box borrows its pool, so the pool can be neither dropped nor moved meanwhile. A box from
/// [`get_owned`](Self::get_owned) has a share of the pool instead. Values may borrow the pool that their blocks come
/// from, as the nodes of a list do.
///
/// # Examples
/// ```
/// use poolmalloc::{TypedPool, TypedBox};
///
/// struct Node<'p> {
///     key: u32,
///     next: Option<TypedBox<'p, Node<'p>>>,
/// }
///
/// let nodes = TypedPool::named("nodes", 1000);
/// let mut list = None;
/// for key in 0..10 {
///     list = Some(nodes.get(Node { key, next: list }));
/// }
/// assert_eq!((nodes.len(), list.as_ref().map(|node| node.key)), (10, Some(9)));
/// drop(list);
/// assert_eq!((nodes.len(), nodes.ready(), nodes.stats().hits), (0, 10, 0));
/// # println!("{}", poolmalloc::stats());
/// ```
/// A box does not outlive its pool. These examples do not compile:
/// ```compile_fail,E0505
/// let pool = poolmalloc::TypedPool::new();
/// let value = pool.get(1);
/// drop(pool);
/// println!("{value}");
/// ```
/// ```compile_fail,E0597
/// let value = {
///     let pool = poolmalloc::TypedPool::new();
///     pool.get(1)
/// };
/// println!("{value}");
/// ```
/// ```compile_fail,E0515
/// fn make<'p>() -> poolmalloc::TypedBox<'p, i32> {
///     let pool = poolmalloc::TypedPool::new();
///     pool.get(1)
/// }
/// ```
/// Two threads do not use one pool at once, and a box stays on its thread. These examples do not compile either:
/// ```compile_fail,E0277
/// let pool = poolmalloc::TypedPool::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| pool.get(1));
/// });
/// ```
/// ```compile_fail,E0277
/// let pool = poolmalloc::TypedPool::new();
/// let value = pool.get(1);
/// std::thread::scope(|scope| {
///     scope.spawn(move || drop(value));
/// });
/// ```
/// ```compile_fail,E0277
/// let pool = std::rc::Rc::new(poolmalloc::TypedPool::new());
/// let value = pool.get_owned(1);
/// std::thread::spawn(move || drop(value));
/// ```
/// ```compile_fail,E0277
/// let pool = poolmalloc::TypedPool::<std::rc::Rc<i32>>::new();
/// std::thread::spawn(move || drop(pool));
/// ```
/// A pool has blocks of one type, and the type of a box names the kind of its pool:
/// ```compile_fail,E0308
/// let pool = poolmalloc::TypedPool::new();
/// let number = pool.get(1);
/// let text = pool.get("one");
/// ```
/// ```compile_fail,E0308
/// use poolmalloc::{TypedPool, TypedBox};
///
/// let pool = TypedPool::<String>::new().reusing();
/// let fresh: TypedBox<'_, String> = pool.get_ready_or(String::new);
/// ```
/// A pool that keeps values must not outlive what they borrow:
/// ```compile_fail,E0597
/// let pool = poolmalloc::TypedPool::new().reusing();
/// let word = String::from("word");
/// pool.get_ready_or(Vec::new).push(&word);
/// ```
/// A box with a share of the pool must not outlive what its value borrows:
/// ```compile_fail,E0597
/// let pool = std::rc::Rc::new(poolmalloc::TypedPool::new());
/// let value = {
///     let word = String::from("word");
///     pool.get_owned(&word)
/// };
/// println!("{value}");
/// ```
pub struct TypedPool<T, K: TypedKind<T> = Fresh> {
    stock: OwnedStock<Shelf>,
    _owns: K::ValueOwner,
    /// Makes the pool neither `Send` nor `Sync` by itself, and invariant in `T`: it takes and hands out values of
    /// exactly this type.
    _values: PhantomData<*mut T>,
}

// SAFETY: nothing borrows a pool that is sent, so each of its blocks is ready or leaked. The values in ready blocks go
// with the pool.
unsafe impl<T: Send, K: TypedKind<T>> Send for TypedPool<T, K> {}

impl<T, K: TypedKind<T>> TypedPool<T, K> {
    fn of_kind(name: Name, most: usize) -> Self {
        let stock = OwnedStock::new(name, Layout::new::<T>(), K::DROP_READY, Shelf::new(most));
        Self { stock, _owns: K::ValueOwner::NEW, _values: PhantomData }
    }

    #[inline(always)]
    fn stock(&self) -> &Stock<Shelf> {
        &self.stock
    }
}

methods!(TypedPool, inline(always), TypedBox, TypedPoolRef::new, RcTypedBox, Rc);

home!(TypedPool: Rc<TypedPool<T, K>>);

/// A borrow of a typed pool, as a reference to its stock. The stock lies in a block of its own, so a reference to the
/// pool would cost one more load.
pub struct TypedPoolRef<'p, T, K: TypedKind<T>> {
    stock: &'p Stock<Shelf>,
    _pool: PhantomData<&'p TypedPool<T, K>>,
}

impl<'p, T, K: TypedKind<T>> TypedPoolRef<'p, T, K> {
    #[inline(always)]
    pub(super) fn new(pool: &'p TypedPool<T, K>) -> Self {
        Self { stock: pool.stock(), _pool: PhantomData }
    }
}

// SAFETY: the stock that handed a block out takes it back.
unsafe impl<T, K: TypedKind<T>> Home<T> for TypedPoolRef<'_, T, K> {
    #[inline(always)]
    unsafe fn take_back(&self, block: NonNull<T>) {
        // SAFETY: the caller's promises, and the pool's kind is that of its stock.
        unsafe { K::retire(self.stock, block) }
    }

    #[inline(always)]
    unsafe fn take_back_empty(&self, block: NonNull<T>) {
        K::give_empty(self.stock, block);
    }
}

/// A box with a value in a block of a [`TypedPool`]. It borrows the pool.
pub type TypedBox<'p, T, K = Fresh> = HomeBox<T, TypedPoolRef<'p, T, K>>;

/// A box with a value in a block of a [`TypedPool`]. It has a share of the pool.
///
/// # Examples
/// ```
/// use poolmalloc::{TypedPool, RcTypedBox};
/// use std::rc::Rc;
///
/// fn make() -> RcTypedBox<i32> {
///     Rc::new(TypedPool::new()).get_owned(1)
/// }
/// assert_eq!(*make(), 1);
/// ```
pub type RcTypedBox<T, K = Fresh> = HomeBox<T, Rc<TypedPool<T, K>>>;
