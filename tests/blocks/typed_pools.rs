//! Typed pools do what a plain model does, in any order of operations: every value is dropped exactly once, a pool
//! keeps no more blocks than it has room for, and every figure is exact. Destructors and constructors may panic, boxes
//! may be forgotten, and blocks may have any size and alignment. A box of a pool for threads may be dropped on any
//! thread.
//!
//! To see it fail: see the rows of `tests/mutants` for this file.
//!
//! `cargo test --test blocks typed_pools::`

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::BuildHasher;
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use poolmalloc::{
    ArcTypedBox, HomeBox, RcTypedBox, Reusable, Reuse, SyncTypedPool, TypedBox, TypedPool, TypedPoolFigures, leaks,
    stats,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::class_of;
use poolmalloc_support::process::succeed;
use poolmalloc_support::{Test, command, scaled, tests};

/// Figures of a pool that the model predicts. The other figures follow from the type and the bound.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    gets: u64,
    hits: u64,
    drops: u64,
    freed: u64,
    live: u64,
    ready: u64,
    high_water: u64,
}

impl Told {
    fn of(figures: &TypedPoolFigures) -> Self {
        let TypedPoolFigures { gets, hits, drops, freed, live, ready, high_water, .. } = *figures;
        assert_eq!((gets - drops, gets - hits - freed), (live, live + ready), "{figures:?}");
        Self { gets, hits, drops, freed, live, ready, high_water }
    }
}

/// The model: the figures that a pool must show, and the values that it must keep.
#[derive(Default)]
struct Model {
    gets: u64,
    hits: u64,
    drops: u64,
    freed: u64,
    ready: Vec<u32>,
    live: u64,
    high_water: u64,
    room: usize,
}

impl Model {
    fn get(&mut self) -> Option<u32> {
        self.gets += 1;
        self.live += 1;
        self.high_water = self.high_water.max(self.live);
        let ready = self.ready.pop();
        self.hits += u64::from(ready.is_some());
        ready
    }

    /// Counts a box that is dropped. `value` is the value in its block, for a pool that reuses values. Returns whether
    /// the pool keeps the block.
    fn give(&mut self, is_worth: bool, value: u32) -> bool {
        self.drops += 1;
        self.live -= 1;
        let is_kept = is_worth && self.ready.len() < self.room;
        if is_kept {
            self.ready.push(value);
        } else {
            self.freed += 1;
        }
        is_kept
    }

    fn clear(&mut self) -> Vec<u32> {
        self.freed += self.ready.len() as u64;
        std::mem::take(&mut self.ready)
    }

    fn told(&self) -> Told {
        let Self { gets, hits, drops, freed, ref ready, live, high_water, .. } = *self;
        Told { gets, hits, drops, freed, live, ready: ready.len() as u64, high_water }
    }
}

/// Number of drops of each value.
#[derive(Default)]
struct Fates {
    drops: RefCell<HashMap<u32, u32>>,
}

/// A value that counts its drop, and has bytes that show whether they were overwritten.
struct Noted<'f, const BYTES: usize> {
    number: u32,
    bytes: [u8; BYTES],
    is_worth: bool,
    fates: &'f Fates,
}

impl<'f, const BYTES: usize> Noted<'f, BYTES> {
    fn new(number: u32, is_worth: bool, fates: &'f Fates) -> Self {
        Self { number, bytes: [number as u8; BYTES], is_worth, fates }
    }

    fn check(&self, number: u32) {
        assert_eq!(self.number, number);
        assert!(self.bytes.iter().all(|byte| *byte == number as u8));
    }
}

impl<const BYTES: usize> Drop for Noted<'_, BYTES> {
    fn drop(&mut self) {
        self.check(self.number);
        *self.fates.drops.borrow_mut().entry(self.number).or_default() += 1;
    }
}

impl<const BYTES: usize> Reusable for Noted<'_, BYTES> {
    fn reuse(&mut self) -> bool {
        self.is_worth
    }
}

