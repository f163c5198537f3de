//! Remote frees reach their owner: each block once, after the last write to it, whatever the moment of the collect.

use super::{BLOCKS, Heap, Seen, WORDS};
use crate::lock::Lock;
use crate::remote::{AlreadyFree, Combined};
use crate::sync::AtomicU32;
use loom::sync::Arc;
use loom::thread;

type Back = [u32; WORDS * BLOCKS];

/// Has two threads post, each with its number, while the owner collects; then the rest comes back, each block once.
/// Notes what came back early.
fn two_threads_post(
    post: impl Fn(&Heap, usize) -> Result<(), AlreadyFree> + Copy + Send + Sync + 'static,
    all: Back,
    seen: &'static Seen<Back>,
) {
    loom::model(move || {
        let heap = Arc::new(Heap::new());
        let posters: Vec<_> = (0..2)
            .map(|number| {
                let heap = heap.clone();
                thread::spawn(move || post(&heap, number).unwrap())
            })
            .collect();
        let mut early = [0; WORDS * BLOCKS];
        heap.collect(&mut early);
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        let mut back = early;
        heap.collect(&mut back);
        assert_eq!(back, all, "each block comes back once");
        seen.note(early);
    });
}

/// Two threads free a block each into one word while the owner collects. Fails under the mutants P-release (nothing
/// publishes the payload), C-acquire (nothing receives it), Q-release and T-acquire (the link is seen stale).
#[test]
fn two_threads_post_to_one_word() {
    static SEEN: std::sync::LazyLock<Seen<Back>> = std::sync::LazyLock::new(Seen::new);
    two_threads_post(|heap, block| heap.write_and_free(0, &[block]), [1, 1, 0, 0], &SEEN);
    // Nothing yet; either one; both.
    SEEN.assert_exactly(&[[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]]);
}

/// Two threads queue a word each on one list. Fails under Q-release and T-acquire: the first word's link, or the word
/// below it, is lost.
#[test]
fn two_threads_queue_two_words() {
    static SEEN: std::sync::LazyLock<Seen<Back>> = std::sync::LazyLock::new(Seen::new);
    two_threads_post(|heap, word| heap.write_and_free(word as u32, &[0, 1]), [1, 1, 1, 1], &SEEN);
    SEEN.assert_exactly(&[[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]);
}

/// One thread posts to a word again while the owner is walking a list with that word on it. Fails if the owner reads
/// the link after it has emptied the word (mutant link-after-C), or if C publishes nothing or P receives nothing
/// (C-release, P-acquire): then the owner's read of the link races with the next post's write.
#[test]
fn a_word_is_posted_again_while_the_owner_collects() {
    static SEEN: std::sync::LazyLock<Seen<Back>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let heap = Arc::new(Heap::new());
        // Both words wait already, word 1 above word 0.
        heap.write_and_free(0, &[0]).unwrap();
        heap.write_and_free(1, &[0]).unwrap();
        let poster = {
            let heap = heap.clone();
            thread::spawn(move || heap.write_and_free(1, &[1]).unwrap())
        };
        let mut early = [0; WORDS * BLOCKS];
        heap.collect(&mut early);
        poster.join().unwrap();
        let mut all = early;
        heap.collect(&mut all);
        assert_eq!(all, [1, 0, 1, 1], "each block comes back once");
        SEEN.note(early);
    });
    SEEN.assert_exactly(&[[1, 0, 1, 0], [1, 0, 1, 1]]);
}

/// The owner gives a pool to another class as soon as all its blocks are back, while the thread that freed the last
/// one may still be about to queue it. Fails if a thread asks for the owner without having found the word empty
/// (mutant always-queue), for then the tag is read when the pool may have changed hands.
#[test]
fn a_pool_changes_hands_only_when_nobody_queues_its_words() {
    static SEEN: std::sync::LazyLock<Seen<bool>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let heap = Arc::new(Heap::new());
        let posters: Vec<_> = (0..2)
            .map(|block| {
                let heap = heap.clone();
                thread::spawn(move || heap.write_and_free(0, &[block]).unwrap())
            })
            .collect();
        let mut back = [0; WORDS * BLOCKS];
        heap.collect(&mut back);
        heap.collect(&mut back);
        let all_back = back == [1, 1, 0, 0];
        if all_back {
            // SAFETY: loom checks that nobody reads it.
            heap.tags[0].with_mut(|tag| unsafe { *tag = 7 });
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        SEEN.note(all_back);
    });
    SEEN.assert_exactly(&[false, true]);
}

