//! Constructors for statics, and locks for the current generation. The models do without this file: loom's atomics have
//! no `const` constructors, and each model chooses the generation of its threads.

use super::atoms::{AtomicU32, AtomicU64, PlainCell};
use super::counter::Counter;
use super::generation::current_generation;
use super::lock::{Guard, Lock};
use super::lock_cell::{LockCell, LockCellGuard};
use super::once::Once;

impl Counter {
    /// A counter at 0.
    pub(crate) const fn new() -> Self {
        Self::around(AtomicU64::new(0))
    }
}

impl Lock {
    /// A free lock.
    pub(crate) const fn new() -> Self {
        Self::around(AtomicU32::new(0))
    }

    /// Waits until the lock is free and takes it. Takes it over if it was held when a fork made this process.
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.lock_as(current_generation)
    }

    /// Takes the lock if it is free, or if it was held when a fork made this process. Never waits.
    pub(crate) fn try_take_over(&self) -> Option<Guard<'_>> {
        self.try_take_over_as(current_generation())
    }
}

impl<T> LockCell<T> {
    /// A value behind a free lock.
    pub(crate) const fn new(value: T) -> Self {
        Self::around(Lock::new(), PlainCell::new(value))
    }

    /// Waits for the lock and takes it. `mend` repairs a value that a fork may have copied half-changed.
    pub(crate) fn hold(&self, mend: impl FnOnce(&mut T)) -> LockCellGuard<'_, T> {
        self.hold_as(current_generation, mend)
    }

    /// Takes the lock if it is free. Never waits.
    pub(crate) fn try_hold(&self) -> Option<LockCellGuard<'_, T>> {
        self.try_hold_as(current_generation())
    }
}

impl<T> Once<T> {
    /// A value that is not decided yet.
    pub(crate) const fn new() -> Self {
        Self::around(AtomicU32::new(0), PlainCell::new(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn a_fork_while_a_thread_waits_is_noticed() {
        let value = LockCell::new("half-changed");
        value.leave_behind(1);
        // The second call returns another generation, as in the child of a fork by a signal handler. If `hold_as` did
        // not call it again, it would wait for ever.
        let asked = Cell::new(0);
        let generation = || {
            asked.set(asked.get() + 1);
            asked.get().min(2)
        };
        let held = value.hold_as(generation, |value| *value = "mended");
        assert_eq!((*held, held.generation()), ("mended", 2));
    }
}
