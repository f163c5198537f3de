//! Tests that read the files of the repository. They need nothing of the process, and run in the usual harness.
//!
//! `cargo test --test source`; for one module `cargo test --test source layers::`

mod layers;
mod markdown;
mod width;

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the files below a folder whose names end in this extension, without those that cargo and git keep.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if name != "target" && name != ".git" {
                found.extend(files(&path, extension));
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}
