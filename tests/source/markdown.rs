//! The Markdown files name only files that exist: every relative link, and every path in a code span that begins with a
//! folder of the repository, leads somewhere.
//!
//! To see it fail: rename a file that a document names.
//!
//! `cargo test --test source markdown::`

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Parser, Tag};

use crate::files;

/// Folders of the repository. A code span that begins with one of them is taken for a path.
const FOLDERS: [&str; 8] = ["src/", "docs/", "tests/", "benches/", "loom-tests/", "examples/", "fuzz/", ".ci/"];

/// Returns the paths that a document names, each joined to the folder that it starts from.
fn named_paths(text: &str, here: &Path, root: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                let target = dest_url.split('#').next().unwrap_or_default();
                if !target.is_empty() && !target.contains(':') {
                    paths.push(here.join(target));
                }
            }
            Event::Code(code) => {
                let path = code.split_whitespace().next().unwrap_or_default();
                if FOLDERS.iter().any(|folder| path.starts_with(folder)) && !path.contains(['*', '<']) {
                    // A package's own documents may name its own folders.
                    let nearest = here.join(path);
                    paths.push(if nearest.exists() { nearest } else { root.join(path) });
                }
            }
            _ => {}
        }
    }
    paths
}

#[test]
fn named_files_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files(root, "md");
    let mut named = 0;
    let mut gone = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("the document can be read");
        let here = file.parent().expect("a file lies in a folder");
        for path in named_paths(&text, here, root) {
            named += 1;
            if !path.exists() {
                gone.push(format!("{}: {}", file.display(), path.display()));
            }
        }
    }
    assert!(gone.is_empty(), "paths that are gone:\n{}", gone.join("\n"));
    assert!(
        files.len() >= 4 && named >= 20,
        "only {named} paths in {} documents: is this the repository?",
        files.len()
    );
}

#[test]
fn a_missing_file_would_be_seen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = named_paths("[a](src/gone.rs#x) `tests/gone.rs --flag` [b](https://example.org) `other`", root, root);
    assert_eq!(paths, [root.join("src/gone.rs"), root.join("tests/gone.rs")]);
    assert!(paths.iter().all(|path| !path.exists()));
}
