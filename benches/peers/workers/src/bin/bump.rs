//! The worker under a floor: a pointer that moves on with each small block. It never frees.
//!
//! An allocation is an addition and a comparison, and a free does nothing. But new memory must come from the system,
//! and costs a page fault for every 4 KiB. So a general allocator that hands out memory from the caches can well be
//! faster.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::ExitCode;
use std::ptr::null_mut;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: Bump = Bump;

fn main() -> ExitCode {
    versus::worker::main("bump", &chosen::WORKLOADS, None)
}

/// Bytes that a thread takes from the system at a time.
const CHUNK: usize = 1 << 20;
/// Limit on the bytes that all threads take together. Rows that need more have no figure.
const LIMIT: usize = 4 << 30;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The address of the next block, and the end of the thread's chunk.
    static ROOM: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Bump;

fn is_small(layout: Layout) -> bool {
    layout.size() <= 256 && layout.align() <= 256
}

// SAFETY: small blocks lie one after the other in chunks that are handed out only once. Other blocks are the system's.
// At the free the layout shows of which kind a block is.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_small(layout) {
            // SAFETY: the caller's promise, passed on.
            return unsafe { System.alloc(layout) };
        }
        let (next, end) = ROOM.get();
        let block = next.next_multiple_of(layout.align());
        let after = block + layout.size().next_multiple_of(8);
        if after > end {
            return next_chunk(layout);
        }
        ROOM.set((after, end));
        std::ptr::with_exposed_provenance_mut(block)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_small(layout) {
            // SAFETY: the caller's promise; the layout shows that the block is the system's.
            unsafe { System.dealloc(block, layout) }
        }
    }
}

#[cold]
fn next_chunk(layout: Layout) -> *mut u8 {
    if TAKEN.fetch_add(CHUNK, Relaxed) >= LIMIT {
        return null_mut();
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping replaces no memory.
    let chunk = unsafe { libc::mmap(null_mut(), CHUNK, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if chunk == libc::MAP_FAILED {
        return null_mut();
    }
    let start = chunk.expose_provenance();
    ROOM.set((start + layout.size().next_multiple_of(8), start + CHUNK));
    chunk.cast()
}
