//! Thread exit, waiting, and the end of a process.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::memory::KeepErrno;
use core::ffi::c_void;

/// A key whose destructor runs at the exit of each thread that armed it.
///
/// The destructors of pthread keys run in rounds: as long as one of them arms its key again, there is another round.
/// The C library makes at least four rounds before it gives up. Where it knows thread-exit functions (glibc, macOS),
/// these destructors run after those of Rust's thread-locals; elsewhere (musl) they run among them. They do not run for
/// the main thread when `main` returns.
#[derive(Clone, Copy)]
pub(crate) struct ThreadExitKey(libc::pthread_key_t);

impl ThreadExitKey {
    /// Makes a key. `None` if the process has no key left.
    pub(crate) fn new(destructor: unsafe extern "C" fn(*mut c_void)) -> Option<Self> {
        // The destructor's code must stay loaded.
        super::loaded::name_entry();
        let mut key = 0;
        // SAFETY: `key` is a valid place for the answer; the destructor has the type that the call asks for.
        let status = unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) };
        (status == 0).then_some(Self(key))
    }

    /// Arms the key: its destructor is called with `value`, which is not null, at the exit of this thread. False if
    /// there is no memory for that.
    pub(crate) fn arm(self, value: *mut c_void) -> bool {
        // SAFETY: the key was made by `new` and is never deleted.
        unsafe { libc::pthread_setspecific(self.0, value) == 0 }
    }
}

/// Lets other threads run for a moment. On Linux and Android it sleeps for 50 microseconds, so that threads of any
/// priority may run; elsewhere it only yields. Keeps `errno`, and is no cancellation point.
pub(crate) fn nap() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _errno = KeepErrno::new();
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
        // The C library's function is a cancellation point: `pthread_cancel` could end the thread in the middle of a
        // request.
        // SAFETY: `moment` is readable; the null pointer says that the remaining time is not wanted.
        unsafe { libc::syscall(libc::SYS_nanosleep, &raw const moment, core::ptr::null_mut::<libc::timespec>()) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    // SAFETY: no preconditions.
    unsafe {
        libc::sched_yield();
    }
}

/// Number of this process. The child of a fork has another one.
pub(crate) fn process_id() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() }.unsigned_abs()
}

/// Ends the process with `SIGABRT`, without a call of the program's handler for it.
pub(crate) fn abort_without_handler() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::signal(libc::SIGABRT, libc::SIG_DFL) };
    abort()
}

/// Ends the process with `SIGABRT`. If the program has a handler for it, the handler runs first.
pub(crate) fn abort() -> ! {
    // SAFETY: no preconditions.
    unsafe { libc::abort() }
}
