//! With `POOLMALLOC=malloc` the backend serves every request, and the statistics count its blocks. A word without a
//! meaning gets one warning.
//!
//! Each test runs this binary again with the variable set.
//!
//! To see it fail: give a thread a heap's front in the mode `malloc`; choose the mode after the first block.
//!
//! `cargo test --test processes modes::`

use std::thread;

use poolmalloc::{check_heap, measure_peak, release_unused, stats, thread_stats};

use poolmalloc_support::process::{say, succeed, told};
use poolmalloc_support::{Test, command, tests};

fn everything_goes_to_the_backend_and_is_counted() {
    let said = succeed(command!("malloc").env("POOLMALLOC", "malloc"));
    assert_eq!(said, "done\n");
}

fn run_malloc() {
    let before = (stats(), thread_stats());
    assert_eq!((before.0.small.allocations, before.0.classes[0].pools), (0, 0), "pools served the start");
    let held: Vec<Box<[u8; 24]>> = (0..1000).map(|n| Box::new([n as u8; 24])).collect();
    let now = stats();
    assert_eq!(now.small.allocations, 0);
    assert_eq!(now.arenas.open, 0);
    assert_eq!(now.large.live_blocks - before.0.large.live_blocks, 1001);
    assert_eq!(now.large.live_bytes - before.0.large.live_bytes, 1000 * (24 + size_of::<usize>() as u64));
    // Another thread frees the blocks. A block outlives the thread that allocated it, grows, and shrinks.
    let mut words = thread::spawn(move || {
        drop(held);
        vec![1_u8; 10]
    })
    .join()
    .expect("a thread");
    words.reserve_exact(10_000);
    words.truncate(5);
    words.shrink_to_fit();
    assert_eq!(words, [1; 5]);
    let own = thread_stats() - before.1;
    assert_eq!((own.small.allocations, own.large.reallocations), (0, 2));
    drop(words);
    let ((), peak) = measure_peak(|| drop(vec![Box::new([0_u8; 20]), Box::new([1; 20])]));
    assert_eq!((peak.peak_bytes, peak.peak_blocks, peak.requested_bytes), (56, 3, 56));
    assert_eq!((peak.delta.large.allocations, peak.delta.small.allocations), (3, 0));
    assert_eq!(stats().large.live_blocks, before.0.large.live_blocks, "{}", stats());
    assert_eq!(stats().heaps.in_use, 1);
    check_heap().expect("a sound heap");
    release_unused();
    say("done\n");
}

/// The leak finder sees the blocks of the backend, small ones too.
fn leaks_are_found_among_the_backends_blocks() {
    let output = command!("leak").env("POOLMALLOC", "malloc,leaks").output().expect("starting the child");
    let text = told(&output);
    assert!(output.status.success() && text.contains("<40 bytes at"), "{text}");
}

fn run_leak() {
    #[inline(never)]
    fn leak() {
        std::mem::forget(std::hint::black_box(Box::new([3_u8; 40])));
    }
    leak();
}

fn an_unknown_word_is_warned_about_once() {
    for words in ["mallocs", "malloc,bug"] {
        let output = command!("nothing").env("POOLMALLOC", words).output().expect("starting the child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.lines().count() == 1, "{}", told(&output));
        assert!(said.starts_with("poolmalloc: POOLMALLOC has a word that has no meaning"), "{said}");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![everything_goes_to_the_backend_and_is_counted, an_unknown_word_is_warned_about_once];
    if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        tests.extend(tests![leaks_are_found_among_the_backends_blocks]);
    }
    tests
}

pub(crate) fn child(role: &str) {
    match role {
        "malloc" => run_malloc(),
        "leak" => run_leak(),
        _ => {}
    }
}
