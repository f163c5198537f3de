//! Programs with unusual memory: stacks that the program lends to its threads, or that lie side by side; signal stacks;
//! closed pages; reserved and shared memory; no descriptors left.
//!
//! A block that only such memory holds is no leak. Memory that the program has closed or never touched stays so, and
//! the search does not take longer for it. And where `/proc` does not show this process, the search says so.
//!
//! To see it fail: take everything between a stack and the beginning of its mapping for unused stack; read blocks of
//! the backend directly, or all of a mapping; see the rows of `tests/mutants` for this file.
//!
//! `cargo test --test leaks roots::`

use std::alloc::{Layout, alloc, dealloc};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::{fs, ptr, thread};

use poolmalloc::leaks::{self, LeakError, LeakReport, find};
use poolmalloc_plants::far_below;

use poolmalloc_support::process::succeed;
use poolmalloc_support::{Test, command};

const PAGE: usize = 4096;
const STACK_BYTES: usize = 256 * 1024;

/// Returns a report. Calls the search through [`far_below`], which overwrites the stack below the caller. So words that
/// the caller's earlier calls have left in that part hold no block.
fn report() -> LeakReport {
    far_below(find).expect("a report")
}

#[track_caller]
fn assert_nothing() {
    let report = report();
    assert!(report.is_empty() && report.running_threads.is_empty(), "{report}");
}

/// Maps fresh memory of the program's own, and returns its start. The page before it has no rights.
fn behind_a_guard(bytes: usize) -> *mut u8 {
    let start = map(PAGE + bytes, libc::PROT_NONE, libc::MAP_PRIVATE);
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: inside the mapping.
    assert_eq!(unsafe { libc::mprotect(start.wrapping_add(PAGE).cast(), bytes, rights) }, 0);
    start.wrapping_add(PAGE)
}

fn map(bytes: usize, rights: i32, kind: i32) -> *mut u8 {
    let flags = kind | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, rights, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    start.cast()
}

static HOLDING: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Body of a thread whose stack holds a block.
extern "C" fn hold(_: *mut c_void) -> *mut c_void {
    let held = Box::new([7_usize; 5]);
    HOLDING.fetch_add(1, Ordering::Relaxed);
    while !IS_OVER.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    drop(black_box(held));
    ptr::null_mut()
}

/// Starts a thread that holds a block, with the attributes that `choose` sets.
fn start(choose: impl FnOnce(*mut libc::pthread_attr_t)) -> libc::pthread_t {
    start_with(hold, choose)
}

/// Starts a thread with this body, and with the attributes that `choose` sets.
fn start_with(
    body: extern "C" fn(*mut c_void) -> *mut c_void,
    choose: impl FnOnce(*mut libc::pthread_attr_t),
) -> libc::pthread_t {
    // SAFETY: the attributes may be all zero, and the next line overwrites them.
    let mut attributes = unsafe { std::mem::zeroed() };
    // SAFETY: room for attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(&raw mut attributes) }, 0);
    choose(&raw mut attributes);
    let mut id = 0;
    // SAFETY: made above; the body takes no argument.
    assert_eq!(unsafe { libc::pthread_create(&raw mut id, &raw const attributes, body, ptr::null_mut()) }, 0);
    id
}

fn start_on(stack: *mut u8) -> libc::pthread_t {
    start(|attributes| {
        // SAFETY: valid attributes, and memory that only this thread uses as long as it runs.
        assert_eq!(unsafe { libc::pthread_attr_setstack(attributes, stack.cast(), STACK_BYTES) }, 0);
    })
}

fn while_they_hold(threads: Vec<libc::pthread_t>, look: impl FnOnce()) {
    while HOLDING.load(Ordering::Relaxed) < threads.len() {
        thread::yield_now();
    }
    look();
    IS_OVER.store(true, Ordering::Relaxed);
    for id in threads {
        // SAFETY: a thread that was started, and is joined once.
        assert_eq!(unsafe { libc::pthread_join(id, ptr::null_mut()) }, 0);
    }
}

