//! The report of the debug layer about an error of the program. The process ends after it.
//!
//! The first line is a complete message, like the lines of [`check`](crate::check). Then come the block, the damage,
//! and the bytes around the damage. Backtraces come last, since finding the names of functions allocates. Meanwhile the
//! thread holds no lock of the allocator except the report's own.

use super::block::{Damage, HEADER_BEFORE, HeaderFacts, Part};
use crate::os::{BufferedOutput, Output};
use crate::process::{options, tls};
use crate::sync::Lock;
use crate::traces::TraceId;
use crate::{os, traces};
use core::fmt::{self, Arguments, Write};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bytes in a line of the dump.
const ROW: usize = 16;

/// The last offset of the damage that the dump shows, counted from the first damaged byte.
const SHOWN: isize = 64;

/// Bytes that the dump shows before and behind the damage.
const AROUND: isize = 16;

/// An error of the program.
#[derive(Clone, Copy)]
pub(super) struct ProgramError<'a> {
    /// The error, as one line.
    pub(super) line: Arguments<'a>,
    /// The moment when the layer noticed the error, in words.
    pub(super) seen: &'a str,
    /// Address of the block that is concerned, and the facts about it.
    pub(super) block: Option<(usize, HeaderFacts)>,
    pub(super) damage: Option<Damage>,
    /// Address of a block whose header makes no sense.
    pub(super) header: Option<usize>,
}

/// The backtrace of this call, if the environment asked for backtraces. It begins with the caller of the function that
/// has a variable at `entry`.
pub(super) fn trace(entry: *const u8) -> Option<TraceId> {
    match options().map_or(0, |options| options.frames) {
        0 => None,
        frames => traces::capture(frames, entry),
    }
}

/// Reports an error and aborts. Only the first thread that comes here reports. Other threads wait for the end of the
/// process.
#[cold]
#[inline(never)]
pub(super) fn report(case: &ProgramError<'_>) -> ! {
    REPORTER.begin();
    let here = 0_u8;
    let seen = trace(&raw const here);
    let mut out = BufferedOutput::new(Output::stderr());
    // A failure to write is ignored, since there is no way to report it.
    let _ = write(case, &mut out);
    out.flush();
    let _ = write_traces(case, seen, &mut out);
    out.flush();
    REPORTER.is_done.store(true, Ordering::Relaxed);
    os::abort()
}

/// The thread that reports. There is at most one; others wait for the end of the process.
struct Reporter {
    /// Held by the thread that reports, for ever.
    reports: Lock,
    /// Mark of the thread that reports. Relaxed: a thread only compares it with its own mark, which no other thread
    /// writes.
    thread: AtomicUsize,
    /// Whether the report is written. Relaxed: this only decides how long other threads wait.
    is_done: AtomicBool,
}

static REPORTER: Reporter =
    Reporter { reports: Lock::new(), thread: AtomicUsize::new(0), is_done: AtomicBool::new(false) };

impl Reporter {
    /// Makes this thread the one that reports.
    ///
    /// If another thread reports, waits: that thread ends the process. Aborts if the other thread does not finish in
    /// time. It may be waiting for a lock that this thread holds: the dynamic loader's, or one of the code for
    /// backtraces. Also aborts if this thread reports already.
    fn begin(&self) {
        /// Time for the other thread to write its report.
        const PATIENCE: Duration = Duration::from_secs(10);
        /// Time until the end of the process once the report is written: the program's handler of `SIGABRT` may take a
        /// while.
        const PATIENCE_WITH_HANDLER: Duration = Duration::from_secs(60);
        let own = tls::mark();
        if self.thread.load(Ordering::Relaxed) == own {
            os::write_stderr(b"poolmalloc: there was another error while one was reported; aborting\n");
            os::abort_without_handler();
        }
        let since = Instant::now();
        loop {
            if let Some(guard) = self.reports.try_take_over() {
                core::mem::forget(guard);
                self.is_done.store(false, Ordering::Relaxed);
                return self.thread.store(own, Ordering::Relaxed);
            }
            os::nap();
            let is_done = self.is_done.load(Ordering::Relaxed);
            if since.elapsed() > if is_done { PATIENCE_WITH_HANDLER } else { PATIENCE } {
                os::abort_without_handler();
            }
        }
    }
}

