//! `POOLMALLOC=debug` reports each planted error (tests/plants/src/errors.rs). A correct program gets no report, and
//! its blocks, their content and its statistics are as documented.
//!
//! The programs are children that run with the variable set.
//!
//! To see it fail: `tests/mutants/run` and the names in the section "Debug mode" of tests/mutants/misuse.txt.
//!
//! `cargo test --test errors debug::`

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::ffi::c_int;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::thread;

use poolmalloc::{PoolMalloc, check_heap, measure_peak, release_unused, stats};
use poolmalloc_oracle::soak::{self, Soak};

use crate::ALLOC;
use poolmalloc_plants::errors::{PLANTS, plant_of};
use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{assert_nothing_left, consistent_stats, live};
use poolmalloc_support::process::{say, succeed, told};
use poolmalloc_support::reported::{assert_reported, no_core};
use poolmalloc_support::{Test, command, scaled, tests};

/// With `debug,malloc` all blocks come from the backend. The reports are the same for all errors but four, which need
/// pools.
fn over_the_backend_alone() {
    let over_pools =
        ["foreign_in_the_region", "double_free_after_the_quarantine", "header_overwritten", "before_the_block"];
    for plant in PLANTS.iter().filter(|plant| !over_pools.contains(&plant.name)) {
        assert_reported(plant, &no_core(command!(plant.name).env("POOLMALLOC", "debug,malloc")));
    }
    succeed(command!("correct").env("POOLMALLOC", "debug,malloc"));
}

