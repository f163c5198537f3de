//! Loops that only take values and give them back, so that no other work hides the difference between the ways.

use std::hint::black_box;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use lockfree_object_pool::LinearObjectPool;
use poolmalloc::{PrivateHeap, SyncTypedPool, TypedPool};

use crate::contest::Contest;

const PAIRS: u64 = 200_000;

/// A value of 48 bytes.
type Value = [u64; 6];

/// One value at a time.
pub fn pairs() -> Contest {
    fn each<B: Deref<Target = Value>>(get: impl Fn(u64) -> B) -> u64 {
        (0..PAIRS).fold(0, |all, number| all ^ black_box(get(number))[5])
    }
    let (pool, shared) = (Rc::new(TypedPool::new()), SyncTypedPool::new());
    let others = object_pool::Pool::new(4, || [0; 6]);
    let lockfree = LinearObjectPool::new(|| [0; 6], |_: &mut Value| {});
    let mut slab = slab::Slab::new();
    let owned = pool.clone();
    Contest::new("one box at a time", "get and drop", PAIRS)
        .way("Box", || each(|number| Box::new([number; 6])))
        .way("TypedPool", move || each(|number| pool.get([number; 6])))
        .way("TypedPool, owned", move || each(|number| owned.get_owned([number; 6])))
        .way("SyncTypedPool", move || each(|number| shared.get([number; 6])))
        .way("slab", move || {
            (0..PAIRS).fold(0, |all, number| {
                let key = black_box(slab.insert([number; 6]));
                all ^ slab.remove(key)[5]
            })
        })
        .way("object-pool", move || {
            each(|number| {
                let mut value = others.pull(|| [0; 6]);
                *value = [number; 6];
                value
            })
        })
        .way("lockfree-object-pool", move || {
            each(|number| {
                let mut value = lockfree.pull();
                *value = [number; 6];
                value
            })
        })
}

/// A thousand values at a time: more than a magazine or the usual list of a typed pool has room for.
pub fn waves() -> Contest {
    const WAVE: usize = 1000;
    const WAVES: u64 = 100;
    fn wave<B: AsRef<Value>>(get: impl Fn(u64) -> B) -> u64 {
        let mut held = Vec::with_capacity(WAVE);
        (0..WAVES).fold(0, |all, wave| {
            held.extend((0..WAVE as u64).map(|number| get(number * wave)));
            let sum = held.iter().fold(all, |all, value| all ^ value.as_ref()[5]);
            held.clear();
            sum
        })
    }
    let pool = TypedPool::with_capacity(WAVE);
    let shared = SyncTypedPool::with_capacity(WAVE);
    Contest::new("a thousand boxes at a time", "get and drop", WAVE as u64 * WAVES)
        .way("Box", || wave(|number| Box::new([number; 6])))
        .way("TypedPool", move || wave(|number| pool.get([number; 6])))
        .way("TypedPool without room, each block made", {
            let pool = TypedPool::with_capacity(0);
            move || wave(|number| pool.get([number; 6]))
        })
        .way("SyncTypedPool", move || wave(|number| shared.get([number; 6])))
        .way("PrivateHeap, a reset each wave", {
            let mut heap = PrivateHeap::new();
            move || {
                (0..WAVES).fold(0, |all, wave| {
                    let sum = {
                        let held: Vec<&mut Value> =
                            (0..WAVE as u64).map(|number| heap.make([number * wave; 6])).collect();
                        held.iter().fold(all, |all, value| all ^ value[5])
                    };
                    heap.reset();
                    sum
                })
            }
        })
        .way("typed-arena", || {
            (0..WAVES).fold(0, |all, wave| {
                let arena = typed_arena::Arena::with_capacity(WAVE);
                let held: Vec<&mut Value> = (0..WAVE as u64).map(|number| arena.alloc([number * wave; 6])).collect();
                held.iter().fold(all, |all, value| all ^ value[5])
            })
        })
        .way("bumpalo, a reset each wave", {
            let mut bump = bumpalo::Bump::new();
            move || {
                (0..WAVES).fold(0, |all, wave| {
                    let sum = {
                        let held: Vec<&mut Value> =
                            (0..WAVE as u64).map(|number| bump.alloc([number * wave; 6])).collect();
                        held.iter().fold(all, |all, value| all ^ value[5])
                    };
                    bump.reset();
                    sum
                })
            }
        })
}

