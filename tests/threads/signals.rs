//! Threads start, allocate, hand blocks over and end while signals interrupt them, and threads are canceled.
//!
//! The program must not notice a handler that does only what POSIX allows: an interrupted wait for a lock goes on, and
//! a free leaves `errno` as it was. And no request may be a cancellation point: a canceled thread runs on to the next
//! cancellation point of the program itself.
//!
//! To see it fail: let the wait for a lock leave `EINTR` in `errno`; sleep there by `nanosleep` of the C library, which
//! is a cancellation point.
//!
//! `cargo test --test threads signals::`

use std::ffi::{c_int, c_void};
use std::io::Error;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use poolmalloc::{check_heap, stats};

use poolmalloc_support::oracle::{assert_nothing_left, consistent_stats, heaps};
use poolmalloc_support::{Test, raw_thread, scaled, tests, words};

const THREADS: usize = 4;

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static NOWHERE: OnceLock<c_int> = OnceLock::new();
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Does what a handler may do: counts, writes, and leaves `errno` as it was.
extern "C" fn handle(_: c_int) {
    let errno = errno();
    SIGNALS.fetch_add(1, Ordering::Relaxed);
    if let Some(file) = NOWHERE.get() {
        // SAFETY: the byte is readable. The file is /dev/null, so the result does not matter.
        unsafe { libc::write(*file, [0_u8].as_ptr().cast(), 1) };
    }
    set_errno(errno);
}

fn errno() -> c_int {
    Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Sets `errno`. No test of this file runs on other systems than Linux.
#[cfg(target_os = "linux")]
fn set_errno(errno: c_int) {
    // SAFETY: no preconditions.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: the location is this thread's own.
    unsafe { *location = errno };
}

#[cfg(not(target_os = "linux"))]
fn set_errno(_: c_int) {}

/// The kernel's number for the calling thread.
#[cfg(target_os = "linux")]
fn thread_number() -> c_int {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }
}

#[cfg(not(target_os = "linux"))]
fn thread_number() -> c_int {
    0
}

/// Sends a signal to the thread with this number, if there is one in this process.
#[cfg(target_os = "linux")]
fn send(signal: c_int, number: c_int) {
    let process = std::process::id();
    // SAFETY: no preconditions; the handlers are installed.
    unsafe { libc::syscall(libc::SYS_tgkill, process, number, signal) };
}

#[cfg(not(target_os = "linux"))]
fn send(_: c_int, _: c_int) {}

/// Installs the handler for two signals. A system call that `SIGUSR1` interrupts goes on; one that `SIGUSR2` interrupts
/// fails.
fn install_handlers() {
    NOWHERE.get_or_init(|| {
        // SAFETY: the path ends in a zero byte.
        let file = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY) };
        assert!(file >= 0, "/dev/null");
        file
    });
    for (signal, flags) in [(libc::SIGUSR1, libc::SA_RESTART), (libc::SIGUSR2, 0)] {
        // SAFETY: all zero is a legal action.
        let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = flags;
        // SAFETY: the handler has the type that these flags ask for.
        let error = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        assert_eq!(error, 0, "sigaction");
    }
}

/// The kernel's numbers for the running threads; 0 where there is no thread.
static RUNNING: [AtomicI32; THREADS] = [const { AtomicI32::new(0) }; THREADS];

/// Sends both signals to every running thread, again and again. A number that is out of date belongs to no thread, or
/// to another thread of this process, which may get the signals as well.
fn bombard() {
    while !IS_OVER.load(Ordering::Relaxed) {
        for thread in &RUNNING {
            let number = thread.load(Ordering::Relaxed);
            for signal in [libc::SIGUSR1, libc::SIGUSR2] {
                if number != 0 {
                    send(signal, number);
                }
            }
        }
        thread::yield_now();
    }
}

/// Holds the library's lock most of the time, so that other threads wait for it.
fn hold_the_lock() {
    while !IS_OVER.load(Ordering::Relaxed) {
        let _ = stats();
    }
}

/// Number of threads that send signals or hold the lock.
const RAIN: usize = 3;

/// Runs `test` while a thread sends signals all the time, and the library's lock is hard to get.
fn in_the_rain(test: impl FnOnce()) {
    install_handlers();
    assert_nothing_left(|| {
        IS_OVER.store(false, Ordering::Relaxed);
        let others: [_; RAIN] = [bombard, hold_the_lock, hold_the_lock].map(|body: fn()| thread::spawn(body));
        test();
        IS_OVER.store(true, Ordering::Relaxed);
        for other in others {
            other.join().expect("the rain");
        }
    });
}

/// A value of `errno` that no error has.
const UNTOUCHED: c_int = 4242;

/// Frees a block, and fails unless `errno` is unchanged.
fn free(block: NonNull<u64>) {
    set_errno(UNTOUCHED);
    words::free(block);
    assert_eq!(errno(), UNTOUCHED, "errno after a free");
}

static SLOTS: [AtomicPtr<u64>; 64] = [const { AtomicPtr::new(ptr::null_mut()) }; 64];

/// Allocates blocks, hands them over to the other threads, and frees the blocks that it gets from them.
fn work(count: usize) {
    for number in 0..count {
        let block = words::make(1 + number % 40);
        let other = SLOTS[number % SLOTS.len()].swap(block.as_ptr(), Ordering::AcqRel);
        NonNull::new(other).into_iter().for_each(free);
    }
}