fn lent_stacks_side_by_side() {
    let stacks = behind_a_guard(2 * STACK_BYTES);
    let threads = (0..2).map(|number| start_on(stacks.wrapping_add(number * STACK_BYTES))).collect();
    while_they_hold(threads, assert_nothing);
}

fn stacks_without_guards() {
    let bare = |guard: usize| {
        start(|attributes| {
            // SAFETY: valid attributes.
            assert_eq!(unsafe { libc::pthread_attr_setstacksize(attributes, STACK_BYTES) }, 0);
            // SAFETY: valid attributes.
            assert_eq!(unsafe { libc::pthread_attr_setguardsize(attributes, guard) }, 0);
        })
    };
    while_they_hold([0, 0, PAGE].map(bare).into(), assert_nothing);
}

static PLACE: AtomicPtr<*mut [usize; 5]> = AtomicPtr::new(ptr::null_mut());

/// Puts the only pointer to a block into memory of the program's own.
#[inline(never)]
fn plant() {
    // SAFETY: the test's own memory.
    unsafe { PLACE.load(Ordering::Relaxed).write(Box::into_raw(Box::new([3; 5]))) };
}

/// Data lies below a stack that the program has lent to a thread, in the same mapping.
fn data_below_a_lent_stack() {
    const DATA_BYTES: usize = 64 * 1024;
    let data = behind_a_guard(DATA_BYTES + STACK_BYTES);
    PLACE.store(data.cast(), Ordering::Relaxed);
    far_below(plant);
    assert_nothing();
    while_they_hold(vec![start_on(data.wrapping_add(DATA_BYTES))], assert_nothing);
    assert_nothing();
}

/// A thread ends, and the program uses the memory that it has lent to the thread as a stack.
fn data_where_a_lent_stack_was() {
    let data = behind_a_guard(STACK_BYTES);
    while_they_hold(vec![start_on(data)], assert_nothing);
    PLACE.store(data.wrapping_add(64).cast(), Ordering::Relaxed);
    far_below(plant);
    assert_nothing();
}

extern "C" fn wait_in_handler(_: i32) {
    HOLDING.fetch_add(1, Ordering::Relaxed);
    while !IS_OVER.load(Ordering::Relaxed) {
        thread::yield_now();
    }
}

#[inline(never)]
fn interrupted() {
    let held = Box::new([9_usize; 5]);
    // SAFETY: the handler is installed.
    unsafe { libc::raise(libc::SIGUSR1) };
    drop(black_box(held));
}

/// A handler runs on a signal stack that is an array in the frame of an outer function. The frames below the array are
/// in use.
fn signal_stack_inside_a_stack() {
    let looks = thread::spawn(|| {
        while HOLDING.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let report = find();
        IS_OVER.store(true, Ordering::Relaxed);
        report.expect("a report")
    });
    let mut array = black_box([0_u8; 64 * 1024]);
    let stack = libc::stack_t { ss_sp: array.as_mut_ptr().cast(), ss_flags: 0, ss_size: array.len() };
    // SAFETY: the stack's description may be all zero, and the next line overwrites it.
    let mut before = unsafe { std::mem::zeroed() };
    // SAFETY: only the handler uses the array.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, &raw mut before) }, 0);
    // SAFETY: all zero is a legal action.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = wait_in_handler as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: the handler has the type that these flags ask for.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) }, 0);
    interrupted();
    black_box(&mut array);
    // SAFETY: the signal stack that was set before.
    assert_eq!(unsafe { libc::sigaltstack(&raw const before, ptr::null_mut()) }, 0);
    let report = looks.join().expect("the search");
    assert!(report.is_empty() && report.running_threads.is_empty(), "{report}");
}

/// A large block has a closed page, as the stack of a fiber or a secret may have.
fn closed_page_in_a_large_block() {
    leaks::arm();
    let layout = Layout::from_size_align(16 * PAGE, PAGE).expect("a layout");
    // SAFETY: not of zero size.
    let block = unsafe { alloc(layout) };
    assert!(!block.is_null());
    for rights in [libc::PROT_NONE, libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
        // SAFETY: a page of the block.
        assert_eq!(unsafe { libc::mprotect(block.wrapping_add(PAGE).cast(), PAGE, rights) }, 0);
        assert_nothing();
    }
    // SAFETY: served above.
    unsafe { dealloc(block, layout) };
}

