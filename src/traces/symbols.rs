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

/// The search for names, one thread at a time.
///
/// The library that finds the names has a lock of its own, and a fork could leave that lock held in the child. So this
/// lock is taken around each call of the library, and the child sees by it that it must not call. A program that uses
/// the library itself may still fork during its own call.
pub(crate) struct Symbols {
    lock: Lock,
    /// Whether a fork came during a call of the library. The library is not called any more then. Relaxed: used under
    /// the lock.
    is_broken: AtomicBool,
}

impl Symbols {
    pub(crate) const fn new() -> Self {
        Self { lock: Lock::new(), is_broken: AtomicBool::new(false) }
    }

    /// Calls `each` with the functions at the address of a frame: the innermost inlined function first, then those that
    /// it was inlined into. Does not call `each` if the functions are not known.
    ///
    /// The caller is [`Quiet`]: the search keeps memory for the next search, and no backtrace may say that a place of
    /// the program asked for that memory.
    pub(crate) fn of(&self, _: &Quiet, address: usize, each: &mut dyn FnMut(&backtrace::Symbol)) {
        let guard = self.lock.lock();
        if guard.is_inherited {
            self.is_broken.store(true, Ordering::Relaxed);
        }
        if !self.is_broken.load(Ordering::Relaxed) {
            // The address lies right behind the call, so `resolve` looks one byte before it.
            backtrace::resolve(ptr::without_provenance_mut(address), |symbol| each(symbol));
        }
    }
}

/// Writes a backtrace as the standard library does: one line for each function, and below it the place in the source,
/// if it is known. A frame whose functions are not known is written as its address.
///
/// Allocates. Stops at the first error of `out`.
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

/// Writes one function. `number` is the number of the frame, and `None` for all functions of the frame but the first.
fn write_symbol(symbol: &backtrace::Symbol, number: Option<usize>, out: &mut dyn Write) -> core::fmt::Result {
    match number {
        Some(number) => write!(out, "{number:>4}: ")?,
        None => write!(out, "{:6}", "")?,
    }
    match symbol.name() {
        // `#` leaves the hash out.
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
