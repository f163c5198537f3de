//! `fork` at any moment: the child goes on with its own heap, frees blocks of other threads, and never waits for a
//! thread that exists only in the parent.
//!
//! The children end by `_exit`. The system kills a child that hangs, by `alarm`, and the parent sees the signal.
//!
//! To see it fail: do not mend one of the locks in the child; let a child's new thread take over the heap of a thread
//! that exists only in the parent; mistake a child's child for the child.
//!
//! `cargo test --test threads fork::`

use std::ffi::c_void;
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::Command;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::thread;

use poolmalloc::{check_heap, stats};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{assert_nothing_left, consistent_stats, live};
use poolmalloc_support::{Test, raw_thread, scaled, tests, words};

/// Runs `child` in a forked process, and fails unless it returns there, with a valid heap, within twenty seconds. A
/// busy machine may need that long.
fn in_child(child: impl FnOnce() + std::panic::UnwindSafe) {
    // SAFETY: the child calls only the allocator, which promises to work there, threads of libc, and `_exit`. A panic
    // in the child prints and is caught.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: no preconditions. No handler is installed: the signal ends the process.
            unsafe { libc::alarm(20) };
            let code = i32::from(
                catch_unwind(|| {
                    child();
                    if let Err(violation) = check_heap() {
                        panic!("{violation}");
                    }
                })
                .is_err(),
            );
            // SAFETY: no preconditions. No destructor or exit handler of the parent runs in the child.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: `status` is writable.
            let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert_eq!(ended, pid, "waitpid");
            assert_eq!(status, 0, "the child ended with wait status {status:#x}; 0xe is the alarm: it hung");
        }
    }
}

/// Allocates at least `count` blocks of all classes and larger ones, checks and frees them.
fn work(count: usize) {
    for batch in 0..count.div_ceil(50) {
        let blocks: [NonNull<u64>; 50] = std::array::from_fn(|i| words::make(1 + (batch + i) % 40));
        blocks.into_iter().for_each(words::free);
    }
}

/// The child frees a block of the parent, allocates 5000, and forks too. The parent's figures do not change.
fn fork_child_usable() {
    assert_nothing_left(|| {
        let blocks: Vec<Block> = (1..=300).map(|size| Block::new(layout(size, 8), size)).collect();
        let before = consistent_stats();
        in_child(|| {
            let at_start = consistent_stats();
            assert_eq!(live(&at_start), live(&before));
            // SAFETY: this frees the child's copy of the block. The parent has its own copy.
            let block = unsafe { Block::from_raw(blocks[47].start(), blocks[47].layout(), 48) };
            block.free();
            work(5000);
            let at_end = consistent_stats();
            assert_eq!(at_end.small.live_blocks + 1, at_start.small.live_blocks);
            in_child(|| work(5000));
        });
        assert_eq!(stats(), before, "the parent's statistics");
        blocks.into_iter().for_each(Block::free);
    });
}

/// Blocks that the busy threads exchange. A child finds its copies of them.
static SLOTS: [AtomicPtr<u64>; 64] = [const { AtomicPtr::new(ptr::null_mut()) }; 64];
static IS_OVER: AtomicBool = AtomicBool::new(false);
static STEPS: AtomicUsize = AtomicUsize::new(0);

/// Puts `block` into a slot and returns the slot's old content.
fn exchange(slot: usize, block: Option<NonNull<u64>>) -> Option<NonNull<u64>> {
    NonNull::new(SLOTS[slot].swap(block.map_or(ptr::null_mut(), NonNull::as_ptr), Ordering::AcqRel))
}

/// Allocates, frees, and exchanges blocks with the other threads, until the test is over. One time in sixteen it frees
/// all of its blocks, so that forks meet the slow paths too.
fn be_busy(seed: usize) {
    let mut random = SmallRng::seed_from_u64(seed as u64);
    let mut blocks = [None; 256];
    while !IS_OVER.load(Ordering::Relaxed) {
        for place in &mut blocks {
            let block = words::make(words::some_words(&mut random));
            let found =
                if random.random() { exchange(random.random_range(0..SLOTS.len()), Some(block)) } else { Some(block) };
            if let Some(old) = std::mem::replace(place, found) {
                words::free(old);
            }
        }
        if random.random_ratio(1, 16) {
            blocks.iter_mut().filter_map(Option::take).for_each(words::free);
        }
        STEPS.fetch_add(1, Ordering::Relaxed);
    }
    blocks.into_iter().flatten().for_each(words::free);
}

/// Runs `test` while three threads allocate and free.
fn among_busy_threads(test: impl FnOnce()) {
    assert_nothing_left(|| {
        IS_OVER.store(false, Ordering::Relaxed);
        let busy: [_; 3] = std::array::from_fn(|seed| thread::spawn(move || be_busy(seed)));
        let steps_before = STEPS.load(Ordering::Relaxed);
        while STEPS.load(Ordering::Relaxed) < steps_before + 10 {
            thread::yield_now();
        }
        test();
        IS_OVER.store(true, Ordering::Relaxed);
        for thread in busy {
            thread.join().expect("a busy thread");
        }
        free_slots();
    });
}

fn free_slots() {
    (0..SLOTS.len()).filter_map(|slot| exchange(slot, None)).for_each(words::free);
}