/// Returns a figure of the process in KiB, as the kernel reports it.
fn kibibytes(key: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    let line = status.lines().find(|line| line.starts_with(key)).expect("the figure");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

const GIB: usize = 1 << 30;

/// The untouched memory of a large block stays untouched, when the finder reads the block and when it is freed.
fn sparse_large_block() {
    leaks::arm();
    let sparse = black_box(vec![0_u8; GIB]);
    assert_nothing();
    drop(sparse);
    assert_nothing();
    assert!(kibibytes("VmHWM") < 256 * 1024, "{} KiB", kibibytes("VmHWM"));
}

/// Most of a private and of a shared mapping is only reserved. The finder sees the pointers in them, and does not touch
/// the rest.
fn reserved_memory() {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let private = map(256 * GIB, rights, libc::MAP_PRIVATE);
    let shared = map(GIB, rights, libc::MAP_SHARED);
    for place in [private.wrapping_add(128 * GIB), shared.wrapping_add(GIB / 2 + PAGE)] {
        PLACE.store(place.cast(), Ordering::Relaxed);
        far_below(plant);
        assert_nothing();
    }
    assert!(kibibytes("RssShmem") < 1024, "{} KiB", kibibytes("RssShmem"));
    // SAFETY: the only pointer lies there.
    unsafe { shared.wrapping_add(GIB / 2 + PAGE).cast::<usize>().write(0) };
    assert_eq!(report().direct.blocks, 1);
}

#[inline(never)]
fn forget_two() {
    std::mem::forget(black_box(Box::new([5_u64; 100])));
    std::mem::forget(black_box(vec![1_u8; 1000]));
}

/// There are more mappings than the finder's list has room for at first, and gaps where a larger list fits.
fn very_many_mappings() {
    let many = |count: usize| {
        let start = map(count * PAGE, libc::PROT_READ, libc::MAP_PRIVATE);
        for number in (0..count).step_by(2) {
            // SAFETY: inside the mapping.
            assert_eq!(unsafe { libc::mprotect(start.wrapping_add(number * PAGE).cast(), PAGE, libc::PROT_NONE) }, 0);
        }
    };
    leaks::arm();
    far_below(forget_two);
    assert_eq!(report().direct.blocks, 2);
    (0..60).for_each(|_| _ = map(16 * PAGE, libc::PROT_READ, libc::MAP_PRIVATE));
    many(2000);
    let gap = map(26 * PAGE, libc::PROT_NONE, libc::MAP_PRIVATE);
    many(400);
    // SAFETY: inside the mapping, and unused.
    assert_eq!(unsafe { libc::munmap(gap.wrapping_add(PAGE).cast(), 24 * PAGE) }, 0);
    assert_eq!(report().direct.blocks, 2);
}

/// Without a free descriptor the finder cannot find out why a thread does not answer. It does not take the thread for
/// an ended one.
fn no_descriptors_left() {
    let holder = thread::spawn(|| {
        let held = Box::new([5_usize; 5]);
        block_all_signals();
        HOLDING.fetch_add(1, Ordering::Relaxed);
        while !IS_OVER.load(Ordering::Relaxed) {
            // One descriptor is free now and then.
            drop(fs::File::open("/dev/null"));
        }
        drop(black_box(held));
    });
    while HOLDING.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let next = fs::File::open("/dev/null").expect("a descriptor");
    let limit = std::os::fd::AsRawFd::as_raw_fd(&next) as u64 + 1;
    drop(next);
    let limits = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) }, 0);
    for _ in 0..40 {
        // Most searches end with an error. The others name the thread, which could not be stopped.
        if let Ok(report) = far_below(find) {
            assert!(report.is_empty() && report.running_threads.len() == 1, "{report}");
        }
    }
    IS_OVER.store(true, Ordering::Relaxed);
    holder.join().expect("the holder");
}

