//! The program that the benchmarks start. It runs each of them under valgrind and compares the counts with the limits.
//!
//! Exits with 0 if all counts are within their limits, 3 if one is over, 1 if something else failed. Cargo exits with
//! the same code. Not for use by hand.

use std::process::ExitCode;

use env_logger::Env;
use iai_callgrind_runner::error::Error;
use iai_callgrind_runner::runner;

/// Exit code if one count or more is over its limit.
const OVER_LIMIT: u8 = 3;

fn main() -> ExitCode {
    env_logger::Builder::from_env(Env::default().filter_or("IAI_CALLGRIND_LOG", "warn")).init();
    let Err(error) = runner::run() else {
        return ExitCode::SUCCESS;
    };
    eprintln!("iai-callgrind-runner: {error:#}");
    match error.downcast_ref() {
        Some(Error::RegressionError(_)) => ExitCode::from(OVER_LIMIT),
        _ => ExitCode::FAILURE,
    }
}
