//! The threads of the process: their numbers, what the kernel says about them, and the C library's data about them.

use super::refusal::Refusal;
use crate::os::memory::{KeepErrno, last_error};
use crate::os::proc_file::ProcFile;
use crate::os::process::process_id;
use core::arch::asm;
use core::ffi::c_int;

/// The kernel's number of the calling thread.
pub(crate) fn this_thread() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Returns the thread pointer: the register by which the calling thread finds its thread-locals.
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: in this system's ABI the first word at `fs` is the thread pointer itself.
    unsafe {
        asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags))
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a register that any program may read.
    unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags))
    };
    pointer
}

/// Sends the signal to a thread of this process. Returns whether that was possible. After a failure, the thread does
/// not answer.
pub(super) fn send(thread: u32, signal: c_int) -> bool {
    let _errno = KeepErrno::new();
    let process = process_id();
    // SAFETY: no preconditions; the handler is installed.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) == 0 }
}

/// The state of a thread that does not answer.
pub(super) enum SignalState {
    /// The thread has ended: no thread has this number any more.
    Ended,
    /// The thread is about to end, or it is a worker of the kernel for io_uring and never runs the program.
    Gone,
    /// The thread blocks the signal, and sleeps.
    Asleep,
    /// The thread blocks the signal, and runs or waits for a processor.
    Running,
    /// The thread is deep in the kernel, where it takes no signal.
    InKernel,
    /// The thread will take the signal when it runs.
    Pending,
    /// The signal was not sent, since the queue of signals was full; or the thread took it without the handler.
    NotSent,
}

pub(super) fn signal_state(thread: u32, signal: c_int) -> SignalState {
    if has_ended(thread) {
        return SignalState::Ended;
    }
    // Without a descriptor for the thread's file, nothing more can be found out.
    let Some(file) = file_of(thread, b"/status\0") else { return SignalState::Pending };
    let Status { state, pending, blocked } = status_in(|to| file.read(to));
    if matches!(state, b'Z' | b'X') {
        return SignalState::Gone;
    }
    let has_signal = |mask: u64| mask >> (signal - 1) & 1 == 1;
    match (has_signal(blocked), state) {
        (true, _) if is_of_kernel(thread) => SignalState::Gone,
        (true, b'R') => SignalState::Running,
        (true, _) => SignalState::Asleep,
        (false, b'D') => SignalState::InKernel,
        (false, _) if has_signal(pending) => SignalState::Pending,
        (false, _) => SignalState::NotSent,
    }
}

/// The fields of a thread's file `status` that the finder reads: a letter, and signals as bits.
#[derive(Default, Debug, PartialEq, Eq)]
struct Status {
    state: u8,
    pending: u64,
    blocked: u64,
}

/// Parses a file `status`. `read` fills its argument as far as there is more text. The text comes in parts, since one
/// line may list some 65000 groups.
fn status_in(mut read: impl FnMut(&mut [u8]) -> usize) -> Status {
    /// Bytes of a part that are kept for the next one: more than a field's name and value take, so that each field is
    /// whole in some part.
    const KEPT: usize = 64;
    let (mut text, mut kept, mut status) = ([0_u8; 4096], 0, Status::default());
    loop {
        let length = kept + read(&mut text[kept..]);
        let field = |name: &[u8]| {
            let at = text[..length].windows(name.len()).position(|part| part == name)? + name.len();
            Some(text[at..length].trim_ascii_start())
        };
        let mask = |name: &[u8]| {
            let digits = field(name)?.iter().map_while(|digit| (*digit as char).to_digit(16));
            Some(digits.fold(0_u64, |mask, digit| mask << 4 | u64::from(digit)))
        };
        status.state = field(b"\nState:").and_then(|value| value.first().copied()).unwrap_or(status.state);
        status.pending = mask(b"\nSigPnd:").unwrap_or(status.pending);
        status.blocked = mask(b"\nSigBlk:").unwrap_or(status.blocked);
        if length < text.len() {
            return status;
        }
        text.copy_within(length - KEPT.., 0);
        kept = KEPT;
    }
}

/// Whether there is no thread of this number in the process any more.
fn has_ended(thread: u32) -> bool {
    let _errno = KeepErrno::new();
    // SAFETY: no preconditions; signal 0 sends nothing.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process_id(), thread, 0) };
    sent != 0 && last_error() == libc::ESRCH
}

/// Whether a thread of the process is a worker of the kernel, which runs no code of the program.
fn is_of_kernel(thread: u32) -> bool {
    /// `PF_IO_WORKER` of the kernel's `linux/sched.h`, for threads of io_uring. The flag 0x4000 for threads of vhost is
    /// not tested, since it means something else before Linux 6.4. Such threads are given up after some looks.
    const IO_WORKER: u64 = 0x10;
    number_in(thread, b"/stat\0", 6).is_some_and(|flags| flags & IO_WORKER != 0)
}

/// Nanoseconds that a thread has run on a processor; `None` if the kernel does not say.
pub(super) fn nanoseconds_run(thread: u32) -> Option<u64> {
    number_in(thread, b"/schedstat\0", 0)
}