/// The program chooses one signal for the search, then another, then the first one again. Searches work with each.
fn signals_in_turn() {
    for _ in 0..2 {
        for signal in [libc::SIGRTMIN() + 3, libc::SIGRTMIN() + 4] {
            leaks::use_signal(signal);
            assert_nothing();
        }
    }
}

/// A process in a PID namespace of its own sees the `/proc` of the outer namespace, in which its threads have other
/// numbers. The search notices this, and does not take the threads of the process for ended ones.
fn foreign_proc() {
    // SAFETY: no preconditions; this is the only thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } != 0 {
        return println!("left out: no new PID namespace is to be had: {}", std::io::Error::last_os_error());
    }
    in_a_child(|| {
        let holder = thread::spawn(|| hold(ptr::null_mut()).addr());
        while HOLDING.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let refused = far_below(find);
        IS_OVER.store(true, Ordering::Relaxed);
        holder.join().expect("the holder");
        assert_eq!(refused.map(|report| report.to_string()), Err(LeakError::NoProc));
    });
}

/// Runs the body in a child, and waits for the child. The child fails if the body panics.
fn in_a_child(body: impl FnOnce()) {
    // SAFETY: this is the only thread.
    match unsafe { libc::fork() } {
        -1 => panic!("no child: {}", std::io::Error::last_os_error()),
        0 => exit_after(body),
        child => {
            let mut status = 0;
            // SAFETY: room for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
}

/// Runs the body, and ends the process. The exit code is 1 if the body panics.
fn exit_after(body: impl FnOnce()) -> ! {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    std::process::exit(i32::from(ended.is_err()))
}

/// A filter of system calls refuses reads of the process's memory. The search then ends with an error, and does not
/// report all blocks as leaked.
fn refused_reads() {
    let held = Box::new([5_usize; 5]);
    let statement = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        // The call's number.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, libc::SYS_pread64 as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: it takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the filter is as long as the program says, and is copied.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } != 0 {
        return println!("left out: no filter is to be had: {}", std::io::Error::last_os_error());
    }
    let refused = far_below(find);
    assert_eq!(refused.map(|report| report.to_string()), Err(LeakError::NoProc));
    drop(black_box(held));
}

/// The first thread has ended, so `/proc/self` shows no memory any more. Searches still work.
fn the_first_thread_has_ended() {
    thread::spawn(|| {
        exit_after(|| {
            let has_ended = || fs::read("/proc/self/maps").map_or(true, |maps| maps.is_empty());
            while !has_ended() {
                thread::yield_now();
            }
            let held = Box::new([5_usize; 5]);
            assert_nothing();
            drop(black_box(held));
            far_below(forget_two);
            assert_eq!(report().direct.blocks, 2);
        })
    });
    // SAFETY: this thread holds nothing that another waits for.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// The complement of the end address of a large block. No memory holds the address itself.
static NOT_END: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the large block, on which functions run. `far_below` needs much of it.
const BLOCK_BYTES: usize = 1024 * 1024;

#[inline(never)]
fn leak_a_stack() {
    let stack = black_box(vec![0_u8; BLOCK_BYTES].leak());
    NOT_END.store(!(stack.as_ptr().addr() + BLOCK_BYTES), Ordering::Relaxed);
}

/// Overwrites the words that earlier functions have left on the stack below.
#[inline(never)]
fn clear() {
    black_box([0_u8; 48 * 1024]);
}

fn coroutine() {
    let held = Box::new([5_usize; 5]);
    // The first search is made by the thread whose stack is the block, the second by another thread.
    assert_nothing();
    HOLDING.store(1, Ordering::Relaxed);
    while !IS_OVER.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    drop(black_box(held));
}

/// Runs the coroutine on the block. There is no caller to return to.
extern "C" fn run_coroutine() -> ! {
    let ended = std::panic::catch_unwind(coroutine);
    if ended.is_err() {
        std::process::exit(1);
    }
    HOLDING.store(2, Ordering::Relaxed);
    loop {
        thread::park();
    }
}

/// Sets the stack pointer to the end of the block, and runs the coroutine there.
#[inline(never)]
fn change_stacks() -> ! {
    let end = NOT_END.load(Ordering::Relaxed);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: only this thread uses the block, and the called function does not return. The stack pointer is a multiple
    // of 16 at the call.
    unsafe {
        std::arch::asm!(
            "not {end}", "mov rsp, {end}", "and rsp, -16", "xor {end:e}, {end:e}", "xor ebp, ebp", "call {run}", "ud2",
            end = in(reg) end, run = sym run_coroutine, options(noreturn));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "mvn {end}, {end}", "and {end}, {end}, -16", "mov sp, {end}", "mov {end}, xzr", "mov x29, xzr", "bl {run}",
            "brk 1", end = in(reg) end, run = sym run_coroutine, options(noreturn));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    unreachable!("the finder works on neither: {end}");
}

/// A thread runs on a large block, to which only the thread's stack pointer leads. The blocks that this stack holds are
/// no leaks.
fn stack_in_a_large_block() {
    thread::spawn(|| {
        far_below(leak_a_stack);
        far_below(clear);
        change_stacks();
    });
    for step in 1..=2 {
        while HOLDING.load(Ordering::Relaxed) < step {
            thread::yield_now();
        }
        assert_nothing();
        IS_OVER.store(true, Ordering::Relaxed);
    }
}

#[inline(never)]
fn use_signal_stack() {
    let sp = ptr::without_provenance_mut(!NOT_END.load(Ordering::Relaxed) - BLOCK_BYTES);
    let stack = libc::stack_t { ss_sp: sp, ss_flags: 0, ss_size: BLOCK_BYTES };
    // SAFETY: nothing else uses the block.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) }, 0);
}

/// A thread's signal stack is a large block, and only the kernel knows its address.
fn signal_stack_in_a_large_block() {
    far_below(leak_a_stack);
    far_below(use_signal_stack);
    far_below(clear);
    assert_nothing();
}

fn block_all_signals() -> libc::sigset_t {
    // SAFETY: all zero is a set of signals.
    let mut all = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: room for a set.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: a set; the old one is not asked for.
    assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut()) }, 0);
    all
}

