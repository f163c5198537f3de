//! Thread exit, waiting, and the end of a process.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::memory::KeepErrno;
use core::ffi::c_void;

/// A key whose destructor runs at the exit of each thread that armed it.
///
/// The destructors of pthread keys run after those of Rust's thread-locals where the C library knows thread-exit
/// functions (glibc, macOS), and among them elsewhere (musl), in at least four rounds while one of them arms its key
/// again; not for the main thread when `main` returns.
#[derive(Clone, Copy)]
pub(crate) struct ThreadExitKey(libc::pthread_key_t);

impl ThreadExitKey {
    /// `None` if the process has no key left.
    pub(crate) fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Option<Self> {
        // A destructor must not be unloaded.
        super::loaded::name_entry();
        let mut key = 0;
        // SAFETY: `key` is a valid place for the answer; the destructor has the type that is asked for.
        let status = unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) };
        (status == 0).then_some(Self(key))
    }

    /// Has the destructor called with `value`, not null, at the exit of this thread. False if there is no memory for
    /// it.
    pub(crate) fn arm(self, value: *mut c_void) -> bool {
        // SAFETY: the key was made by `new` and is never deleted.
        unsafe { libc::pthread_setspecific(self.0, value) == 0 }
    }
}

/// Sleeps for 50 microseconds, so that threads of any priority may run. Keeps `errno`, and is no cancellation point.
pub(crate) fn nap() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _errno = KeepErrno::new();
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        // The C library's function would be a place where `pthread_cancel` ends the thread, in the middle of a request.
        // SAFETY: `moment` is readable; what is left of it is not asked for.
        unsafe { libc::syscall(libc::SYS_nanosleep, &raw const moment, core::ptr::null_mut::<libc::timespec>()) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    // SAFETY: no preconditions.
    unsafe {
        libc::sched_yield();
    }
}

/// Number of this process; another one in the child of a fork.
pub(crate) fn process_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() }.unsigned_abs()
}

/// As [`abort`], whatever handler the program has for the signal.
pub(crate) fn abort_without_handler() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::signal(libc::SIGABRT, libc::SIG_DFL) };
    abort()
}

/// Ends the process with `SIGABRT`.
pub(crate) fn abort() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::abort() }
}
