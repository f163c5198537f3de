//! The search: one at a time, on a stack of its own, while the other threads are stopped.

use super::found::{Edge, ScanSums, SearchFacts, UnreachableBlock};
use super::scan::Scan;
use crate::large::{BlockSet, LARGE};
use crate::leaks::error::LeakError;
use crate::leaks::report::LeakReport;
use crate::os::world::{Refusal, STOP, World, clear_stack};
use crate::os::{MappedSlice, nap, world};
use crate::process::{SHARED, tls};
use crate::sync::Lock;
#[cfg(feature = "profile")]
use crate::traces::Quiet;
use std::time::Duration;

/// Largest number of times that a search starts again because a heap was in the middle of a change. The other threads
/// run on for a pause before each new try. The pauses are short at first and grow, to some 300 ms in all, since the
/// heap's thread may have to wait for a processor. After that the heap's blocks count as reached.
const RETRIES: u32 = 32;

/// Whether the search works here.
pub(crate) const IS_SUPPORTED: bool = true;

/// The lock of the search: there is one search at a time.
static FINDER: Lock = Lock::new();

impl From<Refusal> for LeakError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SignalInUse(signal) => Self::SignalInUse(signal),
            Refusal::NoProc => Self::NoProc,
            Refusal::NoMemory => Self::NoMemory,
        }
    }
}

/// Stops all other threads, runs `read`, lets them run on, and runs `tell` with the result. If a heap is in the middle
/// of a change, it tries again before it runs `read`, up to [`RETRIES`] times.
pub(super) fn look<T, R>(
    read: impl Fn(&mut Scan<'_>, &World) -> Result<T, Refusal>,
    tell: impl FnOnce(T) -> Result<R, LeakError>,
) -> Result<Box<R>, LeakError> {
    // Taken before signals are blocked, so that a thread that waits for the lock can be stopped.
    let _only_one = FINDER.lock();
    let told = world::on_own_stack(|caller| {
        let read_once = |is_last: bool| {
            SHARED.with_view(tls::heap_if_any(), |view| {
                let held = LARGE.hold();
                let world = STOP.stop()?;
                if !is_last && view.is_moving() && !world.is_held_up() {
                    return Ok(None);
                }
                let mut scan = Scan::new(view, &held, &world, caller)?;
                read(&mut scan, &world).map(Some)
            })
        };
        let mut tries = 0;
        let found = loop {
            match read_once(tries == RETRIES).ok_or(LeakError::NoPools)?? {
                Some(found) => break found,
                None => (0..1_u32 << tries.min(8)).for_each(|_| nap()),
            }
            tries += 1;
        };
        // The report's memory is served without backtraces, since no place in the program asked for it.
        #[cfg(feature = "profile")]
        let _quiet = Quiet::begin();
        tell(found).map(Box::new)
    });
    told.unwrap_or(Err(LeakError::NoMemory))
}

/// Searches for live blocks that nothing leads to. The caller has cleared the stack.
#[inline(never)]
pub(crate) fn find() -> Result<LeakReport, LeakError> {
    struct SearchOutcome {
        leaked: MappedSlice<UnreachableBlock>,
        edges: MappedSlice<Edge>,
        running: MappedSlice<u32>,
        stopped: u64,
        sums: ScanSums,
        time: Duration,
    }
    let report = look(
        |scan, world| {
            let none = || Refusal::NoMemory;
            scan.mark_from_roots().ok_or_else(none)?;
            let (leaked, edges) = scan.leaked().ok_or_else(none)?;
            let (mut running, mut stopped) = (MappedSlice::new(), 0);
            for thread in world.threads() {
                if thread.stack.is_some() {
                    stopped += 1;
                } else {
                    running.push(thread.thread).ok_or_else(none)?;
                }
            }
            Ok(SearchOutcome { leaked, edges, running, stopped, sums: scan.sums, time: world.stopped_for() })
        },
        |found| {
            let around = SearchFacts {
                sums: found.sums,
                is_armed: LARGE.is_armed(),
                stopped_threads: found.stopped,
                running_threads: found.running.to_vec(),
                stopped_for: found.time,
            };
            Ok(LeakReport::new(&found.leaked, &found.edges, around))
        },
    );
    report.map(|report| *report)
}

/// Searches as [`find`] does, and keeps in the report only `blocks` and the blocks of each cycle that has one of them.
/// The caller has cleared the stack.
#[inline(never)]
pub(crate) fn find_among(blocks: &BlockSet) -> Result<LeakReport, LeakError> {
    clear_stack();
    let mut report = find()?;
    report.keep(|address| blocks.has(address));
    Ok(report)
}

/// Chooses the signal by which threads are stopped.
pub(crate) fn use_signal(signal: i32) {
    STOP.choose_signal(signal);
}