fn write(case: &ProgramError<'_>, out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "poolmalloc: {}; aborting", case.line)?;
    if let Some((address, HeaderFacts { shape, serial, .. })) = case.block {
        write!(out, "  block: at {address:#x}, {} bytes asked for, alignment {}, ", shape.size, shape.align)?;
        writeln!(out, "serial number {serial}")?;
    }
    writeln!(out, "  seen: {}", case.seen)?;
    if let (Some((address, known)), Some(damage)) = (case.block, &case.damage) {
        write_damage(address, &known, damage, out)?;
    }
    if let Some(address) = case.header {
        writeln!(out, "  damage: the header, {HEADER_BEFORE} bytes before it, is not what was written there:")?;
        write_bytes((address - HEADER_BEFORE, address), |_, _| false, out)?;
    }
    Ok(())
}

fn write_damage(address: usize, known: &HeaderFacts, damage: &Damage, out: &mut dyn Write) -> fmt::Result {
    let Damage { part, first, last, count, of } = *damage;
    let place = match part {
        Part::Before => "before it",
        Part::Behind => "behind it",
        Part::Freed => "of its own",
    };
    write!(out, "  damage: {count} of {of} bytes {place} no longer {:#04X}, at offset {first}", part.byte())?;
    if count > 1 {
        write!(out, " to {last}")?;
    }
    writeln!(out, ", marked below")?;
    let shape = known.shape;
    let begin = -(shape.before() as isize);
    let end = begin + shape.whole().map_or(0, |whole| whole.size()) as isize;
    let from = (first - AROUND).max(begin);
    let to = (last.min(first + SHOWN) + 1 + AROUND).min(end);
    let at = |offset: isize| address.wrapping_add_signed(offset);
    let is_damaged = |place: usize, byte: u8| (at(first)..=at(last)).contains(&place) && byte != part.byte();
    write_bytes((at(from), at(to)), is_damaged, out)
}

/// Writes the bytes of a range of addresses, with a `>` before each marked byte.
fn write_bytes((from, to): (usize, usize), is_marked: impl Fn(usize, u8) -> bool, out: &mut dyn Write) -> fmt::Result {
    for row in (from / ROW * ROW..to).step_by(ROW) {
        write!(out, "    {row:#x} ")?;
        let byte = |place: usize| (from..to).contains(&place).then(|| read(place));
        for place in row..row + ROW {
            match byte(place) {
                Some(byte) => write!(out, "{}{byte:02x}", if is_marked(place, byte) { '>' } else { ' ' })?,
                None => out.write_str("   ")?,
            }
        }
        out.write_str("  ")?;
        for place in row..(row + ROW).min(to) {
            let shown = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { '.' };
            out.write_char(byte(place).map_or(' ', shown))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Reads a byte of the block that is reported.
fn read(address: usize) -> u8 {
    let byte = core::ptr::with_exposed_provenance_mut(address);
    // An atomic read, since the program may write there at the same time. Any value will do.
    // SAFETY: Debug invariant 1: the byte lies in the block, and the block is never given back, since the process ends.
    unsafe { AtomicU8::from_ptr(byte) }.load(Ordering::Relaxed)
}

fn write_traces(case: &ProgramError<'_>, seen: Option<TraceId>, out: &mut BufferedOutput) -> fmt::Result {
    let known = case.block.map(|(_, known)| known);
    let allocated = known.and_then(|known| known.allocated);
    let freed = known.and_then(|known| known.freed);
    for (what, trace) in [("allocated", allocated), ("freed", freed), ("seen", seen)] {
        if let Some(trace) = trace {
            writeln!(out, "  {what} at:")?;
            // Write all that is known so far, before the search for names allocates.
            out.flush();
            traces::write_symbols(trace, out)?;
        }
    }
    if known.is_some() && allocated.is_none() {
        writeln!(out, "  where it was allocated is not recorded; docs/guide/debug.md tells how (`backtrace=N`)")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::sync::Lock;

    #[test]
    fn a_report_is_taken_over_from_another_process_alone() {
        let lock = Lock::new();
        let first = lock.try_take_over_as(1).unwrap();
        assert!(!first.is_inherited && lock.try_take_over_as(1).is_none() && lock.try_lock_as(2).is_none());
        // A fork has copied the lock. Its holder is in another process.
        core::mem::forget(first);
        assert!(lock.try_take_over_as(2).is_some_and(|guard| guard.is_inherited));
        assert!(lock.try_lock_as(2).is_some());
    }
}
