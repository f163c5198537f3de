//! Runs a program under callgrind, and reads the counts.
//!
//! Callgrind writes a file after each call of an operation, with the instructions since the file before. The programs
//! call all operations with `ROUNDS` rounds, which is not counted, once more, and then with twice as many. So there are
//! three files for each operation. The difference of the last two is the cost of `ROUNDS` rounds: whatever a call needs
//! beside its rounds is in both files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::operations::{Counts, OPERATIONS};

/// The counts of the program that a command runs.
///
/// # Errors
/// If valgrind cannot be started, the program fails, or the files are not those of the operations.
pub(crate) fn counts(command: &[PathBuf]) -> Result<Counts> {
    let folder = tempfile::tempdir().context("a folder for the counts")?;
    let to = folder.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-after=*::form_*"])
        .arg(format!("--callgrind-out-file={}", to.display()))
        .args(command)
        .env_remove("POOLMALLOC")
        .output()
        .context("starting valgrind, which must be installed")?;
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut counts = Counts::default();
    for (index, (operation, count)) in OPERATIONS.iter().zip(&mut counts).enumerate() {
        // The files are numbered from 1.
        let read = |call: usize| dump(&to.with_extension((call * OPERATIONS.len() + index + 1).to_string()));
        let [(first, once), (second, twice)] = [read(1)?, read(2)?];
        ensure!(
            [first, second].iter().all(|name| name.ends_with(&format!("::{}", operation.function))),
            "the program did not call {} in its turn",
            operation.function
        );
        *count = (twice - once) as f64 / operation.operations as f64;
    }
    Ok(counts)
}

/// Reads a file of callgrind: the function after which it was written, and the instructions since the file before.
fn dump(path: &Path) -> Result<(String, u64)> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.with_context(|| format!("no line {key} in {}", path.display()))
    };
    let function = value("desc: Trigger: --dump-after=")?.to_owned();
    let instructions = value("totals: ")?.trim().parse().context("a number of instructions")?;
    Ok((function, instructions))
}
