//! Address ranges: reserved without memory behind them, then opened for use step by step.
//!
//! Reserving costs no memory: `PROT_NONE` and `MAP_NORESERVE`. Opening is an `mprotect`; the kernel adds pages when
//! they are first touched. A failure leaves `errno` as it was, because these functions may run inside a free, which
//! must not change it.

use core::ffi::c_void;
use core::ptr::NonNull;

/// Bytes of a system page: 4, 16 or 64 KiB. Asked at run time, because one binary may run on kernels with different
/// page sizes.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: sysconf has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|b| b.is_power_of_two()).unwrap_or(4096)
}

/// Bytes of memory in the machine; `None` where the system does not say.
pub(crate) fn physical_memory() -> Option<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: sysconf has no preconditions.
        let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
        usize::try_from(pages).ok()?.checked_mul(page_bytes())
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// The process's limit on its address space in bytes (`RLIMIT_AS`); `None` if there is none.
pub(crate) fn address_space_limit() -> Option<usize> {
    #[cfg(not(target_os = "openbsd"))]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the answer.
        let status = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
        if status != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
            return None;
        }
        usize::try_from(limit.rlim_cur).ok()
    }
    // OpenBSD has no such limit.
    #[cfg(target_os = "openbsd")]
    None
}

/// Reserves `bytes` of addresses, a multiple of the system page, without memory behind them. `None` if the system
/// refuses.
pub(crate) fn reserve(bytes: usize) -> Option<NonNull<u8>> {
    // FreeBSD commits no memory to a mapping without rights, and has no flag `MAP_NORESERVE`.
    #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
    #[cfg(not(any(target_os = "freebsd", target_os = "dragonfly")))]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
    let _errno = KeepErrno::new();
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe { libc::mmap(core::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

/// Gives back addresses that [`reserve`] returned, in whole or in part.
///
/// # Safety
/// * The range is page-aligned, came from [`reserve`], and nothing uses it any more.
pub(crate) unsafe fn unreserve(start: NonNull<u8>, bytes: usize) {
    let _errno = KeepErrno::new();
    // SAFETY: the caller promises that the range is ours and unused.
    unsafe { libc::munmap(start.as_ptr().cast::<c_void>(), bytes) };
}

/// Makes the page-aligned range readable and writable. False if the system refuses (overcommit, limits).
///
/// # Safety
/// * The range lies in what [`reserve`] returned.
pub(crate) unsafe fn open(start: NonNull<u8>, bytes: usize) -> bool {
    let _errno = KeepErrno::new();
    // SAFETY: the caller promises that the range is ours; giving rights takes none away.
    unsafe { libc::mprotect(start.as_ptr().cast::<c_void>(), bytes, libc::PROT_READ | libc::PROT_WRITE) == 0 }
}

/// Gives the right to read to a page-aligned range that is not open. It reads as zero and takes no memory. The system
/// may refuse.
///
/// # Safety
/// * The range lies in what [`reserve`] returned, and [`open`] has not opened any of it.
pub(crate) unsafe fn let_read(start: NonNull<u8>, bytes: usize) {
    let _errno = KeepErrno::new();
    // SAFETY: the caller promises that the range is ours, with no rights that this could take away.
    unsafe { libc::mprotect(start.as_ptr().cast::<c_void>(), bytes, libc::PROT_READ) };
}

/// Restores `errno` when dropped. Programs read `errno` after they have dropped values, so a free must not change it.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    pub(crate) fn new() -> Self {
        // SAFETY: the location is this thread's own `errno`.
        Self(unsafe { *errno_location() })
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: the location is this thread's own `errno`.
        unsafe { *errno_location() = self.0 };
    }
}

/// Returns memory for a word that is zero in each child of a fork until the child sets it. A child that shares its
/// parent's memory shares the word. `None` where the system cannot do this.
pub(crate) fn word_wiped_on_fork() -> Option<NonNull<u8>> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _errno = KeepErrno::new();
        let page = page_bytes();
        let start = reserve(page)?;
        // SAFETY: just reserved; the advice changes no content.
        let advise = |advice| unsafe { libc::madvise(start.as_ptr().cast(), page, advice) == 0 };
        // An emulator may accept any advice and ignore it. Such an emulator also accepts the advice -1, which does not
        // exist.
        // SAFETY: just reserved.
        if !advise(-1) && advise(libc::MADV_WIPEONFORK) && unsafe { open(start, page) } {
            return Some(start);
        }
        // SAFETY: just reserved, and not used.
        unsafe { unreserve(start, page) };
    }
    None
}

