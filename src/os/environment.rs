//! What the environment of the process says.

use core::ffi::CStr;

/// The value of an environment variable, as the C library has it now. Nobody may change the environment meanwhile.
///
/// `None` if the process has rights that its caller may lack (set-user-ID): what the caller wrote there must not have
/// it write files.
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
    // SAFETY: a value that is not null ends in a zero byte; it is read at the end of the process, or at its start.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes())
}
