//! What the environment chooses before the first block is served. Nothing allocates here.

use crate::os;
use crate::region::REGION_ALIGN;

/// MiB of the region that stay in ordinary pages unless the environment says otherwise. A huge page that is just begun
/// can add 2 MiB: of so many MiB that is 3 % at most. `docs/performance.md` has the figures.
const DEFAULT_MIB: usize = 64;

/// Bytes of the region after which huge pages are asked for; `None` if nowhere.
///
/// Warns once of a value that it does not know, and ignores it: this runs once.
pub(crate) fn huge_pages_from() -> Option<usize> {
    let value = os::environment(c"POOLMALLOC_HUGE_PAGES");
    parsed(value).unwrap_or_else(|| {
        os::write_stderr(
            b"poolmalloc: POOLMALLOC_HUGE_PAGES is neither `never` nor `always` nor a number of MiB; ignored\n",
        );
        Some(DEFAULT_MIB << 20)
    })
}

/// The outer `None` is for a value that has no meaning.
#[expect(clippy::option_option, reason = "no meaning, nowhere, and where")]
fn parsed(value: Option<&[u8]>) -> Option<Option<usize>> {
    let mib = match value {
        None | Some(b"") => DEFAULT_MIB,
        Some(b"never") => return Some(None),
        // One huge page of ordinary ones is left: small programs use less.
        Some(b"always") => 0,
        Some(number) => core::str::from_utf8(number).ok()?.parse().ok()?,
    };
    // No region is as large as what does not fit.
    let bytes = mib.checked_mul(1 << 20).and_then(|bytes| bytes.checked_next_multiple_of(REGION_ALIGN));
    Some(bytes.map(|bytes| bytes.max(REGION_ALIGN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_meaning_or_none() {
        const MIB: usize = 1 << 20;
        for (value, meaning) in [
            (None, Some(Some(64 * MIB))),
            (Some(""), Some(Some(64 * MIB))),
            (Some("never"), Some(None)),
            (Some("always"), Some(Some(2 * MIB))),
            (Some("0"), Some(Some(2 * MIB))),
            (Some("15"), Some(Some(16 * MIB))),
            (Some("16"), Some(Some(16 * MIB))),
            (Some("18446744073709551615"), Some(None)),
            (Some("18446744073709551616"), None),
            (Some("-1"), None),
            (Some("yes"), None),
            (Some("ALWAYS"), None),
            (Some("16 "), None),
        ] {
            assert_eq!(parsed(value.map(str::as_bytes)), meaning, "{value:?}");
        }
        assert_eq!(parsed(Some(b"\xff")), None);
    }
}
