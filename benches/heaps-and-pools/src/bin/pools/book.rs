//! An order book: bids and asks rest in two priority queues, ordered by price and time, until they meet. Its nodes are
//! boxes, boxes of a typed pool, entries of a slab, or values in an arena.
//!
//! The queues are leftist heaps (C. Crane, 1972): an order that comes or goes merges two of them along their right
//! spines.

use std::cell::Cell;
use std::mem::{swap, take};

use poolmalloc::{TypedBox, TypedPool};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::contest::Contest;

const STEPS: u64 = 100_000;

/// An order. The order of the lowest rank is served first. The rank is the price, negative for bids, then the time.
#[derive(Clone, Copy, Default)]
struct Order {
    rank: (i64, u64),
    amount: u32,
    _client: [u32; 5],
}

/// Node of a queue: an order, and the two subtrees of orders after it.
struct Node<K> {
    order: Order,
    left: Option<K>,
    right: Option<K>,
    length: u32,
}

impl<K> Node<K> {
    fn new(order: Order) -> Self {
        Self { order, left: None, right: None, length: 1 }
    }
}

/// Keeps the nodes.
trait Store {
    type Key;
    fn insert(&mut self, node: Node<Self::Key>) -> Self::Key;
    fn remove(&mut self, key: Self::Key) -> Node<Self::Key>;
    fn node<'a>(&'a mut self, key: &'a mut Self::Key) -> &'a mut Node<Self::Key>;
}

struct Boxes;
struct BoxKey(Box<Node<BoxKey>>);

impl Store for Boxes {
    type Key = BoxKey;

    fn insert(&mut self, node: Node<BoxKey>) -> BoxKey {
        BoxKey(Box::new(node))
    }

    fn remove(&mut self, key: BoxKey) -> Node<BoxKey> {
        *key.0
    }

    fn node<'a>(&'a mut self, key: &'a mut BoxKey) -> &'a mut Node<BoxKey> {
        &mut key.0
    }
}

struct FromPool<'p>(&'p TypedPool<Node<PoolKey<'p>>>);
struct PoolKey<'p>(TypedBox<'p, Node<PoolKey<'p>>>);

impl<'p> Store for FromPool<'p> {
    type Key = PoolKey<'p>;

    fn insert(&mut self, node: Node<PoolKey<'p>>) -> PoolKey<'p> {
        PoolKey(self.0.get(node))
    }

    fn remove(&mut self, key: PoolKey<'p>) -> Node<PoolKey<'p>> {
        TypedBox::into_inner(key.0)
    }

    fn node<'a>(&'a mut self, key: &'a mut PoolKey<'p>) -> &'a mut Node<PoolKey<'p>> {
        &mut key.0
    }
}

impl Store for slab::Slab<Node<usize>> {
    type Key = usize;

    fn insert(&mut self, node: Node<usize>) -> usize {
        slab::Slab::insert(self, node)
    }

    fn remove(&mut self, key: usize) -> Node<usize> {
        slab::Slab::remove(self, key)
    }

    fn node<'a>(&'a mut self, key: &'a mut usize) -> &'a mut Node<usize> {
        &mut self[*key]
    }
}

/// An arena. It gives the memory of all nodes back at once, and never that of one node.
struct FromArena<'a>(&'a typed_arena::Arena<Node<ArenaKey<'a>>>);
struct ArenaKey<'a>(&'a mut Node<ArenaKey<'a>>);

impl<'p> Store for FromArena<'p> {
    type Key = ArenaKey<'p>;

