//! Doubly linked lists of pools and of arenas, by their numbers. The links lie in the records.

use crate::sync::WatchedU32;

/// Marks the end of a list of pools or arenas.
pub(crate) const NONE: u32 = u32::MAX;

/// A record's place on a list.
///
/// List invariant 1: only the owner of a list writes its first number and the links of the records on it.
/// List invariant 2: a record is on one list at most. The `previous` of the next record on the list names this record.
pub(crate) struct ListLinks {
    pub(crate) previous: WatchedU32,
    pub(crate) next: WatchedU32,
}

/// Puts a record at the front of the list that begins at `first`.
pub(crate) fn link<'r>(first: &WatchedU32, number: u32, links: impl Fn(u32) -> &'r ListLinks) {
    let own = links(number);
    own.previous.set(NONE);
    own.next.set(first.get());
    if first.get() != NONE {
        links(first.get()).previous.set(number);
    }
    first.set(number);
}

/// Takes a record off the list that begins at `first`.
pub(crate) fn unlink<'r>(first: &WatchedU32, number: u32, links: impl Fn(u32) -> &'r ListLinks) {
    let own = links(number);
    let (previous, next) = (own.previous.get(), own.next.get());
    if next != NONE {
        links(next).previous.set(previous);
    }
    if previous == NONE {
        first.set(next);
    } else {
        links(previous).next.set(next);
    }
}
