//! A value behind a lock, in a process that may be forked at any moment.
//!
//! A fork copies the lock and the value as they are. If another thread held the lock, the value in the child may be
//! half-changed, and that thread does not exist there. The lock names the generation of its holder ([`Lock`]). So the
//! first thread of the child that takes the lock sees that the value may be half-changed. It mends the value before it
//! uses it.
//!
//! Lock cell invariant 1: only the holder of the lock touches the value, or a thread that has `&mut` to the `LockCell`.
//! Lock cell invariant 2: a value that a fork copied while another thread held its lock is mended, once, before any
//! other use.

use super::atoms::PlainCell;
use super::lock::{Guard, Lock};
use core::ops::{Deref, DerefMut};

/// A value behind a lock.
pub(crate) struct LockCell<T> {
    lock: Lock,
    value: PlainCell<T>,
}

// SAFETY: Lock cell invariant 1: one thread at a time has the value, and the lock orders their uses.
unsafe impl<T: Send> Sync for LockCell<T> {}

/// Access to the value, for the holder of the lock. Unlocks when dropped.
pub(crate) struct LockCellGuard<'a, T> {
    value: &'a PlainCell<T>,
    guard: Guard<'a>,
}

impl<T> LockCell<T> {
    /// A value behind its lock. The caller makes both parts, because those of the models have no `const` constructors.
    pub(crate) const fn around(lock: Lock, value: PlainCell<T>) -> Self {
        Self { lock, value }
    }

    /// Waits for the lock and takes it for a thread of the generation that `generation` returns. As in
    /// [`Lock::lock_as`], `generation` is called again after each wait. `mend` is called once if a fork may have copied
    /// the value half-changed, else not at all.
    pub(crate) fn hold_as(&self, generation: impl Fn() -> u32, mend: impl FnOnce(&mut T)) -> LockCellGuard<'_, T> {
        let mut held = LockCellGuard { value: &self.value, guard: self.lock.lock_as(generation) };
        if held.guard.is_inherited {
            mend(&mut held);
        }
        held
    }

    /// Takes the lock for a thread of `generation` if it is free. Never waits. A lock that was held when a fork made
    /// this process is not free: only [`hold_as`](Self::hold_as) takes it over, and mends the value.
    pub(crate) fn try_hold_as(&self, generation: u32) -> Option<LockCellGuard<'_, T>> {
        Some(LockCellGuard { value: &self.value, guard: self.lock.try_lock_as(generation)? })
    }

    /// The value, for a thread that has `&mut` to the `LockCell`. Neither takes the lock nor checks it.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: Lock cell invariant 1: the caller has `&mut` to the `LockCell`.
        unsafe { self.value.get_mut() }
    }

    /// Leaves the lock held by a thread of this generation, as a fork does.
    #[cfg(test)]
    pub(crate) fn leave_behind(&self, generation: u32) {
        core::mem::forget(self.lock.lock_as(|| generation));
    }
}

impl<T> LockCellGuard<'_, T> {
    /// The generation of the thread that holds the lock.
    pub(crate) fn generation(&self) -> u32 {
        self.guard.generation
    }
}

impl<T> Deref for LockCellGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: Lock cell invariant 1: this thread holds the lock.
        unsafe { self.value.get() }
    }
}

impl<T> DerefMut for LockCellGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: Lock cell invariant 1: this thread holds the lock, and `&mut self` is the only way to the value.
        unsafe { self.value.get_mut() }
    }
}
