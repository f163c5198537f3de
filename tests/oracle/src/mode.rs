//! The effect of `POOLMALLOC` in the environment on a request, restated.

use std::alloc::Layout;
use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicU8, Ordering};

unsafe extern "C" {
    safe fn getenv(name: *const c_char) -> *const c_char;
}

/// Bit for the word `malloc` in the variable: the backend serves every request.
const MALLOC: u8 = 1;
/// Bit for the word `debug`: the debug mode makes every block larger.
const DEBUG: u8 = 2;
/// Bit that is set once the variable has been read.
const IS_READ: u8 = 4;

/// The bits of the words in the variable. Allocates nothing, so that an allocator may call it.
fn words() -> u8 {
    static WORDS: AtomicU8 = AtomicU8::new(0);
    match WORDS.load(Ordering::Relaxed) {
        0 => {
            let value = getenv(c"POOLMALLOC".as_ptr());
            // SAFETY: a value that is not null ends in a zero byte, and no thread changes the environment.
            let value = if value.is_null() { b"" } else { unsafe { CStr::from_ptr(value) }.to_bytes() };
            let has = |word: &[u8]| value.split(|byte| *byte == b',').any(|found| found == word);
            let words = IS_READ | if has(b"malloc") { MALLOC } else { 0 } | if has(b"debug") { DEBUG } else { 0 };
            WORDS.store(words, Ordering::Relaxed);
            words
        }
        words => words,
    }
}

/// Whether this process runs in debug mode.
pub fn is_debug() -> bool {
    words() & DEBUG != 0
}

/// Whether this process has pools.
pub fn has_pools() -> bool {
    words() & MALLOC == 0
}

/// Bytes that the debug mode adds to a block whose alignment is at most 8 and whose size is a multiple of 8: a header
/// of 32 bytes, and 8 forbidden bytes on each side.
pub const DEBUG_BYTES: usize = 48;

/// The layout that the library asks the pools or the backend for, to serve `layout`. In debug mode it is larger.
pub fn served(layout: Layout) -> Layout {
    if !is_debug() {
        return layout;
    }
    let align = layout.align().max(8);
    let size = 40_usize.next_multiple_of(align) + layout.size() + 8;
    Layout::from_size_align(size.next_multiple_of(8), align).expect("a legal layout")
}
