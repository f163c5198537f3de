//! `rc_graph`: a graph of `Rc<RefCell<Node>>` with `Weak` back edges is built, rewired, walked and dropped.
//!
//! Stands for the object graphs of user interfaces, games and interpreters, where a node knows both the nodes that it
//! owns and those that point to it.
//!
//! Requests: 1.7 M, all small: names of 8 to 16 bytes, vectors of 32, nodes of 104.
//!
//! Caveat: edges end at random nodes, so the walk misses the processor's caches. How near to each other the allocator
//! puts blocks counts as much here as the cost of an allocation.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use rand::RngExt;
use versus::workload::{Group, Random, Run, Scale, Workload, checksum, random};

pub(super) const WORKLOAD: Workload = Workload {
    name: "rc_graph",
    group: Group::Small,
    about: "a graph of Rc<RefCell<Node>> with Weak back edges, rewired, walked and dropped",
    operations: None,
    prepare,
};

const NODES: usize = 40_000;
const FULL_PASSES: usize = 8;

struct Node {
    name: String,
    visits: u32,
    next: Vec<Link>,
    back: Vec<Weak<RefCell<Node>>>,
}

type Link = Rc<RefCell<Node>>;

fn prepare(scale: Scale) -> Run {
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let mut random = random(6);
        let pass = |_| {
            let mut nodes = build(&mut random);
            rewire(&mut nodes, &mut random);
            walk(&nodes[0])
        };
        checksum(&(0..passes).map(pass).collect::<Vec<_>>())
    })
}

/// Builds the graph. Edges lead only from lower to higher places, so no node keeps itself alive.
fn build(random: &mut Random) -> Vec<Link> {
    let nodes: Vec<Link> = (0..NODES).map(node).collect();
    for from in 0..NODES - 1 {
        // The first edge goes to a neighbor, so that every node is reached.
        connect(&nodes[from], &nodes[from + 1]);
        for _ in 0..random.random_range(0..4) {
            connect(&nodes[from], &nodes[random.random_range(from + 1..NODES)]);
        }
    }
    nodes
}

fn node(place: usize) -> Link {
    Rc::new(RefCell::new(Node { name: format!("node {place}"), visits: 0, next: Vec::new(), back: Vec::new() }))
}

fn connect(from: &Link, to: &Link) {
    from.borrow_mut().next.push(Rc::clone(to));
    to.borrow_mut().back.push(Rc::downgrade(from));
}

/// Replaces one node in four by a new one that takes over its edges, both ways.
fn rewire(nodes: &mut [Link], random: &mut Random) {
    for _ in 0..NODES / 4 {
        let place = random.random_range(0..NODES);
        let new = node(place);
        let old = std::mem::replace(&mut nodes[place], Rc::clone(&new));
        let (next, back) = {
            let mut old = old.borrow_mut();
            (std::mem::take(&mut old.next), std::mem::take(&mut old.back))
        };
        next.iter().for_each(|to| connect(&new, to));
        for from in back.iter().filter_map(Weak::upgrade) {
            let edge = from.borrow().next.iter().position(|to| Rc::ptr_eq(to, &old));
            if let Some(edge) = edge {
                from.borrow_mut().next[edge] = Rc::clone(&new);
                new.borrow_mut().back.push(Rc::downgrade(&from));
            }
        }
        // A dead back edge keeps the node's block from being freed.
        let dead = Rc::downgrade(&old);
        next.iter().for_each(|to| to.borrow_mut().back.retain(|from| !from.ptr_eq(&dead)));
    }
}

/// Walks the graph breadth first. The checksum depends on the order in which nodes are met.
fn walk(root: &Link) -> u64 {
    let mut sum = 0_u64;
    let mut queue = VecDeque::from([Rc::clone(root)]);
    while let Some(link) = queue.pop_front() {
        let mut node = link.borrow_mut();
        node.visits += 1;
        if node.visits > 1 {
            continue;
        }
        let known = node.back.iter().filter(|from| from.strong_count() > 0).count();
        sum = sum.wrapping_mul(31).wrapping_add((node.name.len() * 64 + known) as u64);
        queue.extend(node.next.iter().cloned());
    }
    sum
}
