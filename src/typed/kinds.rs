//! What becomes of a value when its box is dropped.

use super::stock::{Shelves, Stock};
use core::hash::Hash;
use core::marker::PhantomData;
use core::mem::{forget, needs_drop};
use core::ptr::{NonNull, drop_in_place};
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// A value that can be used again, as CPython keeps the shells of lists: for a pool that
/// [reuses](crate::TypedPool::reusing) values.
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
///         // One that has grown large must not stay so for ever.
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
    /// Makes the value ready for its next use, as good as a new one. False if it is not worth keeping: then it is
    /// dropped.
    ///
    /// Called when a box is dropped. If it panics, the value is dropped, too.
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
    /// Cleared; the buffer stays.
    <> String;
    /// Cleared; the buffer stays.
    <T> Vec<T>;
    /// Cleared; the buffer stays.
    <T> VecDeque<T>;
    /// Cleared; the buffer stays.
    <T> BinaryHeap<T>;
}

/// Cleared; the buffer stays.
impl<K: Eq + Hash, V, S: core::hash::BuildHasher> Reusable for HashMap<K, V, S> {
    fn reuse(&mut self) -> bool {
        self.clear();
        true
    }
}

/// Cleared; the buffer stays.
impl<T: Eq + Hash, S: core::hash::BuildHasher> Reusable for HashSet<T, S> {
    fn reuse(&mut self) -> bool {
        self.clear();
        true
    }
}

/// The kind of pool whose boxes drop their values, so that ready blocks hold nothing.
#[derive(Debug, Clone, Copy)]
pub enum Fresh {}

/// The kind of pool that keeps the values of dropped boxes to hand them out again, as [`Reusable`] says.
#[derive(Debug, Clone, Copy)]
pub enum Reuse {}

/// What a pool does with the value of a box that is dropped: [`Fresh`] or [`Reuse`].
pub trait TypedKind<T>: Sealed {
    /// Part of a pool, by which the compiler knows whether dropping it drops values.
    #[doc(hidden)]
    type ValueOwner: New;
    /// What drops the value in a ready block.
    #[doc(hidden)]
    const DROP_READY: Option<unsafe fn(*mut u8)>;

    /// Ends the use of a box's value and gives its block back.
    ///
    /// # Safety
    /// * The block is a live one of the stock, holds a value, and the caller gives it up.
    /// * The stock is of this kind, and of values of this type.
    #[doc(hidden)]
    unsafe fn retire<S: Shelves>(stock: &Stock<S>, block: NonNull<T>);

    /// Gives a block back whose value has been moved out.
    #[doc(hidden)]
    fn give_empty<S: Shelves>(stock: &Stock<S>, block: NonNull<T>);
}

/// No other kinds than those of this file.
pub trait Sealed {}

impl Sealed for Fresh {}

impl Sealed for Reuse {}

/// Gives a block back that holds nothing, however the block of code ends.
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

/// Drops values when the pool is dropped, as far as the compiler is concerned.
#[derive(Debug)]
pub struct ValueOwner<T>(PhantomData<T>);

impl<T> Drop for ValueOwner<T> {
    /// The stock drops the values. That this is here makes them outlive the pool.
    fn drop(&mut self) {}
}

impl<T> ValueOwner<T> {
    const NEW: Self = Self(PhantomData);
}

/// Parts of pools of a kind.
pub trait New {
    /// The part.
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
        /// Drops the value, if it is not worth keeping or in an undefined state after a panic.
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
