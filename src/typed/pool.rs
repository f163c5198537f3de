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

/// A pool of blocks for values of one type: when a box is dropped, its block is kept for the next value, up to a bound.
///
/// Blocks come from the program's global allocator and go back to it when the list of ready blocks is full, by
/// [`clear`](Self::clear), and when the pool is dropped. Taking one and giving it back costs less than half the
/// instructions of a `Box` with this crate's allocator. Most programs need no pool: docs/typed-pools.md says when one
/// pays.
///
/// A pool of the kind [`Reuse`], which [`reusing`](Self::reusing) makes, keeps the *values* of dropped boxes, too.
///
/// # What may cross threads
/// The pool itself, while nothing borrows it, if `T` is `Send`. It is not `Sync`: one thread at a time takes blocks and
/// gives them back, without a lock. So a [`TypedBox`] stays on the thread; [`SyncTypedPool`](crate::SyncTypedPool) is
/// for many.
///
/// A box borrows its pool, which can be neither dropped nor moved meanwhile. [`get_owned`](Self::get_owned) makes one
/// that has a share of the pool instead. Values may borrow the pool that their blocks come from, as the nodes of a tree
/// do.
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
/// What would let a box outlive its pool does not compile:
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
/// Nor what would use it on two threads:
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
/// A pool has blocks of one type, and knows whether they hold values:
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
/// Values that a pool keeps outlive it:
/// ```compile_fail,E0597
/// let pool = poolmalloc::TypedPool::new().reusing();
/// let word = String::from("word");
/// pool.get_ready_or(Vec::new).push(&word);
/// ```
/// A value that is a share of it has to be `'static` or no longer than what it borrows:
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
    /// Neither `Send` nor `Sync` by itself. It takes and hands out values of exactly this type.
    _values: PhantomData<*mut T>,
}

// SAFETY: nothing borrows a pool that is sent, so all its blocks are ready ones or leaked; values in them are sent
// along.
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

/// A pool that is borrowed. One look less than by a reference to it: its stock lies in a block of its own.
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

// SAFETY: a stock takes back what it handed out.
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

/// A value in a block of a [`TypedPool`], which it borrows.
pub type TypedBox<'p, T, K = Fresh> = HomeBox<T, TypedPoolRef<'p, T, K>>;

/// A value in a block of a [`TypedPool`], of which it has a share.
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
