//! Names of private heaps, as reports tell them: short, and kept without memory of their own.

use crate::watched::WatchedU64;
use core::fmt::{self, Debug, Display, Formatter};

/// Most bytes of a name.
const NAME_BYTES: usize = 32;
const WORDS: usize = NAME_BYTES / size_of::<u64>();

/// The name of a private heap: at most 32 bytes of UTF-8, none of them a control character, a quote or a backslash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(from = "String", into = "String"))]
pub struct Name {
    /// Zero behind the end.
    bytes: [u8; NAME_BYTES],
}

impl Name {
    /// The name with this text. Characters that a report would have to escape become `_`, and what is beyond 32 bytes is cut
    /// off.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (mut bytes, mut length) = ([0; NAME_BYTES], 0);
        for character in text.chars() {
            let character = if character.is_control() || matches!(character, '"' | '\\') { '_' } else { character };
            if length + character.len_utf8() > NAME_BYTES {
                break;
            }
            length += character.encode_utf8(&mut bytes[length..]).len();
        }
        Self { bytes }
    }

    /// The text. Empty for a heap without a name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        // Only a name that was read while another took its place is no UTF-8.
        core::str::from_utf8(&self.bytes[..length]).unwrap_or("?")
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().into()
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Debug for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self.as_str(), f)
    }
}

/// The name that a private heap has now, for whoever asks. All zero is none.
pub(crate) struct Label {
    words: [WatchedU64; WORDS],
    /// 1 while the heap has a handle.
    is_used: WatchedU64,
}

impl Label {
    pub(crate) const fn new() -> Self {
        Self { words: [const { WatchedU64::new(0) }; WORDS], is_used: WatchedU64::new(0) }
    }

    /// Only the owner may call this.
    pub(crate) fn set(&self, name: Name) {
        for (word, bytes) in self.words.iter().zip(name.bytes.chunks_exact(8)) {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            word.set(u64::from_ne_bytes(value));
        }
        self.is_used.set(1);
    }

    /// Only the owner may call this.
    pub(crate) fn clear(&self) {
        self.is_used.set(0);
    }

    /// The name, if the heap has a handle.
    pub(crate) fn get(&self) -> Option<Name> {
        let mut bytes = [0; NAME_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(&self.words) {
            to.copy_from_slice(&word.get().to_ne_bytes());
        }
        (self.is_used.get() == 1).then_some(Name { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_between_characters_and_needs_no_escape() {
        assert_eq!(Name::new("a \"b\\\n").as_str(), "a _b__");
        assert_eq!(Name::new(&"ä".repeat(20)).as_str(), "ä".repeat(16));
        assert_eq!(Name::new(&format!("x{}", "ä".repeat(20))).as_str(), format!("x{}", "ä".repeat(15)));
        assert_eq!(Name::default().as_str(), "");
    }

    #[test]
    fn a_label_tells_its_name_while_it_is_used() {
        let label = Label::new();
        assert_eq!(label.get(), None);
        label.set(Name::new("nodes of a tree, 32 bytes and on"));
        assert_eq!(label.get(), Some(Name::new("nodes of a tree, 32 bytes and on")));
        label.clear();
        assert_eq!(label.get(), None);
    }
}
