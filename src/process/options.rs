//! The options that the environment gives, and how they are read. Nothing allocates here.

use super::mode::Mode;
use crate::os;
use crate::region::REGION_ALIGN;
use crate::traces::MOST_FRAMES;
use core::str::FromStr;

/// The part of the region for which the allocator asks for huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HugePages {
    /// Chunks of heaps that are large enough: see [`state`](super::state).
    Unset,
    /// None of it.
    Never,
    /// All of it behind this number of bytes, a multiple of [`REGION_ALIGN`].
    Beyond(usize),
}

/// Reads `POOLMALLOC_HUGE_PAGES`. Warns about an unknown value, and ignores it.
fn huge_pages() -> HugePages {
    huge_pages_of(os::environment(c"POOLMALLOC_HUGE_PAGES")).unwrap_or_else(|| {
        os::write_stderr(
            b"poolmalloc: POOLMALLOC_HUGE_PAGES is neither `never` nor `always` nor a number of MiB; ignored\n",
        );
        HugePages::Unset
    })
}

/// The options that the environment gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) huge_pages: HugePages,
    /// The leak finder is armed, and reports at the end.
    pub(crate) leaks: bool,
    pub(crate) mode: Mode,
    /// Frames of the backtraces that the debug mode records; 0 for none.
    pub(crate) frames: usize,
    /// Mean bytes between samples, if sampling begins with the process.
    #[cfg_attr(not(feature = "profile"), allow(dead_code, reason = "only profiles have samples"))]
    pub(crate) sample: Option<u64>,
    /// A profile is written at the end.
    #[cfg_attr(not(feature = "profile"), allow(dead_code, reason = "only profiles have samples"))]
    pub(crate) profile: bool,
}

/// Mean bytes between samples if the environment asks for a profile and gives no mean.
const USUAL_MEAN_BYTES: u64 = 512 * 1024;

impl Options {
    /// Reads the environment. Warns about unknown parts, and ignores them. Called once, so each warning comes once.
    pub(crate) fn read() -> Self {
        let words = words();
        let is_file_wanted = os::environment(c"POOLMALLOC_PROFILE").is_some_and(|path| !path.is_empty());
        let is_sampled = (words.sample.is_some() || is_file_wanted) && can_sample(&words);
        Self {
            huge_pages: huge_pages(),
            leaks: words.leaks,
            mode: words.mode(),
            frames: words.backtrace.map_or(0, frames_recorded),
            sample: is_sampled.then_some(words.sample.unwrap_or(USUAL_MEAN_BYTES)),
            profile: is_sampled && is_file_wanted,
        }
    }
}

/// Whether requests can be sampled. Warns if they cannot: in debug mode, or in a build without the feature `profile`.
fn can_sample(words: &OptionWords) -> bool {
    if words.debug {
        os::write_stderr(b"poolmalloc: in debug mode no request is sampled, and there is no profile\n");
        return false;
    }
    if !cfg!(feature = "profile") {
        os::write_stderr(
            b"poolmalloc: built without the feature `profile`: no request is sampled, and there is no profile\n",
        );
    }
    cfg!(feature = "profile")
}

/// The frames of a backtrace that can be recorded. Warns if this build records none.
fn frames_recorded(frames: u8) -> usize {
    if cfg!(feature = "backtrace") {
        return usize::from(frames);
    }
    os::write_stderr(
        b"poolmalloc: `backtrace=N` in POOLMALLOC is ignored: this build is without the cargo feature `backtrace`\n",
    );
    0
}

/// The words of the variable `POOLMALLOC`, separated by commas.
#[derive(Debug, PartialEq, Eq, Default)]
struct OptionWords {
    leaks: bool,
    /// Everything goes to the backend.
    malloc: bool,
    debug: bool,
    /// Frames of a backtrace.
    backtrace: Option<u8>,
    /// Mean bytes between samples.
    sample: Option<u64>,
}

impl OptionWords {
    /// The mode of the process that these words choose.
    fn mode(&self) -> Mode {
        match (self.debug, self.malloc) {
            (false, false) => Mode::Pools,
            (false, true) => Mode::Backend,
            (true, false) => Mode::Debug,
            (true, true) => Mode::DebugBackend,
        }
    }
}

/// Reads `POOLMALLOC`. Warns about unknown words, and ignores them.
fn words() -> OptionWords {
    let (words, is_known) = words_of(os::environment(c"POOLMALLOC").unwrap_or(b""));
    if !is_known {
        os::write_stderr(
            b"poolmalloc: POOLMALLOC has a word that has no meaning, and is ignored; \
              there are: debug malloc leaks sample=BYTES, and with debug backtrace=N for N from 1 to 128\n",
        );
    }
    words
}