/// A correct program gets no report in debug mode, and finds everything as documented.
fn a_correct_program_hears_nothing() {
    for words in ["debug", "debug,leaks", "leaks,debug,malloc"] {
        let output = command!("correct").env("POOLMALLOC", words).output().expect("starting the child");
        assert!(output.status.success() && output.stdout.ends_with(b"done\n"), "{}", told(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("poolmalloc: "), "{}", told(&output));
    }
}

fn correct() {
    content();
    sizes_that_cannot_be();
    freed_blocks_are_not_live();
    watches();
    threads();
    fork();
    the_quarantine_gives_way();
    say("done\n");
}

/// Reads the bytes of a block that is live or in the quarantine.
fn bytes(block: *mut u8, size: usize) -> Vec<u8> {
    // SAFETY: the block is live, or the quarantine keeps its memory.
    (0..size).map(|at| unsafe { block.wrapping_add(at).read_volatile() }).collect()
}

fn content() {
    for (size, align) in [(1, 1), (20, 4), (100, 16), (200, 64), (300, 1), (5000, 4096)] {
        let old = layout(size, align);
        // SAFETY: the size is not zero.
        let block = black_box(unsafe { ALLOC.alloc(old) });
        assert_eq!((block.addr() % align, bytes(block, size)), (0, vec![0xCD; size]), "{old:?}");
        // SAFETY: the block has `size` bytes.
        unsafe { block.write_bytes(7, size) };
        // SAFETY: the block is live with this layout.
        let new = black_box(unsafe { ALLOC.realloc(block, old, size + 50) });
        assert_ne!(new, block, "a realloc moves");
        let expected: Vec<_> = (0..size + 50).map(|at| if at < size { 7 } else { 0xCD }).collect();
        assert_eq!((new.addr() % align, bytes(new, size + 50)), (0, expected));
        assert_eq!(bytes(block, size), vec![0xDD; size], "freed");
        // SAFETY: as above.
        let small = black_box(unsafe { ALLOC.realloc(new, layout(size + 50, align), 1) });
        assert_eq!(bytes(small, 1), [7]);
        // SAFETY: as above.
        unsafe { ALLOC.dealloc(small, layout(1, align)) };
        // SAFETY: the size is not zero.
        let zeros = black_box(unsafe { ALLOC.alloc_zeroed(old) });
        assert_eq!(bytes(zeros, size), vec![0; size]);
        // SAFETY: the block is live with this layout.
        unsafe { ALLOC.dealloc(zeros, old) };
    }
    // A block of 0 bytes is aligned, and can be freed.
    for align in [1, 8, 256, 4096] {
        // SAFETY: the debug mode serves requests of 0 bytes, as pools do.
        let empty = black_box(unsafe { ALLOC.alloc(layout(0, align)) });
        assert!(!empty.is_null() && empty.addr() % align == 0);
        // SAFETY: the block is live with this layout.
        unsafe { ALLOC.dealloc(empty, layout(0, align)) };
    }
}

fn sizes_that_cannot_be() {
    for size in [isize::MAX as usize, isize::MAX as usize - 40, isize::MAX as usize / 2] {
        // SAFETY: the size is not zero.
        assert!(black_box(unsafe { ALLOC.alloc(layout(size, 1)) }).is_null());
        // SAFETY: as above.
        assert!(black_box(unsafe { ALLOC.alloc_zeroed(layout(size, 1)) }).is_null());
        for mut block in [Block::new(layout(20, 1), 3), Block::new(layout(2000, 1), 4)] {
            assert!(!block.try_resize(size));
            block.free();
        }
    }
}

/// Statistics do not count a freed block as live, though the quarantine keeps it. All sums hold at each moment.
fn freed_blocks_are_not_live() {
    assert_nothing_left(|| {
        let before = consistent_stats();
        let blocks: Vec<_> = (1..=300).map(|size| Block::new(layout(size, 8), size)).collect();
        let full = consistent_stats();
        std::thread::spawn(|| blocks.into_iter().for_each(Block::free)).join().expect("a thread that frees");
        let after = stats();
        assert_eq!(live(&after), live(&before), "{after}");
        let remote = after.small.remote_frees - full.small.remote_frees;
        assert!(remote >= full.small.live_blocks - before.small.live_blocks, "{after}");
        assert_eq!(consistent_stats().small.frees, after.small.frees);
        release_unused();
        assert_eq!(consistent_stats().small.frees, after.small.frees);
    });
}

/// A watch notes the same figures as without the debug mode.
fn watches() {
    let ((), peak) = measure_peak(|| {
        let held = black_box(vec![0_u8; 1000]);
        drop(black_box(vec![held, vec![0_u8; 20]]));
    });
    assert_eq!((peak.peak_bytes, peak.peak_blocks), (1000 + 24 + 48, 3));
    assert_eq!(peak.delta.live_bytes(), 0);
}

/// Runs a long random program: six threads at a time hand each other blocks.
fn threads() {
    let mut points = 0;
    let soak = Soak { workers: 6, steps: scaled(100_000, 10), life: scaled(20_000, 10), seed: 5 };
    soak::run::<PoolMalloc>(soak, |_| {
        points += 1;
        check_heap().expect("a sound heap");
        if points < 8 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
}

/// A child of a fork goes on, whatever the other threads of the parent are doing at the fork.
fn fork() {
    use std::sync::atomic::AtomicBool;
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = poolmalloc_support::SetAtEnd(&IS_OVER);
        for seed in 0..3 {
            scope.spawn(move || {
                while !IS_OVER.load(Ordering::Relaxed) {
                    Block::new(layout(20 + 100 * seed, 1), seed).free();
                }
            });
        }
        for _ in 0..scaled(400, 4) {
            // SAFETY: the child uses the allocator, which works in it, and nothing else.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: no preconditions. No handler is installed: the signal ends the process.
                    unsafe { libc::alarm(30) };
                    for size in (1..600).step_by(7) {
                        Block::new(layout(size, 1), size).free();
                    }
                    // SAFETY: no preconditions.
                    unsafe { libc::_exit(0) }
                }
                child => {
                    let mut status = 0;
                    // SAFETY: `status` is writable.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    assert_eq!(status, 0, "the child's wait status");
                }
            }
        }
        drop(over);
    });
}

/// The system's malloc, with [`LEFT`] bytes left to give.
#[derive(Default)]
struct Budget;

