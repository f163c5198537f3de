//! `POOLMALLOC_HUGE_PAGES` says at which place of the region huge pages begin.
//!
//! Each setting is tested in a child. The child allocates 80 MiB of blocks, and reads in `/proc/self/smaps` which pages
//! the kernel was asked for at their addresses. The answer does not depend on whether the kernel has a huge page to
//! give.
//!
//! To see it fail: ask for huge pages from another place on; ask for them where the environment says never; do not warn
//! of a word without a meaning, or warn at each request.
//!
//! `cargo test --test processes huge_pages::`

use std::fs;

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{CLASSES, size_of_class};
use poolmalloc_support::process::{say, told};
use poolmalloc_support::{Test, command, tests};

const MIB: usize = 1 << 20;

/// Returns a letter for each of these addresses: `h` if the kernel was asked for huge pages, `n` if it was asked to use
/// none, `.` if it was asked for neither. `None` if the kernel does not say.
fn asked_for(addresses: &[usize]) -> Option<String> {
    // A kernel without huge pages does not have this folder, and refuses the library's request.
    fs::metadata("/sys/kernel/mm/transparent_hugepage").ok()?;
    let text = fs::read_to_string("/proc/self/smaps").ok()?;
    let mut ranges = vec![];
    for line in text.lines() {
        let first = line.split_whitespace().next()?;
        if let Some((start, end)) = first.split_once('-') {
            let number = |text| usize::from_str_radix(text, 16).ok();
            ranges.push((number(start)?..number(end)?, '.'));
        } else if first == "VmFlags:" {
            let flag = line.split_whitespace().find(|flag| ["hg", "nh"].contains(flag));
            ranges.last_mut()?.1 = flag.map_or('.', |flag| if flag == "hg" { 'h' } else { 'n' });
        }
    }
    let of = |address| ranges.iter().find(|(range, _)| range.contains(address)).map(|(_, letter)| *letter);
    addresses.iter().map(of).collect()
}

/// Allocates 80 MiB of blocks, and prints what was asked for at 1, 3, 15, 17, 63 and 66 MiB of them.
fn hold() {
    let size = size_of_class(CLASSES - 1).expect("a size that is served by 256 bytes");
    let blocks: Vec<Block> = (0..80 * MIB / 256).map(|at| Block::new(layout(size, 8), at)).collect();
    let mut addresses: Vec<usize> = blocks.iter().map(Block::address).collect();
    addresses.sort_unstable();
    let places: Vec<usize> = [1, 3, 15, 17, 63, 66].iter().map(|mib| addresses[mib * MIB / 256]).collect();
    let answer = asked_for(&places).unwrap_or_else(|| "unknown".to_owned());
    say(&answer);
}

fn every_setting() {
    const WARNING: &str =
        "poolmalloc: POOLMALLOC_HUGE_PAGES is neither `never` nor `always` nor a number of MiB; ignored\n";
    for (value, expected, warning) in [
        (None, "nnnnnn", ""),
        (Some(""), "nnnnnn", ""),
        (Some("never"), "nnnnnn", ""),
        (Some("always"), "nhhhhh", ""),
        (Some("16"), "nnnhhh", ""),
        (Some("64"), "nnnnnh", ""),
        (Some("some"), "nnnnnn", WARNING),
    ] {
        let mut child = command!("hold");
        match value {
            Some(value) => child.env("POOLMALLOC_HUGE_PAGES", value),
            None => child.env_remove("POOLMALLOC_HUGE_PAGES"),
        };
        let output = child.output().expect("starting the child");
        assert!(output.status.success(), "{}", told(&output));
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if answer == "unknown" {
            println!("left out: this system does not say which pages it was asked for");
            return;
        }
        assert_eq!(answer, expected, "{value:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), warning, "{value:?}");
        println!("{:>8}: {answer}", value.unwrap_or("unset"));
    }
}

pub(crate) fn tests() -> Vec<Test> {
    tests![every_setting]
}

pub(crate) fn child(_role: &str) {
    hold();
}