    fn insert(&mut self, node: Node<ArenaKey<'p>>) -> ArenaKey<'p> {
        ArenaKey(self.0.alloc(node))
    }

    fn remove(&mut self, key: ArenaKey<'p>) -> Node<ArenaKey<'p>> {
        Node { order: key.0.order, left: key.0.left.take(), right: key.0.right.take(), length: 1 }
    }

    fn node<'a>(&'a mut self, key: &'a mut ArenaKey<'p>) -> &'a mut Node<ArenaKey<'p>> {
        key.0
    }
}

/// The orders of one side.
struct Side<K>(Option<K>);

impl<K> Side<K> {
    fn merge<S: Store<Key = K>>(store: &mut S, a: Option<K>, b: Option<K>) -> Option<K> {
        let (mut a, mut b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return a.or(b),
        };
        let rank = store.node(&mut a).order.rank;
        if store.node(&mut b).order.rank < rank {
            swap(&mut a, &mut b);
        }
        let right = store.node(&mut a).right.take();
        let mut right = Self::merge(store, right, Some(b));
        let right_length = right.as_mut().map_or(0, |right| store.node(right).length);
        let mut left = store.node(&mut a).left.take();
        let left_length = left.as_mut().map_or(0, |left| store.node(left).length);
        let node = store.node(&mut a);
        (node.left, node.right) = if left_length < right_length { (right, left) } else { (left, right) };
        node.length = left_length.min(right_length) + 1;
        Some(a)
    }

    fn add<S: Store<Key = K>>(&mut self, store: &mut S, order: Order) {
        let added = store.insert(Node::new(order));
        self.0 = Self::merge(store, take(&mut self.0), Some(added));
    }

    fn first<'a, S: Store<Key = K>>(&'a mut self, store: &'a mut S) -> Option<&'a mut Order> {
        self.0.as_mut().map(|first| &mut store.node(first).order)
    }

    fn remove_first<S: Store<Key = K>>(&mut self, store: &mut S) {
        if let Some(first) = take(&mut self.0) {
            let node = store.remove(first);
            self.0 = Self::merge(store, node.left, node.right);
        }
    }
}

/// Plays a day of trading. Returns a checksum of the trades and of the canceled orders.
fn trade<S: Store>(mut store: S) -> u64 {
    let mut random = Pcg64::seed_from_u64(7);
    // Bids are ranked by the negative price.
    let mut sides = [Side(None), Side(None)];
    let mut traded = 0;
    for time in 0..STEPS {
        let side = random.random_range(0..2);
        let price = 10_000 + random.random_range(-100..100) + if side == 0 { -15 } else { 15 };
        let sign = if side == 0 { -1 } else { 1 };
        let mut order = Order { rank: (sign * price, time), amount: random.random_range(1..100), _client: [0; 5] };
        // Takes orders of the other side at this price or better.
        while let Some(best) = sides[1 - side].first(&mut store).filter(|best| best.rank.0 <= -order.rank.0) {
            let amount = best.amount.min(order.amount);
            best.amount -= amount;
            order.amount -= amount;
            traded += u64::from(amount) * best.rank.0.unsigned_abs();
            if best.amount == 0 {
                sides[1 - side].remove_first(&mut store);
            }
            if order.amount == 0 {
                break;
            }
        }
        if order.amount > 0 {
            sides[side].add(&mut store, order);
        }
    }
    // At the end of the day the remaining orders are canceled, best first.
    for side in &mut sides {
        while let Some(best) = side.first(&mut store) {
            traded ^= u64::from(best.amount);
            side.remove_first(&mut store);
        }
    }
    traded
}

/// The order book with each kind of store. The number of nodes is not known in advance, so no arena is made with a
/// capacity.
pub fn orders() -> Contest {
    let most = Cell::new(1 << 12);
    Contest::new("order book", "order", STEPS)
        .way("Box", || trade(Boxes))
        .way("TypedPool", move || {
            let pool = TypedPool::with_capacity(most.get());
            let sum = trade(FromPool(&pool));
            // The capacity is bounded, like that of CPython's free lists: the next day has room for as many nodes as
            // this one needed.
            most.set(pool.stats().high_water as usize);
            sum
        })
        .way("slab", || trade(slab::Slab::new()))
        .way("typed-arena", || trade(FromArena(&typed_arena::Arena::new())))
}
