//! With `POOLMALLOC_STATS` a program reports what its heap holds when it ends: on standard error or in a file.
//!
//! To see it fail: print when the variable is not set; leave `%p` in a file's name; write before the program's own
//! `atexit` functions run.
//!
//! `cargo test --test processes exit_report::`

use std::process::Output;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::{env, fs, ptr};

use poolmalloc::{Stats, stats};
use serde_json::Value;

use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::{block_bytes, class_of};
use poolmalloc_support::process::told;
use poolmalloc_support::{Test, command, tests};

/// Number of blocks of 72 bytes that the child allocates. A function of `atexit` frees all but 7 of them, and the
/// report comes after it.
const HELD: usize = 1000;

extern "C" fn free_most() {
    let blocks = LIST.load(Ordering::Acquire);
    assert!(!blocks.is_null());
    // SAFETY: `run_child` leaked it, and nothing else refers to it.
    let mut blocks = unsafe { Box::from_raw(blocks) };
    blocks.truncate(7);
    std::mem::forget(blocks);
}

static LIST: AtomicPtr<Vec<String>> = AtomicPtr::new(ptr::null_mut());

fn run_child() {
    let blocks: Box<Vec<String>> = Box::new((0..HELD).map(|_| "x".repeat(72)).collect());
    LIST.store(Box::into_raw(blocks), Ordering::Release);
    // SAFETY: the function takes and returns nothing.
    assert_eq!(unsafe { libc::atexit(free_most) }, 0);
}

fn end_with(value: Option<&str>) -> Output {
    let mut child = command!("hold");
    match value {
        Some(value) => child.env("POOLMALLOC_STATS", value),
        None => child.env_remove("POOLMALLOC_STATS"),
    };
    let output = child.output().expect("starting the child");
    assert!(output.status.success(), "{}", told(&output));
    assert!(output.stdout.is_empty(), "{}", told(&output));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Size class of the blocks of 72 bytes.
fn class_of_72() -> usize {
    class_of(layout(72, 1)).expect("a class")
}

fn live_of_class_72(text: &str) -> u64 {
    let value: Value = serde_json::from_str(text).expect("JSON");
    value["classes"][class_of_72()]["live_blocks"].as_u64().expect("a number")
}

fn nothing_is_printed_unless_asked() {
    for value in [None, Some(""), Some("0")] {
        assert_eq!(said(&end_with(value)), "", "{value:?}");
    }
}

fn the_report_goes_to_standard_error() {
    let text = said(&end_with(Some("1")));
    assert!(text.starts_with("Small block threshold = 256"), "{text}");
    let start = format!("{} {:5} ", class_of_72(), block_bytes(class_of_72()));
    let line = text.lines().find(|line| line.trim_start().starts_with(&start)).expect("the class of 72 bytes");
    let figures: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(figures[3], "7", "{line}");
    assert!(text.ends_with('\n'));
}

fn json_goes_to_standard_error() {
    assert_eq!(live_of_class_72(&said(&end_with(Some("json")))), 7);
}

fn files_are_written() {
    let folder = env::temp_dir().join(format!("poolmalloc-report-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    assert_eq!(said(&end_with(Some(&path("report.%p.txt")))), "");
    assert_eq!(said(&end_with(Some(&path("%p.json")))), "");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    let [json, report] = &names[..] else { panic!("{names:?}") };
    assert!(json.trim_end_matches(".json").parse::<u32>().is_ok(), "{json}");
    assert!(report.starts_with("report.") && report.ends_with(".txt") && !report.contains('%'), "{report}");
    assert_eq!(live_of_class_72(&fs::read_to_string(folder.join(json)).expect("a file")), 7);
    assert!(fs::read_to_string(folder.join(report)).expect("a file").starts_with("Small block"));
    fs::remove_dir_all(&folder).expect("removing the folder");
    let said = said(&end_with(Some(&path("gone/report.txt"))));
    assert!(
        said.starts_with("poolmalloc: the file that POOLMALLOC_STATS names") && said.lines().count() == 1,
        "{said}"
    );
}

/// Checks that `write_json` writes figures under the names of their fields. With the feature `serde` the whole text
/// must be what `serde` writes.
fn json_says_what_the_fields_say() {
    let held: Vec<Box<[u8; 40]>> = (0..100).map(|n| Box::new([n; 40])).collect();
    let stats: Stats = stats();
    // The text is allocated after the statistics were taken, so they do not count it.
    let mut text = String::new();
    stats.write_json(&mut text).expect("writing");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    for (field, expected) in [
        (&value["small"]["live_bytes"], stats.small.live_bytes),
        (&value["small"]["rounding_bytes"], stats.small.rounding_bytes),
        (&value["large"]["live_bytes"], stats.large.live_bytes),
        (&value["moved"], stats.moved),
        (&value["heaps"]["in_use"], stats.heaps.in_use),
        (&value["region"]["metadata_bytes"], stats.region.metadata_bytes),
        (&value["classes"][4]["live_blocks"], stats.classes[4].live_blocks),
    ] {
        assert_eq!(field.as_u64(), Some(expected));
    }
    assert_eq!(value["classes"].as_array().map(Vec::len), Some(32));
    #[cfg(feature = "serde")]
    {
        assert_eq!(value, serde_json::to_value(stats).expect("serializing"));
        assert_eq!(stats, serde_json::from_str::<Stats>(&text).expect("deserializing"));
    }
    drop(held);
}

pub(crate) fn tests() -> Vec<Test> {
    tests![
        nothing_is_printed_unless_asked,
        the_report_goes_to_standard_error,
        json_goes_to_standard_error,
        files_are_written,
        json_says_what_the_fields_say,
    ]
}

pub(crate) fn child(_role: &str) {
    run_child();
}
