//! `stack_48`: boxes of 48 bytes are pushed on a stack and popped from it, a few at a time.
//!
//! Interpreters and parsers use boxes so: what was made last is dropped first. The depth goes up and down at random, by
//! at most 16, and never above 512.
//!
//! Caveat: the stack itself is a vector that was made before the clock started.

use std::cell::RefCell;

use rand::RngExt;
use versus::workload::{Group, Run, Scale, Workload, random};

use super::super::block::Fixed;

const FULL_OPERATIONS: usize = 10_000_000;
const DEPTH: usize = 512;
const MOST_AT_ONCE: usize = 16;

pub(super) const STACK: Workload = Workload {
    name: "stack_48",
    group: Group::Batch,
    about: "boxes of 48 bytes pushed on a stack and popped from it, up to 16 at a time",
    operations: Some(operations),
    prepare,
};

fn operations(scale: Scale) -> usize {
    scale.of(FULL_OPERATIONS)
}

/// Number of pushes of each step; the pops bring the stack to a depth below it.
struct Step {
    pushes: usize,
    left: usize,
}

fn steps(operations: usize) -> Vec<Step> {
    let mut random = random(41);
    let (mut done, mut depth, mut steps) = (0, 0, vec![]);
    while done < operations {
        let pushes = random.random_range(1..=MOST_AT_ONCE).min(operations - done).min(DEPTH - depth);
        let left = (depth + pushes).saturating_sub(random.random_range(1..=MOST_AT_ONCE));
        steps.push(Step { pushes, left });
        (done, depth) = (done + pushes, left);
    }
    steps
}

fn prepare(scale: Scale) -> Run {
    // A hundredth of the steps, again and again, so that the table of the steps stays small.
    let operations = operations(scale);
    let rounds = operations.min(100);
    let steps = steps(operations / rounds);
    let stack = RefCell::new(Vec::with_capacity(DEPTH));
    Box::new(move || {
        let mut stack = stack.borrow_mut();
        let mut sum = 0;
        for _ in 0..rounds {
            for step in &steps {
                stack.extend((0..step.pushes).map(|at| Fixed::<48>::new(at as u8)));
                sum += stack.drain(step.left..).rev().map(|block| block.mark()).sum::<u64>();
            }
            sum += stack.drain(..).rev().map(|block| block.mark()).sum::<u64>();
        }
        sum
    })
}