/// Returns the word at a position of a thread's file, as a number. Positions are counted from 0, after the name in
/// parentheses if there is one.
fn number_in(thread: u32, name: &[u8], position: usize) -> Option<u64> {
    let file = file_of(thread, name)?;
    let mut text = [0_u8; 512];
    let length = file.read(&mut text);
    let rest = text[..length].rsplit(|byte| *byte == b')').next()?;
    let word = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(position)?;
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// Whether `/proc` lists this process and its calling thread under their own numbers. A `/proc` of another PID
/// namespace does not.
pub(super) fn are_numbers_ours(this_thread: u32) -> bool {
    let _errno = KeepErrno::new();
    let (path, mut link) = (c"/proc/thread-self", [0_u8; 64]);
    // SAFETY: the path ends in a zero byte, and the buffer is valid for its length.
    let length =
        unsafe { libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, path.as_ptr(), link.as_mut_ptr(), link.len()) };
    // Before Linux 3.17 there is no `/proc/thread-self`.
    let Some(link) = usize::try_from(length).ok().and_then(|length| link.get(..length)) else { return true };
    let mut numbers = link.split(|byte| *byte == b'/').map(|word| core::str::from_utf8(word).ok()?.parse().ok());
    [numbers.next(), numbers.nth(1)] == [Some(Some(process_id())), Some(Some(this_thread))]
}

/// Calls `each` with the number of each thread of the process until it returns false. Returns the number of calls.
pub(super) fn each_thread(mut each: impl FnMut(u32) -> bool) -> Result<usize, Refusal> {
    let directory = ProcFile::open(b"/proc/self/task\0").ok_or(Refusal::NoProc)?;
    let mut entries = [0_u64; 512];
    let mut count = 0;
    loop {
        let bytes = directory.entries(&mut entries);
        if bytes == 0 {
            return if count == 0 { Err(Refusal::NoProc) } else { Ok(count) };
        }
        // SAFETY: the words are initialized, and bytes have no invalid values.
        let text = unsafe { core::slice::from_raw_parts(entries.as_ptr().cast::<u8>(), bytes) };
        let mut at = 0;
        // An entry: number and offset, 8 bytes each; its length, 2 bytes; its type, 1 byte; its name.
        while let Some(entry) = text.get(at..).filter(|entry| entry.len() > 19) {
            let length = usize::from(u16::from_ne_bytes([entry[16], entry[17]])).max(1);
            let name = entry[19..length.min(entry.len()).max(19)].split(|byte| *byte == 0).next().unwrap_or(b"");
            at += length;
            let Some(thread) = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else { continue };
            count += 1;
            if !each(thread) {
                return Ok(count);
            }
        }
    }
}

/// Start and end of memory that contains a thread's descriptor, given the thread pointer. The descriptor is the C
/// library's data about the thread. Three neighboring words there are the start of the thread's stack, the bytes of the
/// stack and, with glibc, the bytes of the guard.
pub(crate) fn thread_descriptor(pointer: usize) -> (usize, usize) {
    /// More bytes than a descriptor takes in any C library.
    const BYTES: usize = 4096;
    if cfg!(target_arch = "x86_64") { (pointer, pointer + BYTES) } else { (pointer - BYTES, pointer) }
}

/// The stack canary that the C library keeps next to the calling thread's thread pointer. It is the same for all
/// threads. `None` on aarch64, where there is no code that recognizes ended threads by it.
fn canary() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let canary: u64;
        // SAFETY: the ABI's place for it.
        unsafe { asm!("mov {}, fs:0x28", out(reg) canary, options(nostack, readonly, preserves_flags)) };
        (canary != 0).then_some(canary)
    }
    #[cfg(target_arch = "aarch64")]
    None
}

/// Returns a test for whether an address was the thread pointer of a thread. The test is given the address, a multiple
/// of 64, and the words from there on. `None` where that cannot be tested.
pub(crate) fn is_thread_pointer() -> Option<impl Fn(usize, &[u64]) -> bool> {
    let canary = canary()?;
    Some(move |address: usize, words: &[u64]| words[0] == address as u64 && words[5] == canary)
}

/// Opens a file of a thread. `name` is the end of the file's path: a slash, the name, and a zero byte.
fn file_of(thread: u32, name: &[u8]) -> Option<ProcFile> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_understood_with_any_number_of_groups() {
        for groups in (0..200).chain(1800..2200) {
            let numbers = "7 ".repeat(groups);
            let text = format!(
                "Name:\ta\nState:\tS (sleeping)\nGroups:\t{numbers}\nSigPnd:\t0000000200000000\n\
                 ShdPnd:\t0000000000000000\nSigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000001000\n"
            );
            let mut rest = text.as_bytes();
            let status = status_in(|to| std::io::Read::read(&mut rest, to).unwrap());
            assert_eq!(status, Status { state: b'S', pending: 1 << 33, blocked: 0xFFFF_FFFE_7FFB_FEFF });
        }
    }
}
