//! Failed checks: the allocator writes one line to stderr and aborts when it finds an error of the program or of its
//! own. It never unwinds and never allocates, so it puts the line together in a buffer on the stack.

use crate::os;
use crate::os::Text;
use core::fmt::Write;

/// Aborts with a message if the condition does not hold, in release builds too.
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

/// A wrong free of `address`. docs/guide/misuse.md lists the wrong frees, and says for each whether and when it is
/// seen.
pub(crate) enum Misuse {
    /// The block there has `block_bytes` bytes and is free already.
    DoubleFree { address: usize, block_bytes: usize },
    /// The pool there has blocks of `block_bytes` bytes, and none of them begins at `address`.
    InteriorPointer { address: usize, block_bytes: usize },
    /// The block there has `block_bytes` bytes. A private heap owns it and it was not freed through that heap, or it
    /// was freed through a private heap that does not own it.
    WrongHeap { address: usize, block_bytes: usize },
    /// The pool there has no class, and so no blocks.
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
    // If the message does not fit, its beginning is written.
    let _ = writeln!(line, "poolmalloc: {text}; aborting");
    os::write_stderr(line.bytes());
    os::abort()
}
