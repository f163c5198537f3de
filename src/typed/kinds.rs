//! The two kinds of typed pools: one drops the value of a dropped box, the other keeps it.

use super::stock::{Shelves, Stock};
use core::hash::Hash;
use core::marker::PhantomData;
use core::mem::{forget, needs_drop};
use core::ptr::{NonNull, drop_in_place};
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// A type whose values can be used again. A typed pool [reuses](crate::TypedPool::reusing) only such values.
///
/// CPython keeps the objects of freed lists in the same way.
///
/// # Examples
/// ```
/// use poolmalloc::{TypedPool, Reusable};
///
/// #[derive(Default)]
/// struct Request {
///     body: Vec<u8>,
///     headers: Vec<(String, String)>,
/// }
///
/// impl Reusable for Request {
///     fn reuse(&mut self) -> bool {
///         self.body.clear();
///         self.headers.clear();
///         // A body that has grown large must not stay so forever.
///         self.body.capacity() <= 64 << 10
///     }
/// }
///
/// let requests = TypedPool::new().reusing();
/// let mut request = requests.get_ready_or(Request::default);
/// request.body.extend([7; 1000]);
/// drop(request);
/// let again = requests.get_ready().expect("the request came back");
/// assert!(again.body.is_empty() && again.body.capacity() >= 1000);
/// ```
pub trait Reusable {
    /// Makes the value as good as new, for its next use. Returns false if the value is not worth keeping: then the pool
    /// drops it.
    ///
    /// The pool calls this when a box is dropped. If the call panics, the pool drops the value, too.
    fn reuse(&mut self) -> bool;
}

macro_rules! cleared {
    ($($(#[$doc:meta])* <$($parameter:ident),*> $collection:ty $(where $bound:path)?;)*) => {$(
        $(#[$doc])*
        impl<$($parameter),*> Reusable for $collection {
            fn reuse(&mut self) -> bool {
                self.clear();
                true
            }
        }
    )*};
}

cleared! {
    /// Clears the collection; its buffer stays.
    <> String;
    /// Clears the collection; its buffer stays.
    <T> Vec<T>;
    /// Clears the collection; its buffer stays.
    <T> VecDeque<T>;
    /// Clears the collection; its buffer stays.
    <T> BinaryHeap<T>;
}

/// Clears the collection; its buffer stays.
impl<K: Eq + Hash, V, S: core::hash::BuildHasher> Reusable for HashMap<K, V, S> {
    fn reuse(&mut self) -> bool {
        self.clear();
        true
    }
}

/// Clears the collection; its buffer stays.
impl<T: Eq + Hash, S: core::hash::BuildHasher> Reusable for HashSet<T, S> {
    fn reuse(&mut self) -> bool {
        self.clear();
        true
    }
}

/// The kind of typed pool that drops the value of a dropped box. Its ready blocks hold no values.
#[derive(Debug, Clone, Copy)]
pub enum Fresh {}

/// The kind of typed pool that keeps the values of dropped boxes and hands them out again. See [`Reusable`].
#[derive(Debug, Clone, Copy)]
pub enum Reuse {}

/// The kind of a typed pool, [`Fresh`] or [`Reuse`]: what it does with the value of a dropped box.
pub trait TypedKind<T>: Sealed {
    /// Type of a field of the pool. This type tells the compiler whether dropping the pool drops values.
    #[doc(hidden)]
    type ValueOwner: New;
    /// Drops the value in a ready block. `None` if ready blocks hold no values, or values that need no drop.
    #[doc(hidden)]
    const DROP_READY: Option<unsafe fn(*mut u8)>;

    /// Drops a box's value or makes it ready, and gives its block back to the stock.
    ///
    /// # Safety
    /// * The block is a live one of the stock and holds a value. The caller gives it up.
    /// * The stock is of this kind, and of values of this type.
    #[doc(hidden)]
    unsafe fn retire<S: Shelves>(stock: &Stock<S>, block: NonNull<T>);

    /// Gives a block back to the stock after its value has been moved out.
    #[doc(hidden)]
    fn give_empty<S: Shelves>(stock: &Stock<S>, block: NonNull<T>);
}

/// Implemented by the kinds of this file only, so that there are no others.
pub trait Sealed {}

impl Sealed for Fresh {}

impl Sealed for Reuse {}

/// Gives a block without a value back to its stock when dropped, also when a panic unwinds.
pub(super) struct GiveBackOnDrop<'a, S: Shelves> {
    pub(super) stock: &'a Stock<S>,
    pub(super) block: NonNull<u8>,
}

impl<S: Shelves> Drop for GiveBackOnDrop<'_, S> {
    #[inline(always)]
    fn drop(&mut self) {
        self.stock.give(self.block);
    }
}

