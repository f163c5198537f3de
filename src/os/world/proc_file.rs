//! Files of `/proc`, read by bare system calls, because the C library's functions are cancellation points.

use crate::os::memory::{KeepErrno, last_error};
use core::ffi::CStr;

/// A file of `/proc`, open for reading.
pub(super) struct ProcFile(pub(super) libc::c_int);

impl ProcFile {
    /// Opens the file at a path that ends in a zero byte.
    pub(super) fn open(path: &[u8]) -> Option<Self> {
        let _errno = KeepErrno::new();
        let path = CStr::from_bytes_until_nul(path).ok()?;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // The C library's function is a cancellation point: a thread that ended here would leave the others stopped.
        // SAFETY: the path ends in a zero byte.
        let descriptor = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
        libc::c_int::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0).map(Self)
    }

    /// Reads on in the file until `to` is full, the file ends or a read fails. Returns the bytes read.
    pub(super) fn read(&self, to: &mut [u8]) -> usize {
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
    pub(super) fn entries(&self, to: &mut [u64]) -> usize {
        let _errno = KeepErrno::new();
        // SAFETY: the buffer is valid for its length.
        let count = unsafe { libc::syscall(libc::SYS_getdents64, self.0, to.as_mut_ptr(), size_of_val(to)) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Reads words from an offset of the file, a multiple of 8. Returns the number of words read.
    pub(super) fn words_at(&self, offset: usize, to: &mut [u64]) -> usize {
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

/// Opens a file of a thread. `name` is the end of the file's path: a slash, the name, and a zero byte.
pub(super) fn file_of(thread: u32, name: &[u8]) -> Option<ProcFile> {
    let mut path = [0; 40];
    let before = b"/proc/self/task/";
    path[..before.len()].copy_from_slice(before);
    let mut digits = [0; 10];
    let (mut first, mut rest) = (digits.len(), thread);
    while first == digits.len() || rest > 0 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = &digits[first..];
    path[before.len()..][..digits.len()].copy_from_slice(digits);
    path[before.len() + digits.len()..][..name.len()].copy_from_slice(name);
    ProcFile::open(&path)
}
