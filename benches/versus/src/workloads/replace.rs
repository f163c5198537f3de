//! replace1, replace2, replace4: a table of blocks of mixed sizes in which random ones are replaced, on 1, 2 and 4
//! threads.
//!
//! Stands for no program, only for the allocator itself: a free, an allocation, the first and the last byte touched.
//! Sizes are uniform in 8 to 256 bytes. Each thread has a table of its own and does the same work, so on enough cores
//! all three rows take the same time under an allocator that scales.
//!
//! Requests: 5 M on each thread, all small, half of them for more than 132 bytes.
//!
//! Caveat: no program has this mix or does so little between requests. `replace1` runs on the main thread of a process
//! without other threads, where glibc leaves out its locked instructions. `replace4` needs four cores. With fewer it
//! shows threads that are interrupted in the middle of their work.

use std::ops::RangeInclusive;
use std::thread;

use rand::RngExt;
use versus::workload::{Group, Random, Run, Scale, Workload, random};

use super::block::{Block, share};

pub(super) const ONE: Workload =
    workload("replace1", "blocks of 8 to 256 bytes replaced at random among 10 k", |scale| {
        let steps = scale.of(FULL_STEPS);
        Box::new(move || replace(random(10), 8..=256, SLOTS, steps))
    });
pub(super) const TWO: Workload =
    workload("replace2", "the same work on each of 2 threads", |scale| on_threads(2, scale));
pub(super) const FOUR: Workload =
    workload("replace4", "the same work on each of 4 threads", |scale| on_threads(4, scale));

const SLOTS: usize = 10_000;
const FULL_STEPS: usize = 5_000_000;

const fn workload(name: &'static str, about: &'static str, prepare: fn(Scale) -> Run) -> Workload {
    Workload { name, group: Group::Small, about, operations: None, prepare }
}

fn on_threads(threads: u64, scale: Scale) -> Run {
    let steps = scale.of(FULL_STEPS);
    Box::new(move || {
        let start = |thread| thread::spawn(move || replace(random(10 + thread), 8..=256, SLOTS, steps));
        let running: Vec<_> = (0..threads).map(start).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).fold(0, u64::wrapping_add)
    })
}

/// Fills a table with blocks of the given sizes, then replaces random ones. Returns a checksum of the replaced blocks.
pub(super) fn replace(mut random: Random, sizes: RangeInclusive<usize>, slots: usize, steps: usize) -> u64 {
    let (least, choices) = (*sizes.start(), sizes.end() - sizes.start() + 1);
    let block = |mark: usize, choice: u64| Block::new(least + share(choice, choices), mark as u8);
    let mut table: Vec<Block> = (0..slots).map(|slot| block(slot, random.random())).collect();
    let mut sum = 0_u64;
    for step in 0..steps {
        let choice: u64 = random.random();
        let old = std::mem::replace(&mut table[share(choice.rotate_left(32), slots)], block(step, choice));
        sum = sum.wrapping_mul(31).wrapping_add(u64::from(old.mark()));
    }
    sum
}
