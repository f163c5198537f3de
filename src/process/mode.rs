//! The mode of the process: whether pools, the backend or the debug layer serve its requests. The environment chooses
//! it once, before the first block.

use core::sync::atomic::{AtomicU8, Ordering};

/// The part of the allocator that serves the requests of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Pools, and the backend for large blocks.
    Pools,
    /// The backend alone. Heaps hold no blocks, and only keep the counts.
    Backend,
    /// The debug layer, and below it pools, and the backend for large blocks.
    Debug,
    /// The debug layer, and below it the backend alone.
    DebugBackend,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Pools, Self::Backend, Self::Debug, Self::DebugBackend];

    /// Whether all requests take the slow path. Threads then have the front `BYPASS`, and their heap beside it.
    pub(crate) fn is_bypass(self) -> bool {
        self != Self::Pools
    }

    /// Whether all blocks are those of the [debug layer](crate::debug).
    pub(crate) fn is_debug(self) -> bool {
        matches!(self, Self::Debug | Self::DebugBackend)
    }
}

/// The mode of the process.
///
/// Mode invariant 1: it is written once, under the lock of the shared pools, before any thread gets a heap or is
/// refused one. Relaxed: only threads that have asked for a heap read it. Each of them has taken that lock after the
/// write, or has seen that there is no region (ordering S of `Once`).
pub(crate) struct ChosenMode(AtomicU8);

impl ChosenMode {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(Mode::Pools as u8))
    }

    pub(crate) fn choose(&self, mode: Mode) {
        self.0.store(mode as u8, Ordering::Relaxed);
    }

    /// The mode, for a thread that has asked for a heap.
    #[inline]
    pub(crate) fn get(&self) -> Mode {
        Mode::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// The mode that the environment has chosen.
pub(crate) static MODE: ChosenMode = ChosenMode::new();
