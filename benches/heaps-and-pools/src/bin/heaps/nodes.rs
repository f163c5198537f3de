//! A list of nodes, one block each.

use std::mem;

use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::boxed::Box as BoxIn;
use bumpalo::Bump;
use poolmalloc::{PrivateHeap, SharedPrivateHeap};

use super::{Row, time};

/// Index of the row whose `PrivateHeap` is dropped with all nodes in it.
pub(crate) const DROPPED: usize = 1;

struct Node<A: Allocator> {
    next: Option<BoxIn<Node<A>, A>>,
    payload: [u64; 4],
}

type List<A> = Option<BoxIn<Node<A>, A>>;

fn list<A: Allocator + Copy>(nodes: usize, allocator: A) -> List<A> {
    let mut first: List<A> = None;
    for number in 0..nodes {
        let node = Node { next: first.take(), payload: [number as u64; 4] };
        first = Some(BoxIn::new_in(node, allocator));
    }
    first
}

/// Frees the nodes one by one, from the front: a recursive drop would need a stack as long as the list. Returns a sum
/// of the payloads.
fn free<A: Allocator>(mut list: List<A>) -> u64 {
    let mut sum = 0;
    while let Some(mut node) = list {
        sum += node.payload[0];
        list = node.next.take();
    }
    sum
}

pub(crate) fn rows<'a>(nodes: usize) -> Vec<Row<'a>> {
    vec![
        Row::new("one by one, without a heap", move || time(|| list(nodes, Global), |list| _ = free(list))),
        Row::new("PrivateHeap, dropped", move || {
            let heap = PrivateHeap::named("nodes");
            let built = time(|| mem::forget(list(nodes, &heap)), |()| ());
            let end = time(|| (), |()| drop(heap));
            super::Times { build: built.build, end: end.end }
        }),
        Row::new("PrivateHeap, one by one", move || {
            let heap = PrivateHeap::named("nodes");
            time(|| list(nodes, &heap), |list| _ = free(list))
        }),
        Row::new("SharedPrivateHeap, dropped", move || {
            let heap = SharedPrivateHeap::named("nodes");
            let built = time(|| mem::forget(list(nodes, &heap)), |()| ());
            let end = time(|| (), |()| drop(heap));
            super::Times { build: built.build, end: end.end }
        }),
        Row::new("SharedPrivateHeap, one by one", move || {
            let heap = SharedPrivateHeap::named("nodes");
            time(|| list(nodes, &heap), |list| _ = free(list))
        }),
        Row::new("bumpalo, dropped", move || {
            let bump = Bump::new();
            let built = time(|| mem::forget(list(nodes, &bump)), |()| ());
            let end = time(|| (), |()| drop(bump));
            super::Times { build: built.build, end: end.end }
        }),
    ]
}
