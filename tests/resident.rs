//! What blocks cost in resident memory, tables included: at most 1.06 times their size rounded up to 8 bytes.
//!
//! Each figure is of a process of its own: a million blocks of one size, their first and last bytes written, and what that
//! adds to the process's resident size. The test prints the same for the system's malloc beside it.
//!
//! To see it fail: put a header into pools, round size classes to 16 bytes, touch the whole of a table when an arena is opened.
//!
//! `cargo test --release --test resident -- --nocapture`

mod support;

use std::alloc::{GlobalAlloc, System};
use std::fs;

use poolmalloc::PoolMalloc;

use support::block::layout;
use support::process::{command, role, say, succeed};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

const BLOCKS: usize = 1_000_000;
const SIZES: [usize; 7] = [8, 16, 24, 40, 56, 100, 200];

/// Bytes of memory that the process has; `None` where the system does not tell in this way.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Allocates the blocks and says how many bytes of memory that took.
fn hold(allocator: &impl GlobalAlloc, size: usize) {
    // In memory before the first figure is read; the blocks are never freed.
    let mut blocks = vec![1_usize; BLOCKS];
    let before = resident_bytes().expect("the resident size");
    for place in &mut blocks {
        // SAFETY: the size is not zero.
        let block = unsafe { allocator.alloc(layout(size, 1)) };
        assert!(!block.is_null());
        // SAFETY: the block has at least one byte.
        unsafe { block.write(1) };
        // SAFETY: the last byte of the block.
        unsafe { block.wrapping_add(size - 1).write(2) };
        *place = block.expose_provenance();
    }
    let after = resident_bytes().expect("the resident size");
    assert!(blocks.windows(2).all(|pair| pair[0] != pair[1]));
    say(&(after - before).to_string());
}

fn bytes_a_block_are_bounded() {
    if resident_bytes().is_none() {
        return;
    }
    println!("\nsize  poolmalloc  system malloc   bytes for each of a million blocks");
    for size in SIZES {
        let cost = |allocator: &str| {
            let told = succeed(&mut command(&format!("{allocator} {size}")));
            told.parse::<f64>().expect("a number from the child") / BLOCKS as f64
        };
        let (ours, system) = (cost("pool"), cost("system"));
        println!("{size:4}  {ours:10.2}  {system:13.2}");
        let least = size.next_multiple_of(8) as f64;
        assert!(ours >= least, "{ours} for {size}: the measurement is wrong");
        assert!(ours <= 1.06 * least, "{ours} bytes for each block of {size}");
    }
}

fn main() {
    let Some(role) = role() else {
        return support::run(&[("bytes_a_block_are_bounded", bytes_a_block_are_bounded)]);
    };
    let (allocator, size) = role.split_once(' ').expect("an allocator and a size");
    let size = size.parse().expect("a size");
    if allocator == "pool" { hold(&ALLOC, size) } else { hold(&System, size) }
}
