//! Files of `/proc` and `/sys`, read by bare system calls, because the C library's functions are cancellation points.

use super::memory::{KeepErrno, last_error};
use core::ffi::CStr;

/// A file of `/proc` or `/sys`, open for reading.
pub(crate) struct ProcFile(pub(crate) libc::c_int);

impl ProcFile {
    /// Opens the file at a path that ends in a zero byte.
    pub(crate) fn open(path: &[u8]) -> Option<Self> {
        let _errno = KeepErrno::new();
        let path = CStr::from_bytes_until_nul(path).ok()?;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // The C library's function is a cancellation point: a thread that ended here would leave the others stopped.
        // SAFETY: the path ends in a zero byte.
        let descriptor = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
        libc::c_int::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0).map(Self)
    }

    /// Reads on in the file until `to` is full, the file ends or a read fails. Returns the bytes read.
    pub(crate) fn read(&self, to: &mut [u8]) -> usize {
        let _errno = KeepErrno::new();
        let mut length = 0;
        while length < to.len() {
            let rest = &mut to[length..];
            // SAFETY: the buffer is valid for its length.
            let count = unsafe { libc::syscall(libc::SYS_read, self.0, rest.as_mut_ptr(), rest.len()) };
            match usize::try_from(count) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(_) if last_error() == libc::EINTR => {}
                Err(_) => break,
            }
        }
        length
    }

    /// Reads the next entries of the directory. Returns the bytes read; 0 at its end, or if that fails.
    #[cfg(can_stop_threads)]
    pub(crate) fn entries(&self, to: &mut [u64]) -> usize {
        let _errno = KeepErrno::new();
        // SAFETY: the buffer is valid for its length.
        let count = unsafe { libc::syscall(libc::SYS_getdents64, self.0, to.as_mut_ptr(), size_of_val(to)) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Reads words from an offset of the file, a multiple of 8. Returns the number of words read.
    #[cfg(can_stop_threads)]
    pub(crate) fn words_at(&self, offset: usize, to: &mut [u64]) -> usize {
        let _errno = KeepErrno::new();
        // SAFETY: the buffer is valid for its length, and any bytes are valid words.
        let count = unsafe { libc::syscall(libc::SYS_pread64, self.0, to.as_mut_ptr(), size_of_val(to), offset) };
        usize::try_from(count).unwrap_or(0) / size_of::<u64>()
    }
}

impl Drop for ProcFile {
    fn drop(&mut self) {
        let _errno = KeepErrno::new();
        // SAFETY: opened by `open`, and closed once.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}
