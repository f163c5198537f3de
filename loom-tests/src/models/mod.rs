//! The models, and what they share: a small region, blocks with a payload, and the record of outcomes.

mod locking;
mod remote_frees;

use crate::remote::{AlreadyFree, END, PendingList, RemoteMap, post};
use crate::sync::{AtomicU64, Exclusive};
use loom::cell::UnsafeCell;
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Mutex;

/// Words of the model's region, all of one heap's pools.
const WORDS: usize = 2;
/// Blocks in a word: two bits of it are used.
const BLOCKS: usize = 2;

/// A heap with its part of the remote map. The payload of each block is a loom cell: a free that does not happen before
/// the collect is a race that loom reports.
struct Heap {
    words: [AtomicU64; WORDS],
    links: [Exclusive; WORDS],
    pending: PendingList,
    payloads: [UnsafeCell<u32>; WORDS * BLOCKS],
    /// The pools' tags, as plain memory: read by whoever queues a word, written by the owner when a pool's blocks are
    /// all back. Remote invariant 2 says that these never race.
    tags: [UnsafeCell<u32>; WORDS],
}

impl RemoteMap for Heap {
    fn word(&self, index: u32) -> &AtomicU64 {
        &self.words[index as usize]
    }

    fn link(&self, index: u32) -> &Exclusive {
        &self.links[index as usize]
    }
}

impl Heap {
    fn new() -> Self {
        Self {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            links: std::array::from_fn(|_| Exclusive::new(0)),
            pending: PendingList::new(),
            payloads: std::array::from_fn(|_| UnsafeCell::new(0)),
            tags: std::array::from_fn(|_| UnsafeCell::new(0)),
        }
    }

    /// What a program and then the allocator do with a block: a last write to it, then the remote free.
    fn write_and_free(&self, word: u32, blocks: &[usize]) -> Result<(), AlreadyFree> {
        let mut bits = 0;
        for &block in blocks {
            let payload = &self.payloads[word as usize * BLOCKS + block];
            // SAFETY: loom checks that nobody else is there.
            payload.with_mut(|payload| unsafe { *payload = 1 + block as u32 });
            bits |= 1 << block;
        }
        post(self, word, bits, || {
            // SAFETY: loom checks that nobody writes it meanwhile.
            self.tags[word as usize].with(|tag| assert_eq!(unsafe { *tag }, 0, "the pool changed hands"));
            &self.pending
        })
    }

    /// Collects as the owner; every block is read, then counted in `back`.
    fn collect(&self, back: &mut [u32; WORDS * BLOCKS]) {
        let mut taken = END;
        self.pending.collect(self, &mut taken, usize::MAX, |word, bits| {
            assert_ne!(bits, 0, "a word on the list was empty");
            for block in (0..BLOCKS).filter(|block| bits >> block & 1 == 1) {
                let number = word as usize * BLOCKS + block;
                // SAFETY: loom checks that the last write happened before.
                self.payloads[number].with(|payload| assert_eq!(unsafe { *payload }, 1 + block as u32));
                back[number] += 1;
            }
        });
    }
}

/// Outcomes that the executions of a model have shown.
struct Seen<T>(Mutex<HashSet<T>>);

impl<T: Eq + Hash + Debug + Clone> Seen<T> {
    fn new() -> Self {
        Self(Mutex::new(HashSet::new()))
    }

    fn note(&self, outcome: T) {
        self.0.lock().unwrap().insert(outcome);
    }

    /// Fails unless each of these, and nothing else, was seen.
    fn assert_exactly(&self, expected: &[T]) {
        let seen = self.0.lock().unwrap();
        assert_eq!(*seen, expected.iter().cloned().collect::<HashSet<_>>(), "outcomes that the model has shown");
    }
}
