//! Gives memory back to the system, when the program asks for it.

use crate::figures::ReleaseStats;
use crate::process::{SHARED, tls};
use crate::{debug, os};

/// Gives memory that holds no block back to the system. Returns how much.
///
/// The allocator gives nothing back by itself: it keeps freed memory, which makes later requests fast. Call this when a
/// phase of many small blocks is over, and the program will wait or needs its memory for something else.
///
/// It works on the heap of the calling thread and on those of all ended threads. It empties their magazines and
/// collects their remote frees. Then it releases all arenas that are wholly free, and in the other arenas the system
/// pages without a block. Heaps of other running threads keep their memory, since only their owners may change them.
/// Finally it asks the C library to do the same for large blocks (`malloc_trim`, glibc only).
///
/// All memory stays usable. A released page costs a page fault when it is used again. The call looks at the pools of
/// those heaps, and makes one system call for each run of pages. It never allocates. Afterwards
/// `stats().region.resident_bytes` has dropped by `bytes`, apart from table pages that this call touched and the
/// activity of other threads. The arenas stay open, so `arenas.open` does not change.
pub fn release_unused() -> ReleaseStats {
    debug::drain();
    let (pool_bytes, arena_bytes) = SHARED.release(tls::heap_if_any());
    let mut released = ReleaseStats::of_pools(pool_bytes);
    released += ReleaseStats::of_arenas(arena_bytes);
    released.backend = os::trim_backend();
    released
}
