//! The named typed pools of the process, for its statistics: a list that needs no memory of its own.
//!
//! Registry invariant 1: the list, and the links of the entries in it, are touched by the holder of the lock alone.
//! Registry invariant 2: an entry is in the list from `add` to `remove`, and stays where it is meanwhile. Only one that
//! was added in an earlier epoch is in no list: a fork has copied the list half-changed, and it was given up.

use crate::figures::{Name, TypedPoolFigures, TypedPoolStats};
use crate::sync::LockCell;
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// Reads the figures of what was added.
type FiguresFn = unsafe fn(NonNull<()>) -> TypedPoolFigures;

/// A typed pool's place in the list.
pub(super) struct RegistryEntry {
    name: Name,
    next: Cell<*const RegistryEntry>,
    previous: Cell<*const RegistryEntry>,
    pool: Cell<Option<(NonNull<()>, FiguresFn)>>,
    /// That of the list when this was added; 0 if it was not.
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

/// The list.
pub(crate) struct Registry {
    list: LockCell<RegistryList>,
}

/// The named typed pools.
pub(crate) static TYPED: Registry = Registry::new();

struct RegistryList {
    first: *const RegistryEntry,
    epoch: u32,
}

// SAFETY: entries stay where they are while they are in the list (Registry invariant 2), whichever thread has it.
unsafe impl Send for RegistryList {}

impl Registry {
    const fn new() -> Self {
        Self { list: LockCell::new(RegistryList { first: ptr::null(), epoch: 1 }) }
    }

    /// Runs `f` with the list. `f` does not come back here.
    fn with<R>(&self, f: impl FnOnce(&mut RegistryList) -> R) -> R {
        let give_up = |list: &mut RegistryList| {
            *list = RegistryList { first: ptr::null(), epoch: list.epoch.wrapping_add(1).max(1) }
        };
        f(&mut self.list.hold(give_up))
    }

    /// Puts a pool into the list.
    ///
    /// # Safety
    /// * The entry was not added before, and stays where it is until it is removed.
    /// * `figures` may be called with `pool` until then, on any thread, and asks nothing of this list.
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

    /// What all pools in the list hold.
    pub(crate) fn stats(&self) -> TypedPoolStats {
        self.with(|list| {
            let mut stats = TypedPoolStats::default();
            let mut next = list.first;
            // SAFETY: Registry invariant 2.
            while let Some(entry) = unsafe { next.as_ref() } {
                if let Some((pool, figures)) = entry.pool.get() {
                    // SAFETY: as `add` was promised.
                    stats.add(entry.name, &unsafe { figures(pool) });
                }
                next = entry.next.get();
            }
            stats
        })
    }
}
