//! The names of the functions in backtraces.

use super::capture::frames;
use super::id::TraceId;
use super::quiet::Quiet;
use crate::sync::Lock;
use core::fmt::Write;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

/// The search for the names of functions.
pub(crate) static SYMBOLS: Symbols = Symbols::new();

/// Whoever looks for names waits for whoever does so already.
///
/// The library that finds them has a lock of its own, which a fork would leave held in the child. So this one is taken
/// around it. A program that uses that library itself may still fork in the middle of that.
pub(crate) struct Symbols {
    lock: Lock,
    /// A fork came in the middle. Relaxed: under the lock.
    is_broken: AtomicBool,
}

impl Symbols {
    pub(crate) const fn new() -> Self {
        Self { lock: Lock::new(), is_broken: AtomicBool::new(false) }
    }

    /// Tells the functions that a frame's address lies in: the innermost of those that were inlined first. None if
    /// nobody knows.
    ///
    /// The caller is [`Quiet`], so that what the search keeps for the next one belongs to no place of the program.
    pub(crate) fn of(&self, _: &Quiet, address: usize, each: &mut dyn FnMut(&backtrace::Symbol)) {
        let guard = self.lock.lock();
        if guard.is_inherited {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        if !self.is_broken.load(Ordering::Relaxed) {
            // It looks one byte before the address, which lies behind the call.
            backtrace::resolve(ptr::without_provenance_mut(address), |symbol| each(symbol));
        }
    }
}

/// Writes a backtrace as the standard library does: a function a line, and below it the place in the source, if it is
/// known.
///
/// Allocates. A failure of `out` ends it.
pub(crate) fn write_symbols(id: TraceId, out: &mut dyn Write) -> core::fmt::Result {
    let quiet = Quiet::begin();
    for (number, address) in frames(id).iter().enumerate() {
        let mut result = Ok(());
        let mut lines = 0;
        if let Some(quiet) = &quiet {
            SYMBOLS.of(quiet, *address, &mut |symbol| {
                if result.is_ok() {
                    result = write_symbol(symbol, (lines == 0).then_some(number), out);
                    lines += 1;
                }
            });
        }
        result?;
        if lines == 0 {
            writeln!(out, "{number:>4}: {address:#x}")?;
        }
    }
    Ok(())
}

/// The number is that of the frame, for its first line.
fn write_symbol(symbol: &backtrace::Symbol, number: Option<usize>, out: &mut dyn Write) -> core::fmt::Result {
    match number {
        Some(number) => write!(out, "{number:>4}: ")?,
        None => write!(out, "{:6}", "")?,
    }
    match symbol.name() {
        // Without the hash.
        Some(name) => writeln!(out, "{name:#}")?,
        None => writeln!(out, "<unknown>")?,
    }
    if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
        writeln!(out, "{:13}at {}:{line}", "", file.display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::capture::capture;
    use crate::traces::id::MOST_FRAMES;

    #[inline(never)]
    fn planted_function(frames: usize) -> Option<TraceId> {
        let entry = 0_u8;
        let id = std::hint::black_box(capture(frames, &raw const entry));
        std::hint::black_box(&entry);
        id
    }

    #[inline(never)]
    fn planted_caller(frames: usize) -> Option<TraceId> {
        std::hint::black_box(planted_function(frames))
    }

    #[test]
    fn a_backtrace_begins_with_the_caller_of_the_entry() {
        let ids: Vec<_> = (0..2).map(|_| planted_caller(MOST_FRAMES).unwrap()).collect();
        assert_eq!(ids[0], ids[1], "one place, one number");
        let mut text = String::new();
        write_symbols(ids[0], &mut text).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("   0: ") && first.ends_with("planted_caller"), "{text}");
        assert!(text.contains("traces/symbols.rs:"), "{text}");
        assert!(!text.contains("planted_function"), "{text}");
        assert_eq!(frames(planted_caller(1).unwrap()).len(), 1);
    }

    #[test]
    fn a_busy_thread_has_no_backtrace() {
        let quiet = Quiet::begin().unwrap();
        assert!(Quiet::begin().is_none());
        assert_eq!(planted_caller(10), None);
        drop(quiet);
        assert!(planted_caller(10).is_some());
    }
}
