//! Programs from crates.io as workloads of the comparison of allocators. Other people wrote them, for other ends.
//!
//! Each module says which program it runs, which requests that makes, and what its row does not show. The programs are
//! libraries, and each workload calls one as an application does. The scripts, filters and shaders in `inputs` were
//! written for this package. Larger inputs are made from a seed, so they are the same on every machine. Some programs
//! seed their hash tables at random. That changes no checksum, and hardly the number of requests.
//!
//! The figures on requests are from `cargo test --release -p peers-programs -- --ignored --nocapture`: all requests of
//! one full run, without the making of the input, on x86-64. There "small" means 256 bytes or less.
//!
//! The workers compile this file as a module too. So the files of this folder name each other by `super`.

mod text;

mod axum;
mod egg;
mod jaq;
mod naga;
mod rhai;
mod scraper;
mod tantivy;

use versus::workload::Workload;

/// All programs, in the order of the table.
pub static ALL: [Workload; 7] = [
    rhai::WORKLOAD,
    jaq::WORKLOAD,
    egg::WORKLOAD,
    scraper::WORKLOAD,
    naga::WORKLOAD,
    axum::WORKLOAD,
    tantivy::WORKLOAD,
];

#[cfg(test)]
mod tests {
    use versus::driver::{Set, Sets};
    use versus::workload::Scale;

    use super::*;

    #[test]
    fn names_differ_from_those_of_versus() {
        for (at, program) in ALL.iter().enumerate() {
            assert!(Set::find(program.name).is_none(), "{}", program.name);
            assert!(ALL[..at].iter().all(|other| other.name != program.name), "{}", program.name);
        }
    }

    #[test]
    fn the_same_work_gives_the_same_checksum() {
        for program in &ALL {
            let first = (program.prepare)(Scale::TINY);
            let second = (program.prepare)(Scale::TINY);
            let expected = first();
            assert_eq!(first(), expected, "{}: a second call", program.name);
            assert_eq!(second(), expected, "{}: a second preparation", program.name);
        }
    }

    #[test]
    fn the_checksum_depends_on_the_work() {
        for program in &ALL {
            let at = |scale| (program.prepare)(scale)();
            let tiny = at(Scale::TINY);
            // The checksum changes at the first of these scales that is large enough for a second pass of the program.
            let mut more = [50, 100, 200, 400].map(Scale::thousandths).into_iter();
            assert!(more.any(|scale| at(scale) != tiny), "{}", program.name);
        }
    }
}
