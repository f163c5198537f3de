//! The result of a release, as plain data.

use core::fmt::{self, Display, Formatter};
use core::ops::AddAssign;

/// Memory that [`release_unused`](crate::release_unused), or
/// [`PrivateHeap::release_unused`](crate::PrivateHeap::release_unused), gave back. `bytes` is
/// `arena_bytes + pool_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ReleaseStats {
    /// Bytes of arenas that were in memory and were given back: whole system pages. Outside Linux and Android the
    /// system takes them when it needs memory.
    pub bytes: u64,
    /// The part of `bytes` in arenas that no heap owns: those that were free before, and those that parked heaps and
    /// this thread's heap gave up in this call.
    pub arena_bytes: u64,
    /// The part of `bytes` in pools without a class, in arenas where other pools have one.
    pub pool_bytes: u64,
    /// Whether the C library was asked to give back free memory of large blocks and says that it did (glibc on Linux
    /// only). It does not say how much.
    pub backend: bool,
}

impl AddAssign for ReleaseStats {
    fn add_assign(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.arena_bytes += more.arena_bytes;
        self.pool_bytes += more.pool_bytes;
        self.backend |= more.backend;
    }
}

impl ReleaseStats {
    pub(crate) fn of_arenas(bytes: usize) -> Self {
        Self { bytes: bytes as u64, arena_bytes: bytes as u64, ..Self::default() }
    }

    pub(crate) fn of_pools(bytes: usize) -> Self {
        Self { bytes: bytes as u64, pool_bytes: bytes as u64, ..Self::default() }
    }
}

impl Display for ReleaseStats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { bytes, arena_bytes, pool_bytes, backend } = self;
        let backend = if *backend { ", and some of the backend's" } else { "" };
        write!(f, "{bytes} bytes released: {arena_bytes} in arenas, {pool_bytes} in pools{backend}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_is_told_in_a_line() {
        let mut released = ReleaseStats::of_arenas(8192);
        released += ReleaseStats::of_pools(4096);
        assert_eq!(released.to_string(), "12288 bytes released: 8192 in arenas, 4096 in pools");
        released.backend = true;
        assert!(released.to_string().ends_with("in pools, and some of the backend's"));
    }
}
