//! threads: short threads start, allocate and free a little, and end.
//!
//! Stands for programs that start a thread for each connection or job. Shows the work of an allocator at the start and
//! the end of a thread. Each thread makes a hundred strings of 8 to 200 bytes and leaves one result to its parent.
//!
//! Requests: 320 k by 3000 threads, 99 % for 256 bytes or less.
//!
//! Caveat: starting a thread costs tens of microseconds in the kernel, so the row stays near 1.0 unless an allocator
//! does far too much. Its peak memory is mostly stacks.

use std::thread;

use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "threads",
    group: Group::Small,
    about: "thousands of threads that start, allocate and free a little, and end",
    operations: None,
    prepare,
};

/// Threads alive at a time.
const WAVE: usize = 4;
const FULL_WAVES: usize = 750;
const STRINGS: usize = 100;

fn prepare(scale: Scale) -> Run {
    let waves = scale.of(FULL_WAVES);
    Box::new(move || {
        let mut results = Vec::new();
        for wave in 0..waves {
            let jobs: Vec<_> = (0..WAVE).map(|place| thread::spawn(move || job(wave * WAVE + place))).collect();
            results.extend(jobs.into_iter().map(|job| job.join().expect("no job panics")));
        }
        checksum(&results)
    })
}

/// Does the work of one thread. The result is a block that this thread made and its parent frees.
fn job(number: usize) -> String {
    let strings: Vec<String> = (0..STRINGS).map(|at| "x".repeat(8 + (number * 31 + at * 17) % 193)).collect();
    let bytes: usize = strings.iter().map(String::len).sum();
    format!("{number}: {bytes} bytes")
}