/// A thread takes each signal by `sigwait`, the search's signal too. It cannot be stopped, and the search soon sends no
/// more signals.
fn signals_taken_by_sigwait() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    thread::spawn(|| {
        let all = block_all_signals();
        let held = Box::new([5_usize; 5]);
        HOLDING.store(1, Ordering::Relaxed);
        loop {
            let mut signal = 0;
            // SAFETY: a set, and room for the answer.
            assert_eq!(unsafe { libc::sigwait(&raw const all, &raw mut signal) }, 0);
            TAKEN.fetch_add(1, Ordering::Relaxed);
            black_box(&held);
        }
    });
    while HOLDING.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let report = report();
    assert!(report.is_empty() && report.running_threads.len() == 1, "{report}");
    let taken = TAKEN.load(Ordering::Relaxed);
    assert!(taken < 50, "{taken} signals");
}

/// Body of a thread that lives for 4 ms, and asks for no memory.
extern "C" fn pass(_: *mut c_void) -> *mut c_void {
    let moment = libc::timespec { tv_sec: 0, tv_nsec: 4_000_000 };
    // SAFETY: a valid time; the time that is left is not asked for.
    unsafe { libc::nanosleep(&raw const moment, ptr::null_mut()) };
    ptr::null_mut()
}

/// A thread that cannot be stopped starts up to 30,000 new threads, at most five at a time. Each lives for 4 ms, so all
/// of them take at least 24 seconds. The search ends before that.
fn threads_made_for_ever() {
    const THREADS: usize = 30_000;
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let maker = thread::spawn(|| {
        block_all_signals();
        let held = Box::new([5_usize; 5]);
        let mut alive: VecDeque<_> = (0..4).map(|_| start_with(pass, |_| {})).collect();
        for _ in (0..THREADS).take_while(|_| !IS_OVER.load(Ordering::Relaxed)) {
            alive.push_back(start_with(pass, |_| {}));
            let first = alive.pop_front().expect("a thread");
            // SAFETY: a thread that was started, and is joined once.
            assert_eq!(unsafe { libc::pthread_join(first, ptr::null_mut()) }, 0);
            MADE.fetch_add(1, Ordering::Relaxed);
        }
        drop(black_box(held));
    });
    while MADE.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    let report = far_below(find);
    assert!(MADE.load(Ordering::Relaxed) < THREADS, "the search has waited until no more were made");
    IS_OVER.store(true, Ordering::Relaxed);
    let report = report.expect("a report");
    assert!(report.is_empty() && !report.running_threads.is_empty(), "{report}");
    maker.join().expect("the maker");
}

