//! The profile that the environment asked for.

use super::export::Measure;
use super::samples::snapshot;
use crate::os;
use crate::os::Output;
use crate::process::options;

/// Writes what the environment asked for.
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
        // At the end little is left that is in use.
        profile.write_collapsed(&mut bytes, Measure::AllocSpace)
    } else {
        profile.write_pprof(&mut bytes)
    };
    if written.is_ok() {
        file.write(&bytes);
    }
}
