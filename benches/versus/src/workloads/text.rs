//! Made-up text for the workloads that need some: the same on every machine. Other packages may use it for their
//! workloads.

use rand::RngExt;
use versus::workload::Random;

const ONSETS: [&str; 16] = ["b", "br", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v"];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "ou"];

/// A vocabulary of words of 2 to 12 letters. The first words are picked far more often than the last, as in a language.
pub struct Vocabulary(Vec<String>);

impl Vocabulary {
    /// Makes `count` words. A few may be equal.
    pub fn new(count: usize, random: &mut Random) -> Self {
        let word = |_| {
            let syllables = random.random_range(1..=3);
            (0..syllables).flat_map(|_| [pick(&ONSETS, random), pick(&VOWELS, random)]).collect()
        };
        Self((0..count).map(word).collect())
    }

    /// Picks a word. Half of all picks come from the first quarter of the vocabulary.
    pub fn word(&self, random: &mut Random) -> &str {
        let count = self.0.len() as u64;
        let x = random.random_range(0..count);
        &self.0[usize::try_from(x * x / count).expect("less than the count of words")]
    }

    /// Adds `words` words with spaces between them.
    pub fn add_words(&self, text: &mut String, words: usize, random: &mut Random) {
        for at in 0..words {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(self.word(random));
        }
    }

    /// Adds a sentence of 4 to 16 words, with its period.
    pub fn add_sentence(&self, text: &mut String, random: &mut Random) {
        let words = random.random_range(4..=16);
        let first = self.word(random);
        text.push_str(&first[..1].to_uppercase());
        text.push_str(&first[1..]);
        text.push(' ');
        self.add_words(text, words - 1, random);
        text.push('.');
    }
}

fn pick(from: &[&'static str], random: &mut Random) -> &'static str {
    from[random.random_range(0..from.len())]
}
