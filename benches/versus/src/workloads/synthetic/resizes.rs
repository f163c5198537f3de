//! `realloc_steps`: a block grows from 8 to 256 bytes in steps of 8, by `realloc`, and is freed.
//!
//! Strings and vectors that grow by exact amounts do so. An operation is one of the 32 steps.
//!
//! Caveat: the block is written at its end only, so the copies of an allocator that moves it read memory that is in the
//! cache.

use versus::workload::{Group, Run, Scale, Workload};

const FULL_OPERATIONS: usize = 10_000_000;
const STEP: usize = 8;
const STEPS: usize = 32;

pub(super) const STEPS_OF_8: Workload = Workload {
    name: "realloc_steps",
    group: Group::Batch,
    about: "a block that grows from 8 to 256 bytes in steps of 8, and is freed",
    operations: Some(operations),
    prepare,
};

fn rounds(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS / STEPS)
}

fn operations(scale: Scale) -> usize {
    rounds(scale) * STEPS
}

fn prepare(scale: Scale) -> Run {
    let rounds = rounds(scale);
    Box::new(move || {
        (0..rounds).fold(0, |sum, round| {
            let mut bytes = Vec::<u8>::new();
            for step in 0..STEPS {
                bytes.reserve_exact(STEP);
                bytes.extend_from_slice(&[(round + step) as u8; STEP]);
            }
            sum + bytes.iter().step_by(STEP).map(|byte| u64::from(*byte)).sum::<u64>()
        })
    })
}