#[derive(Debug, Clone)]
enum Step {
    Get,
    /// Takes a box with `get_with`. If the field is `true`, the closure panics.
    GetWith(bool),
    Drop(usize),
    IntoInner(usize),
    Leak(usize),
    Forget(usize),
    Clear,
    Ready,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Get),
        3 => any::<bool>().prop_map(Step::GetWith),
        8 => any::<usize>().prop_map(Step::Drop),
        2 => any::<usize>().prop_map(Step::IntoInner),
        1 => any::<usize>().prop_map(Step::Leak),
        1 => any::<usize>().prop_map(Step::Forget),
        1 => Just(Step::Clear),
        3 => Just(Step::Ready),
    ];
    prop::collection::vec(step, 0..80)
}

/// Runs a property. Keeps no file of failures, since the tests of this binary have no place for one.
fn check<S: Strategy>(strategy: S, property: impl Fn(S::Value))
where
    S::Value: Debug,
{
    let cases = scaled(2000, 8) as u32;
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Panics without printing a message.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("planned"))
}

macro_rules! fresh_model {
    ($pool:ident, $bytes:literal) => {
        check((0_usize..20, steps()), |(room, steps)| {
            let fates = Fates::default();
            let mut leaked = HashSet::new();
            let mut next = 0;
            {
                let pool = $pool::<Noted<'_, $bytes>>::with_capacity(room);
                let mut model = Model { room, ..Model::default() };
                let mut boxes = Vec::new();
                for step in steps {
                    let place = |number: usize| if boxes.is_empty() { None } else { Some(number % boxes.len()) };
                    match step {
                        Step::Get | Step::Ready => {
                            model.get();
                            boxes.push(pool.get(Noted::new(next, true, &fates)));
                            next += 1;
                        }
                        Step::GetWith(false) => {
                            model.get();
                            boxes.push(pool.get_with(|| Noted::new(next, true, &fates)));
                            next += 1;
                        }
                        Step::GetWith(true) => {
                            model.get();
                            catch_unwind(AssertUnwindSafe(|| _ = pool.get_with(|| panic_quietly()))).unwrap_err();
                            model.give(true, 0);
                        }
                        Step::Drop(number) => {
                            if let Some(place) = place(number) {
                                drop(boxes.swap_remove(place));
                                model.give(true, 0);
                            }
                        }
                        Step::IntoInner(number) => {
                            if let Some(place) = place(number) {
                                let value = HomeBox::into_inner(boxes.swap_remove(place));
                                model.give(true, 0);
                                value.check(value.number);
                            }
                        }
                        Step::Leak(number) => {
                            if let Some(place) = place(number) {
                                let value = HomeBox::leak(boxes.swap_remove(place));
                                value.check(value.number);
                                leaked.insert(value.number);
                            }
                        }
                        Step::Forget(number) => {
                            if let Some(place) = place(number) {
                                let value = boxes.swap_remove(place);
                                leaked.insert(value.number);
                                forget(value);
                            }
                        }
                        Step::Clear => {
                            model.clear();
                            pool.clear();
                        }
                    }
                    assert_eq!(Told::of(&pool.stats()), model.told());
                    assert_eq!((pool.len(), pool.ready()), (model.live as usize, model.ready.len()));
                    boxes.iter().for_each(|value| value.check(value.number));
                    let blocks: HashSet<_> = boxes.iter().map(|value| &raw const **value).collect();
                    assert_eq!(blocks.len(), boxes.len(), "a block was handed out twice");
                }
            }
            let drops = fates.drops.into_inner();
            for number in 0..next {
                assert_eq!(drops.get(&number).is_none(), leaked.contains(&number), "value {number}");
            }
            assert!(drops.values().all(|count| *count == 1), "{drops:?}");
        });
    };
}

fn a_pool_does_what_its_model_does() {
    fresh_model!(TypedPool, 24);
}

fn a_pool_of_large_values_does_what_its_model_does() {
    fresh_model!(TypedPool, 700);
}

fn a_pool_for_threads_does_what_its_model_does() {
    fresh_model!(SyncTypedPool, 24);
}

