//! A source of random choices for the inputs.

use rand::RngExt;
use versus::workload::{Random, random};
use versus::workloads::text::Vocabulary;

/// A seeded source of words, numbers and choices.
pub(crate) struct Source {
    random: Random,
    vocabulary: Vocabulary,
}

impl Source {
    /// A source that depends only on `seed`, with a vocabulary of `words` words.
    pub(crate) fn new(seed: u64, words: usize) -> Self {
        let mut random = random(seed);
        let vocabulary = Vocabulary::new(words, &mut random);
        Self { random, vocabulary }
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// One of `choices`.
    pub(crate) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A word of the vocabulary.
    pub(crate) fn word(&mut self) -> &str {
        self.vocabulary.word(&mut self.random)
    }

    /// A text of `count` words with spaces between them.
    pub(crate) fn words(&mut self, count: usize) -> String {
        let mut text = String::new();
        self.vocabulary.add_words(&mut text, count, &mut self.random);
        text
    }
}
