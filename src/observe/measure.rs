//! Measures the allocations of a piece of code, exactly, for the thread that runs it.

use super::thread::thread_stats;
use super::watch::Watch;
use crate::figures::Delta;
use core::fmt::{self, Display, Formatter};

/// Runs `f`. Returns its result, and the allocations and frees of the calling thread meanwhile.
///
/// The figures are exact, whatever other threads do. Work that other threads do for `f` is not in them. Calls may nest.
/// A call costs two calls of [`thread_stats`](crate::thread_stats()); `f` itself runs as fast as ever.
///
/// # Panics
/// If `f` panics.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// let (words, delta) = poolmalloc::measure(|| "one two three".split(' ').map(String::from).collect::<Vec<_>>());
/// assert_eq!(delta.live_blocks(), 4); // a vector and three strings
/// # drop(words);
/// ```
pub fn measure<R>(f: impl FnOnce() -> R) -> (R, Delta) {
    let before = thread_stats();
    let result = f();
    (result, thread_stats() - before)
}

/// The figures of [`measure_peak`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Peak {
    /// Allocations and frees, as [`measure`] returns them.
    pub delta: Delta,
    /// High-water mark of the live bytes, above those at the start: small blocks at block size, others as requested. A
    /// block that the backend moves counts only once, also during the move.
    pub peak_bytes: u64,
    /// High-water mark of the live blocks, above those at the start.
    pub peak_blocks: u64,
    /// Sum of all requested bytes, as the program asked, before any rounding. A `realloc` adds its new size.
    pub requested_bytes: u64,
    /// Bytes of the largest request.
    pub largest_bytes: u64,
}

/// Runs `f` and measures it as [`measure`] does. Also returns the high-water marks of the live bytes and blocks, and
/// the bytes as requested.
///
/// It watches each request of the calling thread as long as `f` runs. No fast path serves such a request, and each one
/// costs several times as much. Code outside of `measure_peak` costs nothing more. No test is added for the watch: the
/// fast paths look for the thread's heap anyway, and find none while a watch is on.
///
/// `f` may run in a coroutine with a stack of its own. Then requests of the thread between the coroutine's turns count
/// too. `f` must not end the thread (`pthread_exit`).
///
/// # Panics
/// If `f` panics.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// let ((), peak) = poolmalloc::measure_peak(|| {
///     let held = vec![0u8; 1000];
///     drop(vec![held, vec![0u8; 20]]);
/// });
/// assert_eq!(peak.delta.live_bytes(), 0);
/// assert_eq!(peak.peak_bytes, 1000 + 24 + 48); // 20 bytes take a block of 24
/// ```
pub fn measure_peak<R>(f: impl FnOnce() -> R) -> (R, Peak) {
    let before = thread_stats();
    let (result, seen) = {
        let watch = Watch::new();
        let on = watch.watch();
        let result = f();
        drop(on);
        (result, watch.seen())
    };
    let not_negative = |figure: i64| u64::try_from(figure).unwrap_or(0);
    let peak = Peak {
        delta: thread_stats() - before,
        peak_bytes: not_negative(seen.peak_bytes),
        peak_blocks: not_negative(seen.peak_blocks),
        requested_bytes: seen.requested_bytes,
        largest_bytes: seen.largest_bytes as u64,
    };
    (result, peak)
}

impl Display for Peak {
    /// The text of its [`Delta`], and one more line. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { delta, peak_bytes, peak_blocks, requested_bytes, largest_bytes } = self;
        write!(f, "{delta}\n  at most {peak_bytes} bytes in {peak_blocks} blocks at a time; ")?;
        write!(f, "{requested_bytes} bytes requested, {largest_bytes} at once")
    }
}
