//! Text that is built without allocating.

use core::fmt;

/// A text of at most `N` bytes, on the stack.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The text. Empty if it was cut inside a character.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// Adds bytes, as far as there is room. `None` if some were cut off.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let count = bytes.len().min(N - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
        (count == bytes.len()).then_some(())
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    /// Adds a text, as far as there is room. An error if some of it was cut off.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).ok_or(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn a_text_is_cut_where_there_is_no_more_room() {
        let mut text = Text::<8>::new();
        assert!(write!(text, "{}", 12345).is_ok());
        assert_eq!(text.as_str(), "12345");
        assert_eq!(text.push(b"678"), Some(()));
        assert!(write!(text, "9").is_err() && text.push(b"").is_some());
        assert_eq!(text.bytes(), b"12345678");
        let mut cut = Text::<3>::new();
        assert!(write!(cut, "\u{e4}\u{e4}").is_err());
        assert_eq!((cut.bytes().len(), cut.as_str()), (3, ""));
    }
}
