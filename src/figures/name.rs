//! Names of private heaps and typed pools: short texts that need no memory of their own.

use core::fmt::{self, Debug, Display, Formatter};

/// Most bytes of a name.
pub(crate) const NAME_BYTES: usize = 32;

/// The name of a private heap or a typed pool: at most 32 bytes of UTF-8, without control characters, double quotes and
/// backslashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(from = "String", into = "String"))]
pub struct Name {
    /// The text, then zeros.
    pub(crate) bytes: [u8; NAME_BYTES],
}

impl Name {
    /// The name with this text. Characters that a report would have to escape become `_`. Text beyond 32 bytes is cut
    /// off, between two characters.
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

    /// The text of the name. Empty for a private heap or a typed pool without a name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        // Only a name that was read while another name replaced it can be invalid UTF-8.
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
}
