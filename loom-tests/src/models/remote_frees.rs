//! Remote frees reach the owner at whatever moment it collects: each block once, after the last write to it.

use super::{Back, Heaps, back, explore};
use crate::remote::CombinedFrees;
use loom::sync::Arc;
use loom::thread;

/// Runs each of `threads` in a thread of its own while the owner collects. Asserts that `all` is back in the end, each
/// block once. Returns the blocks that came back while the threads ran.
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

/// Two threads free one block each, both in one word. The first post queues the word. The second queues it again only
/// if the owner has emptied it meanwhile.
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

/// Two threads queue one word each on the same list.
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

/// One thread posts to a word again while the owner walks a list with that word on it.
///
/// Mutants: P-release, P-acquire, Q-release, T-acquire, C-acquire, C-release, no-link, link-after-C, lost-rest,
/// wrong-end, unseen-end, keep-head, always-queue, never-queue, queue-first, keep-word.
#[test]
fn a_word_is_posted_again_while_the_owner_collects() {
    let waiting = back(0, 0) | back(1, 0);
    let again = back(1, 1);
    explore(&[waiting, waiting | again], move || {
        let heaps = Arc::new(Heaps::new());
        // The list now begins with word 1, and word 0 follows.
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

/// One thread frees two neighbors and then a block of another word. A second thread frees two more neighbors, in the
/// word of the first two. Each thread posts once for each word. If the second thread's post reaches the word of the
/// four neighbors first, the second thread has to queue that word. Until it has done so, the first thread's block of
/// the other word may come back before the first thread's own two neighbors, although the first thread freed these two
/// earlier. If the first thread's own post has queued the word of the neighbors, its block of the other word does not
/// come back before its two neighbors.
///
/// Mutants: P-release, P-acquire, Q-release, T-acquire, C-acquire, C-release, no-link, link-after-C, lost-rest,
/// stale-head, wrong-end, unseen-end, keep-head, always-queue, never-queue, queue-first, keep-word, no-combine,
/// lost-combine, combine-all.
#[test]
fn neighbors_are_combined() {
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

/// Two threads free the last two blocks of a pool. As soon as both blocks are back, the owner gives the pool to another
/// heap, and a block of the pool is freed to that heap. By then the thread that had to queue the word has done so: it
/// does not read the tag when the pool may have a new owner. The outcome is whether the pool got a new owner.
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
            // SAFETY: loom checks that no thread reads it meanwhile.
            heaps.region.tags[0].with_mut(|tag| unsafe { *tag = 1 });
            heaps.free(0, &[0]);
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert_eq!(heaps.collect(early), all, "blocks that came back to the first owner");
        assert_eq!(heaps.collect_of(1, 0), if early == all { back(0, 0) } else { 0 }, "and to the second");
        early == all
    });
}

/// Two threads free the same block at once, and the second of them gets the error. The outcome is whether the error
/// went to the first thread of the model or to the thread that it has started.
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

/// One thread frees a block twice, and gets the error while the first free is still combined. Correct frees of other
/// blocks get no error.
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