macro_rules! reused_model {
    ($pool:ident, $is_stack:literal) => {
        check((0_usize..20, steps()), |(room, steps)| {
            let fates = Fates::default();
            let mut next = 0;
            let mut outside = 0;
            {
                let pool = $pool::<Noted<'_, 40>>::with_capacity(room).reusing();
                let mut model = Model { room, ..Model::default() };
                let mut boxes: Vec<HomeBox<_, _>> = Vec::new();
                for step in steps {
                    let place = |number: usize| if boxes.is_empty() { None } else { Some(number % boxes.len()) };
                    let before = fates.drops.borrow().len();
                    let mut dropped = 0;
                    match step {
                        Step::Get | Step::GetWith(_) => {
                            let expected = model.get();
                            // Every third value is not worth keeping.
                            let value = pool.get_ready_or(|| Noted::new(next, next % 3 > 0, &fates));
                            match expected {
                                // A pool for threads has several lists, so it may return another of its values.
                                Some(number) => assert!(!$is_stack || number == value.number),
                                None => {
                                    assert_eq!(value.number, next);
                                    next += 1;
                                }
                            }
                            boxes.push(value);
                        }
                        Step::Ready => match pool.get_ready() {
                            Some(value) => {
                                let expected = model.get();
                                assert!(expected.is_some() && (!$is_stack || expected == Some(value.number)));
                                boxes.push(value);
                            }
                            None => assert!(model.ready.is_empty()),
                        },
                        Step::Drop(number) | Step::Leak(number) | Step::Forget(number) => {
                            if let Some(place) = place(number) {
                                let value = boxes.swap_remove(place);
                                dropped = usize::from(!model.give(value.is_worth, value.number));
                            }
                        }
                        Step::IntoInner(number) => {
                            if let Some(place) = place(number) {
                                let value = HomeBox::into_inner(boxes.swap_remove(place));
                                model.give(false, 0);
                                value.check(value.number);
                                dropped = 1;
                            }
                        }
                        Step::Clear => {
                            dropped = model.clear().len();
                            pool.clear();
                        }
                    }
                    assert_eq!(fates.drops.borrow().len(), before + dropped);
                    assert_eq!(Told::of(&pool.stats()), model.told());
                    boxes.iter().for_each(|value| value.check(value.number));
                }
                outside += boxes.len();
            }
            let drops = fates.drops.into_inner();
            assert!(outside <= drops.len() && drops.len() == next as usize);
            assert!(drops.values().all(|count| *count == 1), "{drops:?}");
        });
    };
}

fn a_pool_that_reuses_does_what_its_model_does() {
    reused_model!(TypedPool, true);
}

fn a_pool_for_threads_that_reuses_does_what_its_model_does() {
    reused_model!(SyncTypedPool, false);
}

#[repr(align(64))]
struct OnALine(u8);

#[repr(align(4096))]
struct OnAPage(#[allow(dead_code, reason = "it only takes room")] [u8; 4096]);

fn values_of_all_sizes_and_alignments() {
    fn check<T>(make: impl Fn() -> T) {
        for pool in [TypedPool::with_capacity(2), TypedPool::with_capacity(0)] {
            let boxes: Vec<_> = (0..5).map(|_| pool.get(make())).collect();
            for value in &boxes {
                assert!((&raw const **value).is_aligned());
            }
            drop(boxes);
            let figures = pool.stats();
            assert_eq!((figures.ready, figures.freed), (figures.capacity, 5 - figures.capacity));
            assert_eq!(figures.ready_bytes, figures.ready * size_of::<T>() as u64);
        }
        let pool = SyncTypedPool::with_capacity(2);
        drop((0..5).map(|_| pool.get(make())).collect::<Vec<_>>());
        assert_eq!((pool.ready(), pool.capacity()), (2, 2));
    }
    check(|| ());
    check(|| 1_u8);
    check(|| [0_u64; 0]);
    check(|| OnALine(1).0);
    check(|| OnALine(2));
    check(|| OnAPage([3; 4096]));
    check(|| [7_u8; 257]);
    check(|| [7_u64; 100_000]);
    check(|| String::from("text"));
}

/// A value that counts its drops. If the flag is set, its drop or its `reuse` clears the flag and panics.
struct Panics(Rc<Cell<bool>>, Rc<Cell<usize>>);

impl Drop for Panics {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
        if self.0.replace(false) {
            panic_quietly();
        }
    }
}

