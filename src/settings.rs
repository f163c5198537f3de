//! What the environment chooses before the first block is served. Nothing allocates here.

use crate::mode::Mode;
use crate::os;
#[cfg(feature = "profile")]
use crate::profile::USUAL_MEAN_BYTES;
use crate::region::REGION_ALIGN;
#[cfg(feature = "profile")]
use crate::statics::PROFILER;
use crate::traces::MOST_FRAMES;

/// Where the region is to be in huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HugePages {
    /// As the system does it: in most, nowhere unless a program asks.
    Unset,
    /// Nowhere.
    Never,
    /// Beyond so many bytes, a multiple of [`REGION_ALIGN`].
    Beyond(usize),
}

/// What the environment says of huge pages.
///
/// Warns of a value that it does not know, and ignores it. Runs once.
pub(crate) fn huge_pages() -> HugePages {
    parsed(os::environment(c"POOLMALLOC_HUGE_PAGES")).unwrap_or_else(|| {
        os::write_stderr(
            b"poolmalloc: POOLMALLOC_HUGE_PAGES is neither `never` nor `always` nor a number of MiB; ignored\n",
        );
        HugePages::Unset
    })
}

/// What the variable `POOLMALLOC` asks for: words, with commas between them.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Words {
    /// The leak finder is armed, and reports at the end.
    pub(crate) leaks: bool,
    /// Everything goes to the backend.
    pub(crate) malloc: bool,
    /// Blocks are made to show what is done wrong with them.
    pub(crate) debug: bool,
    /// Frames of the backtraces that are recorded then.
    pub(crate) backtrace: Option<u8>,
    /// Requests are sampled, with so many bytes from one to the next on average.
    pub(crate) sample: Option<u64>,
}

impl Words {
    /// What they make of the whole process.
    pub(crate) fn mode(&self) -> Mode {
        match (self.debug, self.malloc) {
            (false, false) => Mode::Pools,
            (false, true) => Mode::Backend,
            (true, false) => Mode::Debug,
            (true, true) => Mode::DebugBackend,
        }
    }
}

/// Reads the variable; warns once of words that it does not know, and ignores those: this runs once.
pub(crate) fn words() -> Words {
    let (words, is_known) = words_of(os::environment(c"POOLMALLOC").unwrap_or(b""));
    if !is_known {
        os::write_stderr(
            b"poolmalloc: POOLMALLOC has a word that has no meaning, and is ignored; \
              there are: debug malloc leaks sample=BYTES, and with debug backtrace=N for N from 1 to 128\n",
        );
    }
    words
}

/// The words, and whether there was none that is unknown.
fn words_of(value: &[u8]) -> (Words, bool) {
    let (mut words, mut is_known) = (Words::default(), true);
    for word in value.split(|byte| *byte == b',') {
        match word {
            b"" => {}
            b"leaks" => words.leaks = true,
            b"malloc" => words.malloc = true,
            b"debug" => words.debug = true,
            _ => match word.strip_prefix(b"backtrace=").and_then(frames) {
                Some(frames) => words.backtrace = Some(frames),
                None => match word.strip_prefix(b"sample=").and_then(number).filter(|bytes| *bytes > 0) {
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

/// Has requests sampled, and the profile written at the end, if the environment asks for either.
pub(crate) fn profile(words: &Words) {
    let is_file_wanted = os::environment(c"POOLMALLOC_PROFILE").is_some_and(|path| !path.is_empty());
    if words.sample.is_none() && !is_file_wanted {
        return;
    }
    if words.debug {
        os::write_stderr(b"poolmalloc: in debug mode no request is sampled, and there is no profile\n");
        return;
    }
    #[cfg(feature = "profile")]
    {
        PROFILER.start(words.sample.unwrap_or(USUAL_MEAN_BYTES));
        if is_file_wanted {
            PROFILER.write_at_exit();
        }
    }
    #[cfg(not(feature = "profile"))]
    os::write_stderr(
        b"poolmalloc: built without the feature `profile`: no request is sampled, and there is no profile\n",
    );
}

/// A number in decimal digits, if it fits.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| core::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn frames(number: &[u8]) -> Option<u8> {
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let frames: usize = core::str::from_utf8(number).ok()?.parse().ok()?;
    (1..=MOST_FRAMES).contains(&frames).then_some(frames as u8)
}

/// `None` for a value that has no meaning.
fn parsed(value: Option<&[u8]>) -> Option<HugePages> {
    let mib = match value {
        None | Some(b"") => return Some(HugePages::Unset),
        Some(b"never") => return Some(HugePages::Never),
        // One huge page of ordinary ones is left: small programs use less.
        Some(b"always") => 0,
        Some(number) if number.iter().all(u8::is_ascii_digit) => core::str::from_utf8(number).ok()?.parse().ok()?,
        Some(_) => return None,
    };
    // No region goes beyond what does not fit.
    let bytes = usize::checked_mul(mib, 1 << 20).and_then(|bytes| bytes.checked_next_multiple_of(REGION_ALIGN));
    Some(bytes.map_or(HugePages::Unset, |bytes| HugePages::Beyond(bytes.max(REGION_ALIGN))))
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
            let words = Words { leaks: is_on('l'), malloc: is_on('m'), debug: is_on('d'), backtrace, sample: None };
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
            let words = Words { leaks: value.starts_with("leaks"), sample, ..Words::default() };
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
            (Some("18446744073709551615"), Some(HugePages::Unset)),
            (Some("18446744073709551616"), None),
            (Some("-1"), None),
            (Some("+1"), None),
            (Some("yes"), None),
            (Some("ALWAYS"), None),
            (Some("16 "), None),
        ] {
            assert_eq!(parsed(value.map(str::as_bytes)), meaning, "{value:?}");
        }
        assert_eq!(parsed(Some(b"\xff")), None);
    }
}
