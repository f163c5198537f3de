//! What the allocator does when it sees that the program or it is broken: one line on stderr, then `abort`. It never
//! unwinds and never allocates, so the line is put together in a buffer on the stack.

use crate::os;
use crate::os::Text;
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

/// Writes `poolmalloc: ` and the message as one line to stderr and aborts.
#[cold]
#[inline(never)]
pub(crate) fn fail(message: &str) -> ! {
    report(format_args!("{message}"))
}

/// A free that cannot be right, of something at `address`. docs/misuse.md tells which ones are seen where.
pub(crate) enum Misuse {
    /// The block, of so many bytes, is free already.
    DoubleFree { address: usize, block_bytes: usize },
    /// The pool has blocks of so many bytes, and none begins there.
    InteriorPointer { address: usize, block_bytes: usize },
    /// The block, of so many bytes, is a private heap's, and freed through something else; or the reverse.
    WrongHeap { address: usize, block_bytes: usize },
    /// The pool has no class, hence no blocks.
    FreePool { address: usize },
}

/// Reports misuse and aborts.
#[cold]
#[inline(never)]
pub(crate) fn misuse(what: &Misuse) -> ! {
    match *what {
        Misuse::DoubleFree { address, block_bytes } => {
            report(format_args!("double free of the block of {block_bytes} bytes at {address:#x}"))
        }
        Misuse::InteriorPointer { address, block_bytes } => {
            report(format_args!("free of {address:#x}, where no block of {block_bytes} bytes begins"))
        }
        Misuse::WrongHeap { address, block_bytes } => report(format_args!(
            "free of the block of {block_bytes} bytes at {address:#x} through a heap that it is not of"
        )),
        Misuse::FreePool { address } => {
            report(format_args!("free of {address:#x}, in a pool without blocks: double, or of a wild pointer"))
        }
    }
}

fn report(text: core::fmt::Arguments<'_>) -> ! {
    let mut line = Text::<192>::new();
    // A message cut short is still the best that can be said.
    let _ = writeln!(line, "poolmalloc: {text}; aborting");
    os::write_stderr(line.bytes());
    os::abort()
}