/// The owner's thread ends and another takes its heap over, while a third frees one of its blocks. Fails under U-release
/// and L-acquire: the new owner collects what the old one is still at.
#[test]
fn a_parked_heap_is_taken_over_while_a_block_is_freed() {
    static SEEN: std::sync::LazyLock<Seen<(bool, bool)>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let heap = Arc::new(Heap::new());
        let shared =
            Arc::new((Lock::new(AtomicU32::new(0)), loom::cell::UnsafeCell::new((false, [0; WORDS * BLOCKS]))));
        let poster = {
            let heap = heap.clone();
            thread::spawn(move || heap.write_and_free(0, &[0]).unwrap())
        };
        let owner = {
            let (heap, shared) = (heap.clone(), shared.clone());
            thread::spawn(move || {
                let mut back = [0; WORDS * BLOCKS];
                heap.collect(&mut back);
                let _guard = shared.0.lock(1);
                // SAFETY: the lock; loom checks it.
                shared.1.with_mut(|parked| unsafe { *parked = (true, back) });
            })
        };
        let taken = {
            let _guard = shared.0.lock(1);
            // SAFETY: the lock; loom checks it.
            shared.1.with_mut(|parked| take_parked(unsafe { &mut *parked }))
        };
        let mut by_new_owner = [0; WORDS * BLOCKS];
        if taken.is_some() {
            heap.collect(&mut by_new_owner);
        }
        poster.join().unwrap();
        owner.join().unwrap();
        let by_old_owner = taken.unwrap_or_else(|| {
            // SAFETY: the other threads are gone; loom checks it.
            shared.1.with(|parked| unsafe { (*parked).1 })
        });
        let mut rest = [0; WORDS * BLOCKS];
        heap.collect(&mut rest);
        assert_eq!(by_old_owner[0] + by_new_owner[0] + rest[0], 1, "the block comes back once");
        SEEN.note((by_old_owner[0] == 1, by_new_owner[0] == 1));
    });
    SEEN.assert_exactly(&[(false, false), (true, false), (false, true)]);
}

/// A block freed twice by two threads at once is seen by the second, unless the owner collected in between.
#[test]
fn a_double_free_by_two_threads_is_seen() {
    static SEEN: std::sync::LazyLock<Seen<usize>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let heap = Arc::new(Heap::new());
        let second = {
            let heap = heap.clone();
            thread::spawn(move || post_bit(&heap).is_err())
        };
        let first = post_bit(&heap).is_err();
        let errors = usize::from(first) + usize::from(second.join().unwrap());
        assert_eq!(errors, 1, "one of the two is the second");
        SEEN.note(usize::from(first));
    });
    SEEN.assert_exactly(&[0, 1]);
}

/// Takes the parked heap, if it is there: with it goes what its last owner collected.
fn take_parked(parked: &mut (bool, Back)) -> Option<Back> {
    std::mem::take(&mut parked.0).then_some(parked.1)
}

fn post_bit(heap: &Heap) -> Result<(), AlreadyFree> {
    crate::remote::post(heap, 0, 1, || &heap.pending)
}

/// Neighbours are posted together, and nothing combined is lost or posted twice.
#[test]
fn neighbours_are_combined() {
    let mut combined = Combined::NONE;
    let mut posted = Vec::new();
    for (word, bit) in [(3, 1), (3, 2), (3, 8), (4, 1), (3, 1), (3, 4)] {
        posted.extend(combined.add(word, bit).unwrap().map(|ready| (ready.index, ready.bits)));
    }
    assert!(combined.add(3, 4).is_err(), "a double free is seen");
    posted.extend(combined.take().map(|ready| (ready.index, ready.bits)));
    assert!(combined.take().is_none());
    assert_eq!(posted, [(3, 11), (4, 1), (3, 5)]);
}
