//! Huge pages. All functions are hints to the system: none changes the content of memory, and elsewhere than on Linux
//! and Android they do nothing.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::{memory::KeepErrno, proc_file::ProcFile};
use core::ptr::NonNull;
#[cfg(any(target_os = "linux", target_os = "android"))]
use core::{
    ffi::c_void,
    sync::atomic::{AtomicBool, Ordering},
};
#[cfg(any(target_os = "linux", target_os = "android"))]
use libc::{MADV_HUGEPAGE, MADV_NOHUGEPAGE};

/// Whether the library has asked for a huge page. Once true, it stays so.
#[cfg(any(target_os = "linux", target_os = "android"))]
static IS_ASKED: AtomicBool = AtomicBool::new(false);

// The C libraries do not all have names for these two.
/// `MADV_COLD`: the pages are not needed soon. Linux 5.4 or later.
#[cfg(any(target_os = "linux", target_os = "android"))]
const COLD: i32 = 20;
/// `MADV_COLLAPSE`: the pages are joined to huge pages. Linux 6.1 or later.
#[cfg(any(target_os = "linux", target_os = "android"))]
const COLLAPSE: i32 = 25;

/// Gives the system these pieces of advice about a page-aligned range, one after the other, up to the first that it
/// refuses. Returns whether it refused none. Keeps `errno`.
///
/// # Safety
/// * The range lies in what [`reserve`](super::reserve) returned. No piece of advice changes its content.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn advise(start: NonNull<u8>, bytes: usize, advice: &[i32]) -> bool {
    let _errno = KeepErrno::new();
    if advice.contains(&MADV_HUGEPAGE) {
        IS_ASKED.store(true, Ordering::Relaxed);
    }
    let range = start.as_ptr().cast::<c_void>();
    // SAFETY: the caller's promise.
    advice.iter().all(|&advice| unsafe { libc::madvise(range, bytes, advice) } == 0)
}

/// Asks for huge pages in a page-aligned range, or forbids them there. Sparse tables forbid them: where the system uses
/// huge pages by default, each byte touched would take 2 MiB.
///
/// # Safety
/// * The range lies in what [`reserve`](super::reserve) returned.
pub(crate) unsafe fn prefer_huge_pages(start: NonNull<u8>, bytes: usize, are_wanted: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: the caller's promise.
        unsafe { advise(start, bytes, &[if are_wanted { MADV_HUGEPAGE } else { MADV_NOHUGEPAGE }]) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, bytes, are_wanted);
}

/// Puts a huge page into a range of the size of one, if the system has one to give. Afterwards the system treats the
/// range as it did before: it takes no huge page there by itself.
///
/// # Safety
/// * The range lies in what [`reserve`](super::reserve) returned, is open, aligned to its size, and
///   [`prefer_huge_pages`] has forbidden huge pages there.
/// * No other thread uses the first byte of the range, and its content is not needed.
pub(crate) unsafe fn put_huge_page(start: NonNull<u8>, bytes: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // The first touch decides about the page. So the range needs the permission for this touch only.
        // SAFETY: the caller's promise.
        if unsafe { advise(start, bytes, &[MADV_HUGEPAGE]) } {
            // SAFETY: the caller promises that the range is open, and that its first byte is free to use.
            unsafe { start.as_ptr().write_volatile(0) };
        }
        // After a refusal too: the system may have changed a part of the range before it refused the rest.
        // SAFETY: the caller's promise.
        unsafe { prefer_huge_pages(start, bytes, false) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, bytes);
}

/// Joins the small pages of a range to huge pages, if the system can. The system copies all pages of the range; while
/// it does, page faults of other threads wait. Afterwards the system treats the range as it did before.
///
/// # Safety
/// * The range lies in what [`reserve`](super::reserve) returned, is open, aligned to huge pages, and
///   [`prefer_huge_pages`] has forbidden huge pages there.
pub(crate) unsafe fn join_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: the caller's promise.
        unsafe { advise(start, bytes, &[MADV_HUGEPAGE, COLLAPSE]) };
        // SAFETY: as above.
        unsafe { advise(start, bytes, &[MADV_NOHUGEPAGE]) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, bytes);
}

/// Splits huge pages in a range of which a part has been given back, as far as no other process shares them. Without
/// this, the system keeps the whole of a huge page of which a part is still used, until it runs short of memory. Does
/// nothing if the library has never asked for a huge page.
///
/// The system takes the pages of the range that are in use for ones that are not needed soon, until the program uses
/// them again.
///
/// # Safety
/// * The range begins at a multiple of a huge page, and lies in what [`reserve`](super::reserve) returned.
pub(crate) unsafe fn split_huge_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // Relaxed: if this thread does not see yet that another one has just asked for the first huge page, a later release
    // splits it.
    if IS_ASKED.load(Ordering::Relaxed) {
        // The system splits a huge page if the program still uses a part of it and says that it does not need it soon.
        // SAFETY: the caller's promise.
        unsafe { advise(start, bytes, &[COLD]) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (start, bytes);
}

/// Whether the system's setting is that programs get no huge pages. [`join_pages`] would get some nevertheless.
pub(crate) fn are_huge_pages_off() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let Some(file) = ProcFile::open(b"/sys/kernel/mm/transparent_hugepage/enabled\0") else { return false };
        let mut text = [0; 64];
        let length = file.read(&mut text);
        let text = &text[..length];
        text.windows(7).any(|word| word == b"[never]")
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    false
}
