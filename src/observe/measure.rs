//! What a piece of code allocates, told exactly for the thread that runs it.

use super::thread::thread_stats;
use super::watch::Watch;
use crate::figures::Delta;
use core::fmt::{self, Display, Formatter};

/// Runs `f` and returns what it returned, with what the calling thread allocated and freed meanwhile.
///
/// Exact, whatever other threads do; what other threads do for `f` is not in it. It may nest. It costs two calls of
/// [`thread_stats`](crate::thread_stats()); `f` itself runs as fast as ever.
///
/// # Panics
/// If `f` does.
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

/// What [`measure_peak`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Peak {
    /// What was allocated and freed, as [`measure`] tells it.
    pub delta: Delta,
    /// High-water mark of the bytes live, over what was live when it began: small blocks at block size, others as
    /// requested. A block that the backend moves counts once at any time.
    pub peak_bytes: u64,
    /// High-water mark of the blocks live, over those when it began.
    pub peak_blocks: u64,
    /// Bytes requested in all, as the program asked, before any rounding; a `realloc` adds its new size.
    pub requested_bytes: u64,
    /// Bytes of the largest request.
    pub largest_bytes: u64,
}

/// As [`measure`], with the high-water mark of what was live meanwhile, and the bytes as requested.
///
/// It watches each request of the calling thread as long as `f` runs: no request is served by a fast path, and each
/// costs several times as much. Outside of it nothing costs more: the thread is told where its heap is in another way,
/// and no test is added anywhere.
///
/// What a coroutine with a stack of its own does in `f` between its turns counts too; a thread must not be ended inside
/// (`pthread_exit`).
///
/// # Panics
/// If `f` does.
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
    /// The text of its [`Delta`], and one line more. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { delta, peak_bytes, peak_blocks, requested_bytes, largest_bytes } = self;
        write!(f, "{delta}\n  at most {peak_bytes} bytes in {peak_blocks} blocks at a time; ")?;
        write!(f, "{requested_bytes} bytes requested, {largest_bytes} at once")
    }
}
