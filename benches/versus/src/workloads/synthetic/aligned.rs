//! `aligned_64`: a block of 64 to 256 bytes at an alignment of 64 is allocated and freed.
//!
//! Programs that keep data in cache lines or vectors of their own make such requests. Many allocators serve them on
//! another path than usual ones. Each operation has a size of its own: 64, 128, 192 or 256 bytes.
//!
//! Caveat: one block is live at a time.

use std::hint::black_box;

use versus::workload::{Group, Run, Scale, Workload};

const FULL_OPERATIONS: usize = 10_000_000;

/// Cache lines of memory.
#[repr(align(64))]
struct Lines<const COUNT: usize>([[u8; 64]; COUNT]);

pub(super) const ALIGNED: Workload = Workload {
    name: "aligned_64",
    group: Group::Pair,
    about: "a block of one to four cache lines, aligned to 64 bytes, allocated and freed",
    operations: Some(operations),
    prepare,
};

fn operations(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS)
}

fn pair<const COUNT: usize>(mark: u8) -> u64 {
    let mut block = Box::<Lines<COUNT>>::new_uninit();
    // SAFETY: a field of the block. Only its first byte is written, and only that one is read.
    let first = unsafe { (&raw mut (*block.as_mut_ptr()).0).cast::<u8>() };
    // SAFETY: as above.
    unsafe { first.write(mark) };
    let first = black_box(first);
    // SAFETY: written above.
    u64::from(unsafe { first.read() })
}

fn prepare(scale: Scale) -> Run {
    let operations = operations(scale);
    Box::new(move || {
        (0..operations).fold(0, |sum, at| {
            let mark = at as u8;
            sum + match at % 4 {
                0 => pair::<1>(mark),
                1 => pair::<2>(mark),
                2 => pair::<3>(mark),
                _ => pair::<4>(mark),
            }
        })
    })
}
