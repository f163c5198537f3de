//! Programs that leak, or seem to. Each plants blocks in its own way, and knows what a report must say of them.
//!
//! The errors in [`errors`] are of another kind: the debug mode must report them.
//!
//! `tests/leaks` and `tests/agreement` use the programs. `tests/agreement` compares the leak finder with LeakSanitizer.
//! Addresses are kept as [`Address`], which the leak finder does not take for a pointer.

#![allow(clippy::vec_box, reason = "each box is a block that is planted")]

pub mod errors;

use poolmalloc::leaks::{self, Address, LeakKind, LeakReport};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};
use std::{ptr, thread};

/// What a report must say of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Is {
    /// Nothing points to it.
    Direct,
    /// Only leaked blocks point to it.
    Indirect,
    /// In a cycle with all others that have the same number.
    Cycle(usize),
    /// It can be reached: no leak.
    Held,
}

/// The blocks of a plant, and what a report must say of each.
pub type Planted = Vec<(Address, Is)>;

/// Returns the address of a block, from a pointer to its beginning.
pub fn address<T: ?Sized>(pointer: *const T) -> Address {
    Address::from(pointer.addr())
}

/// Returns the address of the block behind an `Rc` or `Arc`. The counts lie before the value.
pub fn counted<T>(value: &T) -> Address {
    Address::from((&raw const *value).addr() - 16)
}

/// Fails unless the report has exactly the planted blocks that leak, each with its kind.
#[track_caller]
pub fn assert_reports(report: &LeakReport, planted: &Planted) {
    let mut cycles = std::collections::BTreeMap::new();
    for (address, is) in planted {
        let found = report.blocks.iter().find(|block| block.address == *address).map(|block| block.kind);
        match (is, found) {
            (Is::Held, None) | (Is::Direct, Some(LeakKind::Direct)) | (Is::Indirect, Some(LeakKind::Indirect)) => {}
            (Is::Cycle(number), Some(LeakKind::Cycle(found))) => {
                assert_eq!(*cycles.entry(number).or_insert(found), found, "{address}\n{report:#}");
            }
            _ => {
                let by = leaks::referrers(ptr::without_provenance::<u8>(address.get()));
                panic!("{address} is {is:?}, and was found as {found:?}, with pointers {by:#?}\n{report:#}")
            }
        }
    }
    let leaked = planted.iter().filter(|(_, is)| *is != Is::Held).count();
    assert_eq!(report.blocks.len(), leaked, "something else is reported\n{report:#}");
    assert_eq!(report.cycles.len(), cycles.len(), "{report:#}");
    assert_eq!(report.leaked().blocks, leaked as u64);
}

/// Calls `f`, which must not be inlined, 64 KiB further down on the stack. A frame has parts that it never writes, and
/// a word that an earlier call has left there looks like a pointer. So the frames of `f` lie far below the frames of
/// later calls. Only another call of this function has a frame that covers the frames of `f`, and that call writes
/// every byte of its frame.
#[inline(never)]
pub fn far_below<T>(f: impl FnOnce() -> T) -> T {
    let room = black_box([0_u8; 64 * 1024]);
    let result = f();
    black_box(room);
    result
}

// The plants. None is inlined, so that its frame is gone when the search begins.

struct Node {
    edges: RefCell<Vec<Rc<Node>>>,
}

fn node() -> Rc<Node> {
    Rc::new(Node { edges: RefCell::new(Vec::new()) })
}

/// Plants three nodes in a ring, and a fourth one to which the ring points.
#[inline(never)]
pub fn rc_cycle_in_a_graph() -> Planted {
    let nodes: Vec<_> = (0..4).map(|_| node()).collect();
    for (from, to) in [(0, 1), (1, 2), (2, 0), (2, 3)] {
        nodes[from].edges.borrow_mut().push(nodes[to].clone());
    }
    let mut planted = Planted::new();
    for (number, node) in nodes.iter().enumerate() {
        let is = if number < 3 { Is::Cycle(0) } else { Is::Indirect };
        planted.push((counted(&**node), is));
        if number < 3 {
            planted.push((address(node.edges.borrow().as_ptr()), is));
        }
    }
    planted
}

