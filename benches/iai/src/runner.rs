//! What the benchmarks start to run each of them under valgrind and to compare the counts with the limits.
//!
//! Exits with 0 when all counts are within their limits, 3 when one is over, 1 when something else failed. Cargo hands
//! these on as its own. Not for use by hand.

use std::process::ExitCode;

use env_logger::Env;
use iai_callgrind_runner::error::Error;
use iai_callgrind_runner::runner;

/// One count or more over its limit.
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