static LEFT: AtomicIsize = AtomicIsize::new(4 << 20);

// SAFETY: every call goes on to `System` as it came, or fails as an allocator may.
unsafe impl GlobalAlloc for Budget {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if LEFT.load(Ordering::Relaxed) < layout.size() as isize {
            return null_mut();
        }
        LEFT.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LEFT.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) };
    }
}

/// When memory is short, the quarantine gives freed blocks back. A request that is too large even then gets null.
fn the_quarantine_gives_way() {
    let budget = PoolMalloc::with_backend(Budget);
    let half = layout(2 << 20, 1);
    for _ in 0..10 {
        // SAFETY: the size is not zero.
        let block = black_box(unsafe { budget.alloc(half) });
        assert!(!block.is_null(), "what is kept was not given back");
        // SAFETY: as above.
        assert!(black_box(unsafe { budget.alloc(layout(3 << 20, 1)) }).is_null());
        // SAFETY: the block is live with this layout.
        assert!(black_box(unsafe { budget.realloc(block, half, 3 << 20) }).is_null());
        // SAFETY: as above.
        unsafe { budget.dealloc(block, half) };
    }
    assert!(LEFT.load(Ordering::Relaxed) < 4 << 20, "the last one is kept");
    check_heap().expect("a sound heap");
    assert_eq!(LEFT.load(Ordering::Relaxed), 4 << 20);
}

