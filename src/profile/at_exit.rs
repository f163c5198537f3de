//! Writes the profile at the end of the process, if the environment asked for one.

use super::export::Measure;
use super::samples::snapshot;
use crate::os;
use crate::os::Output;
use crate::process::options;

/// Writes the profile to the file that `create` makes, if the environment asked for one when the process began. The end
/// of `path` chooses the format.
pub(crate) fn write_at_exit(path: &[u8], create: impl FnOnce() -> Option<Output>) {
    if !options().is_some_and(|options| options.profile) {
        return;
    }
    let Some(file) = create() else {
        os::write_stderr(b"poolmalloc: the file that POOLMALLOC_PROFILE names cannot be written; no profile\n");
        return;
    };
    let (profile, mut bytes) = (snapshot(), Vec::new());
    let written = if path.ends_with(b".folded") {
        // The bytes that were allocated in all: few are still in use at the end of the process.
        profile.write_collapsed(&mut bytes, Measure::AllocSpace)
    } else {
        profile.write_pprof(&mut bytes)
    };
    if written.is_ok() {
        file.write(&bytes);
    }
}
