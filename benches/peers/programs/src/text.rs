//! Made-up words for the inputs: the same on every machine.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const SYLLABLES: [&str; 24] = [
    "ba", "bel", "co", "dan", "dor", "el", "fi", "gar", "hin", "ka", "lin", "lo", "mar", "mi", "nes", "or", "pa", "ri",
    "sal", "ta", "tor", "un", "ver", "zo",
];

/// A seeded source of words, numbers and choices.
pub(crate) struct Source {
    random: Pcg64Mcg,
    words: Vec<String>,
}

impl Source {
    /// A source that depends only on `seed`, with a vocabulary of `words` words.
    pub(crate) fn new(seed: u64, words: usize) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let words = (0..words)
            .map(|_| {
                let syllables = random.random_range(1..=4);
                (0..syllables).map(|_| SYLLABLES[random.random_range(0..SYLLABLES.len())]).collect()
            })
            .collect();
        Self { random, words }
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// One of `choices`.
    pub(crate) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A word. The first words of the vocabulary come far more often than the last, as in a language.
    pub(crate) fn word(&mut self) -> &str {
        let count = self.words.len();
        let x = self.below(count);
        &self.words[x * x / count]
    }

    /// A text of `count` words with spaces between them.
    pub(crate) fn words(&mut self, count: usize) -> String {
        let mut text = String::new();
        for at in 0..count {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(self.word());
        }
        text
    }
}