/// Works until `signals` more signals have come.
fn work_through(signals: usize) {
    let before = SIGNALS.load(Ordering::Relaxed);
    while SIGNALS.load(Ordering::Relaxed) < before + signals {
        work(50);
    }
}

fn free_slots() {
    for slot in &SLOTS {
        NonNull::new(slot.swap(ptr::null_mut(), Ordering::AcqRel)).into_iter().for_each(free);
    }
}

static LATE_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Works in its third round. Then the library has taken the thread's heap back, and each request waits for the lock.
unsafe extern "C" fn work_late(round: *mut c_void) {
    if round.addr() < 3 {
        return arm_late(round.addr() + 1);
    }
    // Only threads to which signals are sent wait here until some have come. The threads to be canceled get none.
    if RUNNING.iter().any(|number| number.load(Ordering::Relaxed) == thread_number()) {
        work_through(20);
    }
    work(100);
}

fn arm_late(round: usize) {
    let key = LATE_KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` is writable, and the destructor lives as long as the program.
        let error = unsafe { libc::pthread_key_create(&raw mut key, Some(work_late)) };
        assert_eq!(error, 0, "pthread_key_create");
        key
    });
    // SAFETY: the key is never deleted; the value is a number.
    let error = unsafe { libc::pthread_setspecific(*key, ptr::without_provenance(round)) };
    assert_eq!(error, 0, "pthread_setspecific");
}

/// Starts short-lived threads that get signals until their very end.
fn threads_end_among_signals() {
    in_the_rain(|| {
        let before = stats();
        for _ in 0..scaled(60, 3) {
            raw_thread::run(THREADS, &|index| {
                RUNNING[index].store(thread_number(), Ordering::Relaxed);
                work_through(20);
                arm_late(1);
            });
        }
        free_slots();
        let after = stats();
        // The heaps of the threads of `in_the_rain`, of the threads that run together, and one that late requests
        // share.
        let most = heaps(&before) + RAIN as u64 + THREADS as u64 + 1;
        assert!(heaps(&after) <= most, "{:?}, then {:?}", before.heaps, after.heaps);
    });
    consistent_stats();
}

unsafe extern "C-unwind" {
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
    fn pthread_testcancel();
}

static HAVE_WORKED: AtomicUsize = AtomicUsize::new(0);

/// Cancels its own thread before the first request. The cancellation must not take effect before `pthread_testcancel`.
///
/// glibc unwinds this frame, which owns nothing.
extern "C-unwind" fn work_cancelled(_: *mut c_void) -> *mut c_void {
    // SAFETY: no preconditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: a running thread. The cancellation takes effect at the next cancellation point.
    let error = unsafe { pthread_cancel(this) };
    assert_eq!(error, 0, "pthread_cancel");
    work(100);
    // Each call waits for the lock, some of them long enough to sleep.
    for _ in 0..scaled(1000, 4) {
        let _ = stats();
    }
    arm_late(1);
    HAVE_WORKED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: no frame up to the thread's start owns anything.
    unsafe { pthread_testcancel() };
    ptr::null_mut()
}

/// The result of a canceled thread (`PTHREAD_CANCELED`).
const CANCELLED: usize = usize::MAX;

/// A thread that checks the heap again and again. A check holds the lock for long, so threads that wait for it
/// meanwhile have to sleep.
struct Checker(Option<thread::JoinHandle<()>>);

static IS_CHECKING: AtomicBool = AtomicBool::new(false);

impl Checker {
    fn start() -> Self {
        IS_CHECKING.store(true, Ordering::Relaxed);
        Self(Some(thread::spawn(|| {
            while IS_CHECKING.load(Ordering::Relaxed) {
                // Other threads are not quiet, so the result means nothing.
                let _ = check_heap();
                thread::sleep(Duration::from_micros(200));
            }
        })))
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        IS_CHECKING.store(false, Ordering::Relaxed);
        self.0.take().expect("dropped once").join().expect("no panic in a check");
    }
}

fn cancelled_threads() {
    in_the_rain(|| {
        HAVE_WORKED.store(0, Ordering::Relaxed);
        // SAFETY: the C library calls it like any thread's function, and only the C library unwinds it.
        let start: extern "C" fn(*mut c_void) -> *mut c_void =
            unsafe { std::mem::transmute(work_cancelled as extern "C-unwind" fn(*mut c_void) -> *mut c_void) };
        let rounds = scaled(60, 3);
        let checker = Checker::start();
        for _ in 0..rounds {
            let threads: [_; THREADS] = std::array::from_fn(|_| {
                let mut thread = std::mem::MaybeUninit::uninit();
                // SAFETY: `thread` is writable, and the function takes a null.
                let error = unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), start, ptr::null_mut()) };
                assert_eq!(error, 0, "pthread_create");
                // SAFETY: `pthread_create` succeeded, so it wrote this.
                unsafe { thread.assume_init() }
            });
            for thread in threads {
                let mut result = ptr::null_mut();
                // SAFETY: started above, and joined once.
                let error = unsafe { libc::pthread_join(thread, &raw mut result) };
                assert_eq!((error, result.addr()), (0, CANCELLED), "a cancelled thread's end");
            }
        }
        drop(checker);
        assert_eq!(HAVE_WORKED.load(Ordering::Relaxed), rounds * THREADS, "a request was a cancellation point");
        free_slots();
    });
    consistent_stats();
}

pub(crate) fn tests() -> Vec<Test> {
    if cfg!(target_os = "linux") { tests![threads_end_among_signals, cancelled_threads] } else { vec![] }
}
