//! The lists of ready blocks that the threads of a typed pool share.

use super::explore;
use crate::sync::{AtomicU32, Ordering, Shards};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const ROOM: u32 = 1;

/// A list with room for one block. Its length can be read without the lock.
struct Shelf {
    length: AtomicU32,
    blocks: UnsafeCell<Vec<usize>>,
}

/// Two blocks, and the lists of the blocks that are ready. The next owner of a block finds what the last one wrote into
/// it.
struct Pool {
    shelves: Shards<Shelf, 2>,
    blocks: [UnsafeCell<u32>; 2],
}

impl Pool {
    fn new() -> Self {
        let shelf = |_| Shelf { length: AtomicU32::new(0), blocks: UnsafeCell::new(Vec::new()) };
        Self { shelves: Shards::new(shelf), blocks: [UnsafeCell::new(0), UnsafeCell::new(0)] }
    }

    /// Takes a block that is ready, for a thread of this number.
    fn take(&self, thread: usize) -> Option<usize> {
        let take = |shelf: &Shelf| {
            // SAFETY: Shard invariant 1; loom checks it.
            let block = shelf.blocks.with_mut(|blocks| unsafe { (*blocks).pop() })?;
            shelf.length.store(shelf.length.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
            Some(block)
        };
        self.shelves.find(thread, 1, |shelf| shelf.length.load(Ordering::Relaxed) > 0, take)
    }

    /// Makes a block ready. Returns false if each list is full or locked.
    fn give(&self, thread: usize, block: usize) -> bool {
        let give = |shelf: &Shelf| {
            if shelf.length.load(Ordering::Relaxed) == ROOM {
                return None;
            }
            // SAFETY: Shard invariant 1; loom checks it.
            shelf.blocks.with_mut(|blocks| unsafe { (*blocks).push(block) });
            shelf.length.store(shelf.length.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            Some(())
        };
        self.shelves.find(thread, 1, |shelf| shelf.length.load(Ordering::Relaxed) < ROOM, give).is_some()
    }

    /// Uses a block, as its only owner.
    fn own(&self, block: usize) {
        // SAFETY: a block has one owner; loom checks it.
        self.blocks[block].with_mut(|uses| unsafe { *uses += 1 });
    }

    /// Takes a block, uses it and makes it ready again. Returns the block, and whether a list took it back.
    fn use_one(&self, thread: usize) -> Option<(usize, bool)> {
        let block = self.take(thread)?;
        self.own(block);
        Some((block, self.give(thread, block)))
    }

    /// Takes all blocks that are ready. Waits for each lock.
    fn take_all(&self) -> Vec<usize> {
        let mut all = Vec::new();
        self.shelves.each(
            || 1,
            |shelf, guard| {
                assert!(!guard.is_inherited);
                // SAFETY: Shard invariant 1; loom checks it.
                let block = shelf.blocks.with_mut(|blocks| unsafe { (*blocks).pop() });
                if block.is_some() {
                    shelf.length.store(shelf.length.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
                }
                drop(guard);
                all.extend(block);
                block.is_some()
            },
        );
        all
    }
}

/// Asserts that the one block is ready, was taken, or was lost because each list was full or locked. Asserts that each
/// of its owners used it once.
fn assert_all_there(pool: &Pool, used: &[Option<(usize, bool)>], taken: &[usize]) {
    let left = pool.take_all();
    let lost = used.iter().flatten().filter(|(_, is_kept)| !is_kept).count();
    assert_eq!(taken.len() + left.len() + lost, 1, "{used:?}, {taken:?}, {left:?}");
    let uses = used.iter().flatten().count() + taken.len();
    // SAFETY: the other threads are gone; loom checks it.
    assert_eq!(pool.blocks[0].with(|uses| unsafe { *uses }) as usize, uses);
}

/// A pool with a block on the first list, and a thread of number 1 that uses one block.
fn pool_in_use() -> (Arc<Pool>, thread::JoinHandle<Option<(usize, bool)>>) {
    let pool = Arc::new(Pool::new());
    assert!(pool.give(0, 0));
    let other = pool.clone();
    (pool, thread::spawn(move || other.use_one(1)))
}

/// Two threads of different numbers take a block, use it and give it back. At first one block is ready, on the list of
/// the first thread. The block has one owner at a time, and each owner sees what the last one did. The block is lost
/// only if each list was full or locked. The outcome is, for each thread, whether it got the block.
///
/// Mutants: shards-no-lock, shards-early-unlock, shards-own-only.
#[test]
fn a_block_has_one_owner() {
    explore(&[(true, true), (true, false), (false, true)], || {
        let (pool, other) = pool_in_use();
        let used = [pool.use_one(0), other.join().unwrap()];
        assert_all_there(&pool, &used, &[]);
        (used[0].is_some(), used[1].is_some())
    });
}

/// A thread takes a block, uses it and gives it back, while another takes all blocks that are ready. The outcome is,
/// for each thread, whether it got the block.
///
/// Mutants: shards-no-lock, shards-early-unlock, shards-each-first.
#[test]
fn all_that_is_ready_can_be_taken() {
    explore(&[(true, true), (true, false), (false, true)], || {
        let (pool, other) = pool_in_use();
        let taken = pool.take_all();
        taken.iter().for_each(|&block| pool.own(block));
        let used = [other.join().unwrap()];
        assert_all_there(&pool, &used, &taken);
        (used[0].is_some(), !taken.is_empty())
    });
}

/// One thread gives three blocks: the second finds room on the next list, the third finds no room. A thread of another
/// number then finds both of the blocks that were kept.
///
/// Mutants: shards-own-only, shards-same.
#[test]
fn full_and_empty_lists_are_passed_by() {
    explore(&[()], || {
        let pool = Pool::new();
        assert!(pool.give(0, 0) && pool.give(0, 1) && !pool.give(0, 2));
        assert_eq!([(); 3].map(|()| pool.take(1)), [Some(1), Some(0), None]);
    });
}
