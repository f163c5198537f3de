//! A simulated operating system: a test can make it refuse calls, and give it larger pages or little memory.
//!
//! The functions at the end replace functions of the C library, since the dynamic linker finds those of the executable
//! first. They act differently only for calls that the library makes while it serves a request through [`Watched`], and
//! for its thread-exit key. Calls that the C library makes itself, such as those of malloc, do not come here.
//!
//! This file is not part of tests/support, since it takes effect in every binary that links it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

use poolmalloc::PoolMalloc;

/// A kind of call that the library makes of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Mmap,
    Munmap,
    Mprotect,
    Madvise,
    Mincore,
    Sysconf,
    Getrlimit,
    KeyCreate,
    SetSpecific,
}

impl Call {
    pub(crate) const ALL: [Self; 9] = [
        Self::Mmap,
        Self::Munmap,
        Self::Mprotect,
        Self::Madvise,
        Self::Mincore,
        Self::Sysconf,
        Self::Getrlimit,
        Self::KeyCreate,
        Self::SetSpecific,
    ];
}

/// The calls that are refused. Calls of the plan's kind are numbered from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    Never,
    Only(usize),
    Every(usize),
    From(usize),
    /// All calls from this one on. From the first refusal on the backend has no memory either.
    FromWithBackend(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// The kind of call; `None` for all kinds together.
    pub(crate) call: Option<Call>,
    pub(crate) when: When,
}

static PLAN: Mutex<Plan> = Mutex::new(Plan { call: None, when: When::Never });
static MADE: [AtomicUsize; Call::ALL.len()] = [const { AtomicUsize::new(0) }; Call::ALL.len()];
static REFUSED: AtomicUsize = AtomicUsize::new(0);
static MISPLACED: AtomicUsize = AtomicUsize::new(0);
static RESERVED: AtomicI64 = AtomicI64::new(0);
/// Bytes of the simulated page, and of the simulated memory; 0 stands for the system's own.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
static MEMORY_BYTES: AtomicUsize = AtomicUsize::new(0);
static LIBRARY_KEY: AtomicU32 = AtomicU32::new(u32::MAX);

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Refuses calls as `plan` says, from now on.
pub(crate) fn follow(plan: Plan) {
    *PLAN.lock().expect("no panic while it was held") = plan;
}

/// Refuses nothing any more.
pub(crate) fn relent() {
    follow(Plan { call: None, when: When::Never });
}

/// Number of calls of this kind so far, refused ones included.
pub(crate) fn made(call: Option<Call>) -> usize {
    let count = |call: Call| MADE[call as usize].load(Ordering::Relaxed);
    call.map_or_else(|| Call::ALL.into_iter().map(count).sum(), count)
}

/// Number of calls refused so far.
pub(crate) fn refused() -> usize {
    REFUSED.load(Ordering::Relaxed)
}

/// Number of calls so far whose address was not the beginning of a simulated page.
pub(crate) fn misplaced() -> usize {
    MISPLACED.load(Ordering::Relaxed)
}

/// Bytes of address space that the library has from the system now.
pub(crate) fn reserved_bytes() -> i64 {
    RESERVED.load(Ordering::Relaxed)
}

/// Simulates a machine with this much memory for the library.
pub(crate) fn set_memory(bytes: usize) {
    MEMORY_BYTES.store(bytes, Ordering::Relaxed);
}

/// Simulates a kernel with pages of this size for the library. The size is a multiple of the true one.
pub(crate) fn set_page(bytes: usize) {
    PAGE_BYTES.store(bytes, Ordering::Relaxed);
}

/// The library's backend: the system's malloc, which a plan may leave without memory.
struct Backend;

impl Backend {
    fn is_empty() -> bool {
        let plan = *PLAN.lock().expect("no panic while it was held");
        matches!(plan.when, When::FromWithBackend(_)) && refused() > 0
    }
}

// SAFETY: every call goes on to `System` as it came, or fails as an allocator may.
unsafe impl GlobalAlloc for Backend {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        if Self::is_empty() { ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        if Self::is_empty() { ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        if Self::is_empty() { ptr::null_mut() } else { unsafe { System.realloc(block, layout, size) } }
    }
}

/// The library as the test's global allocator. It notes for each thread whether the thread is in a request.
pub(crate) struct Watched;

static POOLS: PoolMalloc<Backend> = PoolMalloc::with_backend(Backend);

/// Runs a request to the library. Calls that this thread makes meanwhile count as the library's.
pub(crate) fn inside<R>(request: impl FnOnce() -> R) -> R {
    IS_INSIDE.set(true);
    let result = request();
    IS_INSIDE.set(false);
    result
}

// SAFETY: every call goes on to the library as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        inside(|| unsafe { POOLS.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        inside(|| unsafe { POOLS.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        inside(|| unsafe { POOLS.dealloc(block, layout) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        inside(|| unsafe { POOLS.realloc(block, layout, size) })
    }
}

