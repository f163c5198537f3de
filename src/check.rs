//! What the allocator does when it sees that the program or it is broken: one line on stderr, then `abort`. It never
//! unwinds and never allocates, so the line is put together in a buffer on the stack.

use crate::os;
use core::fmt::Write;

/// Aborts with a message if the condition does not hold. Stays in release builds.
macro_rules! check {
    ($condition:expr, $message:literal) => {
        if !$condition {
            $crate::check::fail($message);
        }
    };
}
pub(crate) use check;

/// A line of at most 192 bytes on the stack; what is beyond is cut off.
struct Line {
    bytes: [u8; 192],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.len() - self.length;
        let count = text.len().min(room);
        self.bytes[self.length..self.length + count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

/// Writes `poolmalloc: ` and the message as one line to stderr and aborts.
#[cold]
#[inline(never)]
pub(crate) fn fail(message: &str) -> ! {
    report(format_args!("{message}"))
}

/// Reports misuse of the block at `address` and aborts.
#[cold]
#[inline(never)]
pub(crate) fn misuse(what: &str, address: usize, block_bytes: usize) -> ! {
    if block_bytes == 0 {
        report(format_args!("{what} of {address:#x}, where no block can be"))
    }
    report(format_args!("{what} of the block at {address:#x} ({block_bytes} bytes)"))
}

fn report(text: core::fmt::Arguments<'_>) -> ! {
    let mut line = Line { bytes: [0; 192], length: 0 };
    // Writing to a `Line` never fails; a message cut short is still the best that can be said.
    let _ = writeln!(line, "poolmalloc: {text}; aborting");
    os::write_stderr(&line.bytes[..line.length]);
    os::abort()
}