/// The known words, and whether all words were known.
fn words_of(value: &[u8]) -> (OptionWords, bool) {
    let (mut words, mut is_known) = (OptionWords::default(), true);
    for word in value.split(|byte| *byte == b',') {
        match word {
            b"" => {}
            b"leaks" => words.leaks = true,
            b"malloc" => words.malloc = true,
            b"debug" => words.debug = true,
            _ => match word.strip_prefix(b"backtrace=").and_then(frames) {
                Some(frames) => words.backtrace = Some(frames),
                None => match word.strip_prefix(b"sample=").and_then(number::<u64>).filter(|bytes| *bytes > 0) {
                    Some(bytes) => words.sample = Some(bytes),
                    None => is_known = false,
                },
            },
        }
    }
    if !words.debug && words.backtrace.take().is_some() {
        is_known = false;
    }
    (words, is_known)
}

/// A number in decimal digits, if it fits.
fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| core::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// A number of frames, if it is not 0 and not more than a backtrace can have.
fn frames(digits: &[u8]) -> Option<u8> {
    number(digits).filter(|frames| (1..=MOST_FRAMES).contains(&usize::from(*frames)))
}

/// The part of the region that a value asks for; `None` if the value is unknown.
fn huge_pages_of(value: Option<&[u8]>) -> Option<HugePages> {
    let mib = match value {
        None | Some(b"") => return Some(HugePages::Unset),
        Some(b"never") => return Some(HugePages::Never),
        // The first 2 MiB keep ordinary pages: small programs use less than a huge page.
        Some(b"always") => 0,
        Some(digits) => number(digits)?,
    };
    // A number that does not fit lies beyond the end of every region, so no huge pages are asked for.
    let bytes = usize::checked_mul(mib, 1 << 20).and_then(|bytes| bytes.checked_next_multiple_of(REGION_ALIGN));
    Some(bytes.map_or(HugePages::Never, |bytes| HugePages::Beyond(bytes.max(REGION_ALIGN))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_or_not() {
        for (value, on, is_known) in [
            ("", "", true),
            (",", "", true),
            ("leaks", "l", true),
            ("leaks,", "l", true),
            ("malloc", "m", true),
            ("malloc,leaks", "lm", true),
            ("Leaks", "", false),
            ("leak", "", false),
            ("no,leaks", "l", false),
            ("leaks ", "", false),
            ("debug", "d", true),
            ("leaks,debug,malloc", "lmd", true),
            ("debug,backtrace=7", "d7", true),
            ("backtrace=7,debug", "d7", true),
            ("backtrace=7", "", false),
            ("leaks,backtrace=7", "l", false),
            ("debug,backtrace", "d", false),
            ("debug,backtrace=", "d", false),
            ("debug,backtrace=0", "d", false),
            ("debug,backtrace=129", "d", false),
            ("debug,backtrace=+7", "d", false),
            ("debug,backtrace=x", "d", false),
        ] {
            let is_on = |word| on.contains(word);
            let backtrace = is_on('7').then_some(7);
            let words =
                OptionWords { leaks: is_on('l'), malloc: is_on('m'), debug: is_on('d'), backtrace, sample: None };
            assert_eq!(words_of(value.as_bytes()), (words, is_known), "{value:?}");
        }
    }

    #[test]
    fn means_are_numbers_above_0() {
        for (value, sample) in [
            ("sample=1", Some(1)),
            ("leaks,sample=524288", Some(524_288)),
            ("sample=18446744073709551615,", Some(u64::MAX)),
            ("sample=18446744073709551616", None),
            ("sample=0", None),
            ("sample=", None),
            ("sample", None),
            ("sample=-1", None),
            ("sample=+1", None),
            ("sample=512K", None),
        ] {
            let words = OptionWords { leaks: value.starts_with("leaks"), sample, ..OptionWords::default() };
            assert_eq!(words_of(value.as_bytes()), (words, sample.is_some()), "{value:?}");
        }
    }

    #[test]
    fn values_have_a_meaning_or_none() {
        const MIB: usize = 1 << 20;
        for (value, meaning) in [
            (None, Some(HugePages::Unset)),
            (Some(""), Some(HugePages::Unset)),
            (Some("never"), Some(HugePages::Never)),
            (Some("always"), Some(HugePages::Beyond(2 * MIB))),
            (Some("0"), Some(HugePages::Beyond(2 * MIB))),
            (Some("15"), Some(HugePages::Beyond(16 * MIB))),
            (Some("16"), Some(HugePages::Beyond(16 * MIB))),
            (Some("18446744073709551615"), Some(HugePages::Never)),
            (Some("18446744073709551616"), None),
            (Some("-1"), None),
            (Some("+1"), None),
            (Some("yes"), None),
            (Some("ALWAYS"), None),
            (Some("16 "), None),
        ] {
            assert_eq!(huge_pages_of(value.map(str::as_bytes)), meaning, "{value:?}");
        }
        assert_eq!(huge_pages_of(Some(b"\xff")), None);
    }
}