struct Item {
    next: RefCell<Option<Rc<Item>>>,
    previous: RefCell<Option<Rc<Item>>>,
    back: RefCell<Weak<Item>>,
}

/// Number of items of a list. A vector of so few items is no large block. A freed large block would leave its words in
/// the C library's heap, and these are roots unless the finder is armed.
pub const ITEMS: usize = 20;

fn items(count: usize) -> Vec<Rc<Item>> {
    let item = || Rc::new(Item { next: None.into(), previous: None.into(), back: Weak::new().into() });
    let items: Vec<_> = (0..count).map(|_| item()).collect();
    for pair in items.windows(2) {
        *pair[0].next.borrow_mut() = Some(pair[1].clone());
    }
    items
}

/// Plants a list whose items point forth and back with an `Rc`.
#[inline(never)]
pub fn doubly_linked_list() -> Planted {
    let items = items(ITEMS);
    for pair in items.windows(2) {
        *pair[1].previous.borrow_mut() = Some(pair[0].clone());
    }
    items.iter().map(|item| (counted(&**item), Is::Cycle(0))).collect()
}

/// Plants two lists whose back pointers are `Weak`, so that a list is no cycle. In the second list the last item points
/// to the first, which makes a cycle.
#[inline(never)]
pub fn weak_back_pointers() -> Planted {
    let (list, ring) = (items(ITEMS), items(3));
    for items in [&list, &ring] {
        for pair in items.windows(2) {
            *pair[1].back.borrow_mut() = Rc::downgrade(&pair[0]);
        }
    }
    *ring[2].next.borrow_mut() = Some(ring[0].clone());
    ring.iter().map(|item| (counted(&**item), Is::Cycle(0))).collect()
}

struct Subject {
    observers: RefCell<Vec<Rc<Observer>>>,
}

struct Observer {
    _subject: Rc<Subject>,
}

/// Plants a subject and three observers that keep each other alive.
#[inline(never)]
fn observer_with_a_strong_back_pointer() -> Planted {
    let subject = Rc::new(Subject { observers: RefCell::new(Vec::new()) });
    for _ in 0..3 {
        let observer = Rc::new(Observer { _subject: subject.clone() });
        subject.observers.borrow_mut().push(observer);
    }
    let observers = subject.observers.borrow();
    let mut planted = vec![(counted(&*subject), Is::Cycle(0)), (address(observers.as_ptr()), Is::Cycle(0))];
    planted.extend(observers.iter().map(|observer| (counted(&**observer), Is::Cycle(0))));
    planted
}

struct Shared {
    peer: Mutex<Option<Arc<Shared>>>,
}

#[inline(never)]
fn arc_cycle_across_threads() -> Planted {
    let make = || thread::spawn(|| Arc::new(Shared { peer: Mutex::new(None) })).join().expect("a peer");
    let (first, second) = (make(), make());
    let planted = vec![(counted(&*first), Is::Cycle(0)), (counted(&*second), Is::Cycle(0))];
    let (to_first, to_second) = (first.clone(), second.clone());
    thread::spawn(move || *first.peer.lock().expect("a peer") = Some(to_second)).join().expect("linking");
    thread::spawn(move || *second.peer.lock().expect("a peer") = Some(to_first)).join().expect("linking");
    planted
}

#[inline(never)]
fn holds_itself() -> Planted {
    let node = node();
    node.edges.borrow_mut().push(node.clone());
    vec![(counted(&*node), Is::Cycle(0)), (address(node.edges.borrow().as_ptr()), Is::Cycle(0))]
}

/// Plants a box whose address is held nowhere any more.
#[inline(never)]
pub fn forgotten_box() -> Planted {
    let forgotten = Box::new([7_u64; 5]);
    let planted = vec![(address(&*forgotten), Is::Direct)];
    std::mem::forget(forgotten);
    planted
}

#[inline(never)]
fn forgotten_vector_of_boxes() -> Planted {
    let boxes: Vec<_> = (0..20).map(|_| Box::new([1_u64; 6])).collect();
    let mut planted: Planted = boxes.iter().map(|boxed| (address(&**boxed), Is::Indirect)).collect();
    planted.push((address(boxes.as_ptr()), Is::Direct));
    std::mem::forget(boxes);
    planted
}

