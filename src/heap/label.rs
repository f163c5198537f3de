//! The name of a private heap, readable by any thread.

use crate::figures::{NAME_BYTES, Name};
use crate::sync::WatchedU64;

const WORDS: usize = NAME_BYTES / size_of::<u64>();

/// The name that a private heap has now. Any thread may read it. Zero memory is a label without a name.
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
    fn a_label_tells_its_name_while_it_is_used() {
        let label = Label::new();
        assert_eq!(label.get(), None);
        label.set(Name::new("nodes of a tree, 32 bytes and on"));
        assert_eq!(label.get(), Some(Name::new("nodes of a tree, 32 bytes and on")));
        label.clear();
        assert_eq!(label.get(), None);
    }
}
