//! A fuzzer's bytes are a program of up to four threads, whose steps are taken one after another by the engine of the
//! property tests. See README.md.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolmalloc::{PoolMalloc, check_heap, stats};
use poolmalloc_oracle::Counts;
use poolmalloc_oracle::program::{self, Program};

/// What the statistics say, in the words of the engine.
fn counted() -> Counts {
    let stats = stats();
    Counts {
        small_blocks: stats.classes.map(|class| class.live_blocks),
        small_frees: stats.classes.map(|class| class.frees),
        large_blocks: stats.large.live_blocks,
        large_bytes: stats.large.live_bytes,
        large_frees: stats.large.frees,
    }
}

fuzz_target!(|program: Program| {
    let before = counted();
    program::run::<PoolMalloc>(&program.0, |counts| {
        if let Err(violation) = check_heap() {
            panic!("{violation}");
        }
        assert_eq!(counted().since(&before), *counts);
    });
});