impl Reusable for Panics {
    fn reuse(&mut self) -> bool {
        if self.0.replace(false) {
            panic_quietly();
        }
        true
    }
}

fn panics_of_destructors_lose_no_block() {
    let (panics, dropped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let value = || Panics(panics.clone(), dropped.clone());
    let quiet = |f: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(f)).unwrap_err();

    let pool = TypedPool::new();
    let held = pool.get(value());
    panics.set(true);
    let mut held = Some(held);
    quiet(&mut || drop(held.take()));
    assert_eq!((pool.len(), pool.ready(), dropped.get()), (0, 1, 1));

    // A value whose `reuse` panics is dropped, and its block freed.
    let pool = TypedPool::new().reusing();
    let mut held = Some(pool.get_ready_or(value));
    panics.set(true);
    quiet(&mut || drop(held.take()));
    assert_eq!((pool.len(), pool.ready(), pool.stats().freed, dropped.get()), (0, 0, 1, 2));

    // All ready values are dropped, though one panics.
    drop((0..5).map(|_| pool.get_ready_or(value)).collect::<Vec<_>>());
    assert_eq!(pool.ready(), 5);
    panics.set(true);
    quiet(&mut || pool.clear());
    assert_eq!((pool.ready(), pool.stats().freed, dropped.get()), (0, 6, 7));
    drop((0..5).map(|_| pool.get_ready_or(value)).collect::<Vec<_>>());
    panics.set(true);
    drop(held);
    let mut pool = Some(pool);
    quiet(&mut || drop(pool.take()));
    assert_eq!(dropped.get(), 12);
}

/// A value that uses its pool when it is dropped.
struct Reentrant<'p>(&'p TypedPool<Reentrant<'p>>, u32);

impl Drop for Reentrant<'_> {
    fn drop(&mut self) {
        if self.1 > 0 {
            drop(self.0.get(Reentrant(self.0, self.1 - 1)));
        }
    }
}

fn what_a_maker_takes_and_drops_is_not_there_at_once() {
    let pool = TypedPool::<Vec<u8>>::with_capacity(3).reusing();
    let one = pool.get_ready_or(|| {
        drop(pool.get_ready_or(Vec::new));
        Vec::new()
    });
    let figures = pool.stats();
    assert_eq!((figures.live, figures.ready, figures.high_water), (1, 1, 1));
    drop(one);
}

fn destructors_may_use_the_pool() {
    let pool = TypedPool::with_capacity(3);
    drop(pool.get(Reentrant(&pool, 10)));
    let figures = pool.stats();
    assert_eq!((figures.gets, figures.high_water, figures.ready, figures.freed), (11, 11, 3, 8));
}

#[expect(clippy::mutable_key_type, reason = "the value of a box is its key, and not what it knows of its pool")]
fn boxes_are_as_those_of_the_standard_library() {
    let pool = TypedPool::new();
    let (one, two) = (pool.get(String::from("one")), pool.get(String::from("two")));
    assert!(one < two && one != two && one == pool.get("one".into()));
    assert_eq!((format!("{one} {two:?}"), one.as_ref().len()), ("one \"two\"".into(), 3));
    let hasher = std::hash::RandomState::new();
    assert_eq!(hasher.hash_one(&one), hasher.hash_one("one"));
    assert_eq!(format!("{one:p}"), format!("{:p}", &raw const *one));
    let mut map = BTreeMap::from([(one, 1), (two, 2)]);
    // The map compares a `String` with its boxes, since a box implements `Borrow`.
    assert_eq!(map.get(&String::from("two")), Some(&2));
    assert_eq!(map.remove(&String::from("three")), None);
    let mut three = pool.get(String::from("three"));
    three.as_mut().push('!');
    three.make_ascii_uppercase();
    let seen = thread::scope(|scope| scope.spawn(|| three.len()).join().unwrap());
    assert_eq!((seen, HomeBox::into_inner(three)), (6, "THREE!".into()));
    assert_eq!(
        format!("{:?}", TypedPool::<u8>::named("a\nb", 7)),
        r#"TypedPool { name: "a_b", live: 0, ready: 0, capacity: 7, .. }"#
    );
}

