//! Parked heaps: those of ended threads, and private heaps without a handle. The next thread or handle takes one over.

use crate::heap::Heap;
use crate::sync::{Queue, Stack, StackLinks};
use core::ptr::NonNull;

/// Largest number of settled heaps that are checked for remote frees before the region grows by an arena.
const SETTLED_LOOKED_AT: usize = 64;

/// The link of a parked heap lies in the heap.
struct ParkedNext;

impl StackLinks<NonNull<Heap>> for ParkedNext {
    fn below(&self, heap: NonNull<Heap>) -> Option<NonNull<Heap>> {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.parked_next.get()
    }

    fn set_below(&self, heap: NonNull<Heap>, below: Option<NonNull<Heap>>) {
        // SAFETY: heaps are never unmapped.
        unsafe { heap.as_ref() }.parked_next.set(below);
    }
}

/// The lists of parked heaps. A thread that takes a heap off a list owns it (Heap invariant 1).
pub(super) struct ParkedHeaps {
    /// Heaps whose magazines are as their threads left them. The next thread goes on with these.
    unsettled: Stack<NonNull<Heap>>,
    /// Heaps that have given up all they could ([`settle`](crate::heap::OwnedHeap::settle)). The first one has waited
    /// longest since it was checked.
    settled: Queue<NonNull<Heap>>,
    /// Empty private heaps without a handle. Threads never get them, since their tags say that they are private.
    idle_private: Stack<NonNull<Heap>>,
}

impl ParkedHeaps {
    pub(super) const fn new() -> Self {
        Self { unsettled: Stack::new(), settled: Queue::new(), idle_private: Stack::new() }
    }

    /// Number of heaps of ended threads.
    pub(super) fn of_threads(&self) -> usize {
        self.unsettled.length() + self.settled.length()
    }

    /// Number of heaps of ended threads that have settled.
    pub(super) fn settled(&self) -> usize {
        self.settled.length()
    }

    /// Adds the heap of a thread that has ended.
    pub(super) fn park(&mut self, heap: NonNull<Heap>) {
        self.unsettled.push(&ParkedNext, heap);
    }

    /// Takes a heap for a new thread. First choice is the unsettled heap that was parked last, since its blocks are
    /// most likely in the processor's cache; else a settled one.
    pub(super) fn unpark(&mut self) -> Option<NonNull<Heap>> {
        self.take_unsettled().or_else(|| self.take_settled())
    }

    /// Takes the unsettled heap that was parked last.
    pub(super) fn take_unsettled(&mut self) -> Option<NonNull<Heap>> {
        self.unsettled.pop(&ParkedNext)
    }

    /// Takes the settled heap that has waited longest since it was checked.
    pub(super) fn take_settled(&mut self) -> Option<NonNull<Heap>> {
        self.settled.pop(&ParkedNext)
    }

    /// Puts a heap at the end of the settled heaps. So all of them have their turns, and a heap that gets remote frees
    /// all the time does not starve the others.
    pub(super) fn put_back(&mut self, heap: NonNull<Heap>) {
        self.settled.push(&ParkedNext, heap);
    }

    /// Takes a heap that may have memory to give up: one that has not settled, or one with remote frees to collect.
    pub(super) fn take_worthwhile(&mut self) -> Option<NonNull<Heap>> {
        if let Some(heap) = self.take_unsettled() {
            return Some(heap);
        }
        for _ in 0..self.settled.length().min(SETTLED_LOOKED_AT) {
            let heap = self.take_settled()?;
            // SAFETY: Heap invariant 1: taken off the list.
            if unsafe { Heap::owned_at(heap) }.has_waiting() {
                return Some(heap);
            }
            self.put_back(heap);
        }
        None
    }

    /// Adds a private heap that holds nothing.
    pub(super) fn park_private(&mut self, heap: NonNull<Heap>) {
        self.idle_private.push(&ParkedNext, heap);
    }

    /// Takes a private heap that holds nothing.
    pub(super) fn unpark_private(&mut self) -> Option<NonNull<Heap>> {
        self.idle_private.pop(&ParkedNext)
    }

    /// Compares each list with its count, and the number of all parked heaps with `most`. An error says what is wrong.
    pub(super) fn check(&self, most: usize) -> Result<(), &'static str> {
        let lists = [
            (self.unsettled.top(), self.unsettled.length()),
            (self.settled.first(), self.settled.length()),
            (self.idle_private.top(), self.idle_private.length()),
        ];
        let mut parked = 0;
        for (first, length) in lists {
            parked += length;
            if parked > most {
                return Err("more heaps are parked than there are");
            }
            let (mut next, mut found) = (first, 0);
            while let (Some(heap), true) = (next, found < length) {
                next = ParkedNext.below(heap);
                found += 1;
            }
            if next.is_some() || found != length {
                return Err("a list of parked heaps is not as long as its count");
            }
        }
        Ok(())
    }
}
