//! The search on systems where threads cannot be stopped: each search fails with [`LeakError::Unsupported`].

use super::answers::{LiveBlock, Referrer};
use super::error::LeakError;
use super::report::LeakReport;
use crate::figures::Address;
use crate::large::BlockSet;

pub(crate) const IS_SUPPORTED: bool = false;

pub(crate) fn clear_stack() {}

pub(crate) fn use_signal(_: i32) {}

pub(crate) fn find() -> Result<LeakReport, LeakError> {
    Err(LeakError::Unsupported)
}

pub(crate) fn find_among(_: &BlockSet) -> Result<LeakReport, LeakError> {
    Err(LeakError::Unsupported)
}

pub(crate) fn referrers(_: Address) -> Result<Vec<Referrer>, LeakError> {
    Err(LeakError::Unsupported)
}

pub(crate) fn referents(_: Address) -> Result<Vec<LiveBlock>, LeakError> {
    Err(LeakError::Unsupported)
}

pub(crate) fn live_blocks() -> Result<Vec<LiveBlock>, LeakError> {
    Err(LeakError::Unsupported)
}