/// Backtraces of the search's own requests end at the end of its stack, whatever lies above it.
fn backtraces_of_the_search() {
    const BYTES: usize = 512 * 1024;
    std::mem::forget(black_box(Box::new([1_u64; 12])));
    // The mappings are as large as the search's stack, and take places where it would lie. So the stack comes to lie
    // below closed memory, and later below numbers that are no addresses.
    map(BYTES, libc::PROT_NONE, libc::MAP_PRIVATE);
    find().expect("a report");
    for _ in 0..12 {
        let numbers = map(BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE).cast::<usize>();
        for number in 0..BYTES / size_of::<usize>() {
            // SAFETY: inside the mapping.
            unsafe { numbers.wrapping_add(number).write(0x1000 + number) };
        }
    }
    find().expect("a report");
}

const PROGRAMS: &[(&str, fn())] = &[
    ("lent_stacks_side_by_side", lent_stacks_side_by_side),
    ("stacks_without_guards", stacks_without_guards),
    ("data_below_a_lent_stack", data_below_a_lent_stack),
    ("data_where_a_lent_stack_was", data_where_a_lent_stack_was),
    ("signal_stack_inside_a_stack", signal_stack_inside_a_stack),
    ("closed_page_in_a_large_block", closed_page_in_a_large_block),
    ("sparse_large_block", sparse_large_block),
    ("reserved_memory", reserved_memory),
    ("very_many_mappings", very_many_mappings),
    ("no_descriptors_left", no_descriptors_left),
    ("signals_in_turn", signals_in_turn),
    ("foreign_proc", foreign_proc),
    ("refused_reads", refused_reads),
    ("the_first_thread_has_ended", the_first_thread_has_ended),
    ("stack_in_a_large_block", stack_in_a_large_block),
    ("signal_stack_in_a_large_block", signal_stack_in_a_large_block),
    ("signals_taken_by_sigwait", signals_taken_by_sigwait),
    ("threads_made_for_ever", threads_made_for_ever),
    (BACKTRACES, backtraces_of_the_search),
];

/// The role whose finder is not armed. It runs with backtraces, if the build has them.
const BACKTRACES: &str = "backtraces_of_the_search";

pub(crate) fn tests() -> Vec<Test> {
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return vec![];
    }
    let test_of = |(name, _): &'static (&'static str, fn())| {
        Test::new(*name, move || {
            // The finder is armed from the beginning. Else blocks that are freed earlier would leave words in the C
            // library's heap that look like pointers.
            let words = if *name == BACKTRACES { "debug,backtrace=16" } else { "leaks" };
            // Mappings lie at different addresses in each process. In some of these runs the search maps its list into
            // a gap.
            let times = if *name == "very_many_mappings" { 8 } else { 1 };
            (0..times).for_each(|_| _ = succeed(command!(name).env("POOLMALLOC", words)));
        })
    };
    PROGRAMS.iter().map(test_of).collect()
}

pub(crate) fn child(role: &str) {
    let program = PROGRAMS.iter().find(|(name, _)| *name == role).map(|(_, program)| program);
    program.expect("a role")();
}
