//! `larson_tTHREADS`: threads replace random blocks, hand their live set to a successor, and end.
//!
//! After Larson and Krishnan, "Memory Allocation for Long-Running Server Applications" (ISMM 1998): a server whose
//! threads inherit what others have allocated. Each of THREADS lines of threads has 1000 blocks of 8 to 256 bytes. A
//! thread makes 20,000 random replacements, starts its successor and ends. The total work is about the same in all
//! rows, whatever the number of lines.
//!
//! Caveat: a little of each operation is work of the kernel, which starts a thread every 20,000 operations. On fewer
//! processors than lines the time can at best stay the same.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use versus::workload::{Group, Random, Run, Scale, Workload, random};

use super::live::Table;

const FULL_OPERATIONS: usize = 4_000_000;
const LIVE: usize = 1000;
const GENERATION: usize = 20_000;

pub(super) const fn of<const LINES: usize>(name: &'static str) -> Workload {
    let about = "the named number of lines of threads, which replace blocks and hand their live set to a successor";
    let (operations, prepare) = (operations::<LINES>, prepare::<LINES>);
    Workload { name, group: Group::Threads, about, operations: Some(operations), prepare }
}

fn generations<const LINES: usize>(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS / GENERATION / LINES)
}

fn operations<const LINES: usize>(scale: Scale) -> usize {
    generations::<LINES>(scale) * GENERATION * LINES
}

fn prepare<const LINES: usize>(scale: Scale) -> Run {
    let generations = generations::<LINES>(scale);
    Box::new(move || {
        let (done, sums) = channel();
        for line in 0..LINES as u64 {
            let mut random = random(40 + line);
            let line = Line { table: Table::new(LIVE, &mut random), random, sum: 0, done: done.clone() };
            thread::spawn(move || line.live(generations));
        }
        drop(done);
        sums.into_iter().fold(0, u64::wrapping_add)
    })
}

/// The state that a thread hands to its successor.
struct Line {
    table: Table,
    random: Random,
    sum: u64,
    done: Sender<u64>,
}

impl Line {
    fn live(mut self, generations: usize) {
        self.sum += self.table.replace(GENERATION, &mut self.random);
        if generations > 1 {
            thread::spawn(move || self.live(generations - 1));
            return;
        }
        let Self { table, sum, done, .. } = self;
        drop(table);
        done.send(sum).expect("the run waits for every line");
    }
}
