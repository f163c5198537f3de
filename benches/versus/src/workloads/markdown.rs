//! markdown: documents are parsed and written as HTML by `pulldown-cmark`.
//!
//! Stands for site generators and comment renderers. The parser keeps its tree in a few vectors, so a document means
//! a few dozen growing blocks, plus one small string for each link and title that needs unescaping.
//!
//! Requests: 870 k, more than half of them `realloc`s; 85 % for 256 bytes or less, every tenth for 1 KiB or more.
//!
//! Caveat: hardly a tenth of the time is allocation, so expect a row near 1.0. The workload is here because real
//! programs look like this too.

use std::fmt::Write;

use pulldown_cmark::{Options, Parser, html};
use rand::RngExt;
use versus::workload::{Group, Random, Run, Scale, Workload, checksum, random};

use super::text::Vocabulary;

pub(super) const WORKLOAD: Workload = Workload {
    name: "markdown",
    group: Group::Program,
    about: "Markdown documents to HTML (pulldown-cmark)",
    operations: None,
    prepare,
};

const DOCUMENTS: usize = 500;
const FULL_PASSES: usize = 32;

fn prepare(scale: Scale) -> Run {
    let mut random = random(8);
    let vocabulary = Vocabulary::new(3000, &mut random);
    let documents: Vec<String> = (0..DOCUMENTS).map(|_| document(&vocabulary, &mut random)).collect();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let render = |document: &String| {
            let mut page = String::new();
            html::push_html(&mut page, Parser::new_ext(document, Options::all()));
            checksum(&page)
        };
        checksum(&(0..passes).flat_map(|_| documents.iter().map(render)).collect::<Vec<_>>())
    })
}

/// A comment or short page of about 2 KiB.
fn document(vocabulary: &Vocabulary, random: &mut Random) -> String {
    let mut text = String::from("# ");
    vocabulary.add_words(&mut text, 4, random);
    for section in 0..random.random_range(3..=9) {
        text.push_str("\n\n");
        match section % 5 {
            0 => (0..4).for_each(|_| vocabulary.add_sentence(&mut text, random)),
            1 => list(&mut text, vocabulary, random),
            2 => link(&mut text, vocabulary, random),
            3 => table(&mut text, vocabulary, random),
            _ => write!(
                text,
                "> *{}* `code` **{}**[^1]\n\n[^1]: a note",
                vocabulary.word(random),
                vocabulary.word(random)
            )
            .expect("a string takes all text"),
        }
    }
    text
}

fn list(text: &mut String, vocabulary: &Vocabulary, random: &mut Random) {
    for item in 0..6 {
        text.push_str(if item % 3 == 2 { "  - " } else { "- " });
        vocabulary.add_sentence(text, random);
        text.push('\n');
    }
}

fn link(text: &mut String, vocabulary: &Vocabulary, random: &mut Random) {
    for _ in 0..4 {
        let (name, host) = (vocabulary.word(random), vocabulary.word(random));
        write!(text, "See [{name} &amp; co](https://{host}.example/?a=1&amp;b=2 \"the \\\"{name}\\\" page\"). ")
            .expect("a string takes all text");
    }
}

fn table(text: &mut String, vocabulary: &Vocabulary, random: &mut Random) {
    text.push_str("| name | value |\n| --- | --: |\n");
    for _ in 0..5 {
        writeln!(text, "| {} | {} |", vocabulary.word(random), random.random_range(0..1000))
            .expect("a string takes all text");
    }
}
