//! The last moments of a process: thread-local destructors of the main thread and `atexit` handlers allocate and free.
//!
//! Covers P15 main_exit_alloc. This binary starts itself again; the child ends in one of three ways, and the parent wants its
//! exit code to be 0 and every destructor and handler to have reported.
//!
//! To see it fail: give the main thread's heap up in a thread-local destructor and let the pointer to it dangle; panic where a
//! thread-local is gone; unmap the region in an `atexit` handler.
//!
//! `cargo test --test exit`

mod support;

use std::cell::RefCell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use poolmalloc::PoolMalloc;

use support::block::{Block, layout};
use support::oracle::consistent_stats;
use support::process::{command, role, say, succeed};
use support::words;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

const HANDLERS: usize = 64;
const RETURN: &str = "return from main";
const EXIT: &str = "process::exit";
const EXIT_WHILE_BUSY: &str = "process::exit while threads allocate";

/// A block for each handler, made by a thread that has ended by then.
static LEFT: [AtomicPtr<u64>; HANDLERS] = [const { AtomicPtr::new(ptr::null_mut()) }; HANDLERS];
static HANDLERS_RUN: AtomicUsize = AtomicUsize::new(0);

fn work() {
    let blocks: [NonNull<u64>; 200] = std::array::from_fn(|i| words::make(1 + i % 40));
    blocks.into_iter().for_each(words::free);
}

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

fn child(role: &str) {
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

/// Fails unless the child exits with 0 after all its handlers and, where `exit` calls them, thread-local destructors.
fn assert_ends_well(role: &str) {
    let said = succeed(&mut command(role));
    assert_eq!(said.lines().filter(|line| *line == "atexit").count(), HANDLERS, "{role}: {said:?}");
    if cfg!(target_env = "gnu") {
        assert_eq!(said.lines().filter(|line| *line == "thread-local").count(), 1, "{role}: {said:?}");
    }
}

fn main() {
    if let Some(role) = role() {
        return child(&role);
    }
    support::run(&[
        ("return_from_main", || assert_ends_well(RETURN)),
        ("process_exit", || assert_ends_well(EXIT)),
        ("process_exit_while_threads_allocate", || (0..20).for_each(|_| assert_ends_well(EXIT_WHILE_BUSY))),
    ]);
}
