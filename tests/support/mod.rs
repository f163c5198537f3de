//! What the test files share: blocks that know their content, the rules the statistics obey, processes and threads.
//!
//! Nothing here installs an allocator; each test file does that itself.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

pub(crate) mod block;
pub(crate) mod cargo;
pub(crate) mod chain;
pub(crate) mod matrix;
pub(crate) mod oracle;
pub(crate) mod planted;
pub(crate) mod private;
pub(crate) mod process;
pub(crate) mod raw_thread;
pub(crate) mod reported;
pub(crate) mod ring;
pub(crate) mod words;

use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Arguments, Trial};

/// Has a test binary end with its first panic, as `tests/mutants` wants: one test that fails is enough.
const FAIL_FAST: &str = "POOLMALLOC_TEST_FAIL_FAST";

/// Runs `tests` one after another on the main thread, with the command line of the usual harness.
///
/// The usual harness runs its tests on threads of its own and allocates while they run, so tests that compare
/// statistics, count heaps or fork cannot use it.
pub(crate) fn run(tests: &[(&'static str, fn())]) {
    let trials = tests
        .iter()
        .map(|&(name, test)| {
            Trial::test(name, move || {
                test();
                Ok(())
            })
        })
        .collect();
    run_trials(trials);
}

/// As [`run`], but that in debug mode (`POOLMALLOC=debug`) some are left out, each for a reason that is printed.
pub(crate) fn run_but_in_debug(tests: &[(&'static str, fn())], left_out: &[(&str, &str)]) {
    if !oracle::mode::is_debug() {
        return run(tests);
    }
    let mut tests = tests.to_vec();
    for (name, reason) in left_out {
        let all = tests.len();
        tests.retain(|(test, _)| test != name);
        assert_eq!(tests.len() + 1, all, "there is no test {name}");
        println!("left out in debug mode: {name}: {reason}");
    }
    run(&tests);
}

/// As [`run`], for tests that are made by a table.
pub(crate) fn run_trials(trials: Vec<Trial>) {
    if std::env::var_os(FAIL_FAST).is_some() {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            // SAFETY: no preconditions.
            unsafe { libc::_exit(101) };
        }));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_if_failed();
}

/// Sets its flag when it is dropped, also by a panic: for a scope that waits for threads which look at the flag.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `full` in an optimised build, a `divisor`-th of it in a debug build, where everything is many times slower, and where tests are
/// compiled with `POOLMALLOC_TEST_SHORT` in the environment.
pub(crate) const fn scaled(full: usize, divisor: usize) -> usize {
    if cfg!(debug_assertions) || option_env!("POOLMALLOC_TEST_SHORT").is_some() { full / divisor } else { full }
}
