//! A queue from one thread to one other. It is made of atomics alone, so a race detector sees the order that the queue
//! makes and no more.
//!
//! # Ordering
//! The store of an item is `Release` and pairs with the `Acquire` load of the take that empties the slot: the receiver
//! sees what the sender wrote into the block. The receiver's store of null is `Release` and pairs with the sender's
//! `Acquire` load.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Number of slots of a queue.
pub const CAPACITY: usize = 1000;

/// A queue of [`CAPACITY`] slots.
pub struct Ring {
    slots: [AtomicPtr<u64>; CAPACITY],
}

impl Ring {
    /// An empty queue.
    pub const fn empty() -> Self {
        Self { slots: [const { AtomicPtr::new(ptr::null_mut()) }; CAPACITY] }
    }

    /// Puts the `number`-th item in; `false` while the queue is full. One thread sends, in order.
    pub fn try_send(&self, number: usize, item: NonNull<u64>) -> bool {
        let slot = &self.slots[number % CAPACITY];
        let is_free = slot.load(Ordering::Acquire).is_null();
        if is_free {
            slot.store(item.as_ptr(), Ordering::Release);
        }
        is_free
    }

    /// Takes the `number`-th item out; `None` while it is not there. One thread takes, in order.
    pub fn try_take(&self, number: usize) -> Option<NonNull<u64>> {
        let slot = &self.slots[number % CAPACITY];
        let item = NonNull::new(slot.load(Ordering::Acquire))?;
        slot.store(ptr::null_mut(), Ordering::Release);
        Some(item)
    }
}
