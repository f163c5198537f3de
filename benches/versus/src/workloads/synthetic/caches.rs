//! `cache_thrash_tTHREADS`, `cache_scratch_tTHREADS`: threads allocate a small block, write it a hundred times and free
//! it.
//!
//! After the tests of Hoard (Berger and others, ASPLOS 2000). If an allocator gives parts of one cache line to several
//! threads, each write costs a message between processors. In `cache_scratch` one thread first allocates a block for
//! each thread, side by side, and each thread frees its block. If the allocator then hands that block out to the same
//! thread again, the line stays shared for the whole run.
//!
//! Caveat: the rows need as many free processors as threads, and show less on processors that share their caches. The
//! hundred writes are most of an operation.

use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use versus::workload::{Group, Run, Scale, Workload};

const FULL_OPERATIONS: usize = 2_000_000;
const WRITES: u64 = 100;

pub(super) const fn scratch<const THREADS: usize>(name: &'static str) -> Workload {
    let about = "blocks of 8 bytes from one thread freed by others, which then allocate, write 100 times, free";
    workload::<THREADS>(name, about, |scale| {
        let operations = operations::<THREADS>(scale) / THREADS;
        Box::new(move || run::<THREADS>(std::array::from_fn(|_| Some(Box::default())), operations))
    })
}

pub(super) const fn thrash<const THREADS: usize>(name: &'static str) -> Workload {
    workload::<THREADS>(name, "blocks of 8 bytes allocated, written 100 times and freed by each thread", |scale| {
        let operations = operations::<THREADS>(scale) / THREADS;
        Box::new(move || run([const { None }; THREADS], operations))
    })
}

const fn workload<const THREADS: usize>(
    name: &'static str,
    about: &'static str,
    prepare: fn(Scale) -> Run,
) -> Workload {
    Workload { name, group: Group::Threads, about, operations: Some(operations::<THREADS>), prepare }
}

fn operations<const THREADS: usize>(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS / THREADS) * THREADS
}

fn run<const THREADS: usize>(blocks: [Option<Box<AtomicU64>>; THREADS], operations: usize) -> u64 {
    let all_are_there = Barrier::new(THREADS);
    thread::scope(|scope| {
        let start = |block: Option<Box<AtomicU64>>| {
            scope.spawn(|| {
                drop(block);
                all_are_there.wait();
                (0..operations as u64).fold(0, |sum, at| sum + write(at))
            })
        };
        let threads = blocks.map(start);
        threads.into_iter().fold(0, |sum, thread| sum + thread.join().expect("no thread panics"))
    })
}

/// Allocates a block, writes it and frees it. Its word is atomic only so that the compiler keeps all writes.
fn write(start: u64) -> u64 {
    let block = Box::new(AtomicU64::new(start));
    for _ in 0..WRITES {
        block.store(block.load(Relaxed) + 1, Relaxed);
    }
    block.load(Relaxed)
}
