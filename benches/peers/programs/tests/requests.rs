//! Counts the requests of each program: the figures in the docs of the modules.
//!
//! ```sh
//! cargo test --release -p peers-programs --test requests -- --ignored --nocapture
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use peers_programs::ALL;
use versus::workload::Scale;

/// System malloc, with a count of its requests. Requests of all threads are counted.
struct Counting;

#[global_allocator]
static ALLOC: Counting = Counting;

/// Bounds of the sizes that are counted apart.
const BOUNDS: [usize; 6] = [16, 32, 64, 128, 256, usize::MAX];
/// Requests up to each bound, and over the one before it. Only the totals of a whole run are read, so the order of
/// single counts does not matter.
static COUNTS: [AtomicU64; BOUNDS.len()] = [const { AtomicU64::new(0) }; BOUNDS.len()];

fn count(size: usize) {
    let at = BOUNDS.iter().position(|&bound| size <= bound).expect("the last bound is the largest number");
    COUNTS[at].fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every request goes to `System` as it is, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the conditions of `alloc`, which are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `System` made the block, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the conditions of `alloc_zeroed`, which are those of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: `System` made the block, with this layout.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[test]
#[ignore = "a full run of all programs; for the figures of the docs"]
fn requests_of_each_program() {
    for program in &ALL {
        let run = (program.prepare)(Scale::FULL);
        COUNTS.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        run();
        let counts = COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        print!("{:10}{total:>10} requests", program.name);
        let mut so_far = 0;
        for (bound, count) in BOUNDS.iter().zip(counts).take(BOUNDS.len() - 1) {
            so_far += count;
            print!("{:>6}% <={bound}", so_far * 100 / total);
        }
        println!();
    }
}
