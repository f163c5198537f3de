//! `HomeBox`: a value in a block of a typed pool.

use core::borrow::{Borrow, BorrowMut};
use core::cmp::Ordering;
use core::fmt::{self, Debug, Display, Formatter, Pointer};
use core::hash::{Hash, Hasher};
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

/// The way in which a box knows its pool: by a borrow, or by a share (`Rc<TypedPool>`, `Arc<SyncTypedPool>`).
///
/// # Safety
/// Only this crate may implement it.
pub unsafe trait Home<T> {
    /// Takes a block back, with the value that it holds: the pool drops the value or keeps it.
    ///
    /// # Safety
    /// * The block is a live one of this pool and holds a value. The caller gives it up.
    #[doc(hidden)]
    unsafe fn take_back(&self, block: NonNull<T>);

    /// Takes a block back after its value has been moved out.
    ///
    /// # Safety
    /// * The block is a live one of this pool. The caller gives it up.
    #[doc(hidden)]
    unsafe fn take_back_empty(&self, block: NonNull<T>);
}

/// A value in a block of a typed pool. The box owns the value as a `Box` does. When the box is dropped, the block goes
/// back to the pool.
///
/// [`TypedBox`](crate::TypedBox), [`RcTypedBox`](crate::RcTypedBox), [`SyncTypedBox`](crate::SyncTypedBox) and
/// [`ArcTypedBox`](crate::ArcTypedBox) are names for this type, one for each way to know the pool. Boxes of a
/// [`SyncTypedPool`](crate::SyncTypedPool) may go to another thread if the value is `Send`. Boxes of a
/// [`TypedPool`](crate::TypedPool) may not, but any thread may look at the value through a reference if it is `Sync`.
///
/// Forgetting a box leaks its block and its value and, if the box has a share of the pool, that share: the pool is then
/// never freed.
pub struct HomeBox<T, H: Home<T>> {
    /// Box invariant 1: a live block of the pool that holds a value. No other code has it.
    block: NonNull<T>,
    /// Box invariant 2: only the owner of the box, or a `&mut` to it, uses `home`; a `&` never does.
    home: H,
}

// SAFETY: Box invariant 1: the value and the home, which are `Send`, go with the box.
unsafe impl<T: Send, H: Home<T> + Send> Send for HomeBox<T, H> {}

// SAFETY: Box invariant 1: a `&` of the box leads to a `&` of the value. Box invariant 2: it does not lead to the home.
unsafe impl<T: Sync, H: Home<T>> Sync for HomeBox<T, H> {}

impl<T, H: Home<T>> HomeBox<T, H> {
    /// # Safety
    /// * The block is a live one of the pool and holds a value. No other code has it.
    #[inline(always)]
    pub(super) unsafe fn new(block: NonNull<T>, home: H) -> Self {
        Self { block, home }
    }

    /// Moves the value out of the box. The block goes back to the pool; a pool that reuses values frees it.
    #[inline]
    #[must_use]
    pub fn into_inner(this: Self) -> T {
        let this = ManuallyDrop::new(this);
        // SAFETY: Box invariant 1; the box does not use the value any more.
        let value = unsafe { this.block.read() };
        // SAFETY: the box is not used any more.
        let home = unsafe { ptr::read(&raw const this.home) };
        // SAFETY: Box invariant 1, and the value has been moved out.
        unsafe { home.take_back_empty(this.block) };
        value
    }

    /// Returns a reference to the value and gives the box up. The block never comes back to the pool, and stays valid
    /// when the pool is dropped.
    #[inline]
    #[must_use]
    pub fn leak<'a>(this: Self) -> &'a mut T
    where
        T: 'a,
    {
        let this = ManuallyDrop::new(this);
        // SAFETY: the box is not used any more. If the home is a share of the pool, the drop gives it back.
        drop(unsafe { ptr::read(&raw const this.home) });
        // SAFETY: Box invariant 1. Only its box gives a block back, and this box is gone.
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
