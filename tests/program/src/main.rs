//! Drives the whole allocator in a second: requests of all sizes, threads and their ends, remote frees, statistics, a
//! fork, and allocation before and after `main`. It prints how it was built, and then how far it has come;
//! tests/builds/program.rs reads both.

use std::cell::RefCell;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::{ptr, thread};

use poolmalloc::{PoolMalloc, Stats, check_heap, stats};
use poolmalloc_plants::errors::plant_of;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Returns bytes that can be checked: each is the low byte of the length.
fn make(bytes: usize) -> Vec<u8> {
    vec![bytes as u8; bytes]
}

fn check(bytes: &[u8]) {
    assert!(bytes.iter().all(|byte| *byte == bytes.len() as u8), "content lost in {} bytes", bytes.len());
}

/// Returns blocks of all small sizes, and some larger ones.
fn make_all() -> Vec<Vec<u8>> {
    (1..=300).chain([1000, 5000, 100_000]).map(make).collect()
}

fn check_all(blocks: Vec<Vec<u8>>) {
    assert_eq!(blocks.len(), 303);
    blocks.iter().for_each(|block| check(block));
}

fn live(stats: &Stats) -> [u64; 4] {
    [stats.small.live_blocks, stats.small.live_bytes, stats.large.live_blocks, stats.large.live_bytes]
}

static DESTRUCTORS: AtomicUsize = AtomicUsize::new(0);

/// A thread-local that owns blocks, and allocates when it is dropped.
struct AtEnd(Vec<Vec<u8>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        check_all(std::mem::take(&mut self.0));
        check_all(make_all());
        DESTRUCTORS.fetch_add(1, Ordering::Relaxed);
    }
}

thread_local!(static AT_END: RefCell<Option<AtEnd>> = const { RefCell::new(None) });

/// Runs threads one after another. Each of them frees the blocks of the thread before it and blocks of the main thread,
/// leaves blocks for the next thread, and has a destructor. Beside each of them run three more threads, which use only
/// blocks of their own.
fn threads() {
    let before = stats();
    let mut left = make_all();
    for _ in 0..200 {
        let others: [_; 3] = std::array::from_fn(|_| thread::spawn(|| check_all(make_all())));
        let ours = make_all();
        let next = thread::spawn(move || {
            AT_END.set(Some(AtEnd(make_all())));
            check_all(left);
            check_all(ours);
            make_all()
        });
        left = next.join().expect("a thread");
        others.into_iter().for_each(|other| other.join().expect("another thread"));
    }
    check_all(left);
    let after = stats();
    assert_eq!(DESTRUCTORS.load(Ordering::Relaxed), 200);
    assert!(after.small.remote_frees - before.small.remote_frees >= 200 * 256);
    assert_eq!(after.heaps.in_use, 1, "this thread's");
    assert!(after.heaps.parked <= 4, "800 threads, four at a time, needed {:?}", after.heaps);
    // In debug mode the quarantine keeps freed blocks for a while.
    let kept = if is_debug() { 32 } else { 0 };
    assert!(after.arenas.open <= before.arenas.open + 32 + kept, "{:?}, then {:?}", before.arenas, after.arenas);
}

fn is_debug() -> bool {
    std::env::var("POOLMALLOC").is_ok_and(|words| words.contains("debug"))
}

/// Fills and then empties pools of every class.
fn every_class() {
    // The debug mode puts 48 bytes around a block.
    let around = if is_debug() { 48 } else { 0 };
    for bytes in (8..=256 - around).step_by(8) {
        let before = stats();
        let blocks: Vec<_> = (0..2000).map(|_| make(bytes)).collect();
        let during = stats();
        let class = (bytes + around) / 8 - 1;
        assert_eq!(during.classes[class].live_blocks - before.classes[class].live_blocks, 2000);
        blocks.iter().for_each(|block| check(block));
        drop(blocks);
        assert_eq!(live(&stats()), live(&before));
    }
}

/// Forks a child, which frees the parent's blocks and starts a thread. The parent's statistics and blocks do not
/// change.
fn fork() {
    let blocks = make_all();
    let before = stats();
    // SAFETY: the child calls only the allocator, which works there, threads, and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no preconditions. No handler is installed: the signal ends the process if it hangs.
        unsafe { libc::alarm(60) };
        check_all(blocks);
        thread::spawn(|| check_all(make_all())).join().expect("a thread of the child");
        check_heap().expect("a valid heap in the child");
        // SAFETY: no preconditions. A panic above has ended the child with another code, or a signal.
        unsafe { libc::_exit(0) };
    }
    assert!(child > 0, "fork");
    let mut status = 0;
    // SAFETY: `status` is writable.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0), "the child's end");
    assert_eq!(stats(), before);
    check_all(blocks);
}

/// Blocks that are allocated before `main` and freed after it.
static EARLY: AtomicPtr<Vec<Vec<u8>>> = AtomicPtr::new(ptr::null_mut());

#[used]
#[cfg_attr(any(target_os = "linux", target_os = "freebsd"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn allocate_early() {
        EARLY.store(Box::into_raw(Box::new(make_all())), Ordering::Relaxed);
        // SAFETY: the handler takes and returns nothing, and does not unwind: a panic in it aborts.
        let error = unsafe { libc::atexit(free_late) };
        assert_eq!(error, 0, "atexit");
    }
    extern "C" fn free_late() {
        // SAFETY: `allocate_early` leaked this box for this one call.
        check_all(*unsafe { Box::from_raw(EARLY.load(Ordering::Relaxed)) });
        if std::env::args().len() > 1 {
            // The report of a planted error may come at the very end. The check is left out in that case: `check_heap`
            // would find the error before the report comes.
            return;
        }
        check_heap().expect("a valid heap after main");
        println!("and after main");
    }
    allocate_early
};

fn main() {
    if let Some(name) = std::env::args().nth(1) {
        assert!(plant_of(&name), "there is no error {name}");
        return;
    }
    println!(
        "debug: {}, abort: {}, static: {}",
        cfg!(debug_assertions),
        cfg!(panic = "abort"),
        cfg!(target_feature = "crt-static")
    );
    check_all(make_all());
    every_class();
    threads();
    fork();
    check_heap().expect("a valid heap");
    AT_END.set(Some(AtEnd(make_all())));
    println!("done");
}
