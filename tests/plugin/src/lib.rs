//! A shared library with the allocator inside: tests/builds/unload.rs loads, uses, and closes it.
//!
//! Nothing here touches a thread-local of the standard library that has a destructor. For such a destructor glibc would
//! itself keep the library loaded until the thread ends. Then the tests could not show that the allocator keeps it
//! loaded.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr;

use poolmalloc::{PoolMalloc, check_heap, stats};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Returns a block of this library's allocator. Null if `bytes` is 0 or there is no memory.
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

/// Returns the number of live small blocks in this copy of the library; `u64::MAX` if its heap is not valid.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_live_blocks() -> u64 {
    if check_heap().is_err() {
        return u64::MAX;
    }
    stats().small.live_blocks
}

/// Returns the number of heaps of this copy of the library that threads have now.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_heaps_in_use() -> u64 {
    stats().heaps.in_use
}

/// The block of the thread that the constructor waits for; null before that thread has run.
static mut FIRST_BLOCK: *mut u8 = ptr::null_mut();

/// Returns the block that a thread allocated while this library's constructor waited for it.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_first_block() -> *mut u8 {
    // SAFETY: only a thread that the constructor has joined wrote here.
    unsafe { FIRST_BLOCK }
}

extern "C" fn allocate_first(_: *mut c_void) -> *mut c_void {
    // SAFETY: other threads read this only after the thread's end.
    unsafe { FIRST_BLOCK = plugin_make(8) };
    ptr::null_mut()
}

/// Constructor that starts a thread and waits for it. So another thread makes the library's first allocation while the
/// library is being loaded.
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
