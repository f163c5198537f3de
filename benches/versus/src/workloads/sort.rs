//! sort: lines are cut into `String`s, sorted in parallel, deduplicated and joined.
//!
//! Stands for batch tools that treat text in parallel (two rayon threads). The threads make the strings, the sort moves
//! them about, and they are freed in sorted order. So a block is freed far from the neighbors that were made with it,
//! and often by the other thread.
//!
//! Requests: 2.1 M, nearly all small. Half are for 32 bytes or less, and half are `realloc`s while a line is formatted.
//!
//! Caveat: the sort itself hardly allocates. Comparing strings takes most of the time, and the vectors of strings are
//! blocks of megabytes that the backend serves.

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use versus::workload::{Group, Run, Scale, Workload, checksum, random};

use super::text::Vocabulary;

pub(super) const WORKLOAD: Workload = Workload {
    name: "sort",
    group: Group::Program,
    about: "100 k Strings made, sorted and dropped by two rayon threads",
    operations: None,
    prepare,
};

const LINES: usize = 100_000;
const FULL_PASSES: usize = 11;

fn prepare(scale: Scale) -> Run {
    let mut random = random(9);
    let vocabulary = Vocabulary::new(5000, &mut random);
    let mut text = String::new();
    for number in 0..LINES {
        vocabulary.add_words(&mut text, 1 + number % 6, &mut random);
        text.push('\n');
    }
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().expect("the system can start two threads");
        let pass = |pass| pool.install(|| sort(&text, pass));
        checksum(&(0..passes).map(pass).collect::<Vec<_>>())
    })
}

fn sort(text: &str, pass: usize) -> u64 {
    let mut lines: Vec<String> = text.par_lines().map(|line| format!("{line} {}", (line.len() + pass) % 7)).collect();
    lines.par_sort_unstable();
    lines.dedup();
    let sums: Vec<u64> = lines.into_par_iter().map(|line| checksum(&line)).collect();
    checksum(&sums)
}
