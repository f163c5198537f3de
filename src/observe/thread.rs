//! The statistics of the calling thread, exact whatever other threads do.

use crate::figures::ThreadStats;
use crate::geometry::SizeClass;
use crate::process::tls;

/// The allocations and frees of the calling thread since it began.
///
/// The figures are exact. Other threads do not affect them: neither their allocations nor their frees of this thread's
/// blocks count. A call reads some 200 figures of the thread's own heap, without lock or system call, and never
/// allocates.
///
/// All figures are 0 after the thread has given its heap back: requests in destructors that run later count only in the
/// statistics of the process. The figures are also 0 if there is no memory for a heap, and under memcheck.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// use poolmalloc::thread_stats;
///
/// let before = thread_stats();
/// drop(std::hint::black_box(Box::new([1u8; 48])));
/// let delta = thread_stats() - before;
/// assert_eq!((delta.allocations(), delta.frees()), (1, 1));
/// ```
#[must_use]
pub fn thread_stats() -> ThreadStats {
    let mut stats = ThreadStats::default();
    for class in SizeClass::all() {
        stats.classes[class.index()].block_bytes = class.bytes() as u64;
    }
    let Some(heap) = tls::heap_or_make().heap() else { return stats };
    let (now, then) = (heap.counts(), heap.counts_at_start());
    for class in SizeClass::all() {
        let (now, then) = (&now.classes()[class.index()], &then.classes()[class.index()]);
        let to = &mut stats.classes[class.index()];
        to.allocations = now[0].wrapping_sub(then[0]);
        to.frees = now[1].wrapping_sub(then[1]);
        to.remote_frees = now[2].wrapping_sub(then[2]);
        let (small, bytes) = (&mut stats.small, class.bytes() as u64);
        small.allocations += to.allocations;
        small.frees += to.frees;
        small.remote_frees += to.remote_frees;
        small.allocated_bytes += to.allocations * bytes;
        small.freed_bytes += to.frees * bytes;
    }
    let large: [u64; 6] = core::array::from_fn(|figure| now.large()[figure].wrapping_sub(then.large()[figure]));
    [stats.large.allocations, stats.large.frees, stats.large.reallocations, ..] = large;
    [.., stats.large.allocated_bytes, stats.large.freed_bytes, stats.moved] = large;
    stats
}
