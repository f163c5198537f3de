//! Numbers of backtraces.

use core::num::NonZeroU32;

/// The number of a backtrace in the store.
pub(crate) type TraceId = NonZeroU32;

/// Most frames of a backtrace.
pub(crate) const MOST_FRAMES: usize = 128;
