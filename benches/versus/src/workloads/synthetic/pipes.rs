//! `pipe_P_C`: P threads allocate blocks that C other threads free. `ring_tTHREADS`: each thread frees the blocks that
//! its neighbor allocated.
//!
//! After the xmalloc test of Lever and Boreham, "malloc() Performance in a Multithreaded Linux Environment" (USENIX
//! 2000), and its symmetric variant. Every free is of another thread's block. Blocks of 16 to 128 bytes go from thread
//! to thread in buffers of 64, and the buffers come back, so that nothing else is allocated.
//!
//! Caveat: the rows need as many free processors as threads. With fewer they measure how the system switches between
//! the threads.

use std::thread;

use crossbeam_channel::bounded;
use versus::workload::{Group, Run, Scale, Workload};

use super::super::block::Block;

const FULL_OPERATIONS: usize = 3_000_000;
const BATCH: usize = 64;
/// Largest number of buffers that are on their way, for each producer.
const BUFFERS: usize = 64;

pub(super) const fn pipe<const PRODUCERS: usize, const CONSUMERS: usize>(name: &'static str) -> Workload {
    let about = "the named number of producers allocate the blocks that the named number of consumers free";
    let (operations, prepare) = (operations::<PRODUCERS>, prepare_pipe::<PRODUCERS, CONSUMERS>);
    Workload { name, group: Group::Threads, about, operations: Some(operations), prepare }
}

pub(super) const fn ring<const THREADS: usize>(name: &'static str) -> Workload {
    let about = "each of the threads frees the blocks that its neighbor allocated";
    let (operations, prepare) = (operations::<THREADS>, prepare_ring::<THREADS>);
    Workload { name, group: Group::Threads, about, operations: Some(operations), prepare }
}

fn batches<const THREADS: usize>(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS / BATCH / THREADS)
}

fn operations<const THREADS: usize>(scale: Scale) -> usize {
    batches::<THREADS>(scale) * BATCH * THREADS
}

type Buffer = Vec<Block>;

fn buffer() -> Buffer {
    Vec::with_capacity(BATCH)
}

fn fill(buffer: &mut Buffer, batch: usize) {
    buffer.extend((0..BATCH).map(|at| Block::new(16 + (batch * 7 + at * 29) % 113, (batch + at) as u8)));
}

/// Frees all blocks. Returns the sum of their contents.
fn empty(buffer: &mut Buffer) -> u64 {
    buffer.drain(..).fold(0, |sum, block| sum + u64::from(block.mark()))
}

fn prepare_pipe<const PRODUCERS: usize, const CONSUMERS: usize>(scale: Scale) -> Run {
    let batches = batches::<PRODUCERS>(scale);
    Box::new(move || {
        let (give, full) = bounded::<Buffer>(PRODUCERS * BUFFERS);
        let (give_back, empties) = bounded::<Buffer>(PRODUCERS * BUFFERS);
        for _ in 0..PRODUCERS * BUFFERS {
            give_back.send(buffer()).expect("there is room for all buffers");
        }
        thread::scope(|scope| {
            for _ in 0..PRODUCERS {
                let (give, empties) = (give.clone(), empties.clone());
                scope.spawn(move || {
                    for batch in 0..batches {
                        let mut buffer = empties.recv().expect("consumers give buffers back");
                        fill(&mut buffer, batch);
                        give.send(buffer).expect("consumers take every buffer");
                    }
                });
            }
            drop(give);
            let consume = || {
                full.iter().fold(0, |sum, mut buffer| {
                    let sum = sum + empty(&mut buffer);
                    give_back.send(buffer).expect("there is room for all buffers");
                    sum
                })
            };
            let consumers: Vec<_> = (0..CONSUMERS).map(|_| scope.spawn(consume)).collect();
            consumers.into_iter().fold(0, |sum, thread| sum + thread.join().expect("no thread panics"))
        })
    })
}

fn prepare_ring<const THREADS: usize>(scale: Scale) -> Run {
    let batches = batches::<THREADS>(scale);
    Box::new(move || {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| bounded::<Buffer>(BUFFERS)).unzip();
        // Each thread is a few buffers ahead of its neighbor, so that they need not wait for each other every time.
        for sender in &senders {
            (0..BUFFERS / 2).for_each(|_| sender.send(buffer()).expect("there is room"));
        }
        thread::scope(|scope| {
            let mut threads = vec![];
            for (at, from) in receivers.into_iter().enumerate() {
                let to = senders[(at + 1) % THREADS].clone();
                threads.push(scope.spawn(move || {
                    let mut sum = 0;
                    for batch in 0..batches {
                        let mut buffer = from.recv().expect("the neighbor sends as many");
                        sum += empty(&mut buffer);
                        fill(&mut buffer, batch);
                        // A neighbor that is done takes no more buffers. Blocks in buffers that it has not taken are
                        // dropped at the end of the run.
                        to.send(buffer).expect("receivers live as long as the run");
                    }
                    (sum, from)
                }));
            }
            // The receivers come back with the buffers that their threads left in them.
            let done: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
            done.into_iter().fold(0, |sum, (freed, from)| {
                sum + freed + from.try_iter().fold(0, |sum, mut buffer| sum + empty(&mut buffer))
            })
        })
    })
}
