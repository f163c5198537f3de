//! regex: many regular expressions are compiled, and each is matched against a log.
//!
//! Stands for log filters, routers and linters that take their patterns from a configuration. Compiling makes a syntax
//! tree, a program and tables for each pattern; matching allocates little.
//!
//! Requests: 1.7 M, 90 % for 256 bytes or less, half for 32 or less.
//!
//! Caveat: the tables are large blocks that the backend serves, and much of the time is spent in the compiler itself.

use std::fmt::Write;

use rand::RngExt;
use regex::Regex;
use versus::workload::{Group, Random, Run, Scale, Workload, checksum, random};

use super::text::Vocabulary;

pub(super) const WORKLOAD: Workload = Workload {
    name: "regex",
    group: Group::Program,
    about: "many regular expressions compiled and matched against a log",
    operations: None,
    prepare,
};

const PATTERNS: usize = 40;
const LINES: usize = 60;
const FULL_PASSES: usize = 55;

fn prepare(scale: Scale) -> Run {
    let mut random = random(7);
    let vocabulary = Vocabulary::new(300, &mut random);
    let patterns: Vec<String> = (0..PATTERNS).map(|kind| pattern(kind, &vocabulary, &mut random)).collect();
    let log: String = (0..LINES).map(|_| line(&vocabulary, &mut random)).collect();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let mut found = Vec::new();
        for _ in 0..passes {
            // All patterns of a configuration live together.
            let compiled: Vec<Regex> =
                patterns.iter().map(|pattern| Regex::new(pattern).expect("the pattern is correct")).collect();
            found.extend(compiled.iter().map(|regex| matches(regex, &log)));
        }
        checksum(&found)
    })
}

/// Number of lines that match, and number of bytes in their first groups.
fn matches(regex: &Regex, log: &str) -> (usize, usize) {
    let captured = log.lines().filter_map(|line| regex.captures(line));
    captured
        .fold((0, 0), |(lines, bytes), captures| (lines + 1, bytes + captures.get(1).map_or(0, |group| group.len())))
}

fn pattern(kind: usize, vocabulary: &Vocabulary, random: &mut Random) -> String {
    let mut word = || vocabulary.word(random).to_owned();
    match kind % 5 {
        0 => format!("({}|{}|{}) took [0-9]+ms", word(), word(), word()),
        1 => format!(r"^\[([0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}})\] .*{}", word()),
        2 => format!(r"(?:user|host)=([a-z]+[0-9]{{1,3}})[^=]*{}?", word()),
        3 => format!(r"(?i)({}[a-z]* +){{1,3}}(?:took|failed)", word()),
        _ => format!(r"([a-z]+)://{}\.example(?:/[a-z]+)*", word()),
    }
}

fn line(vocabulary: &Vocabulary, random: &mut Random) -> String {
    let clock = random.random_range(0..86_400);
    let mut line = format!("[{:02}:{:02}:{:02}] ", clock / 3600, clock / 60 % 60, clock % 60);
    vocabulary.add_words(&mut line, 6, random);
    let (user, host) = (random.random_range(0..1000), vocabulary.word(random));
    write!(line, " took {clock}ms user=a{user} http://{host}.example/").expect("a string takes all text");
    vocabulary.add_words(&mut line, 1, random);
    line.push('\n');
    line
}
