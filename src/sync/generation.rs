//! The generation: a number that says which copy of the memory this is. It differs between a process and each child
//! that a fork makes.
//!
//! The number lies in a page that the kernel wipes in children (`MADV_WIPEONFORK`, Linux 4.14). So it needs no fork
//! handler, and it is right for every way to make a child. A child that shares the memory (`vfork`) shares the number,
//! as it should. Where there is no such page, the process id takes the place of the number.

use crate::os::{process_id, word_wiped_on_fork};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The number, and how it is found.
///
/// Relaxed, except for the pointer: a number stands for itself, and the child of a fork sees everything that the
/// forking thread had seen.
struct Generation {
    /// Points to the word that is wiped, or to `count` if the system has no such page. Null before the first call.
    /// `Release` and `Acquire`: a thread that finds the page finds it mapped.
    word: AtomicPtr<AtomicU32>,
    /// The last number given out, in this process and its ancestors; 0 at first.
    count: AtomicU32,
}

/// The process's generation.
static GENERATION: Generation = Generation::new();

/// The number of this copy of the memory, never 0. Costs two loads; the first call also maps a page. Without such a
/// page, each call asks the system for the process id.
pub(crate) fn current_generation() -> u32 {
    GENERATION.number()
}

impl Generation {
    const fn new() -> Self {
        Self { word: AtomicPtr::new(ptr::null_mut()), count: AtomicU32::new(0) }
    }

    /// The number of this copy of the memory, never 0.
    fn number(&self) -> u32 {
        let word = self.word();
        if ptr::eq(word, &raw const self.count) {
            return process_id();
        }
        // SAFETY: the page is never unmapped.
        let word = unsafe { &*word };
        match word.load(Ordering::Relaxed) {
            0 => {
                // Counted before it is used, so that no child of this process can take the same number.
                let next = self.count.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
                word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|other| other, |_| next)
            }
            number => number,
        }
    }

    fn word(&self) -> *const AtomicU32 {
        let word = self.word.load(Ordering::Acquire);
        if !word.is_null() {
            return word;
        }
        let none = (&raw const self.count).cast_mut();
        let new = word_wiped_on_fork().map_or(none, |word| word.as_ptr().cast());
        // If two threads make the first call at once, the page of one of them stays mapped and unused.
        self.word.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire).map_or_else(|other| other, |_| new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_page_that_is_wiped_the_process_has_its_number() {
        let generation: &'static Generation = Box::leak(Box::new(Generation::new()));
        generation.word.store((&raw const generation.count).cast_mut(), Ordering::Relaxed);
        assert_eq!(generation.number(), std::process::id());
    }

    #[test]
    fn a_child_has_another_number_and_a_thread_the_same() {
        let generation: &'static Generation = Box::leak(Box::new(Generation::new()));
        let number = generation.number();
        assert_ne!(number, 0);
        assert_eq!(std::thread::spawn(|| generation.number()).join().unwrap(), number);
        // SAFETY: the child takes no lock that another thread could hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_other = generation.number() != number && generation.number() == generation.number();
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(!is_other)) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(generation.number(), number);
    }

    #[test]
    fn a_childs_child_has_a_third_number() {
        /// Forks. Returns whether `is_right` is true in the child.
        fn fork_and_ask(is_right: impl FnOnce() -> bool) -> bool {
            // SAFETY: the child takes no lock that another thread could hold.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let code = i32::from(!is_right());
                // SAFETY: no preconditions.
                unsafe { libc::_exit(code) };
            }
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            ended == child && status == 0
        }
        let generation: &'static Generation = Box::leak(Box::new(Generation::new()));
        let first = generation.number();
        assert!(fork_and_ask(|| {
            let second = generation.number();
            second != first
                && fork_and_ask(|| {
                    let third = generation.number();
                    third != first && third != second
                })
        }));
    }
}
