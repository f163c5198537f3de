//! What a program asks of the search, and tells it.

use super::answers::{LiveBlock, Referrer};
use super::error::LeakError;
use super::report::LeakReport;
use super::search;
use crate::figures::Address;
use crate::large::{BlockSet, LARGE};
use crate::os::Output;
use crate::process::options;
use std::sync::{Mutex, PoisonError};

/// Addresses that count as pointers. They need only lie here: a static is a root.
static ROOTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Searches for live blocks that nothing leads to.
///
/// All other threads are stopped meanwhile; the [module](crate::leaks) says how, and what is not seen. The report's own
/// memory is not in it, and does not make what it lists look held: addresses are kept in a form that is no pointer.
///
/// A block of a thread that is just in the middle of an operation of the allocator could look leaked: then the threads
/// run on for a moment, and the search begins again.
///
/// # Errors
/// A [`LeakError`], if the search is not possible.
pub fn find() -> Result<LeakReport, LeakError> {
    search::clear_stack();
    search::find()
}

/// Searches as [`find`] does, and keeps these blocks and those in a cycle with one.
#[inline(always)]
pub(crate) fn find_among(blocks: &BlockSet) -> Result<LeakReport, LeakError> {
    search::clear_stack();
    search::find_among(blocks)
}

/// The words that point into the block at `pointer`, or that it points into: in live blocks, and in all roots.
///
/// As CPython's `gc.get_referrers`. Variables of the calling function are among them, and so may be copies of the
/// pointer that they no longer need.
///
/// # Errors
/// [`LeakError::NoBlock`], or that the search is not possible.
pub fn referrers<T: ?Sized>(pointer: *const T) -> Result<Vec<Referrer>, LeakError> {
    // Before the stack is cleared: what the conversion leaves there would look like a referrer.
    let address = Address::from(pointer.addr());
    search::clear_stack();
    search::referrers(address)
}

/// The live blocks that the block at `pointer`, or that it points into, points to: each once, by address.
///
/// As CPython's `gc.get_referents`.
///
/// # Errors
/// [`LeakError::NoBlock`], or that the search is not possible.
pub fn referents<T: ?Sized>(pointer: *const T) -> Result<Vec<LiveBlock>, LeakError> {
    search::referents(Address::from(pointer.addr()))
}

/// All live blocks, by size and then by address: those of pools, and the large ones that are indexed.
///
/// As they were at one moment, with all other threads stopped. The vector's own memory is not among them.
///
/// # Errors
/// That the search is not possible.
pub fn live_blocks() -> Result<Vec<LiveBlock>, LeakError> {
    search::live_blocks()
}

/// From now on each large block is noted when it is served and when it is freed, so that a search looks at it as at a
/// small one.
///
/// Costs a search in a table, under a lock, for each large request; small ones cost nothing more. A freed large block
/// is overwritten, and one that grows is moved, so that what it held does not look held. It cannot be undone.
/// `POOLMALLOC=leaks` arms the finder before the first request.
pub fn arm() {
    LARGE.arm();
}

/// Has the block at `pointer`, or that it points into, count as reached, and what it leads to: for one that is held by
/// a pointer which the finder cannot see.
///
/// Not for the child of a `fork` in which another thread was just here: it may wait for ever. [`remove_root`] ends it.
/// A block that is freed meanwhile needs no root any more; what is served at its address counts as reached then.
pub fn add_root<T: ?Sized>(pointer: *const T) {
    // A pointer in a static is all that it takes.
    ROOTS.lock().unwrap_or_else(PoisonError::into_inner).push(pointer.addr());
}

/// Ends one [`add_root`] of the same pointer. Whether there was one.
pub fn remove_root<T: ?Sized>(pointer: *const T) -> bool {
    let mut roots = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = roots.iter().position(|root| *root == pointer.addr()) else { return false };
    roots.swap_remove(place);
    // What was there last lies behind the end now.
    roots.shrink_to_fit();
    true
}

/// Has other threads stopped by this signal from now on, for a program that uses the usual one itself: the third from
/// the last real-time signal.
///
/// The program must not send it, wait for it, or change its action from the first search on. A search refuses a signal
/// that has an action already.
pub fn use_signal(signal: i32) {
    search::use_signal(signal);
}

/// Prints the report at the end of the process, if the environment asked for it.
pub(crate) fn report_at_exit() {
    if options().is_some_and(|options| options.leaks) {
        search::clear_stack();
        report_below();
    }
}

/// Prints the report. The caller has cleared the stack.
#[inline(never)]
fn report_below() {
    let text = match find() {
        Ok(report) => report.to_string(),
        Err(error) => format!("poolmalloc: {error}\n"),
    };
    Output::stderr().write(text.as_bytes());
}