/// The child frees blocks of threads that it does not have, and allocates.
fn fork_while_busy() {
    among_busy_threads(|| {
        for _ in 0..scaled(1000, 3) {
            in_child(|| {
                work(100);
                free_slots();
                work(400);
                // At the fork other threads were at work, so the figures may mix several moments. But the call must
                // return.
                let _ = stats();
            });
        }
    });
}

/// The child starts threads, which take heaps. None of these may be a heap that was in the middle of a change at the
/// fork.
fn fork_child_starts_threads() {
    among_busy_threads(|| {
        for _ in 0..scaled(400, 4) {
            in_child(|| {
                raw_thread::run(4, &|index| {
                    work(200);
                    (index * 16..(index + 1) * 16).filter_map(|slot| exchange(slot, None)).for_each(words::free);
                    work(200);
                });
            });
        }
    });
}

/// Several threads fork at the same time. In each child a thread forks again, while another thread holds the lock most
/// of the time.
fn forks_from_several_threads() {
    among_busy_threads(|| {
        raw_thread::run(4, &|_| {
            for _ in 0..scaled(50, 2) {
                in_child(|| {
                    free_slots();
                    let is_over = AtomicBool::new(false);
                    raw_thread::run(2, &|index| {
                        if index == 0 {
                            (0..4).for_each(|_| in_child(|| raw_thread::run(2, &|_| work(100))));
                            is_over.store(true, Ordering::Relaxed);
                        }
                        while !is_over.load(Ordering::Relaxed) {
                            let _ = stats();
                        }
                    });
                });
            }
        });
    });
}

/// Starts programs while other threads are busy. Half of them start by `posix_spawn`, whose child runs in the memory of
/// its parent, like a child of `vfork`. The others start by `fork`, with a closure that allocates in the child.
fn programs_among_busy_threads() {
    among_busy_threads(|| {
        for number in 0..scaled(200, 4) {
            let mut program = Command::new("true");
            program.arg(number.to_string()).env("NUMBER", number.to_string());
            if number % 2 == 1 {
                let allocate = || {
                    // SAFETY: no preconditions. The alarm outlives the start of the program.
                    unsafe { libc::alarm(20) };
                    work(200);
                    free_slots();
                    Ok(())
                };
                // SAFETY: the closure uses only `alarm` and the allocator, which promises to work there.
                unsafe { program.pre_exec(allocate) };
            }
            let status = program.status().expect("starting a program");
            assert!(status.success(), "{status}");
        }
    });
}

/// The key of [`be_busy_late`].
static LATE_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
static IS_LATE: AtomicBool = AtomicBool::new(false);

/// Keeps a thread busy that has no heap any more. Arms the key again until the library has taken the thread's heap
/// back, which is in the second round. From then on each request goes through the heap that such threads share, and
/// holds its locks.
unsafe extern "C" fn be_busy_late(round: *mut c_void) {
    if round.addr() < 3 {
        let key = *LATE_KEY.get().expect("the key was made");
        // SAFETY: the key is never deleted; the value is a number.
        let error = unsafe { libc::pthread_setspecific(key, ptr::without_provenance(round.addr() + 1)) };
        assert_eq!(error, 0, "pthread_setspecific");
        return;
    }
    IS_LATE.store(true, Ordering::Relaxed);
    loop {
        work(50);
        if IS_OVER.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Gives the calling thread a heap, and makes the end of the thread call [`be_busy_late`].
fn arm_late(key: libc::pthread_key_t) {
    words::free(words::make(3));
    // SAFETY: the key is never deleted; the value is a number.
    let error = unsafe { libc::pthread_setspecific(key, ptr::without_provenance(1)) };
    assert_eq!(error, 0, "pthread_setspecific");
}

/// Forks while another thread holds the library's locks most of the time. If the child did not take the locks over, it
/// would find them held forever. The child needs them: it starts threads, makes late requests of its own, and uses more
/// than one arena.
fn fork_while_locks_are_held() {
    assert_nothing_left(|| {
        IS_OVER.store(false, Ordering::Relaxed);
        IS_LATE.store(false, Ordering::Relaxed);
        let key = LATE_KEY.get_or_init(|| {
            let mut key = 0;
            // SAFETY: `key` is writable, and the destructor lives as long as the program.
            let error = unsafe { libc::pthread_key_create(&raw mut key, Some(be_busy_late)) };
            assert_eq!(error, 0, "pthread_key_create");
            key
        });
        let late = thread::spawn(|| arm_late(*key));
        while !IS_LATE.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        for _ in 0..scaled(300, 3) {
            in_child(|| {
                IS_OVER.store(true, Ordering::Relaxed);
                raw_thread::run(2, &|_| {
                    work(50);
                    arm_late(*key);
                });
                let many: [NonNull<u64>; 2000] = std::array::from_fn(|_| words::make(32));
                many.into_iter().for_each(words::free);
            });
        }
        IS_OVER.store(true, Ordering::Relaxed);
        late.join().expect("the late thread");
    });
}

pub(crate) fn tests() -> Vec<Test> {
    tests![
        fork_while_locks_are_held,
        fork_child_usable,
        fork_while_busy,
        fork_child_starts_threads,
        forks_from_several_threads,
        programs_among_busy_threads,
    ]
}