/// Counts a call of the library. Returns whether the plan refuses it.
fn is_refused(call: Call) -> bool {
    let plan = *PLAN.lock().expect("no panic while it was held");
    MADE[call as usize].fetch_add(1, Ordering::Relaxed);
    if plan.call.is_some_and(|planned| planned != call) {
        return false;
    }
    let number = made(plan.call);
    let is_refused = match plan.when {
        When::Never => false,
        When::Only(only) => number == only,
        When::Every(step) => number % step == 0,
        When::From(first) | When::FromWithBackend(first) => number >= first,
    };
    if is_refused {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    }
    is_refused
}

/// Returns the bytes of the simulated page, if one is set.
fn page() -> Option<usize> {
    let bytes = PAGE_BYTES.load(Ordering::Relaxed);
    (bytes != 0).then_some(bytes)
}

/// Replacements for the functions of the C library that the library calls.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod stand_ins {
    use super::{Call, IS_INSIDE, LIBRARY_KEY, MEMORY_BYTES, MISPLACED, RESERVED, is_refused, page};
    use libc::{ENOMEM, MAP_FAILED, c_int, c_long, c_void, off_t, pthread_key_t, size_t};
    use std::ffi::CStr;
    use std::mem::transmute;
    use std::ptr;
    use std::sync::atomic::Ordering;

    fn set_errno(error: c_int) {
        // SAFETY: no preconditions; the place is this thread's own.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: the place is writable for the thread's life.
        unsafe { place.write(error) };
    }

    /// Returns the C library's own function of this name.
    fn original(name: &CStr) -> *mut c_void {
        // SAFETY: the name ends in a zero byte.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        assert!(!found.is_null(), "{name:?}");
        found
    }

    /// Returns the length of a range, rounded up to whole simulated pages as a kernel does it. An address that is not
    /// the beginning of such a page is an error.
    fn in_pages(start: *mut c_void, length: size_t) -> Result<size_t, c_int> {
        match page().filter(|_| IS_INSIDE.get()) {
            Some(page) if start.addr() % page != 0 => {
                MISPLACED.fetch_add(1, Ordering::Relaxed);
                Err(libc::EINVAL)
            }
            Some(page) => Ok(length.next_multiple_of(page)),
            None => Ok(length),
        }
    }

    /// Makes a system call about a range, or refuses it.
    fn on_range(call: Call, number: c_long, start: *mut c_void, length: size_t, last: c_int) -> c_int {
        let checked = in_pages(start, length);
        let refusal = if IS_INSIDE.get() && is_refused(call) { Some(ENOMEM) } else { checked.err() };
        if let Some(error) = refusal {
            set_errno(error);
            return -1;
        }
        // SAFETY: the caller's promises. A call of two arguments does not read the third.
        unsafe { libc::syscall(number, start, checked.unwrap_or(length), last) as c_int }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn mmap(
        start: *mut c_void,
        length: size_t,
        rights: c_int,
        flags: c_int,
        file: c_int,
        offset: off_t,
    ) -> *mut c_void {
        let map = |length: size_t| {
            // SAFETY: the caller's promises.
            let mapped = unsafe { libc::syscall(libc::SYS_mmap, start, length, rights, flags, file, offset) };
            ptr::with_exposed_provenance_mut::<c_void>(mapped as usize)
        };
        if !IS_INSIDE.get() {
            return map(length);
        }
        if is_refused(Call::Mmap) {
            set_errno(ENOMEM);
            return MAP_FAILED;
        }
        let Some(page) = page() else {
            let mapped = map(length);
            if mapped != MAP_FAILED {
                RESERVED.fetch_add(length as i64, Ordering::Relaxed);
            }
            return mapped;
        };
        // The result is an odd multiple of the simulated page: a better alignment would hide mistakes. The space before
        // and behind it is never used.
        let length = length.next_multiple_of(page);
        let mapped = map(length + 3 * page);
        if mapped == MAP_FAILED {
            return mapped;
        }
        mapped.map_addr(|address| address.next_multiple_of(2 * page) + page)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn munmap(start: *mut c_void, length: size_t) -> c_int {
        let status = on_range(Call::Munmap, libc::SYS_munmap, start, length, 0);
        if IS_INSIDE.get() && status == 0 {
            RESERVED.fetch_sub(length as i64, Ordering::Relaxed);
        }
        status
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn mprotect(start: *mut c_void, length: size_t, rights: c_int) -> c_int {
        on_range(Call::Mprotect, libc::SYS_mprotect, start, length, rights)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn madvise(start: *mut c_void, length: size_t, advice: c_int) -> c_int {
        on_range(Call::Madvise, libc::SYS_madvise, start, length, advice)
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn mincore(start: *mut c_void, length: size_t, answer: *mut u8) -> c_int {
        let ask = |start: *mut c_void, length: size_t, answer: *mut u8| {
            // SAFETY: `answer` has room for one byte for each page: the caller promises it, or `answer` is the array
            // `parts`.
            unsafe { libc::syscall(libc::SYS_mincore, start, length, answer) as c_int }
        };
        let checked = in_pages(start, length);
        if (IS_INSIDE.get() && is_refused(Call::Mincore)) || checked.is_err() {
            set_errno(if checked.is_err() { libc::EINVAL } else { libc::EAGAIN });
            return -1;
        }
        let Some(page) = page().filter(|_| IS_INSIDE.get()) else {
            return ask(start, length, answer);
        };
        for (number, offset) in (0..length).step_by(page).enumerate() {
            let mut parts = [0; 64];
            if ask(start.wrapping_byte_add(offset), page, parts.as_mut_ptr()) != 0 {
                return -1;
            }
            let is_resident = parts.iter().any(|flags| flags & 1 == 1);
            // SAFETY: the caller promises room for as many pages as its range has.
            unsafe { *answer.wrapping_add(number) = u8::from(is_resident) };
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn sysconf(name: c_int) -> c_long {
        // SAFETY: this is the function's type.
        let original = unsafe { transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> c_long>(original(c"sysconf")) };
        // SAFETY: the caller's promises.
        let answer = unsafe { original(name) };
        if !IS_INSIDE.get() {
            return answer;
        }
        if is_refused(Call::Sysconf) {
            return -1;
        }
        match (name, page(), MEMORY_BYTES.load(Ordering::Relaxed)) {
            (libc::_SC_PAGESIZE, Some(page), _) => page as c_long,
            (libc::_SC_PHYS_PAGES, None, bytes) if bytes != 0 => {
                // SAFETY: no preconditions.
                bytes as c_long / unsafe { original(libc::_SC_PAGESIZE) }
            }
            (libc::_SC_PHYS_PAGES, Some(page), bytes) if bytes != 0 => (bytes / page) as c_long,
            _ => answer,
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrlimit(resource: libc::__rlimit_resource_t, limit: *mut libc::rlimit) -> c_int {
        if IS_INSIDE.get() && is_refused(Call::Getrlimit) {
            set_errno(libc::EINVAL);
            return -1;
        }
        // SAFETY: the caller's promises.
        unsafe { libc::syscall(libc::SYS_getrlimit, resource, limit) as c_int }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn pthread_key_create(
        key: *mut pthread_key_t,
        destructor: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int {
        type Original = unsafe extern "C" fn(*mut pthread_key_t, Option<unsafe extern "C" fn(*mut c_void)>) -> c_int;
        if IS_INSIDE.get() && is_refused(Call::KeyCreate) {
            return libc::EAGAIN;
        }
        // SAFETY: this is the function's type.
        let original = unsafe { transmute::<*mut c_void, Original>(original(c"pthread_key_create")) };
        // SAFETY: the caller's promises.
        let status = unsafe { original(key, destructor) };
        if IS_INSIDE.get() && status == 0 {
            // SAFETY: `original` has just written the key.
            LIBRARY_KEY.store(unsafe { key.read() }, Ordering::Relaxed);
        }
        status
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn pthread_setspecific(key: pthread_key_t, value: *const c_void) -> c_int {
        type Original = unsafe extern "C" fn(pthread_key_t, *const c_void) -> c_int;
        // The library's destructor sets the library's key outside of any request.
        if key == LIBRARY_KEY.load(Ordering::Relaxed) && is_refused(Call::SetSpecific) {
            return ENOMEM;
        }
        // SAFETY: this is the function's type.
        let original = unsafe { transmute::<*mut c_void, Original>(original(c"pthread_setspecific")) };
        // SAFETY: the caller's promises.
        unsafe { original(key, value) }
    }
}
