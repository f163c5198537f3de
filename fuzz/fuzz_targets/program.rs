//! Reads the bytes of the fuzzer as a program of up to four threads. The engine of the property tests takes their steps
//! one after another. The first bit decides whether the program also has a private heap. See README.md.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolmalloc::{PoolMalloc, check_heap, stats};
use poolmalloc_oracle::program::{self, Program};
use poolmalloc_oracle::{ByAlignment, Counts};
use poolmalloc_support::oracle::counted;
use poolmalloc_support::private::Private;

fuzz_target!(|input: (bool, Program)| {
    let (is_alone, program) = input;
    let before = counted(&stats());
    let audit = |counts: &Counts| {
        if let Err(violation) = check_heap() {
            panic!("{violation}");
        }
        assert_eq!(counted(&stats()).since(&before), *counts);
    };
    if is_alone {
        program::run::<PoolMalloc>(&program.0, audit);
    } else {
        program::run::<ByAlignment<PoolMalloc, Private>>(&program.0, audit);
    }
});
