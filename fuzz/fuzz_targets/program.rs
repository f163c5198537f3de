//! Reads the bytes of the fuzzer as a program of up to four threads. The engine of the property tests takes their steps
//! one after another. The first bit decides whether the program also has a private heap. See README.md.
#![no_main]

#[path = "../../tests/support/src/private.rs"]
mod private;

use libfuzzer_sys::fuzz_target;
use poolmalloc::{PoolMalloc, check_heap, stats};
use poolmalloc_oracle::program::{self, Program};
use poolmalloc_oracle::{ByAlignment, Counts};
use private::Private;

/// The present statistics, as counts of the engine.
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

fuzz_target!(|input: (bool, Program)| {
    let (is_alone, program) = input;
    let before = counted();
    let audit = |counts: &Counts| {
        if let Err(violation) = check_heap() {
            panic!("{violation}");
        }
        assert_eq!(counted().since(&before), *counts);
    };
    if is_alone {
        program::run::<PoolMalloc>(&program.0, audit);
    } else {
        program::run::<ByAlignment<PoolMalloc, Private>>(&program.0, audit);
    }
});
