//! The mode of the process: whether pools, the backend or the debug layer serve its requests. The environment chooses it once,
//! before the first block.

use core::sync::atomic::{AtomicU8, Ordering};

/// What all requests of the process go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Pools, and the backend for large blocks.
    Pools,
    /// The backend alone; heaps only count.
    Backend,
    /// The debug layer, and below it pools, and the backend for large blocks.
    Debug,
    /// The debug layer, and below it the backend alone.
    DebugBackend,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Pools, Self::Backend, Self::Debug, Self::DebugBackend];

    /// Whether no request may take a fast path: threads get `BYPASS` for a front then, and the heap beside it.
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
/// Mode invariant 1: written once, under the lock of the shared pools, before they give anyone a heap or refuse one. Relaxed:
/// who has asked for a heap has met that lock since.
pub(crate) struct ChosenMode(AtomicU8);

impl ChosenMode {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(Mode::Pools as u8))
    }

    pub(crate) fn choose(&self, mode: Mode) {
        self.0.store(mode as u8, Ordering::Relaxed);
    }

    /// For a thread that has asked for a heap.
    #[inline]
    pub(crate) fn get(&self) -> Mode {
        Mode::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// What the environment has chosen for the whole process.
pub(crate) static MODE: ChosenMode = ChosenMode::new();
