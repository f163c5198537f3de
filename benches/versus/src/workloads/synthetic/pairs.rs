//! `pair_SIZE`: a block of SIZE bytes is allocated and freed, again and again.
//!
//! This is the shortest way through an allocator. The row shows the cost of its two fast paths together.
//!
//! Caveat: it is the same block each time, so the block and the allocator's own words are always in the first cache.

use versus::workload::{Group, Run, Scale, Workload};

use super::super::block::Fixed;

pub(super) const fn of<const SIZE: usize>(name: &'static str) -> Workload {
    let about = "a block of the named size allocated and freed, again and again";
    Workload { name, group: Group::Pair, about, operations: Some(operations), prepare: prepare::<SIZE> }
}

const FULL_OPERATIONS: usize = 10_000_000;

fn operations(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS)
}

fn prepare<const SIZE: usize>(scale: Scale) -> Run {
    let operations = operations(scale);
    Box::new(move || (0..operations).fold(0, |sum, at| sum + Fixed::<SIZE>::new(at as u8).mark()))
}
