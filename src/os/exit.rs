//! The end of the process, and what is written then.

use super::memory::last_error;
use crate::at_exit::report_at_exit;
use core::ffi::CStr;

/// Runs after the functions that the program gave to `atexit`, if the process ends by `exit` or a return from `main`.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
static AT_EXIT: extern "C" fn() = report_at_exit;

/// Has no effect, but that a linker which takes from a static library only what is named takes the entry above, too.
pub(crate) fn name_exit_entry() {
    core::hint::black_box(&AT_EXIT);
}

/// The value of an environment variable, as the C library has it now. Nobody may change the environment meanwhile.
///
/// `None` if the process has rights that its caller may lack (set-user-ID): what the caller wrote there must not have it
/// write files.
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

/// A file to write to.
pub(crate) struct Output {
    descriptor: libc::c_int,
    is_ours: bool,
}

impl Output {
    pub(crate) fn stderr() -> Self {
        Self { descriptor: libc::STDERR_FILENO, is_ours: false }
    }

    /// A new file, or an old one made empty; `None` if that cannot be.
    pub(crate) fn create(path: &CStr) -> Option<Self> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        // SAFETY: the path ends in a zero byte.
        let descriptor = unsafe { libc::open(path.as_ptr(), flags, 0o644) };
        (descriptor >= 0).then_some(Self { descriptor, is_ours: true })
    }

    /// Writes all of it, if it can be.
    pub(crate) fn write(&self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            // SAFETY: the buffer is valid for its length.
            let written = unsafe { libc::write(self.descriptor, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(count) if count > 0 => rest = &rest[count.min(rest.len())..],
                // A signal came before anything was written.
                _ if written < 0 && last_error() == libc::EINTR => {}
                _ => return,
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_ours {
            // SAFETY: opened by `create`, and closed once.
            unsafe { libc::close(self.descriptor) };
        }
    }
}

/// Collects short pieces of text into few writes.
pub(crate) struct Buffered {
    output: Output,
    bytes: [u8; 1024],
    length: usize,
}

impl Buffered {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, bytes: [0; 1024], length: 0 }
    }

    /// Writes what was collected.
    pub(crate) fn flush(&mut self) {
        self.output.write(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl core::fmt::Write for Buffered {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for part in text.as_bytes().chunks(self.bytes.len()) {
            if self.length + part.len() > self.bytes.len() {
                self.flush();
            }
            self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
            self.length += part.len();
        }
        Ok(())
    }
}
