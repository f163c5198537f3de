//! No line of a Rust file is longer than 120 columns, and no line of prose in a Markdown file. rustfmt keeps code
//! within that, but leaves comments and strings alone. Tables and code blocks of Markdown files may be wider.
//!
//! To see it fail: join two lines of a comment.
//!
//! `cargo test --test source width::`

use std::fs;
use std::path::Path;

use crate::files;

const COLUMNS: usize = 120;

/// Returns the numbers of the lines that are too long.
fn long_lines(text: &str, is_markdown: bool) -> Vec<usize> {
    let mut is_code = false;
    let mut long = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        is_code ^= is_markdown && line.trim_start().starts_with("```");
        let may_be_long = is_markdown && (is_code || line.trim_start().starts_with('|'));
        if line.chars().count() > COLUMNS && !may_be_long {
            long.push(number);
        }
    }
    long
}

#[test]
fn lines_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for (extension, is_markdown) in [("rs", false), ("md", true)] {
        let files = files(root, extension);
        assert!(files.len() > 10, "only {} files of {extension}", files.len());
        for file in files {
            let text = fs::read_to_string(&file).expect("the file can be read");
            let name = file.strip_prefix(root).expect("below the root").display();
            long.extend(long_lines(&text, is_markdown).iter().map(|line| format!("{name}:{line}")));
        }
    }
    assert!(long.is_empty(), "lines over {COLUMNS} columns:\n{}", long.join("\n"));
}

#[test]
fn a_long_line_would_be_seen() {
    let long = "x".repeat(COLUMNS + 1);
    let text = format!("{}\n{long}\n| {long} |\n```text\n{long}\n```\n{long}\n", &long[1..]);
    assert_eq!(long_lines(&text, true), [2, 7]);
    assert_eq!(long_lines(&text, false), [2, 3, 5, 7]);
}
