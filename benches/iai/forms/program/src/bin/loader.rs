//! Loads a shared library that has the allocator inside, and calls its operations. The argument is the library's path.
//! The allocator of this program is the system's.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

fn main() {
    let path = std::env::args_os().nth(1).expect("the library's path").into_vec();
    let path = CString::new(path).expect("a path without a zero byte");
    // SAFETY: the library's constructors have no preconditions.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!library.is_null(), "dlopen {path:?}");
    // SAFETY: the library is open, and the name ends in a zero byte.
    let entry = unsafe { libc::dlsym(library, c"form_entry".as_ptr()) };
    assert!(!entry.is_null(), "dlsym");
    // SAFETY: the library defines the function with this type.
    let entry = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(entry) };
    entry();
}
