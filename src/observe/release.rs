//! Giving memory back to the system, when the program asks for it.

use crate::figures::ReleaseStats;
use crate::process::{SHARED, tls};
use crate::{debug, os};

/// Gives memory that holds no block back to the system, and says how much.
///
/// Nothing is given back otherwise: freed memory is kept for later requests, which is what makes them fast. Call this
/// when a phase of many small blocks is over and the program will wait, or need its memory for something else.
///
/// It empties the caches of the calling thread and of all ended threads, collects what others have freed of their
/// blocks, and releases all arenas that are then wholly free, and the whole system pages in their other arenas that
/// have no block. Other running threads keep what they have: their heaps are theirs alone. Then it asks the C library
/// for the same (`malloc_trim`, glibc only), since that serves the large blocks.
///
/// Everything stays usable, and a released page costs a page fault when it is used again. The cost is that of looking
/// at the pools of those heaps, and a system call for each run of pages. It never allocates. Afterwards
/// `stats().region.resident_bytes` has dropped by `bytes`, apart from table pages this call touched and the activity of
/// other threads. The arenas stay open, so `arenas.open` does not change.
pub fn release_unused() -> ReleaseStats {
    debug::drain();
    let (pool_bytes, arena_bytes) = SHARED.release(tls::heap_if_any());
    let mut released = ReleaseStats::of_pools(pool_bytes);
    released += ReleaseStats::of_arenas(arena_bytes);
    released.backend = os::trim_backend();
    released
}
