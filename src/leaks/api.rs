//! The functions by which a program starts searches and sets them up.

use super::answers::{LiveBlock, Referrer};
use super::error::LeakError;
use super::report::LeakReport;
use super::search;
use crate::figures::Address;
use crate::large::{BlockSet, LARGE};
use crate::os::Output;
use crate::process::options;
use std::sync::{Mutex, PoisonError};

/// The addresses that [`add_root`] was given. The search reads them here as pointers, because a static is a root.
static ROOTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Searches for leaks: live blocks that nothing leads to.
///
/// All other threads are stopped during the search. The [module](crate::leaks) says how, and what the search does not
/// see. The report does not list its own memory. It keeps addresses in a form that is no pointer, so the blocks that it
/// lists do not look held.
///
/// A block of a thread that is in the middle of an operation of the allocator could look leaked. In that case the
/// threads run on for a moment, and the search begins again.
///
/// # Errors
/// A [`LeakError`] if the search is not possible.
pub fn find() -> Result<LeakReport, LeakError> {
    search::clear_stack();
    search::find()
}

/// Searches as [`find`] does, and keeps in the report only `blocks` and the blocks of each cycle that has one of them.
#[inline(always)]
pub(crate) fn find_among(blocks: &BlockSet) -> Result<LeakReport, LeakError> {
    search::clear_stack();
    search::find_among(blocks)
}

/// Returns the words that point into a block, from live blocks and all roots. `pointer` may point to any byte of the
/// block.
///
/// Like CPython's `gc.get_referrers`. Variables of the calling function are among the words, and perhaps also copies of
/// the pointer that the function no longer needs.
///
/// # Errors
/// [`LeakError::NoBlock`] if `pointer` points into no known block, another [`LeakError`] if the search is not possible.
pub fn referrers<T: ?Sized>(pointer: *const T) -> Result<Vec<Referrer>, LeakError> {
    // Before the stack is cleared: the conversion may leave a copy of the address there, which would look like a
    // referrer.
    let address = Address::from(pointer.addr());
    search::clear_stack();
    search::referrers(address)
}

/// Returns the live blocks that a block points to, each once, by address. `pointer` may point to any byte of the block.
///
/// Like CPython's `gc.get_referents`.
///
/// # Errors
/// [`LeakError::NoBlock`] if `pointer` points into no known block, another [`LeakError`] if the search is not possible.
pub fn referents<T: ?Sized>(pointer: *const T) -> Result<Vec<LiveBlock>, LeakError> {
    search::referents(Address::from(pointer.addr()))
}

/// Returns all live blocks, by size and then by address: the blocks of pools, and the large blocks in the index.
///
/// The list shows one moment, in which all other threads were stopped. The vector's own memory is not in it.
///
/// # Errors
/// A [`LeakError`] if the search is not possible.
pub fn live_blocks() -> Result<Vec<LiveBlock>, LeakError> {
    search::live_blocks()
}

/// Arms the finder: from now on it notes each large block when it is served and when it is freed, so that a search
/// judges it like a small one.
///
/// This costs a search in a table, under a lock, for each large request; small ones cost nothing more. A freed large
/// block is overwritten, and one that grows is moved, so that old content does not make blocks look held. The finder
/// cannot be disarmed. `POOLMALLOC=leaks` arms it before the first request.
pub fn arm() {
    LARGE.arm();
}

/// Makes a block and all blocks that it leads to count as reached. `pointer` may point to any byte of the block. This
/// is for a block that is held by a pointer which the finder cannot see.
///
/// [`remove_root`] ends this. A block that is freed before that needs no root any more; a block that is served at its
/// address afterwards counts as reached.
///
/// Do not call this or [`remove_root`] in the child of a `fork` if another thread was in one of them when the process
/// was forked: the call may wait for ever.
pub fn add_root<T: ?Sized>(pointer: *const T) {
    // The finder reads this static as a root, so it is enough to store the address.
    ROOTS.lock().unwrap_or_else(PoisonError::into_inner).push(pointer.addr());
}

/// Ends one [`add_root`] of the same pointer. Returns whether there was one.
pub fn remove_root<T: ?Sized>(pointer: *const T) -> bool {
    let mut roots = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = roots.iter().position(|root| *root == pointer.addr()) else { return false };
    roots.swap_remove(place);
    // The last address was moved, and its old copy lies behind the new end of the vector. `shrink_to_fit` moves the
    // vector to a smaller block, which has no room for the old copy.
    roots.shrink_to_fit();
    true
}

/// Chooses the signal by which other threads are stopped from now on. This is for a program that uses the default
/// signal itself: the third from the last real-time signal.
///
/// From the first search on, the program must not send the chosen signal, wait for it, or change its action. A search
/// refuses a signal that already has an action.
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
