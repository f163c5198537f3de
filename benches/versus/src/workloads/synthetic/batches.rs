//! `batch_COUNT_ORDER`: COUNT blocks of 48 bytes are allocated, then freed in the same, the reverse or random order.
//!
//! One pass runs before the passes that count, so their memory has been used before. Three more rows look at a million
//! blocks more closely. There an operation is one allocation or one free. `fresh_1m` counts only allocations from
//! memory never used, so no pass runs before it. `again_1m` counts only allocations after random frees. `free_1m`
//! counts only the random frees.
//!
//! Caveat: the frees read the order from a table, in all three orders alike. That is a few bytes for each block.

use std::cell::RefCell;

use rand::seq::SliceRandom;
use versus::clock;
use versus::workload::{Group, Run, Scale, Workload, random as seeded};

use super::super::block::Fixed;

const FULL_OPERATIONS: usize = 3_000_000;
const MILLION: usize = 1_000_000;

pub(super) const fn same<const COUNT: usize>(name: &'static str) -> Workload {
    workload(name, "blocks of 48 bytes allocated, then freed in the same order", operations::<COUNT>, |scale| {
        passes::<COUNT>(scale, (0..count::<COUNT>(scale)).collect())
    })
}

pub(super) const fn reverse<const COUNT: usize>(name: &'static str) -> Workload {
    workload(name, "blocks of 48 bytes allocated, then freed in reverse", operations::<COUNT>, |scale| {
        passes::<COUNT>(scale, (0..count::<COUNT>(scale)).rev().collect())
    })
}

pub(super) const fn random<const COUNT: usize>(name: &'static str) -> Workload {
    workload(name, "blocks of 48 bytes allocated, then freed in random order", operations::<COUNT>, |scale| {
        passes::<COUNT>(scale, shuffled(count::<COUNT>(scale)))
    })
}

pub(super) const FRESH: Workload = workload(
    "fresh_1m",
    "a million blocks of 48 bytes allocated for the first time; their frees do not count",
    |scale| count::<MILLION>(scale) as usize,
    |scale| {
        let table = RefCell::new(Table::new(shuffled(count::<MILLION>(scale))));
        Box::new(move || {
            table.borrow_mut().allocate();
            clock::pause(|| table.borrow_mut().free())
        })
    },
);

pub(super) const AGAIN: Workload = workload(
    "again_1m",
    "a million blocks of 48 bytes allocated after random frees; the frees do not count",
    operations::<MILLION>,
    |scale| {
        million(scale, |table| {
            table.allocate();
            clock::pause(|| table.free())
        })
    },
);

pub(super) const FREE: Workload = workload(
    "free_1m",
    "a million blocks of 48 bytes freed in random order; their allocations do not count",
    operations::<MILLION>,
    |scale| {
        million(scale, |table| {
            clock::pause(|| table.allocate());
            table.free()
        })
    },
);

const fn workload(
    name: &'static str,
    about: &'static str,
    operations: fn(Scale) -> usize,
    prepare: fn(Scale) -> Run,
) -> Workload {
    Workload { name, group: Group::Batch, about, operations: Some(operations), prepare }
}

fn count<const COUNT: usize>(scale: Scale) -> u32 {
    u32::try_from(scale.live(COUNT)).expect("a million is the most")
}

fn rounds<const COUNT: usize>(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS / COUNT)
}

fn operations<const COUNT: usize>(scale: Scale) -> usize {
    rounds::<COUNT>(scale) * count::<COUNT>(scale) as usize
}

fn shuffled(count: u32) -> Vec<u32> {
    let mut order: Vec<_> = (0..count).collect();
    order.shuffle(&mut seeded(20));
    order
}

fn passes<const COUNT: usize>(scale: Scale, order: Vec<u32>) -> Run {
    repeated(order, rounds::<COUNT>(scale), |table| {
        table.allocate();
        table.free()
    })
}

fn million(scale: Scale, pass: fn(&mut Table) -> u64) -> Run {
    repeated(shuffled(count::<MILLION>(scale)), rounds::<MILLION>(scale), pass)
}

fn repeated(order: Vec<u32>, rounds: usize, pass: fn(&mut Table) -> u64) -> Run {
    let table = RefCell::new(Table::new(order));
    Box::new(move || {
        let mut table = table.borrow_mut();
        clock::pause(|| {
            table.allocate();
            table.free();
        });
        (0..rounds).fold(0, |sum, _| sum + pass(&mut table))
    })
}

/// A place for each block, and the order in which the blocks are freed.
struct Table {
    blocks: Vec<Option<Fixed<48>>>,
    order: Vec<u32>,
}

impl Table {
    fn new(order: Vec<u32>) -> Self {
        Self { blocks: order.iter().map(|_| None).collect(), order }
    }

    fn allocate(&mut self) {
        for (at, place) in self.blocks.iter_mut().enumerate() {
            *place = Some(Fixed::new(at as u8));
        }
    }

    /// Frees all blocks. Returns the sum of their contents.
    fn free(&mut self) -> u64 {
        let taken = self.order.iter().filter_map(|&at| self.blocks[at as usize].take());
        taken.fold(0, |sum, block| sum + block.mark())
    }
}
