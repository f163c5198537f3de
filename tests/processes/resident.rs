//! Resident memory: blocks cost at most 1.06 times their size rounded up to 8 bytes, tables included. And
//! `release_unused` gives memory back.
//!
//! Each figure comes from a child. The child allocates a million blocks of one size, writes their first and last bytes,
//! and says how much its resident size has grown. The test prints the figure of the system's malloc beside it.
//!
//! To see it fail: put a header into pools; round size classes to 16 bytes; touch the whole of a table when an arena is
//! opened.
//!
//! `cargo test --release --test processes resident:: -- --nocapture`

use std::alloc::{GlobalAlloc, System};

use poolmalloc::{PoolMalloc, check_heap, release_unused, stats};

use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::mode;
use poolmalloc_support::process::{resident_bytes, say, succeed};
use poolmalloc_support::{Test, command, tests};

const BLOCKS: usize = 1_000_000;
const SIZES: [usize; 7] = [8, 16, 24, 40, 56, 100, 200];

/// Allocates the blocks, and prints how many bytes of memory they took.
fn hold(allocator: &impl GlobalAlloc, size: usize) {
    // The list is resident before the first figure is read. The blocks are never freed.
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
            // A huge page that is used in part would blur the figure.
            let mut child = command!(&format!("{allocator} {size}"));
            let told = succeed(child.env("POOLMALLOC_HUGE_PAGES", "never"));
            told.parse::<f64>().expect("a number from the child") / BLOCKS as f64
        };
        let (ours, system) = (cost("pool"), cost("system"));
        println!("{size:4}  {ours:10.2}  {system:13.2}");
        let least = mode::served(layout(size, 1)).size().next_multiple_of(8) as f64;
        assert!(ours >= least, "{ours} for {size}: the measurement is wrong");
        assert!(ours <= 1.06 * least, "{ours} bytes for each block of {size}");
    }
}

/// Allocates a million blocks, half of them on threads that end, and frees nearly all. Fails unless a release, and
/// nothing before it, gives the memory back.
fn release() {
    let fill = |count: usize| -> Vec<Box<[u8; 56]>> { (0..count).map(|n| Box::new([n as u8; 56])).collect() };
    let of_others: Vec<_> =
        (0..4).map(|_| std::thread::spawn(move || fill(BLOCKS / 8)).join().expect("a thread")).collect();
    let mut own = fill(BLOCKS / 2);
    let full = stats().region.resident_bytes;
    // One block stays live in every hundredth pool of this thread.
    let mut number = 0;
    own.retain(|_| {
        number += 1;
        number % 7_300 == 0
    });
    drop(of_others);
    let (before, resident) = (stats().region.resident_bytes, resident_bytes().expect("the resident size"));
    assert!(before + (1 << 20) > full, "nothing goes back by itself: {before} of {full}");
    let released = release_unused();
    let (after, resident_after) = (stats().region.resident_bytes, resident_bytes().expect("the resident size"));
    // A release empties magazines and collects. This may touch parts of the free map for the first time. The map has
    // one bit for every 8 bytes.
    let less = before - after;
    assert!(less <= released.bytes && less + full / 64 + (64 << 10) > released.bytes, "{less}: {released}");
    assert_eq!(released.bytes, released.arena_bytes + released.pool_bytes);
    assert!(released.pool_bytes > 0 && released.arena_bytes > 0, "{released}");
    // A tenth may stay: the tables, and the pools of live blocks.
    assert!(after < full / 10, "{after} of {full} stay: {released}");
    let gone = resident.saturating_sub(resident_after);
    assert!(gone * 10 > released.bytes * 9, "{released}, but the process has only {gone} less");
    check_heap().expect("a valid heap");
    // The live blocks are unchanged, and all memory can be used again.
    assert!(own.iter().all(|block| block.iter().all(|byte| *byte == block[0])));
    let again = fill(BLOCKS);
    assert!(again.iter().enumerate().all(|(n, block)| block.iter().all(|byte| *byte == n as u8)));
    check_heap().expect("a valid heap");
    say("released");
}

fn unused_memory_can_be_released() {
    if resident_bytes().is_some() {
        assert_eq!(succeed(&mut command!("release")), "released");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    tests![bytes_a_block_are_bounded, unused_memory_can_be_released]
}

pub(crate) fn child(role: &str) {
    if role == "release" {
        return release();
    }
    let (allocator, size) = role.split_once(' ').expect("an allocator and a size");
    let size = size.parse().expect("a size");
    if allocator == "pool" { hold(&PoolMalloc::new(), size) } else { hold(&System, size) }
}