fn boxes_with_a_share_keep_the_pool() {
    let noted = Rc::new(());
    let (first, second): (RcTypedBox<_>, RcTypedBox<_>) = {
        let pool = Rc::new(TypedPool::new());
        (pool.get_owned(noted.clone()), pool.get_owned(noted.clone()))
    };
    drop(first);
    assert_eq!((Rc::strong_count(&noted), Rc::strong_count(&second)), (2, 2));
    let leaked: &Rc<()> = HomeBox::leak(second);
    assert_eq!(Rc::strong_count(leaked), 2);

    let pool = Arc::new(SyncTypedPool::new().reusing());
    let value: ArcTypedBox<Vec<u8>, Reuse> = pool.get_ready_or_owned(|| Vec::with_capacity(100));
    let observed = Arc::downgrade(&pool);
    drop(pool);
    thread::spawn(move || drop(value)).join().unwrap();
    assert!(observed.upgrade().is_none());
    let pool = Rc::new(TypedPool::new().reusing());
    drop(pool.get_ready_or_owned(String::new));
    assert_eq!((pool.get_ready_or_owned(String::new).len(), pool.stats().hits), (0, 1));
}

fn collections_are_cleared_and_keep_their_buffers() {
    let pool = TypedPool::new().reusing();
    let mut map = pool.get_ready_or(|| HashMap::with_capacity(100));
    map.insert(1, Rc::new(()));
    let (shared, capacity) = (map[&1].clone(), map.capacity());
    drop(map);
    assert_eq!(Rc::strong_count(&shared), 1);
    let map: TypedBox<'_, HashMap<i32, Rc<()>>, Reuse> = pool.get_ready().unwrap();
    assert_eq!((map.len(), map.capacity()), (0, capacity));
    let pool = TypedPool::new().reusing();
    drop(pool.get_ready_or(|| HashSet::from([1])));
    assert!(pool.get_ready().unwrap().is_empty());
    let pool = TypedPool::new().reusing();
    drop(pool.get_ready_or(|| String::from("text")));
    assert_eq!(pool.get_ready().map(|text| (text.len(), text.capacity())), Some((0, 4)));
}

/// A value that has a number and counts its drops.
struct Counted<'c>(&'c AtomicUsize, usize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Threads take boxes, and drop boxes of other threads. In the end each value was dropped once, and the figures are
/// exact.
fn threads_hand_boxes_round() {
    const THREADS: usize = 4;
    const ROUNDS: usize = scaled(40_000, 20);
    let dropped = AtomicUsize::new(0);
    {
        let pool = SyncTypedPool::with_capacity(64);
        let start = Barrier::new(THREADS);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::sync_channel(16)).unzip();
        thread::scope(|scope| {
            for (number, receiver) in receivers.into_iter().enumerate() {
                let to = senders[(number + 1) % THREADS].clone();
                let (pool, start, dropped) = (&pool, &start, &dropped);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..ROUNDS {
                        let value = number * ROUNDS + round;
                        let mine = pool.get(Counted(dropped, value));
                        let held = pool.get_with(|| Counted(dropped, value));
                        if let Err(mpsc::TrySendError::Full(mine)) = to.try_send(mine) {
                            assert_eq!(mine.1, value);
                        }
                        while let Ok(theirs) = receiver.try_recv() {
                            assert!(theirs.1 < THREADS * ROUNDS);
                        }
                        assert_eq!(held.1, value);
                    }
                });
            }
            drop(senders);
        });
        let figures = pool.stats();
        Told::of(&figures);
        assert_eq!((figures.gets, figures.live), ((THREADS * ROUNDS * 2) as u64, 0));
        assert!(figures.ready <= 64 && figures.high_water >= figures.ready, "{figures:?}");
        pool.clear();
        assert_eq!((pool.ready(), pool.stats().hits), (0, figures.hits));
    }
    assert_eq!(dropped.into_inner(), THREADS * ROUNDS * 2);
}

