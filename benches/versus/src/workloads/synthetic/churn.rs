//! `churn_COUNT`: two threads at a time start, allocate COUNT blocks of 8 to 256 bytes, make COUNT random replacements,
//! free all blocks, and end.
//!
//! Shows the cost of the start and the end of a thread in an allocator, with few blocks, and with so many that its
//! caches fill and must be emptied. An operation is the whole life of a thread.
//!
//! Caveat: the kernel's part of an operation is tens of microseconds.

use std::thread;

use versus::workload::{Group, Run, Scale, Workload, random};

use super::live::Table;

const FULL_WAVES: usize = 1500;
const WAVE: usize = 2;

pub(super) const fn of<const COUNT: usize>(name: &'static str) -> Workload {
    let about =
        "threads that start, allocate and replace the named number of blocks, free them and end; for each thread";
    Workload { name, group: Group::Threads, about, operations: Some(threads::<COUNT>), prepare: prepare::<COUNT> }
}

fn waves<const COUNT: usize>(scale: Scale) -> usize {
    scale.of(FULL_WAVES * 64 / COUNT.max(64))
}

fn threads<const COUNT: usize>(scale: Scale) -> usize {
    waves::<COUNT>(scale) * WAVE
}

fn prepare<const COUNT: usize>(scale: Scale) -> Run {
    let waves = waves::<COUNT>(scale) as u64;
    Box::new(move || {
        let life = |number| {
            let mut random = random(60 + number);
            Table::new(COUNT, &mut random).replace(COUNT, &mut random)
        };
        let wave = |wave| {
            thread::scope(|scope| {
                let threads = [0, 1].map(|place| scope.spawn(move || life(wave * WAVE as u64 + place)));
                threads.into_iter().fold(0, |sum, thread| sum + thread.join().expect("no thread panics"))
            })
        };
        (0..waves).map(wave).sum()
    })
}
