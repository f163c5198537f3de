//! The models, and what they share: a small region, blocks with a payload, and the record of outcomes.

mod forks;
mod lock_cell;
mod locking;
mod parking;
mod private_heaps;
mod remote_frees;
mod shards;
mod stacks;
mod start;
mod statistics;

use crate::remote::{AlreadyFree, CombinedFrees, END, PendingList, RemoteMap, post};
use crate::sync::{AtomicU32, AtomicU64, Exclusive, Ordering};
use loom::cell::UnsafeCell;
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

/// Explores the interleavings of `execution`. Fails unless their outcomes are exactly the `expected` ones: one more is a
/// bug, one less an interleaving that was not explored.
fn explore<T>(expected: &[T], execution: impl Fn() -> T + Send + Sync + 'static)
where
    T: Eq + Hash + Debug + Clone + Send + 'static,
{
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let noted = seen.clone();
    loom::model(move || {
        let outcome = execution();
        noted.lock().unwrap().insert(outcome);
    });
    let expected: HashSet<_> = expected.iter().cloned().collect();
    assert_eq!(*seen.lock().unwrap(), expected, "outcomes that the model has shown, and those expected");
}

/// Where loom shall try every order of the threads that come here. It forgets that one thread has loaded an atomic when
/// another loads and then stores it, and would not try the load after the store. Relaxed, so the program learns nothing.
struct Moment(AtomicU32);

impl Moment {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn pass(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Words of the model's region.
const WORDS: usize = 2;
/// Blocks in a word: so many of its bits are used.
const BLOCKS: usize = 4;

/// Numbers of the blocks that came back, as a set: bit `BLOCKS * word + block`.
type Back = u32;

const fn back(word: usize, block: usize) -> Back {
    1 << (word * BLOCKS + block)
}

/// The region's part of the remote map, with the payloads of the blocks and the tags of the pools, a word each. All but
/// the words are loom cells: a use that does not happen before or after another is a race that loom reports.
struct Region {
    words: [AtomicU64; WORDS],
    links: [Exclusive; WORDS],
    payloads: [UnsafeCell<u32>; WORDS * BLOCKS],
    /// Read by whoever queues a word, written when all blocks of the pool are back. Remote invariant 2 says that these
    /// never race.
    tags: [UnsafeCell<usize>; WORDS],
}

impl RemoteMap for Region {
    fn word(&self, index: u32) -> &AtomicU64 {
        &self.words[index as usize]
    }

    fn link(&self, index: u32) -> &Exclusive {
        &self.links[index as usize]
    }
}

/// A region and the pending lists of its two heaps. The first owns all pools at first.
struct Heaps {
    region: Region,
    pending: [PendingList; 2],
}

impl Heaps {
    fn new() -> Self {
        Self {
            region: Region {
                words: std::array::from_fn(|_| AtomicU64::new(0)),
                links: std::array::from_fn(|_| Exclusive::new(0)),
                payloads: std::array::from_fn(|_| UnsafeCell::new(0)),
                tags: std::array::from_fn(|_| UnsafeCell::new(0)),
            },
            pending: [PendingList::new(), PendingList::new()],
        }
    }

    /// What a program does with a block before it frees it: the last write to it.
    fn write(&self, word: usize, block: usize) {
        // SAFETY: loom checks that nobody else is there.
        self.region.payloads[word * BLOCKS + block].with_mut(|payload| unsafe { *payload = 1 + block as u32 });
    }

    /// Posts the blocks of `bits` to the heap that owns their pool.
    fn post(&self, word: usize, bits: u64) -> Result<(), AlreadyFree> {
        post(&self.region, word as u32, bits, || {
            // SAFETY: loom checks that nobody writes it meanwhile.
            let owner = self.region.tags[word].with(|tag| unsafe { *tag });
            &self.pending[owner]
        })
    }

    /// The remote frees of these blocks of a word, after a last write to each.
    fn free(&self, word: usize, blocks: &[usize]) {
        blocks.iter().for_each(|&block| self.write(word, block));
        self.post(word, blocks.iter().map(|block| 1 << block).sum()).unwrap();
    }

    /// A remote free that is combined with those before it, as heaps do.
    fn free_combined(&self, combined: &mut CombinedFrees, word: usize, block: usize) {
        self.write(word, block);
        if let Some(ready) = combined.add(word as u32, 1 << block).unwrap() {
            self.post(ready.index as usize, ready.bits).unwrap();
        }
    }

    /// Posts what is combined still.
    fn post_all(&self, combined: &mut CombinedFrees) {
        if let Some(ready) = combined.take() {
            self.post(ready.index as usize, ready.bits).unwrap();
        }
    }

    /// Collects as the owner of this heap, a word at a time; reads each block, and returns which are back, with those that
    /// were `before`.
    fn collect_of(&self, heap: usize, before: Back) -> Back {
        let (mut found, mut taken) = (before, END);
        loop {
            let found_before = found;
            self.pending[heap].collect(&self.region, &mut taken, 1, |word, bits| {
                for block in (0..u64::BITS as usize).filter(|block| bits >> block & 1 == 1) {
                    let number = word as usize * BLOCKS + block;
                    // SAFETY: loom checks that the last write happened before.
                    self.region.payloads[number].with(|payload| assert_eq!(unsafe { *payload }, 1 + block as u32));
                    assert_eq!(found >> number & 1, 0, "block {number} came back twice");
                    found |= 1 << number;
                }
                assert_ne!(found, found_before, "a word on the list was empty");
            });
            if found == found_before {
                return found;
            }
        }
    }

    /// Collects as the owner of the first heap.
    fn collect(&self, before: Back) -> Back {
        self.collect_of(0, before)
    }
}
