//! `live_COUNT`: COUNT blocks of 8 to 256 bytes are live, and random ones are replaced. `live_tTHREADS`: THREADS
//! threads do this with 10,000 blocks each, and share the same amount of work.
//!
//! Shows how the cost grows with the live set: first the allocator's own data no longer fits into the caches, and then
//! its tables of pages no longer fit either. Also shows how the cost grows with threads that have nothing to do with
//! each other. The clock of `live_COUNT` pauses while the first blocks are made and the last ones dropped.
//!
//! Caveat: reading and writing the replaced blocks misses the caches under every allocator, so at 10 M the ratios are
//! near 1. On more threads than processors the time can at best stay the same.

use std::thread;

use rand::RngExt;
use versus::clock;
use versus::workload::{Group, Random, Run, Scale, Workload, random};

use super::super::block::{Block, share};

const FULL_OPERATIONS: usize = 3_000_000;
const LIVE_ON_THREADS: usize = 10_000;

pub(super) const fn of<const COUNT: usize>(name: &'static str) -> Workload {
    let about = "the named number of live blocks of 8 to 256 bytes, replaced one by one at random";
    Workload { name, group: Group::Live, about, operations: Some(operations), prepare: prepare::<COUNT> }
}

pub(super) const fn on_threads<const THREADS: usize>(name: &'static str) -> Workload {
    let about = "10 k live blocks replaced on each of the named number of threads, which share the same work";
    let (operations, prepare) = (operations_on_threads::<THREADS>, prepare_on_threads::<THREADS>);
    Workload { name, group: Group::Threads, about, operations: Some(operations), prepare }
}

fn operations(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS)
}

fn prepare<const COUNT: usize>(scale: Scale) -> Run {
    let (operations, live) = (operations(scale), scale.live(COUNT));
    Box::new(move || {
        let mut random = random(21);
        let mut table = clock::pause(|| Table::new(live, &mut random));
        let sum = table.replace(operations, &mut random);
        clock::pause(|| drop(table));
        sum
    })
}

fn operations_on_threads<const THREADS: usize>(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS / THREADS) * THREADS
}

fn prepare_on_threads<const THREADS: usize>(scale: Scale) -> Run {
    let (operations, live) = (operations_on_threads::<THREADS>(scale) / THREADS, scale.live(LIVE_ON_THREADS));
    Box::new(move || {
        let work = |thread| {
            let mut random = random(22 + thread);
            Table::new(live, &mut random).replace(operations, &mut random)
        };
        thread::scope(|scope| {
            let running: Vec<_> = (0..THREADS as u64).map(|thread| scope.spawn(move || work(thread))).collect();
            running.into_iter().fold(0, |sum, thread| sum + thread.join().expect("no thread panics"))
        })
    })
}

/// Live blocks of 8 to 256 bytes.
pub(super) struct Table(Vec<Block>);

impl Table {
    pub(super) fn new(live: usize, random: &mut Random) -> Self {
        Self((0..live).map(|at| block(at, random.random())).collect())
    }

    /// Makes `count` random replacements. Returns the sum of the contents of the replaced blocks.
    pub(super) fn replace(&mut self, count: usize, random: &mut Random) -> u64 {
        let live = self.0.len();
        (0..count).fold(0, |sum, at| {
            let choice: u64 = random.random();
            let place = &mut self.0[share(choice.rotate_left(32), live)];
            sum + u64::from(std::mem::replace(place, block(at, choice)).mark())
        })
    }
}

fn block(mark: usize, choice: u64) -> Block {
    Block::new(8 + share(choice, 249), mark as u8)
}
