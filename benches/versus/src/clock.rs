//! The clock of a run. The run can pause the clock, and can note the resident memory at named moments.
//!
//! A process measures one run, so it has one clock.

use std::io;
use std::sync::Mutex;
use std::time::Instant;

use crate::meter;
use crate::sample::Mark;

/// Elapsed time, and processor time of all threads in it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) elapsed_ns: u64,
    pub(crate) cpu_ns: u64,
}

static PAUSED: Mutex<Spent> = Mutex::new(Spent { elapsed_ns: 0, cpu_ns: 0 });
static MARKS: Mutex<Vec<Mark>> = Mutex::new(Vec::new());

/// Does work of a run with the clock paused. No other thread may work meanwhile.
///
/// # Panics
/// If the kernel does not count processor time.
pub fn pause<T>(work: impl FnOnce() -> T) -> T {
    let (result, spent) = spent_in(work).expect("the kernel counts processor time");
    let mut paused = PAUSED.lock().expect("no holder panics");
    paused.elapsed_ns += spent.elapsed_ns;
    paused.cpu_ns += spent.cpu_ns;
    result
}

/// Notes the resident memory at this moment of the run, under the name `at`. The clock is paused meanwhile.
///
/// `table_bytes` is the size of the run's own tables. The mark leaves them out.
///
/// # Panics
/// If the kernel does not count resident memory.
pub fn mark(at: &'static str, table_bytes: usize) {
    pause(|| {
        let resident_bytes = meter::anonymous_bytes().expect("the kernel counts resident memory");
        let resident_bytes = resident_bytes.saturating_sub(table_bytes as u64);
        MARKS.lock().expect("no holder panics").push(Mark { at: at.to_owned(), resident_bytes });
    });
}

/// Does the whole run. Returns its result, its time without the pauses, and its marks.
pub(crate) fn measure<T>(run: impl FnOnce() -> T) -> io::Result<(T, Spent, Vec<Mark>)> {
    let (result, spent) = spent_in(run)?;
    let paused = *PAUSED.lock().expect("no holder panics");
    let marks = std::mem::take(&mut *MARKS.lock().expect("no holder panics"));
    // The run and its pauses read the clock separately, so they need not agree to the nanosecond.
    let elapsed_ns = spent.elapsed_ns.saturating_sub(paused.elapsed_ns);
    let cpu_ns = spent.cpu_ns.saturating_sub(paused.cpu_ns);
    Ok((result, Spent { elapsed_ns, cpu_ns }, marks))
}

fn spent_in<T>(work: impl FnOnce() -> T) -> io::Result<(T, Spent)> {
    let cpu_before_ns = meter::cpu_ns()?;
    let started = Instant::now();
    let result = work();
    let elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok((result, Spent { elapsed_ns, cpu_ns: meter::cpu_ns()? - cpu_before_ns }))
}
