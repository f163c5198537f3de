//! Remote frees reach their owner: each block once, after the last write to it, whatever the moment of the collect.

use super::{Back, Heaps, back, explore};
use crate::remote::CombinedFrees;
use loom::sync::Arc;
use loom::thread;

/// Has each thread do its part while the owner collects; then `all` is back, each block once. Returns what came back
/// early.
fn while_the_owner_collects(threads: &[fn(&Heaps)], all: Back) -> Back {
    let heaps = Arc::new(Heaps::new());
    let threads: Vec<_> = threads
        .iter()
        .map(|&body| {
            let heaps = heaps.clone();
            thread::spawn(move || body(&heaps))
        })
        .collect();
    let early = heaps.collect(0);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(heaps.collect(early), all, "blocks that came back");
    early
}

/// One block, one free, one collect at any moment.
///
/// Mutants: Q-release, T-acquire, no-link, wrong-end, unseen-end, keep-head, never-queue, queue-first.
#[test]
fn a_remote_free_reaches_its_owner() {
    let block = back(0, 1);
    explore(&[0, block], move || while_the_owner_collects(&[|heaps| heaps.free(0, &[1])], block));
}

/// Two threads free a block each into one word: the first queues the word, and the other's block comes with it.
///
/// Mutants: P-release, P-acquire, Q-release, T-acquire, C-acquire, C-release, no-link, link-after-C, wrong-end,
/// unseen-end, keep-head, always-queue, never-queue, queue-first, keep-word.
#[test]
fn two_threads_post_to_one_word() {
    let (first, second) = (back(0, 0), back(0, 1));
    explore(&[0, first, second, first | second], move || {
        while_the_owner_collects(&[|heaps| heaps.free(0, &[0]), |heaps| heaps.free(0, &[1])], first | second)
    });
}

/// Two threads queue a word each on one list.
///
/// Mutants: Q-release, T-acquire, no-link, lost-rest, stale-head, wrong-end, unseen-end, keep-head, never-queue,
/// queue-first.
#[test]
fn two_threads_post_to_two_words_of_a_pool() {
    let (first, second) = (back(0, 0) | back(0, 1), back(1, 0) | back(1, 1));
    explore(&[0, first, second, first | second], move || {
        while_the_owner_collects(&[|heaps| heaps.free(0, &[0, 1]), |heaps| heaps.free(1, &[0, 1])], first | second)
    });
}

/// One thread posts to a word again while the owner is walking a list with that word on it.
///
/// Mutants: P-release, P-acquire, Q-release, T-acquire, C-acquire, C-release, no-link, link-after-C, lost-rest,
/// wrong-end, unseen-end, keep-head, always-queue, never-queue, queue-first, keep-word.
#[test]
fn a_word_is_posted_again_while_the_owner_collects() {
    let waiting = back(0, 0) | back(1, 0);
    let again = back(1, 1);
    explore(&[waiting, waiting | again], move || {
        let heaps = Arc::new(Heaps::new());
        // Word 1 lies above word 0.
        heaps.free(0, &[0]);
        heaps.free(1, &[0]);
        let poster = {
            let heaps = heaps.clone();
            thread::spawn(move || heaps.free(1, &[1]))
        };
        let early = heaps.collect(0);
        poster.join().unwrap();
        assert_eq!(heaps.collect(early), waiting | again, "blocks that came back");
        early
    });
}

/// One thread frees two neighbours and a block elsewhere, another two more neighbours; each posts once for a word. The
/// block elsewhere may come back before the neighbours that were freed earlier: while the other thread is about to queue
/// their word, nobody else does. But it does not come back before them when theirs was the post that queued the word.
///
/// Mutants: P-release, P-acquire, Q-release, T-acquire, C-acquire, C-release, no-link, link-after-C, lost-rest,
/// stale-head, wrong-end, unseen-end, keep-head, always-queue, never-queue, queue-first, keep-word, no-combine,
/// lost-combine, combine-all.
#[test]
fn neighbours_are_combined() {
    let (first, second, elsewhere) = (back(0, 0) | back(0, 1), back(0, 2) | back(0, 3), back(1, 0));
    let early = [0, first, second, elsewhere, first | second, first | elsewhere, first | second | elsewhere];
    explore(&early, move || {
        let both: [fn(&Heaps); 2] = [
            |heaps| {
                let mut combined = CombinedFrees::NONE;
                heaps.free_combined(&mut combined, 0, 0);
                heaps.free_combined(&mut combined, 0, 1);
                heaps.free_combined(&mut combined, 1, 0);
                heaps.post_all(&mut combined);
            },
            |heaps| {
                let mut combined = CombinedFrees::NONE;
                heaps.free_combined(&mut combined, 0, 3);
                heaps.free_combined(&mut combined, 0, 2);
                heaps.post_all(&mut combined);
            },
        ];
        while_the_owner_collects(&both, first | second | elsewhere)
    });
}

/// Two threads free the last two blocks of a pool. As soon as both are back the owner gives the pool to another heap,
/// whose block of it is then freed to that heap: whoever freed the last one is not about to queue it any more, and does
/// not look at the tag when the pool may have changed hands.
///
/// Mutants: P-release, P-acquire, Q-release, T-acquire, C-acquire, C-release, no-link, link-after-C, wrong-end,
/// unseen-end, keep-head, always-queue, never-queue, early-owner, queue-first, keep-word.
#[test]
fn the_last_remote_free_empties_the_pool() {
    explore(&[false, true], || {
        let heaps = Arc::new(Heaps::new());
        let posters: Vec<_> = (0..2)
            .map(|block| {
                let heaps = heaps.clone();
                thread::spawn(move || heaps.free(0, &[block]))
            })
            .collect();
        let all = back(0, 0) | back(0, 1);
        let early = heaps.collect(0);
        let early = heaps.collect(early);
        if early == all {
            // SAFETY: loom checks that nobody reads it.
            heaps.region.tags[0].with_mut(|tag| unsafe { *tag = 1 });
            heaps.free(0, &[0]);
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert_eq!(heaps.collect(early), all, "blocks that came back to the first owner");
        assert_eq!(heaps.collect_of(1, 0), if early == all { back(0, 0) } else { 0 }, "and to the second");
        early == all
    });
}

/// A block freed twice by two threads at once is seen by the second.
///
/// Mutants: queue-first, no-report.
#[test]
fn a_double_free_by_two_threads_is_seen() {
    explore(&[false, true], || {
        let heaps = Arc::new(Heaps::new());
        let other = {
            let heaps = heaps.clone();
            thread::spawn(move || heaps.post(0, 1).is_err())
        };
        let is_ours_second = heaps.post(0, 1).is_err();
        let is_others_second = other.join().unwrap();
        assert_ne!(is_ours_second, is_others_second, "one of the two is the second");
        is_ours_second
    });
}

/// A block freed twice by one thread is seen while it is combined; an honest free beside it is not blamed.
///
/// Mutants: no-combine, lost-combine, combine-all, combine-twice, take-twice.
#[test]
fn a_double_free_of_a_combined_block_is_seen() {
    let mut combined = CombinedFrees::NONE;
    for (word, bit, ready) in [(3, 1, None), (3, 2, None), (4, 1, Some((3, 3))), (3, 1, Some((4, 1)))] {
        assert_eq!(combined.add(word, bit).unwrap().map(|ready| (ready.index, ready.bits)), ready);
    }
    assert_eq!(combined.add(3, 1).map(|_| ()).unwrap_err().0, 1);
    assert_eq!(combined.take().map(|ready| (ready.index, ready.bits)), Some((3, 1)));
    assert!(combined.take().is_none());
}
