//! Blocks of whole words that check themselves: each word shows whether it was changed, and the first word gives the
//! number of words. So a bare pointer is enough to hand a block to another thread.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::ptr::NonNull;

use rand::RngExt;
use rand::rngs::SmallRng;

/// Maximum number of words of a block.
pub const MOST_WORDS: usize = 600;

const COOKIE: usize = 0xbf58_476d_1ce4_e5b9;

fn layout(words: usize) -> Layout {
    Layout::array::<u64>(words).expect("a legal layout")
}

/// Value of the word at `index` of a block of `words` words.
fn word(block: NonNull<u64>, index: usize, words: usize) -> u64 {
    ((words - index) ^ COOKIE ^ block.addr().get()) as u64
}

/// A new block of `words` words, each written.
pub fn make(words: usize) -> NonNull<u64> {
    assert!((1..=MOST_WORDS).contains(&words));
    // SAFETY: the size is not zero.
    let start = black_box(unsafe { alloc(layout(words)) });
    let block = NonNull::new(start.cast::<u64>()).expect("out of memory");
    assert!(block.is_aligned());
    for index in 0..words {
        // SAFETY: the block is `words` words long.
        let place = unsafe { block.add(index) };
        // SAFETY: as above, and the block is aligned for words.
        unsafe { place.write(word(block, index, words)) };
    }
    block
}

/// Checks every word and returns the number of words.
pub fn check(block: NonNull<u64>) -> usize {
    // SAFETY: blocks are made by `make`, have a word at least, and are owned by the caller.
    let first = unsafe { block.read() };
    let words = first as usize ^ COOKIE ^ block.addr().get();
    assert!((1..=MOST_WORDS).contains(&words), "first word lost in the block at {block:?}: {first:#x}");
    for index in 1..words {
        // SAFETY: the block is `words` words long.
        let place = unsafe { block.add(index) };
        // SAFETY: as above, and `make` wrote every word.
        let found = unsafe { place.read() };
        assert_eq!(found, word(block, index, words), "word {index} of {words} lost in the block at {block:?}");
    }
    words
}

/// Checks every word, then frees the block.
pub fn free(block: NonNull<u64>) {
    let words = check(block);
    // SAFETY: `make` allocated it with this layout; the caller gives it up.
    unsafe { dealloc(block.as_ptr().cast(), layout(words)) };
}

/// A random number of words. One block in fifty is large; the others are small, of any class.
pub fn some_words(random: &mut SmallRng) -> usize {
    if random.random_ratio(1, 50) { random.random_range(33..=MOST_WORDS) } else { random.random_range(1..=32) }
}
