//! A shared library with the allocator inside: what tests/builds/unload.rs loads, uses, and closes.
//!
//! Nothing here touches a thread-local of the standard library that has a destructor: glibc would keep the library loaded
//! for its sake until the thread ends, and so do the allocator's work.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;

use poolmalloc::{PoolMalloc, check_heap, stats};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// A block of this library's allocator; null if `bytes` is 0 or there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_make(bytes: usize) -> *mut u8 {
    match Layout::array::<u8>(bytes) {
        // SAFETY: the size is not zero.
        Ok(layout) if bytes > 0 => black_box(unsafe { alloc(layout) }),
        _ => ptr::null_mut(),
    }
}

/// Frees a block of [`plugin_make`].
///
/// # Safety
/// * `block` came from `plugin_make(bytes)`, of this copy of the library, and is given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plugin_free(block: *mut u8, bytes: usize) {
    if let Ok(layout) = Layout::array::<u8>(bytes) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(block, layout) };
    }
}

/// Small blocks that are live in this copy of the library; `u64::MAX` if its heap is not valid.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_live_blocks() -> u64 {
    if check_heap().is_err() {
        return u64::MAX;
    }
    stats().small.live_blocks
}

/// Heaps of this copy of the library that threads have now.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_heaps_in_use() -> u64 {
    stats().heaps.in_use
}

/// Where the thread that the constructor waits for leaves its block.
static mut FIRST_BLOCK: *mut u8 = ptr::null_mut();

/// The block that a thread allocated while this library's constructor waited for it.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_first_block() -> *mut u8 {
    // SAFETY: written by a thread that the constructor has joined.
    unsafe { FIRST_BLOCK }
}

extern "C" fn allocate_first(_: *mut c_void) -> *mut c_void {
    // SAFETY: read only by those that come after the thread's end.
    unsafe { FIRST_BLOCK = plugin_make(8) };
    ptr::null_mut()
}

/// The library's first allocation happens while it is being loaded, in another thread, for which the loading one waits.
#[used]
#[cfg_attr(any(target_os = "linux", target_os = "freebsd"), unsafe(link_section = ".init_array"))]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn wait_for_a_thread() {
        let mut thread = std::mem::MaybeUninit::uninit();
        // SAFETY: `thread` is writable, and the function is one for threads.
        let error = unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), allocate_first, ptr::null_mut()) };
        if error != 0 {
            return;
        }
        // SAFETY: `pthread_create` succeeded, so it wrote this.
        let thread = unsafe { thread.assume_init() };
        // SAFETY: started above, and joined once.
        unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    }
    wait_for_a_thread
};