impl<T> TypedKind<T> for Fresh {
    type ValueOwner = ();
    const DROP_READY: Option<unsafe fn(*mut u8)> = None;

    #[inline(always)]
    unsafe fn retire<S: Shelves>(stock: &Stock<S>, block: NonNull<T>) {
        let _back = GiveBackOnDrop { stock, block: block.cast() };
        if needs_drop::<T>() {
            // SAFETY: the caller's promises.
            unsafe { block.drop_in_place() };
        }
    }

    #[inline(always)]
    fn give_empty<S: Shelves>(stock: &Stock<S>, block: NonNull<T>) {
        stock.give(block.cast());
    }
}

/// Tells the compiler that dropping the pool drops values of this type.
#[derive(Debug)]
pub struct ValueOwner<T>(PhantomData<T>);

impl<T> Drop for ValueOwner<T> {
    /// Does nothing, since the stock drops the values. Because of this `drop`, the compiler rejects a pool that
    /// outlives what its values borrow.
    fn drop(&mut self) {}
}

impl<T> ValueOwner<T> {
    const NEW: Self = Self(PhantomData);
}

/// A type that the `ValueOwner` field of a pool can have.
pub trait New {
    /// The only value of the field.
    const NEW: Self;
}

impl New for () {
    const NEW: Self = ();
}

impl<T> New for ValueOwner<T> {
    const NEW: Self = Self::NEW;
}

impl<T: Reusable> TypedKind<T> for Reuse {
    type ValueOwner = ValueOwner<T>;
    const DROP_READY: Option<unsafe fn(*mut u8)> = if needs_drop::<T>() {
        // SAFETY: the caller promises that a value is there.
        Some(|value| unsafe { drop_in_place(value.cast::<T>()) })
    } else {
        None
    };

    #[inline]
    unsafe fn retire<S: Shelves>(stock: &Stock<S>, mut block: NonNull<T>) {
        /// Drops the value and frees the block, if the value is not worth keeping or `reuse` panicked.
        struct DropValueOnDrop<'a, S: Shelves, T>(&'a Stock<S>, NonNull<T>);
        impl<S: Shelves, T> Drop for DropValueOnDrop<'_, S, T> {
            fn drop(&mut self) {
                struct GiveEmptyOnDrop<'a, S: Shelves>(&'a Stock<S>, NonNull<u8>);
                impl<S: Shelves> Drop for GiveEmptyOnDrop<'_, S> {
                    fn drop(&mut self) {
                        self.0.give_empty(self.1);
                    }
                }
                let _empty = GiveEmptyOnDrop(self.0, self.1.cast());
                // SAFETY: the caller of `retire` has given the value up.
                unsafe { self.1.drop_in_place() };
            }
        }
        let unworthy = DropValueOnDrop(stock, block);
        // SAFETY: the caller's promises.
        if unsafe { block.as_mut() }.reuse() {
            forget(unworthy);
            stock.give(block.cast());
        }
    }

    fn give_empty<S: Shelves>(stock: &Stock<S>, block: NonNull<T>) {
        stock.give_empty(block.cast());
    }
}