static LEAKED: AtomicPtr<[u64; 9]> = AtomicPtr::new(ptr::null_mut());

/// Plants a box whose address a static holds: no leak.
#[inline(never)]
pub fn leaked_box_in_a_static() -> Planted {
    let leaked: &'static mut [u64; 9] = Box::leak(Box::new([3; 9]));
    // Else the compiler would see that nothing reads the static.
    black_box(&LEAKED).store(leaked, Ordering::Relaxed);
    vec![(address(leaked), Is::Held)]
}

static INSIDE: AtomicPtr<u64> = AtomicPtr::new(ptr::null_mut());

#[inline(never)]
fn interior_pointer_only() -> Planted {
    let leaked: &'static mut [u64; 9] = Box::leak(Box::new([3; 9]));
    black_box(&INSIDE).store(&raw mut leaked[8], Ordering::Relaxed);
    vec![(address(leaked), Is::Held)]
}

#[inline(never)]
fn buffer_of_an_ended_thread() -> Planted {
    // Far below, since another thread may get the same stack.
    thread::spawn(|| far_below(forgotten_buffer)).join().expect("the thread")
}

#[inline(never)]
fn forgotten_buffer() -> Planted {
    let buffer = vec![5_u8; 100];
    let planted = vec![(address(buffer.as_ptr()), Is::Direct)];
    std::mem::forget(buffer);
    planted
}

/// Plants large blocks that alone hold small ones. A static holds the first large block, nothing holds the second, and
/// the others are freed.
#[inline(never)]
pub fn blocks_of_large_blocks() -> Planted {
    static HELD: Mutex<Vec<Box<u64>>> = Mutex::new(Vec::new());
    let large = || (0..1000).map(|_| Box::new(1)).collect::<Vec<Box<u64>>>();
    let (held, forgotten) = (large(), large());
    let kind = |boxes: &Vec<Box<u64>>, of_vector: Is, of_box: Is| {
        let boxes_of_it = boxes.iter().map(move |boxed| (address(&**boxed), of_box));
        boxes_of_it.chain([(address(boxes.as_ptr()), of_vector)]).collect::<Planted>()
    };
    let mut planted = kind(&held, Is::Held, Is::Held);
    planted.extend(kind(&forgotten, Is::Direct, Is::Indirect));
    *HELD.lock().expect("the vector") = held;
    std::mem::forget(forgotten);
    // Large blocks that are freed: when the vector grows, and when it is dropped. The allocator has wiped their
    // pointers to small blocks, so these are leaks.
    let mut gone = Vec::with_capacity(300);
    gone.extend((0..300).map(|_| Some(Box::new([2_u64; 3]))));
    gone.reserve_exact(600);
    for boxed in &mut gone {
        let boxed = boxed.as_ref().map(|boxed| ptr::from_ref(&**boxed));
        planted.extend(boxed.map(|boxed| (address(boxed), Is::Direct)));
    }
    // SAFETY: no element is used any more; the boxes that the elements own are leaked.
    unsafe { gone.set_len(0) };
    planted
}

/// Plants nothing.
#[must_use]
pub fn forgotten_nothing() -> Planted {
    Planted::new()
}

/// A function that plants blocks, and returns them.
pub type Plant = fn() -> Planted;

/// The plants of this crate, by name, except the one that needs an armed finder.
pub const PLANTS: &[(&str, Plant)] = &[
    ("rc_cycle_in_a_graph", rc_cycle_in_a_graph),
    ("doubly_linked_list", doubly_linked_list),
    ("weak_back_pointers", weak_back_pointers),
    ("observer_with_a_strong_back_pointer", observer_with_a_strong_back_pointer),
    ("arc_cycle_across_threads", arc_cycle_across_threads),
    ("holds_itself", holds_itself),
    ("forgotten_box", forgotten_box),
    ("forgotten_vector_of_boxes", forgotten_vector_of_boxes),
    ("leaked_box_in_a_static", leaked_box_in_a_static),
    ("interior_pointer_only", interior_pointer_only),
    ("buffer_of_an_ended_thread", buffer_of_an_ended_thread),
    ("forgotten_nothing", forgotten_nothing),
];