/// A block that one thread drops serves another thread.
fn threads_find_what_others_dropped() {
    let pool = SyncTypedPool::with_capacity(100);
    let boxes: Vec<_> = (0..100).map(|number| pool.get(number)).collect();
    thread::scope(|scope| scope.spawn(move || drop(boxes)).join().unwrap());
    assert_eq!(pool.ready(), 100);
    drop((0..100).map(|number| pool.get(number)).collect::<Vec<_>>());
    assert_eq!(pool.stats().hits, 100);
}

fn figures_of(name: &str) -> Option<TypedPoolFigures> {
    stats().typed.by_name().iter().find(|named| named.name.as_str() == name).map(|named| named.figures)
}

fn named_pools_are_in_the_statistics() {
    assert_eq!(stats().typed.all.pools, 0);
    let unnamed = TypedPool::new();
    drop(unnamed.get(1));
    assert!(!stats().to_string().contains("typed pools"));
    let pools = [TypedPool::named("nodes", 10), TypedPool::named("edges", 20), TypedPool::named("nodes", 7)];
    let before = stats();
    let boxes: Vec<_> = (0..100).map(|number| pools[number % 3].get([number; 6])).collect();
    drop(boxes);
    let held = pools[0].get([1; 6]);
    let all = stats();
    // The allocator counts a ready block as live.
    let class = class_of(layout(48, 8)).expect("a class");
    assert_eq!(all.classes[class].live_blocks - before.classes[class].live_blocks, 10 + 20 + 7);
    assert_eq!((all.typed.all.live, all.typed.all.ready), (1, 9 + 20 + 7));
    let nodes = figures_of("nodes").unwrap();
    assert_eq!((nodes.pools, nodes.capacity, nodes.gets), (2, 17, 34 + 33 + 1));
    assert_eq!((nodes.live, nodes.live_bytes, nodes.ready, nodes.ready_bytes), (1, 48, 16, 16 * 48));
    let text = all.to_string();
    let line = text.lines().find(|line| line.starts_with("edges ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["edges", "1", "0", "0", "20", "960", "33", "33", "0"]);
    let mut json = String::new();
    all.write_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["typed"]["all"]["ready"], 36);
    assert_eq!(
        (&json["typed"]["by_name"][1]["name"], &json["typed"]["by_name"].as_array().unwrap().len()),
        (&"edges".into(), &2)
    );
    let mut text = String::new();
    all.write_prometheus(&mut text).unwrap();
    assert!(text.contains("\npoolmalloc_typed_ready{name=\"edges\"} 20\n"), "{text}");
    drop(held);
    // The pools leave the list in this order: from the middle, from the front, and as the last one.
    let [first, second, third] = pools;
    drop(second);
    assert!(figures_of("edges").is_none() && figures_of("nodes").is_some_and(|nodes| nodes.pools == 2));
    let moved = thread::spawn(move || third).join().unwrap();
    drop(moved);
    assert!(figures_of("nodes").is_some_and(|nodes| nodes.capacity == 10));
    drop(first);
    assert_eq!(stats().typed.all.pools, 0);
}

/// Reads the statistics while other threads make, use and drop named pools.
fn statistics_are_told_while_pools_come_and_go() {
    let rounds = scaled(20_000, 20);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|number| {
                scope.spawn(move || {
                    for round in 0..rounds {
                        let pool = TypedPool::named(["a", "b", "c"][number], 8);
                        let shared = SyncTypedPool::named("shared", 8).reusing();
                        drop((pool.get(round), shared.get_ready_or(String::new)));
                    }
                })
            })
            .collect();
        while !threads.iter().all(|thread| thread.is_finished()) {
            let typed = stats().typed;
            assert!(typed.all.pools <= 6 && typed.by_name().len() <= 4);
            assert!(typed.all.ready <= 6);
        }
    });
    assert_eq!(stats().typed.all.pools, 0);
}

#[inline(never)]
fn forget_a_box(pool: &TypedPool<[usize; 7]>) {
    let mut held: Vec<_> = (0..20).map(|_| pool.get([0; 7])).collect();
    // This block's old slot on the list stays free when the other blocks come back, so a pointer that was left in it
    // would be found.
    forget(held.swap_remove(1));
}

