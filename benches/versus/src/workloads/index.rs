//! index: text is split into words. The words are counted and put into an inverted index, which is then queried.
//!
//! Stands for log analyzers and search tools. Each word becomes a `String` for a moment (folded to lower case). The
//! `String` of a new word stays as a key. Postings are vectors that grow by pushes.
//!
//! Requests: 1.5 M, 96 % for 256 bytes or less, more than half of them for 8 or less.
//!
//! Caveat: the map's table and the longest postings are over 256 bytes. Hashing takes a good part of the time.

use versus::workload::{Group, HashMap, Run, Scale, Workload, checksum, random};

use super::text::Vocabulary;

pub(super) const WORKLOAD: Workload = Workload {
    name: "index",
    group: Group::Program,
    about: "words of 2000 documents counted and put into an inverted index",
    operations: None,
    prepare,
};

const DOCUMENTS: usize = 2000;
const WORDS: usize = 30_000;
const FULL_PASSES: usize = 5;

fn prepare(scale: Scale) -> Run {
    let mut random = random(4);
    let vocabulary = Vocabulary::new(WORDS, &mut random);
    let document = |_| {
        let mut text = String::new();
        for _ in 0..12 {
            vocabulary.add_sentence(&mut text, &mut random);
            text.push('\n');
        }
        text
    };
    let documents: Vec<String> = (0..DOCUMENTS).map(document).collect();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || checksum(&(0..passes).map(|pass| index(&documents, pass)).collect::<Vec<u64>>()))
}

/// Number of times that a word occurs in a document.
#[derive(Hash)]
struct Posting {
    document: u32,
    count: u32,
}

fn index(documents: &[String], pass: usize) -> u64 {
    let mut index: HashMap<String, Vec<Posting>> = HashMap::default();
    for (document, text) in (0..).zip(documents) {
        let mut counts: HashMap<String, u32> = HashMap::default();
        for word in text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        for (word, count) in counts {
            index.entry(word).or_default().push(Posting { document, count });
        }
    }
    let mut by_use: Vec<(usize, &String)> = index.iter().map(|(word, postings)| (postings.len(), word)).collect();
    by_use.sort_unstable();
    let (_, asked) = by_use[by_use.len() - 1 - pass % by_use.len()];
    checksum(&(by_use.len(), asked, &index[asked]))
}
