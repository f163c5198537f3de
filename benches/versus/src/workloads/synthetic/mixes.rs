//! `mix`, `mix_t4`: bursts of blocks of one size, freed partly newest first, partly oldest first.
//!
//! In the manner of MicroQuill's sh6bench and sh8bench: small sizes are more frequent, and bursts differ in length.
//! After every second burst three quarters of its blocks are freed in reverse. When more than 10,000 blocks are live,
//! the oldest are freed. On four threads every fourth burst is exchanged for one that another thread has left, instead
//! of being freed in reverse. So some of the frees are of other threads' blocks.
//!
//! Caveat: the originals use larger blocks too, of up to a thousand bytes. Here all blocks have 256 bytes or less.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use rand::RngExt;
use versus::workload::{Group, Random, Scale, Workload, random};

use super::super::block::{Block, share};

const FULL_BURSTS: usize = 100_000;
/// Every burst is shorter than this. The mean length of a burst is half of it.
const LONGEST_BURST: usize = 60;
const LIVE: usize = 10_000;

pub(super) const ONE: Workload = Workload {
    name: "mix",
    group: Group::Mix,
    about: "bursts of blocks of one size, freed partly in reverse, partly oldest first",
    operations: Some(|scale| scale.of(FULL_BURSTS) * LONGEST_BURST / 2),
    prepare: |scale| {
        let bursts = scale.of(FULL_BURSTS);
        Box::new(move || work(bursts, random(30), None))
    },
};

const THREADS: usize = 4;

pub(super) const FOUR: Workload = Workload {
    name: "mix_t4",
    group: Group::Threads,
    about: "such bursts on each of 4 threads, every fourth exchanged with another thread's",
    operations: Some(|scale| bursts_of_four(scale) * THREADS * LONGEST_BURST / 2),
    prepare: |scale| {
        let bursts = bursts_of_four(scale);
        Box::new(move || {
            let exchange = Mutex::default();
            let sum: u64 = thread::scope(|scope| {
                let start = |thread| {
                    let exchange = &exchange;
                    scope.spawn(move || work(bursts, random(31 + thread), Some(exchange)))
                };
                let running: Vec<_> = (0..THREADS as u64).map(start).collect();
                running.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
            });
            sum + exchange.into_inner().expect("no holder panics").into_iter().map(free).sum::<u64>()
        })
    },
};

fn bursts_of_four(scale: Scale) -> usize {
    scale.of(FULL_BURSTS / THREADS)
}

/// A burst that a thread has left for another.
type Exchange = Mutex<Vec<Block>>;

fn work(bursts: usize, mut random: Random, exchange: Option<&Exchange>) -> u64 {
    let mut sum = 0_u64;
    let mut live = VecDeque::with_capacity(LIVE + LONGEST_BURST);
    let mut left = Vec::with_capacity(LONGEST_BURST);
    for burst in 0..bursts {
        let choice: u64 = random.random();
        let length = 1 + share(choice.rotate_left(32), LONGEST_BURST - 1);
        // The size grows with the cube of a random share: half of all sizes are below 40 bytes.
        let part = share(choice, 1000);
        let size = 8 + 249 * part * part * part / 1_000_000_000;
        live.extend((0..length).map(|at| Block::new(size, at as u8)));
        match exchange {
            Some(exchange) if burst % 4 == 0 => {
                left.extend(live.drain(live.len() - length..));
                std::mem::swap(&mut left, &mut *exchange.lock().expect("no holder panics"));
                live.extend(left.drain(..));
            }
            _ if burst % 2 == 0 => {
                let newest = live.drain(live.len() - length * 3 / 4..);
                sum += newest.rev().map(free).sum::<u64>();
            }
            _ => {}
        }
        let surplus = live.len().saturating_sub(LIVE);
        sum += live.drain(..surplus).map(free).sum::<u64>();
    }
    sum + live.into_iter().map(free).sum::<u64>()
}

fn free(block: Block) -> u64 {
    u64::from(block.mark())
}
