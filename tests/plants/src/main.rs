//! Runs one plant, and compares the leak finder's report with it; see `tests/agreement`.
//!
//! ```text
//! plants                  the names
//! plants NAME             plants it, checks the report block by block, and prints how many blocks are leaked
//! plants NAME --only      plants it and ends, for a finder outside of the program
//! ```

#[cfg(feature = "tokio")]
mod tasks;

use poolmalloc::leaks::find;
use poolmalloc_plants::{Is, PLANTS, Plant, assert_reports, far_below};
use std::env::args;
use std::process::ExitCode;

// LeakSanitizer knows only the blocks of the system's malloc.
#[cfg(not(feature = "malloc"))]
#[global_allocator]
static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();

fn plants() -> impl Iterator<Item = (&'static str, Plant)> {
    #[cfg(feature = "tokio")]
    let tasks = tasks::PLANTS;
    #[cfg(not(feature = "tokio"))]
    let tasks: &[(&str, Plant)] = &[];
    PLANTS.iter().chain(tasks).copied()
}

/// Returns what the command line asks for: the plant, and whether only to plant it. Has a frame of its own, since words
/// in this frame point to freed blocks: a planted block that takes the place of such a freed block would look held.
#[inline(never)]
fn chosen() -> Result<(Plant, bool), ExitCode> {
    let Some(name) = args().nth(1) else {
        plants().for_each(|(name, _)| println!("{name}"));
        return Err(ExitCode::SUCCESS);
    };
    let Some((_, plant)) = plants().find(|(each, _)| *each == name) else {
        eprintln!("there is no plant {name}");
        return Err(ExitCode::FAILURE);
    };
    Ok((plant, args().nth(2).as_deref() == Some("--only")))
}

fn main() -> ExitCode {
    match far_below(chosen) {
        Ok((plant, is_all)) => run(plant, is_all),
        Err(code) => code,
    }
}

fn run(plant: Plant, is_all: bool) -> ExitCode {
    let planted = far_below(plant);
    if is_all {
        return ExitCode::SUCCESS;
    }
    let report = match find() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    assert_reports(&report, &planted);
    let leaked = planted.iter().filter(|(_, is)| *is != Is::Held).count();
    println!("{leaked} {} {}", report.leaked().blocks, report.cycles.len());
    ExitCode::SUCCESS
}
