//! Checks that a program ended with the report of a planted error.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};

use poolmalloc_plants::errors::Plant;

use crate::process::told;

/// Fails unless the child ended with the report of this error and printed no other report.
pub fn assert_reported(plant: &Plant, output: &Output) {
    let all = || told(output);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", all());
    let accused = String::from_utf8_lossy(&output.stdout);
    let accused = accused.trim_end().strip_prefix("0x").expect("an address");
    let accused = usize::from_str_radix(accused, 16).expect("an address");
    let mut line = plant.line.replace("{}", &format!("{accused:#x}"));
    if let Some((before, rest)) = line.clone().split_once('{') {
        let (offset, after) = rest.split_once('}').expect("a closing brace");
        let block = accused.wrapping_add_signed(offset.parse().expect("an offset"));
        line = format!("{before}{block:#x}{after}");
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with(&format!("poolmalloc: {line}; aborting\n")), "expected {line}\n{}", all());
    assert_eq!(said.matches("poolmalloc: ").count(), 1, "{}", all());
    for piece in plant.told {
        assert!(said.contains(piece), "expected {piece}\n{}", all());
    }
    assert!(!said.contains("block:") || said.contains(", serial number "), "{}", all());
}

/// Runs a child that is expected to abort, and lets it write no core file.
pub fn no_core(child: &mut Command) -> Output {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let before_start = move || {
        // SAFETY: a valid limit.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        Ok(())
    };
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { child.pre_exec(before_start) };
    child.output().expect("starting the child")
}
