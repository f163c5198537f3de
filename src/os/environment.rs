//! The environment variables of the process.

use core::ffi::CStr;

/// Returns the value of an environment variable, as the C library has it now. No thread may change the environment
/// while the caller uses the value.
///
/// `None` if the variable is not set, or if the process has rights that its caller may lack (set-user-ID): such a
/// caller must not make it write files.
pub(crate) fn environment(name: &CStr) -> Option<&'static [u8]> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: no preconditions.
    let is_foreign = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    // SAFETY: no preconditions.
    let is_foreign = unsafe { libc::getuid() != libc::geteuid() || libc::getgid() != libc::getegid() };
    if is_foreign {
        return None;
    }
    // SAFETY: the name ends in a zero byte.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: a value that is not null ends in a zero byte. Callers use it when the allocator starts or the process
    // ends; the program must not change the environment then.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes())
}