/// A vector that is filled and dropped. Shows the gain of reusing the value.
pub fn vectors() -> Contest {
    const VECTORS: u64 = 20_000;
    const WORDS: u64 = 100;
    fn fill(vector: &mut Vec<u64>, number: u64) -> u64 {
        // Word by word, as a parser does: the vector grows.
        (0..WORDS).for_each(|word| vector.push(black_box(word ^ number)));
        vector.iter().sum()
    }
    let (pool, shared) = (TypedPool::new().reusing(), SyncTypedPool::new().reusing());
    let others = object_pool::Pool::new(4, Vec::new);
    let lockfree = LinearObjectPool::new(Vec::new, |vector: &mut Vec<u64>| vector.clear());
    let all = |mut each: Box<dyn FnMut(u64) -> u64>| move || (0..VECTORS).fold(0, |sum, number| sum ^ each(number));
    Contest::new("a vector that grows to 800 bytes", "vector", VECTORS)
        .way("Vec::new", all(Box::new(|number| fill(&mut Vec::new(), number))))
        .way("TypedPool, reusing", all(Box::new(move |number| fill(&mut pool.get_ready_or(Vec::new), number))))
        .way("SyncTypedPool, reusing", all(Box::new(move |number| fill(&mut shared.get_ready_or(Vec::new), number))))
        .way(
            "object-pool",
            all(Box::new(move |number| {
                let mut vector = others.pull(Vec::new);
                vector.clear();
                fill(&mut vector, number)
            })),
        )
        .way("lockfree-object-pool", all(Box::new(move |number| fill(&mut lockfree.pull(), number))))
}

/// Two threads that take and give back at the same time.
pub fn threads() -> Contest {
    const THREADS: u64 = 2;
    fn both(each: impl Fn(u64) -> u64 + Sync) -> u64 {
        thread::scope(|scope| {
            let run = || (0..PAIRS / THREADS).fold(0, |all, number| all ^ each(number));
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
        })
    }
    let shared = SyncTypedPool::new();
    let others = object_pool::Pool::new(4, || [0; 6]);
    let lockfree = LinearObjectPool::new(|| [0; 6], |_: &mut Value| {});
    Contest::new("two threads at once", "get and drop", PAIRS)
        .way("Box", || both(|number| black_box(Box::new([number; 6]))[5]))
        .way("SyncTypedPool", move || both(|number| black_box(shared.get([number; 6]))[5]))
        .way("object-pool", move || {
            both(|number| {
                let mut value = others.pull(|| [0; 6]);
                *value = [number; 6];
                black_box(value)[5]
            })
        })
        .way("lockfree-object-pool", move || {
            both(|number| {
                let mut value = lockfree.pull();
                *value = [number; 6];
                black_box(value)[5]
            })
        })
}

/// One thread takes, another gives back.
pub fn handed_on() -> Contest {
    const MESSAGES: u64 = 50_000;
    fn hand_on<B: Send>(get: impl Fn(u64) -> B + Sync, read: impl Fn(&B) -> u64 + Sync) -> u64 {
        let (sender, receiver) = sync_channel(100);
        thread::scope(|scope| {
            scope.spawn(|| {
                let sender = sender;
                (0..MESSAGES).for_each(|number| sender.send(get(number)).expect("the other thread listens"));
            });
            receiver.iter().map(|message| read(&message)).sum()
        })
    }
    let shared = Arc::new(SyncTypedPool::new());
    let others = Arc::new(object_pool::Pool::new(128, || [0; 6]));
    let lockfree = Arc::new(LinearObjectPool::new(|| [0; 6], |_: &mut Value| {}));
    Contest::new("handed to another thread", "message", MESSAGES)
        .way("Box", || hand_on(|number| Box::new([number; 6]), |message| message[5]))
        .way("SyncTypedPool", move || hand_on(|number| shared.get_owned([number; 6]), |message| message[5]))
        .way("object-pool", move || {
            let pull = |number| {
                let mut value = object_pool::Pool::pull_owned(&others, || [0; 6]);
                *value = [number; 6];
                value
            };
            hand_on(pull, |message| message[5])
        })
        .way("lockfree-object-pool", move || {
            let pull = |number| {
                let mut value = lockfree.pull_owned();
                *value = [number; 6];
                value
            };
            hand_on(pull, |message| message[5])
        })
}
