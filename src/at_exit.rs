//! The reports that a program writes at its end if the environment asks for them: leaks (`POOLMALLOC=leaks`), a profile
//! (`POOLMALLOC_PROFILE`), and the statistics (`POOLMALLOC_STATS`).

use crate::figures::Stats;
use crate::observe::stats;
use crate::os::{BufferedOutput, Output, Text, exit_entry};
use crate::process::SHARED;
#[cfg(feature = "profile")]
use crate::profile;
use crate::{debug, leaks, os};
use core::ffi::CStr;
use core::fmt::{self, Write};

/// The report that the value of `POOLMALLOC_STATS` asks for.
#[derive(Debug, PartialEq, Eq)]
enum ReportTarget<'a> {
    Nothing,
    /// The report, or JSON, on standard error.
    Stderr {
        is_json: bool,
    },
    /// The report, or JSON, in a file whose path may contain `%p`.
    File {
        path: &'a [u8],
        is_json: bool,
    },
}

/// Reads the value of `POOLMALLOC_STATS`.
fn wanted(value: Option<&[u8]>) -> ReportTarget<'_> {
    match value {
        None | Some(b"" | b"0") => ReportTarget::Nothing,
        Some(b"1") => ReportTarget::Stderr { is_json: false },
        Some(b"json") => ReportTarget::Stderr { is_json: true },
        Some(path) => ReportTarget::File { path, is_json: path.ends_with(b".json") },
    }
}

exit_entry!(AT_EXIT, report_at_exit);

/// Does nothing at run time. References the entry above. Otherwise a linker that extracts only referenced objects from
/// a static library would leave the entry out.
#[inline]
pub(crate) fn name_exit_entry() {
    core::hint::black_box(&AT_EXIT);
}

/// Runs when the process ends by `exit` or by a return from `main`. Of the reports, only leaks and the profile
/// allocate.
extern "C" fn report_at_exit() {
    // A program may contain this library and use another allocator. Then there is nothing to report.
    if !SHARED.is_in_use() {
        return;
    }
    debug::drain_at_exit();
    // The functions with large buffers are not inlined, so this frame is small. A large frame would include a part of
    // the stack where `main` left old pointers. The search would scan them, and their blocks would look held.
    leaks::report_at_exit();
    #[cfg(feature = "profile")]
    write_profile();
    report_statistics();
}

/// Writes the profile that `POOLMALLOC_PROFILE` asked for when the process began.
#[cfg(feature = "profile")]
#[inline(never)]
fn write_profile() {
    if let Some(path) = os::environment(c"POOLMALLOC_PROFILE").filter(|path| !path.is_empty()) {
        profile::write_at_exit(path, || ReportPath::of(path, os::process_id())?.create());
    }
}

#[inline(never)]
fn report_statistics() {
    let (output, is_json) = match wanted(os::environment(c"POOLMALLOC_STATS")) {
        ReportTarget::Nothing => return,
        ReportTarget::Stderr { is_json } => (Output::stderr(), is_json),
        ReportTarget::File { path, is_json } => match ReportPath::of(path, os::process_id())
            .and_then(|path| path.create())
        {
            Some(file) => (file, is_json),
            None => {
                os::write_stderr(b"poolmalloc: the file that POOLMALLOC_STATS names cannot be written; no report\n");
                return;
            }
        },
    };
    let mut out = BufferedOutput::new(output);
    // A failure to write is ignored, since there is no way to report it.
    let _ = write_report(&stats(), is_json, &mut out);
    out.flush();
}

fn write_report(stats: &Stats, is_json: bool, out: &mut dyn Write) -> fmt::Result {
    if is_json {
        stats.write_json(out)?;
        return out.write_char('\n');
    }
    write!(out, "{stats}")
}

/// A path that ends in a zero byte, put together without allocating.
struct ReportPath(Text<1024>);

impl ReportPath {
    /// The path with each `%p` replaced by the process's number; `None` if it is too long.
    fn of(pattern: &[u8], process: u32) -> Option<Self> {
        let mut path = Text::new();
        let mut rest = pattern;
        while let Some((first, after)) = rest.split_at_checked(1) {
            if let Some(after) = rest.strip_prefix(b"%p") {
                write!(path, "{process}").ok()?;
                rest = after;
            } else {
                path.push(first)?;
                rest = after;
            }
        }
        path.push(&[0])?;
        Some(Self(path))
    }

    fn create(&self) -> Option<Output> {
        Output::create(CStr::from_bytes_until_nul(self.0.bytes()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_variable() {
        for nothing in [None, Some(&b""[..]), Some(b"0")] {
            assert_eq!(wanted(nothing), ReportTarget::Nothing);
        }
        assert_eq!(wanted(Some(b"1")), ReportTarget::Stderr { is_json: false });
        assert_eq!(wanted(Some(b"json")), ReportTarget::Stderr { is_json: true });
        assert_eq!(wanted(Some(b"/tmp/x")), ReportTarget::File { path: b"/tmp/x", is_json: false });
        assert_eq!(wanted(Some(b"x.%p.json")), ReportTarget::File { path: b"x.%p.json", is_json: true });
    }

    #[test]
    fn the_process_number_goes_into_the_path() {
        let path = ReportPath::of(b"a%p-%p%.txt", 1234).unwrap();
        assert_eq!(path.0.bytes(), b"a1234-1234%.txt\0");
        assert!(ReportPath::of(&[b'x'; 1023], 1).is_some());
        assert!(ReportPath::of(&[b'x'; 1024], 1).is_none());
    }
}
