//! The named typed pools of the process, for its statistics: a list that is linked through their entries and needs no
//! memory of its own.
//!
//! If a fork copies the list half-changed, the child gives it up and begins an empty list, in the next *epoch*.
//!
//! Registry invariant 1: only the holder of the lock touches the list and the links of the entries in it.
//! Registry invariant 2: an entry that was added in this epoch is in the list until `remove`, and does not move
//! meanwhile. An entry of an earlier epoch is in no list.

use crate::figures::{Name, TypedPoolFigures, TypedPoolStats};
use crate::sync::LockCell;
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// Reads the figures of a pool in the list.
type FiguresFn = unsafe fn(NonNull<()>) -> TypedPoolFigures;

/// A typed pool's place in the list.
pub(super) struct RegistryEntry {
    name: Name,
    next: Cell<*const RegistryEntry>,
    previous: Cell<*const RegistryEntry>,
    pool: Cell<Option<(NonNull<()>, FiguresFn)>>,
    /// The epoch in which the entry was added; 0 before `add` and after `remove`.
    epoch: Cell<u32>,
}

impl RegistryEntry {
    pub(super) const fn new(name: Name) -> Self {
        let (next, previous) = (Cell::new(ptr::null()), Cell::new(ptr::null()));
        Self { name, next, previous, pool: Cell::new(None), epoch: Cell::new(0) }
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }
}

/// The list of named typed pools, with its lock.
pub(crate) struct Registry {
    list: LockCell<RegistryList>,
}

/// The named typed pools.
pub(crate) static TYPED: Registry = Registry::new();

struct RegistryList {
    first: *const RegistryEntry,
    epoch: u32,
}

// SAFETY: entries do not move while they are in the list (Registry invariant 2), whichever thread has the lock.
unsafe impl Send for RegistryList {}

impl Registry {
    const fn new() -> Self {
        Self { list: LockCell::new(RegistryList { first: ptr::null(), epoch: 1 }) }
    }

    /// Runs `f` with the list, under the lock. `f` must not use the registry.
    fn with<R>(&self, f: impl FnOnce(&mut RegistryList) -> R) -> R {
        let give_up = |list: &mut RegistryList| {
            *list = RegistryList { first: ptr::null(), epoch: list.epoch.wrapping_add(1).max(1) }
        };
        f(&mut self.list.hold(give_up))
    }

    /// Puts a pool into the list.
    ///
    /// # Safety
    /// * The entry was never added before, and does not move until it is removed.
    /// * Until then `figures` may be called with `pool` on any thread. It does not use the registry.
    pub(super) unsafe fn add(&self, entry: &RegistryEntry, pool: NonNull<()>, figures: FiguresFn) {
        self.with(|list| {
            entry.pool.set(Some((pool, figures)));
            entry.epoch.set(list.epoch);
            entry.next.set(list.first);
            // SAFETY: Registry invariant 2.
            if let Some(next) = unsafe { list.first.as_ref() } {
                next.previous.set(entry);
            }
            list.first = entry;
        });
    }

    /// Takes a pool out of the list, if it is there.
    pub(super) fn remove(&self, entry: &RegistryEntry) {
        if entry.epoch.get() == 0 {
            return;
        }
        self.with(|list| {
            if entry.epoch.replace(0) != list.epoch {
                return;
            }
            // SAFETY: Registry invariant 2.
            if let Some(next) = unsafe { entry.next.get().as_ref() } {
                next.previous.set(entry.previous.get());
            }
            // SAFETY: Registry invariant 2.
            match unsafe { entry.previous.get().as_ref() } {
                Some(previous) => previous.next.set(entry.next.get()),
                None => list.first = entry.next.get(),
            }
        });
    }

    /// The figures of all pools in the list, in sum and by name.
    pub(crate) fn stats(&self) -> TypedPoolStats {
        self.with(|list| {
            let mut stats = TypedPoolStats::default();
            let mut next = list.first;
            // SAFETY: Registry invariant 2.
            while let Some(entry) = unsafe { next.as_ref() } {
                if let Some((pool, figures)) = entry.pool.get() {
                    // SAFETY: the caller of `add` has promised it.
                    stats.add(entry.name, &unsafe { figures(pool) });
                }
                next = entry.next.get();
            }
            stats
        })
    }
}
