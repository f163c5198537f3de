//! The models, and the parts that they share: a small region, blocks with a payload, and the check of the outcomes.

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

/// Explores the interleavings of `execution`. Fails unless their outcomes are exactly the `expected` ones. An outcome
/// that was not expected is a bug. An expected outcome that is missing means that an interleaving was not explored.
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

/// A point at which loom tries every order of the threads that pass it. Without this, loom misses an order. Suppose one
/// thread loads an atomic, and another thread loads the same atomic and then stores to it: loom forgets the load of the
/// first thread, and does not try the order in which that load comes after the store. The access is relaxed, so that it
/// orders nothing else in the program.
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
/// Blocks in a word. The word has a bit for each; the other bits are not used.
const BLOCKS: usize = 4;

/// Set of the blocks that came back: bit `BLOCKS * word + block` stands for a block.
type Back = u32;

const fn back(word: usize, block: usize) -> Back {
    1 << (word * BLOCKS + block)
}

/// A small region: the words and links of its remote map, the payload of each block, and a tag for each word. All parts
/// except the words are loom cells: loom reports a race if a write to one is not ordered with every other use of it.
struct Region {
    words: [AtomicU64; WORDS],
    links: [Exclusive; WORDS],
    payloads: [UnsafeCell<u32>; WORDS * BLOCKS],
    /// The heap that owns the blocks of each word. A thread that queues the word reads it. The owner writes it when all
    /// blocks of the pool are back. Remote invariant 2 says that the two never race.
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

/// A region and the pending lists of its two heaps. At the start the first heap owns all pools.
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

    /// Writes to a block: the last use that the program makes of it before it frees it.
    fn write(&self, word: usize, block: usize) {
        // SAFETY: loom checks that no other thread uses it meanwhile.
        self.region.payloads[word * BLOCKS + block].with_mut(|payload| unsafe { *payload = 1 + block as u32 });
    }

    /// Posts the blocks of `bits` to the heap that owns their pool.
    fn post(&self, word: usize, bits: u64) -> Result<(), AlreadyFree> {
        post(&self.region, word as u32, bits, || {
            // SAFETY: loom checks that no other thread writes it meanwhile.
            let owner = self.region.tags[word].with(|tag| unsafe { *tag });
            &self.pending[owner]
        })
    }

    /// Frees these blocks of a word remotely, after a last write to each.
    fn free(&self, word: usize, blocks: &[usize]) {
        blocks.iter().for_each(|&block| self.write(word, block));
        self.post(word, blocks.iter().map(|block| 1 << block).sum()).unwrap();
    }

    /// Frees a block remotely and combines this free with earlier ones of the same word, as heaps do.
    fn free_combined(&self, combined: &mut CombinedFrees, word: usize, block: usize) {
        self.write(word, block);
        if let Some(ready) = combined.add(word as u32, 1 << block).unwrap() {
            self.post(ready.index as usize, ready.bits).unwrap();
        }
    }

    /// Posts the combined frees, if there are any.
    fn post_all(&self, combined: &mut CombinedFrees) {
        if let Some(ready) = combined.take() {
            self.post(ready.index as usize, ready.bits).unwrap();
        }
    }

    /// Collects as the owner of this heap, one word at a time, and reads each block. Returns the blocks that are back,
    /// including those of `before`.
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
