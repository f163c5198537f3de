//! The first and the last moments of a process. A constructor allocates before `main`. Thread-local destructors of the
//! main thread and `atexit` handlers allocate and free after `main`.
//!
//! This binary starts itself again. The child ends in one of three ways. The parent demands that the exit code is 0,
//! and that all handlers and destructors have reported. Some of them are registered by the constructor, before the
//! process's first request, and some after it.
//!
//! To see it fail: give the main thread's heap up in a thread-local destructor and let the pointer to it dangle; panic
//! where a thread-local is gone; unmap the region in an `atexit` handler; let the first request of a process find no
//! region.
//!
//! `cargo test --test processes exit::`

use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use poolmalloc::stats;

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::consistent_stats;
use poolmalloc_support::process::{role_before_main, say, succeed};
use poolmalloc_support::{Test, command, words};

const HANDLERS: usize = 64;
const RETURN: &str = "return from main";
const EXIT: &str = "process::exit";
const EXIT_WHILE_BUSY: &str = "process::exit while threads allocate";

/// One block for each handler, allocated by a thread that ends before the handlers run.
static LEFT: [AtomicPtr<u64>; HANDLERS] = [const { AtomicPtr::new(ptr::null_mut()) }; HANDLERS];
static HANDLERS_RUN: AtomicUsize = AtomicUsize::new(0);

/// Blocks that are allocated before `main` and freed after it: one of each class, and some larger ones.
static EARLY: [AtomicPtr<u64>; 40] = [const { AtomicPtr::new(ptr::null_mut()) }; 40];

fn work() {
    let blocks: [NonNull<u64>; 200] = std::array::from_fn(|i| words::make(1 + i % 40));
    blocks.into_iter().for_each(words::free);
}

/// Constructor that makes the first requests of a child. It registers a handler and a destructor before them.
#[used]
#[cfg_attr(any(target_os = "linux", target_os = "freebsd"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn start_early() {
        if role_before_main(module_path!()).is_none() {
            return;
        }
        // SAFETY: the handler takes and returns nothing, and does not unwind: a panic in it aborts.
        let error = unsafe { libc::atexit(first_handler) };
        assert_eq!(error, 0, "atexit");
        FIRST.set(Some(AtEnd));
        assert_eq!(stats().small.allocations + stats().large.allocations, 0, "something allocated earlier");
        for (i, place) in EARLY.iter().enumerate() {
            place.store(words::make(1 + i).as_ptr(), Ordering::Relaxed);
        }
        work();
    }
    start_early
};

/// Frees the blocks from before `main`. This handler is registered first, so it runs last.
extern "C" fn first_handler() {
    for place in &EARLY {
        let block = NonNull::new(place.swap(ptr::null_mut(), Ordering::Relaxed));
        words::free(block.expect("a block from before main"));
    }
    work();
    say("first atexit\n");
}

/// Value of a thread-local that owns no blocks, and allocates when the main thread ends.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        work();
        say("first thread-local\n");
    }
}

thread_local!(static FIRST: Cell<Option<AtEnd>> = const { Cell::new(None) });

struct Worker(Vec<Block>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Block::free);
        work();
        say("thread-local\n");
    }
}

thread_local!(static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) });

extern "C" fn handler() {
    let number = HANDLERS_RUN.fetch_add(1, Ordering::Relaxed);
    let left = LEFT[number].swap(ptr::null_mut(), Ordering::Acquire);
    words::free(NonNull::new(left).expect("a block for each handler"));
    work();
    say("atexit\n");
}

pub(crate) fn child(role: &str) {
    for _ in 0..HANDLERS {
        // SAFETY: the handler takes and returns nothing, and does not unwind: a panic in it aborts.
        let error = unsafe { libc::atexit(handler) };
        assert_eq!(error, 0, "atexit");
    }
    let left = thread::spawn(|| {
        for (i, place) in LEFT.iter().enumerate() {
            place.store(words::make(1 + i % 40).as_ptr(), Ordering::Release);
        }
    });
    left.join().expect("the thread that leaves blocks behind");
    WORKER.set(Some(Worker((0..300).map(|i| Block::new(layout(1 + i, 8), i)).collect())));
    consistent_stats();
    if role == EXIT_WHILE_BUSY {
        for _ in 0..3 {
            thread::spawn(|| {
                loop {
                    work();
                }
            });
        }
    }
    if role != RETURN {
        std::process::exit(0);
    }
}

/// Fails unless the child exits with 0 after all its handlers have run. With glibc, whose `exit` calls them, the
/// thread-local destructors must have run too.
fn assert_ends_well(role: &str) {
    let said = succeed(&mut command!(role));
    let count = |wanted: &str| said.lines().filter(|line| *line == wanted).count();
    assert_eq!((count("atexit"), count("first atexit")), (HANDLERS, 1), "{role}: {said:?}");
    if cfg!(target_env = "gnu") {
        assert_eq!((count("thread-local"), count("first thread-local")), (1, 1), "{role}: {said:?}");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("return_from_main", || assert_ends_well(RETURN)),
        Test::new("process_exit", || assert_ends_well(EXIT)),
        Test::new("process_exit_while_threads_allocate", || (0..20).for_each(|_| assert_ends_well(EXIT_WHILE_BUSY))),
    ]
}