#[inline(never)]
fn leak_a_pool() {
    // The list for four blocks is a small block.
    let pool = TypedPool::with_capacity(4);
    drop((0..3).map(|_| pool.get([0_usize; 10])).collect::<Vec<_>>());
    forget(pool);
}

/// Runs in a child: a search for leaks finds the blocks of pools that have leaked, and no others.
fn search_for_leaks() {
    if cfg!(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))) {
        return;
    }
    let blocks_of =
        |report: &leaks::LeakReport, bytes| report.blocks.iter().filter(|block| block.bytes == bytes).count();
    let pool = TypedPool::named("searched", 100);
    let shared = SyncTypedPool::new();
    let held = pool.get([0_usize; 7]);
    drop((0..50).map(|_| pool.get([0; 7])).collect::<Vec<_>>());
    drop((0..50).map(|_| shared.get([0_u64; 8])).collect::<Vec<_>>());
    let report = leaks::find().expect("a search");
    assert!(report.is_empty(), "{report}");
    // No pointer leads to a forgotten box, although its block was on the list before.
    forget_a_box(&pool);
    let report = leaks::find().expect("a search");
    assert_eq!((blocks_of(&report, 56), report.leaked().blocks), (1, 1), "{report:#}");
    // A leaked pool leaks its ready blocks too: it leads to its list, and the list leads to three blocks.
    leak_a_pool();
    let report = leaks::find().expect("a search");
    assert_eq!((blocks_of(&report, 80), report.leaked().blocks, report.direct.blocks), (3, 6, 2), "{report:#}");
    drop((held, shared));
}

fn leaks_are_those_of_the_program() {
    succeed(&mut command!("leaks"));
}

/// A child of `fork` can go on using pools, also a pool that other threads share and were using at the fork.
fn pools_survive_a_fork() {
    let pool = SyncTypedPool::named("forked", 64);
    drop((0..64).map(|number| pool.get(number)).collect::<Vec<_>>());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let boxes: Vec<_> = (0..10).map(|number| pool.get(number)).collect();
                    drop(TypedPool::<u8>::named("fleeting", 1));
                    drop(boxes);
                }
            });
        }
        let _end = poolmalloc_support::SetAtEnd(&is_over);
        for _ in 0..scaled(200, 4) {
            // SAFETY: the child uses only pools and this allocator, which may be used there.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let used = catch_unwind(AssertUnwindSafe(|| {
                    let boxes: Vec<_> = (0..100).map(|number| pool.get(number)).collect();
                    assert!(boxes.iter().enumerate().all(|(number, value)| **value == number));
                    drop(boxes);
                    pool.clear();
                    assert_eq!(pool.ready(), 0);
                    // All lists of the pool serve again.
                    drop((0..100).map(|number| pool.get(number)).collect::<Vec<_>>());
                    assert_eq!(pool.ready(), 64);
                    let named = TypedPool::<u8>::named("childs", 1);
                    assert!(figures_of("childs").is_some());
                    drop(named);
                    assert!(figures_of("childs").is_none());
                }));
                // SAFETY: no preconditions.
                unsafe { libc::_exit(i32::from(used.is_err())) };
            }
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child of a fork");
        }
    });
}

pub(crate) fn tests() -> Vec<Test> {
    tests![
        a_pool_does_what_its_model_does,
        a_pool_of_large_values_does_what_its_model_does,
        a_pool_for_threads_does_what_its_model_does,
        a_pool_that_reuses_does_what_its_model_does,
        a_pool_for_threads_that_reuses_does_what_its_model_does,
        values_of_all_sizes_and_alignments,
        panics_of_destructors_lose_no_block,
        what_a_maker_takes_and_drops_is_not_there_at_once,
        destructors_may_use_the_pool,
        boxes_are_as_those_of_the_standard_library,
        boxes_with_a_share_keep_the_pool,
        collections_are_cleared_and_keep_their_buffers,
        threads_hand_boxes_round,
        threads_find_what_others_dropped,
        named_pools_are_in_the_statistics,
        statistics_are_told_while_pools_come_and_go,
        leaks_are_those_of_the_program,
        pools_survive_a_fork,
    ]
}

pub(crate) fn child(role: &str) {
    assert_eq!(role, "leaks");
    search_for_leaks();
}
