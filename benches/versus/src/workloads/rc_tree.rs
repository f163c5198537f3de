//! `rc_tree`: trees of `Box` and `Rc` nodes are built, read and dropped.
//!
//! Stands for syntax trees, document trees and scene graphs, at their most extreme: a binary tree of `Box` (24-byte
//! nodes), then a tree of `Rc` nodes that hold a vector of children, some of them shared.
//!
//! Requests: 6.1 M, all small: half for 24 bytes (`Box` nodes), most others for 48 (`Rc` nodes and vectors of
//! children).
//!
//! Caveat: all nodes of a tree are made in one go and dropped in one go, in the order of the tree. A program that
//! changes its trees for hours mixes the ages of neighboring blocks.

use std::rc::Rc;

use rand::RngExt;
use versus::workload::{Group, Random, Run, Scale, Workload, checksum, random};

pub(super) const WORKLOAD: Workload = Workload {
    name: "rc_tree",
    group: Group::Small,
    about: "trees of Box and Rc nodes, built, read and dropped",
    operations: None,
    prepare,
};

/// A binary tree of 131,071 nodes.
const DEPTH: u32 = 17;
/// Nodes of the tree with shared children.
const SHARED_NODES: u64 = 60_000;
const FULL_PASSES: usize = 30;

fn prepare(scale: Scale) -> Run {
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let mut random = random(5);
        let common: Vec<_> = (0..8).map(Shared::leaf).collect();
        let pass = |pass| (Binary::grow(DEPTH, pass).sum(), Shared::grow(SHARED_NODES, &common, &mut random).sum());
        checksum(&(0..passes as u64).map(pass).collect::<Vec<_>>())
    })
}

struct Binary {
    value: u64,
    children: Option<(Box<Binary>, Box<Binary>)>,
}

impl Binary {
    fn grow(depth: u32, value: u64) -> Box<Self> {
        let child = |side| Self::grow(depth - 1, 2 * value + side);
        Box::new(Self { value, children: (depth > 1).then(|| (child(0), child(1))) })
    }

    fn sum(&self) -> u64 {
        let children = self.children.as_ref().map_or(0, |(left, right)| left.sum().wrapping_sub(right.sum()));
        self.value.wrapping_add(children.wrapping_mul(3))
    }
}

struct Shared {
    value: u64,
    children: Vec<Rc<Shared>>,
}

impl Shared {
    fn leaf(value: u64) -> Rc<Self> {
        Rc::new(Self { value, children: Vec::new() })
    }

    /// A tree of about `nodes` nodes with 2 to 6 children each. One leaf in four is one of the `common` leaves.
    fn grow(nodes: u64, common: &[Rc<Self>], random: &mut Random) -> Rc<Self> {
        if nodes <= 1 {
            let choice = random.random_range(0..common.len() * 4);
            return common.get(choice).cloned().unwrap_or_else(|| Self::leaf(choice as u64));
        }
        let fan_out = random.random_range(2..=6).min(nodes);
        let mut children = Vec::new();
        for _ in 0..fan_out {
            children.push(Self::grow((nodes - 1) / fan_out, common, random));
        }
        Rc::new(Self { value: nodes, children })
    }

    fn sum(&self) -> u64 {
        self.children.iter().fold(self.value, |sum, child| sum.wrapping_mul(31).wrapping_add(child.sum()))
    }
}