/// This thread's `errno`.
pub(crate) fn last_error() -> i32 {
    // SAFETY: the location is this thread's own `errno`.
    unsafe { *errno_location() }
}

/// Where the C library keeps this thread's `errno`.
fn errno_location() -> *mut i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: no preconditions.
    unsafe {
        libc::__errno_location()
    }
    #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
    // SAFETY: no preconditions.
    unsafe {
        libc::__errno()
    }
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    // SAFETY: no preconditions.
    unsafe {
        libc::__error()
    }
    #[cfg(target_os = "dragonfly")]
    // SAFETY: no preconditions.
    unsafe {
        libc::__errno_location()
    }
}

/// Gives the memory of a page-aligned range back to the system; the range stays open. On Linux and Android it reads as
/// zero afterwards; elsewhere the old content may stay for a while. Returns the bytes that were in memory, or 0 if the
/// system refuses.
///
/// # Safety
/// * The range lies in what [`reserve`] returned and is open, and its content is no longer needed.
pub(crate) unsafe fn release(start: NonNull<u8>, bytes: usize) -> usize {
    let _errno = KeepErrno::new();
    // Pages in the swap are not counted, but they are given back, too.
    let before = resident_bytes(start, bytes);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let advice = libc::MADV_DONTNEED;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let advice = libc::MADV_FREE;
    // SAFETY: the caller promises that the content is no longer needed.
    let status = unsafe { libc::madvise(start.as_ptr().cast::<c_void>(), bytes, advice) };
    if status == 0 { before } else { 0 }
}

/// Gives back the memory of pages that the library did not reserve, such as those of a large block. They read as zero
/// afterwards, unless the mapping is shared. False if that is not possible.
///
/// # Safety
/// * The range is whole pages that are mapped, and its content is no longer needed.
pub(crate) unsafe fn give_back(start: *mut u8, bytes: usize) -> bool {
    let _errno = KeepErrno::new();
    // On other systems the old content may stay for a while.
    // SAFETY: the caller promises that the content is no longer needed.
    cfg!(any(target_os = "linux", target_os = "android"))
        && unsafe { libc::madvise(start.cast::<c_void>(), bytes, libc::MADV_DONTNEED) } == 0
}

/// Asks the C library to give malloc's free memory back to the system. Returns whether it gave any back.
pub(crate) fn trim_backend() -> bool {
    let _errno = KeepErrno::new();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no preconditions.
    return unsafe { libc::malloc_trim(0) } == 1;
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

/// Bytes of a page-aligned range that are in memory now; 0 where the system does not say.
pub(crate) fn resident_bytes(start: NonNull<u8>, bytes: usize) -> usize {
    /// Pages that one call asks about.
    const AT_ONCE: usize = 1024;
    let _errno = KeepErrno::new();
    let page = page_bytes();
    let mut answer = [0u8; AT_ONCE];
    let mut resident = 0;
    for first in (0..bytes).step_by(AT_ONCE * page) {
        let part = (bytes - first).min(AT_ONCE * page);
        let from = start.as_ptr().wrapping_add(first).cast::<c_void>();
        // SAFETY: the call changes nothing at these addresses; `answer` has a byte for each page.
        let status = unsafe { libc::mincore(from, part, answer.as_mut_ptr().cast()) };
        if status == 0 {
            // The other bits are reserved, or have other meanings.
            resident += answer[..part.div_ceil(page)].iter().filter(|flags| **flags & 1 == 1).count() * page;
        }
    }
    resident
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_addresses_can_be_opened_in_part() {
        let page = page_bytes();
        let start = reserve(8 * page).unwrap();
        // SAFETY: inside the reservation.
        assert!(unsafe { open(start, 6 * page) });
        assert_eq!(resident_bytes(start, 8 * page), 0);
        // SAFETY: just opened.
        unsafe { start.as_ptr().wrapping_add(page - 1).write(7) };
        assert_eq!(resident_bytes(start, 8 * page), page);
        for number in 2..6 {
            // SAFETY: just opened.
            unsafe { start.as_ptr().wrapping_add(number * page).write(7) };
        }
        assert_eq!(resident_bytes(start, 8 * page), 5 * page);
        // SAFETY: ours, and unused from here on.
        unsafe { unreserve(start, 8 * page) };
    }

    #[test]
    fn refusal_is_an_answer_and_keeps_errno() {
        // SAFETY: this thread's own errno.
        unsafe { *errno_location() = 4242 };
        assert!(reserve(1 << 62).is_none());
        // SAFETY: as above.
        assert_eq!(unsafe { *errno_location() }, 4242);
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(physical_memory().is_none_or(|bytes| bytes > 16 << 20));
        assert!(page_bytes() >= 4096);
    }
}