/// The report names a write to the first or the eighth byte behind a block, at each size that pools serve, and at some
/// larger ones. In a debug build every seventh size is tested.
fn overruns_of_every_size() {
    for size in (1..=264).step_by(if cfg!(debug_assertions) { 7 } else { 1 }) {
        for beyond in [0, 7] {
            let output = no_core(command!(&format!("overrun {size} {beyond}")).env("POOLMALLOC", "debug"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", told(&output));
            assert!(said.starts_with(&format!("poolmalloc: overrun of the block of {size} bytes")), "{said}");
            assert!(said.contains(&format!("at offset {}, marked", size + beyond)), "{said}");
        }
    }
}

fn overrun(size: usize, beyond: usize) {
    let layout = layout(size, 1);
    // SAFETY: the size is not zero.
    let block = black_box(unsafe { ALLOC.alloc(layout) });
    // SAFETY: the byte is one of the forbidden bytes behind the block.
    unsafe { block.wrapping_add(size + beyond).write_volatile(0) };
    // SAFETY: the block is live with this layout.
    unsafe { ALLOC.dealloc(block, layout) };
}

/// The leak finder reports blocks with the sizes that the program asked for, without the bytes of the debug layer
/// around them. It does not report freed blocks.
fn leaks_are_told_in_the_programs_terms() {
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return;
    }
    for words in ["debug,leaks", "debug,leaks,malloc"] {
        let output = command!("leak").env("POOLMALLOC", words).output().expect("starting the child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}", told(&output));
        let numbers = String::from_utf8_lossy(&output.stdout);
        let mut numbers = numbers.split_whitespace();
        let (kept, forgotten) = (numbers.next().expect("a number"), numbers.next().expect("a number"));
        assert!(said.contains(&format!(" direct, serial number {forgotten}\n")), "{}", told(&output));
        assert!(!said.contains(&format!("serial number {kept}\n")), "{}", told(&output));
        assert_eq!(said.matches("leaks: unreachable <40 bytes").count(), 2, "{}", told(&output));
        assert_eq!(said.matches("in cycle 0, serial number ").count(), 2, "{}", told(&output));
        assert_eq!(said.matches(", strong 1, weak 0").count(), 2, "{}", told(&output));
        assert!(said.ends_with("3 unreachable, 580 bytes: 1 direct, 0 indirect, 2 in 1 cycle\n"), "{}", told(&output));
    }
}

fn leak() {
    /// 40 bytes with the counts.
    struct Node {
        next: RefCell<Option<Rc<Node>>>,
        _data: u64,
    }

    #[inline(never)]
    fn plant() {
        let first = Rc::new(Node { next: RefCell::new(None), _data: 1 });
        let second = Rc::new(Node { next: RefCell::new(Some(first.clone())), _data: 2 });
        *first.next.borrow_mut() = Some(second);
        // The quarantine keeps these freed blocks. They are no leaks.
        drop(black_box((vec![1_u8; 333], vec![0_u8; 3333])));
    }
    static KEPT: Mutex<Option<Box<[u8; 77]>>> = Mutex::new(None);

    /// Returns the serial number of the one live block of `bytes` bytes.
    fn serial(bytes: u64) -> u64 {
        let blocks = poolmalloc::leaks::live_blocks().expect("a search");
        let mut found = blocks.iter().filter(|block| block.bytes == bytes);
        let block = found.next().expect("a block");
        assert!(found.next().is_none(), "more than one of {bytes} bytes");
        block.serial.expect("a number")
    }
    *KEPT.lock().expect("no panic") = Some(Box::new([1; 77]));
    plant();
    std::mem::forget(black_box(Box::new([1_u8; 500])));
    let live = || poolmalloc::leaks::live_blocks().expect("a search").len();
    let (small, large) = (black_box(Box::new([1_u8; 61])), black_box(Box::new([1_u8; 611])));
    let before = live();
    drop((small, large));
    assert_eq!(live() + 2, before, "freed blocks are not live, though they are kept");
    say(&format!("{} {}", serial(77), serial(500)));
}

/// With `backtrace=N` the report names the functions. Without the cargo feature `backtrace` there is a warning, and
/// then the report.
fn backtraces() {
    let plant = |name| PLANTS.iter().find(|plant| plant.name == name).expect("an error");
    for (name, places) in [("write_after_free_at_exit", 3), ("double_free", 3), ("wrong_size", 2)] {
        let output = no_core(command!(name).env("POOLMALLOC", "debug,backtrace=40"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if cfg!(feature = "backtrace") {
            assert_reported(plant(name), &output);
            assert_eq!(said.matches(" at:\n").count(), places, "{said}");
            let (_, allocated) = said.split_once("  allocated at:\n").expect("a backtrace");
            // Without full debug information the names of inlined functions are short.
            let is_named = |line: &str| line.ends_with("errors::take") || line.trim() == "take";
            assert!(allocated.lines().any(is_named), "{said}");
        } else {
            let (warning, report) = said.split_once('\n').expect("two lines");
            assert!(warning.contains("cargo feature `backtrace`"), "{said}");
            let stderr = report.as_bytes().to_vec();
            assert_reported(plant(name), &Output { stderr, ..output });
        }
    }
}

/// Errors that happen while another one is being reported, in four cases:
/// * The handler of `SIGABRT` makes an error: the process aborts with a second line.
/// * Another thread makes an error while the handler runs: the thread waits for the report's end.
/// * A forked child makes an error while the handler runs: the child reports it.
/// * Another thread makes an error while the report cannot be written: the process aborts.
fn errors_while_one_is_reported() {
    let run = |name| {
        let output = no_core(command!(name).env("POOLMALLOC", "debug"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (said.matches("poolmalloc: double free of ").count(), said.matches("poolmalloc: ").count(), output, said)
    };
    let (reports, lines, output, said) = run("error in the handler");
    assert_eq!((reports, lines, output.status.signal()), (1, 2, Some(libc::SIGABRT)), "{}", told(&output));
    assert!(said.ends_with("\npoolmalloc: there was another error while one was reported; aborting\n"), "{said}");
    let (reports, lines, output, _) = run("error beside the handler");
    assert_eq!((reports, lines, output.status.code()), (1, 1, Some(7)), "{}", told(&output));
    let (reports, lines, output, _) = run("error after a fork");
    assert_eq!((reports, lines, output.status.code()), (2, 2, Some(7)), "{}", told(&output));
    let (reports, lines, output, _) = run("error that cannot be told");
    assert_eq!((reports, lines, output.status.signal()), (0, 0, Some(libc::SIGABRT)), "{}", told(&output));
}

fn free_twice() {
    let block = Box::into_raw(black_box(Box::new([1_u8; 40])));
    // SAFETY: the first free is right: the block of a box. The second one is the error that is tested.
    (0..2).for_each(|_| unsafe { ALLOC.dealloc(block.cast(), Layout::new::<[u8; 40]>()) });
}

static IS_REPORTED: AtomicBool = AtomicBool::new(false);

extern "C" fn err_again(_: c_int) {
    free_twice();
}

/// Lets another thread make an error, waits for two seconds, and ends the process with the exit code 7.
extern "C" fn take_time(_: c_int) {
    IS_REPORTED.store(true, Ordering::Release);
    // SAFETY: no preconditions.
    unsafe { libc::sleep(2) };
    // SAFETY: as above.
    unsafe { libc::_exit(7) };
}

extern "C" fn wait_for_ever(_: c_int) {
    IS_REPORTED.store(true, Ordering::Release);
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

/// Makes the error in a child, and ends the process with 7 if the child has aborted.
fn err_in_a_child() {
    // SAFETY: the child uses this library alone, which promises to work there.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the default action.
        unsafe { libc::signal(libc::SIGABRT, libc::SIG_DFL) };
        free_twice();
    }
    let mut status = 0;
    // SAFETY: the status is writable.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    let has_aborted = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGABRT;
    // SAFETY: no preconditions.
    unsafe { libc::_exit(if has_aborted { 7 } else { 1 }) };
}

/// Replaces standard error by a pipe that is full.
fn fill_stderr() {
    let mut ends = [0; 2];
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: no preconditions.
    unsafe { libc::fcntl(ends[1], libc::F_SETFL, libc::O_NONBLOCK) };
    // SAFETY: 64 bytes are readable.
    while unsafe { libc::write(ends[1], [0_u8; 64].as_ptr().cast(), 64) } > 0 {}
    // SAFETY: no preconditions.
    unsafe { libc::fcntl(ends[1], libc::F_SETFL, 0) };
    // SAFETY: as above.
    unsafe { libc::dup2(ends[1], libc::STDERR_FILENO) };
}

fn err_with_handler(how: &str) {
    let handler: extern "C" fn(c_int) = match how {
        "in" => err_again,
        "after" => wait_for_ever,
        _ => take_time,
    };
    // SAFETY: the handler has the type that `signal` asks for. The error that it makes is what is tested.
    unsafe { libc::signal(libc::SIGABRT, handler as *const () as libc::sighandler_t) };
    let err: fn() = if how == "after" { err_in_a_child } else { free_twice };
    if how == "that" {
        fill_stderr();
        // The report never gets as far as the handler, so the other thread begins at once.
        IS_REPORTED.store(true, Ordering::Relaxed);
    }
    thread::spawn(move || {
        while !IS_REPORTED.load(Ordering::Acquire) {
            thread::yield_now();
        }
        err();
    });
    free_twice();
}

pub(crate) fn tests() -> Vec<Test> {
    let planted = PLANTS.iter().map(|plant| {
        Test::new(plant.name, move || {
            assert_reported(plant, &no_core(command!(plant.name).env("POOLMALLOC", "debug")));
        })
    });
    let others = tests![
        overruns_of_every_size,
        leaks_are_told_in_the_programs_terms,
        a_correct_program_hears_nothing,
        over_the_backend_alone,
        backtraces,
        errors_while_one_is_reported,
    ];
    planted.chain(others).collect()
}

pub(crate) fn child(role: &str) {
    let mut words = role.split(' ');
    match words.next() {
        Some("correct") => return correct(),
        Some("leak") => return leak(),
        Some("overrun") => {
            let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
            return overrun(number(), number());
        }
        Some("error") => return err_with_handler(words.next().expect("how")),
        _ => {}
    }
    assert!(plant_of(role), "{role}");
}
