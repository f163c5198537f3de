//! A value in a block of a typed pool.

use core::borrow::{Borrow, BorrowMut};
use core::cmp::Ordering;
use core::fmt::{self, Debug, Display, Formatter, Pointer};
use core::hash::{Hash, Hasher};
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

/// How a box knows its pool: it borrows it, or has a share of it (`Rc<TypedPool>`, `Arc<SyncTypedPool>`).
///
/// # Safety
/// Implemented by nobody else.
pub unsafe trait Home<T> {
    /// Ends the use of the block's value and takes the block back.
    ///
    /// # Safety
    /// * The block is a live one of this pool, holds a value, and the caller gives it up.
    #[doc(hidden)]
    unsafe fn take_back(&self, block: NonNull<T>);

    /// Takes a block back whose value has been moved out.
    ///
    /// # Safety
    /// * The block is a live one of this pool, and the caller gives it up.
    #[doc(hidden)]
    unsafe fn take_back_empty(&self, block: NonNull<T>);
}

/// A value in a block of a typed pool, owned as by a `Box`. Dropped, it gives the block back.
///
/// [`TypedBox`](crate::TypedBox), [`RcTypedBox`](crate::RcTypedBox), [`SyncTypedBox`](crate::SyncTypedBox) and
/// [`ArcTypedBox`](crate::ArcTypedBox) are names for it with each way to know the pool.
/// [`SyncTypedPool`](crate::SyncTypedPool)'s cross threads if the value may; a [`TypedPool`](crate::TypedPool)'s do
/// not, but any thread may look at the value of one if it is `Sync`.
///
/// Forgetting one leaks its block and its value, and nothing else.
pub struct HomeBox<T, H: Home<T>> {
    /// Box invariant 1: a live block of the pool that holds a value and that nobody else has.
    block: NonNull<T>,
    /// Box invariant 2: used by who owns the box or has `&mut` to it, never by a `&`.
    home: H,
}

// SAFETY: Box invariant 1: the value goes along, and so does the home.
unsafe impl<T: Send, H: Home<T> + Send> Send for HomeBox<T, H> {}

// SAFETY: Box invariant 1: a `&` of the box is one of the value, and Box invariant 2.
unsafe impl<T: Sync, H: Home<T>> Sync for HomeBox<T, H> {}

impl<T, H: Home<T>> HomeBox<T, H> {
    /// # Safety
    /// * The block is a live one of the pool, holds a value, and nobody else has it.
    #[inline(always)]
    pub(super) unsafe fn new(block: NonNull<T>, home: H) -> Self {
        Self { block, home }
    }

    /// Moves the value out; the block goes back to the pool.
    #[inline]
    #[must_use]
    pub fn into_inner(this: Self) -> T {
        let this = ManuallyDrop::new(this);
        // SAFETY: Box invariant 1; the box is not used for it any more.
        let value = unsafe { this.block.read() };
        // SAFETY: the box is not used any more.
        let home = unsafe { ptr::read(&raw const this.home) };
        // SAFETY: Box invariant 1, and the value has been moved out.
        unsafe { home.take_back_empty(this.block) };
        value
    }

    /// Gives the value up to whoever has the reference. Its block never comes back to the pool, and stays when the pool
    /// is dropped.
    #[inline]
    #[must_use]
    pub fn leak<'a>(this: Self) -> &'a mut T
    where
        T: 'a,
    {
        let this = ManuallyDrop::new(this);
        // SAFETY: as above. A share of the pool is given back.
        drop(unsafe { ptr::read(&raw const this.home) });
        // SAFETY: Box invariant 1, and only a box frees a block that is not ready.
        unsafe { &mut *this.block.as_ptr() }
    }
}

impl<T, H: Home<T>> Drop for HomeBox<T, H> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: Box invariant 1.
        unsafe { self.home.take_back(self.block) };
    }
}

impl<T, H: Home<T>> Deref for HomeBox<T, H> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: Box invariant 1.
        unsafe { self.block.as_ref() }
    }
}

impl<T, H: Home<T>> DerefMut for HomeBox<T, H> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: Box invariant 1.
        unsafe { self.block.as_mut() }
    }
}

impl<T, H: Home<T>> AsRef<T> for HomeBox<T, H> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T, H: Home<T>> AsMut<T> for HomeBox<T, H> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T, H: Home<T>> Borrow<T> for HomeBox<T, H> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T, H: Home<T>> BorrowMut<T> for HomeBox<T, H> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: Debug, H: Home<T>> Debug for HomeBox<T, H> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

impl<T: Display, H: Home<T>> Display for HomeBox<T, H> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&**self, f)
    }
}

impl<T, H: Home<T>> Pointer for HomeBox<T, H> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Pointer::fmt(&self.block, f)
    }
}

impl<T: PartialEq, H: Home<T>> PartialEq for HomeBox<T, H> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, H: Home<T>> Eq for HomeBox<T, H> {}

impl<T: PartialOrd, H: Home<T>> PartialOrd for HomeBox<T, H> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Ord, H: Home<T>> Ord for HomeBox<T, H> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Hash, H: Home<T>> Hash for HomeBox<T, H> {
    fn hash<S: Hasher>(&self, state: &mut S) {
        (**self).hash(state);
    }
}
