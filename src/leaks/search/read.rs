//! Reads words of memory: of mappings that may have holes, and of live blocks.

use super::scan::{READ_AT_ONCE, Scan, WORD};
use crate::sync::Ordering;
use core::sync::atomic::AtomicU64;

impl Scan<'_> {
    /// Number of the mapping that an address lies in.
    pub(super) fn mapping_of(&self, address: usize) -> Option<usize> {
        let number = self.mappings.partition_point(|mapping| mapping.start <= address).checked_sub(1)?;
        (address < self.mappings[number].end).then_some(number)
    }

    /// Calls `each` with the address and the value of the words in a range of a mapping. Leaves out unused pages of a
    /// large range.
    pub(super) fn read_used(&self, from: usize, to: usize, mapping: Option<usize>, each: &mut impl FnMut(usize, u64)) {
        /// In a range below this size, reading is less work than asking which pages are used.
        const WORTH_ASKING: usize = 16 * 4096;
        if to.saturating_sub(from) < WORTH_ASKING {
            return self.read_words(from, to, each);
        }
        let read = |from: usize, to: usize| self.read_words(from, to, each);
        if mapping.is_none_or(|number| self.mappings[number].is_private) {
            self.memory.each_used((from, to), read);
        } else {
            self.memory.each_used_shared((from, to), read);
        }
    }

    /// Calls `each` with the address and the value of the words in a range. Leaves out pages that cannot be read.
    fn read_words(&self, from: usize, to: usize, each: &mut impl FnMut(usize, u64)) {
        /// Words of a small buffer, which is enough for most blocks. It takes longer to clear a large buffer than to
        /// read so few words.
        const FEW: usize = 512;
        if to.saturating_sub(from) <= FEW * WORD {
            self.read_words_by(&mut [0; FEW], (from, to), each);
        } else {
            self.read_words_by(&mut [0; READ_AT_ONCE], (from, to), each);
        }
    }

    /// Reads words as [`read_words`](Self::read_words) does, in steps of at most `words.len()` words.
    fn read_words_by(&self, words: &mut [u64], (from, to): (usize, usize), each: &mut impl FnMut(usize, u64)) {
        let mut at = from.next_multiple_of(WORD);
        while at + WORD <= to {
            let wanted = ((to - at) / WORD).min(words.len());
            let count = self.memory.read(at, &mut words[..wanted]);
            for (value, address) in words[..count].iter().zip((at..).step_by(WORD)) {
                each(address, *value);
            }
            if count == 0 {
                // The page has no rights, or lies beyond the end of a file. The next page may be readable.
                at = (at + 1).next_multiple_of(crate::os::page_bytes());
            } else {
                at += count * WORD;
            }
        }
    }
}

/// Reads a word of a live block.
pub(super) fn read_word(address: usize) -> u64 {
    let word = core::ptr::with_exposed_provenance_mut(address);
    // An atomic, since a thread that could not be stopped may write there. Any value will do.
    // SAFETY: an aligned word inside a live block, which stays readable (Scan invariant 1).
    let word = unsafe { AtomicU64::from_ptr(word) };
    word.load(Ordering::Relaxed)
}
