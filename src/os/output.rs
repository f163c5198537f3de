//! Where the library writes: standard error, and files that the environment names. Nothing here allocates.

use super::memory::{KeepErrno, last_error};
use core::ffi::CStr;

/// A file to write to.
pub(crate) struct Output {
    descriptor: libc::c_int,
    is_ours: bool,
}

impl Output {
    pub(crate) fn stderr() -> Self {
        Self { descriptor: libc::STDERR_FILENO, is_ours: false }
    }

    /// Creates a file, or empties an old one. `None` if that fails.
    pub(crate) fn create(path: &CStr) -> Option<Self> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        // SAFETY: the path ends in a zero byte.
        let descriptor = unsafe { libc::open(path.as_ptr(), flags, 0o644) };
        (descriptor >= 0).then_some(Self { descriptor, is_ours: true })
    }

    /// Writes the whole text, unless an error stops it.
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

/// A buffer that joins short pieces of text into few writes.
pub(crate) struct BufferedOutput {
    output: Output,
    bytes: [u8; 1024],
    length: usize,
}

impl BufferedOutput {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, bytes: [0; 1024], length: 0 }
    }

    /// Writes the text in the buffer.
    pub(crate) fn flush(&mut self) {
        self.output.write(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl core::fmt::Write for BufferedOutput {
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

/// Writes to standard error without allocating or locking. A failure is ignored, since it cannot be reported.
pub(crate) fn write_stderr(text: &[u8]) {
    let _errno = KeepErrno::new();
    Output::stderr().write(text);
}
