//! The program around a workload: each worker binary sets a `#[global_allocator]` and calls [`main`].
//!
//! ```text
//! versus-system json                    one JSON object on stdout: a Sample
//! versus-system json --scale 250        a quarter of the work
//! versus-poolmalloc json --report       the JSON object, then the allocator's own statistics
//! ```

use std::hint::black_box;
use std::io::{self, Write};
use std::num::ParseIntError;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::form::{Form, Workloads};
use crate::sample::Sample;
use crate::workload::{Scale, Workload};
use crate::{clock, meter};

/// Runs the workload that the process's arguments name and prints its [`Sample`].
///
/// `allocator` is the name that the sample carries. `report` prints the allocator's own statistics to stdout, for
/// `--report`; `None` if the allocator keeps none. Exits with 2 if the arguments are wrong, with 1 if the sample cannot
/// be taken.
pub fn main(allocator: &str, workloads: &Workloads, report: Option<fn()>) -> ExitCode {
    work(allocator, workloads, report, |_| Ok(()))
}

/// Calls `begin` to prepare the allocator, then does what [`main`] does. If the allocator cannot be prepared or does
/// not suit the workload, `begin` returns an error that says why, and the process exits with 1.
pub fn main_after(allocator: &str, workloads: &Workloads, begin: Begin) -> ExitCode {
    work(allocator, workloads, None, begin)
}

/// Prepares the allocator for a workload.
type Begin = fn(&Workload) -> Result<(), String>;

fn work(allocator: &str, workloads: &Workloads, report: Option<fn()>, begin: Begin) -> ExitCode {
    let order = Order::parse();
    let workload = order.workload(workloads).unwrap_or_else(|error| error.exit());
    if order.wants_report && report.is_none() {
        eprintln!("versus worker: {allocator} keeps no statistics to report");
        return ExitCode::from(2);
    }
    let before = meter::anonymous_bytes();
    if let Err(error) = begin(workload) {
        eprintln!("versus worker: {error}");
        return ExitCode::FAILURE;
    }
    let sample = before.and_then(|before| measure(workload, order.scale, allocator, workloads.form, before));
    if let Err(error) = sample.and_then(|sample| print(&sample)) {
        eprintln!("versus worker: {}: {error}", workload.name);
        return ExitCode::FAILURE;
    }
    if let (true, Some(report)) = (order.wants_report, report) {
        report();
    }
    ExitCode::SUCCESS
}

/// Runs a workload under this program's allocator, and prints one JSON object.
#[derive(Debug, Parser)]
struct Order {
    /// Name of the workload
    workload: String,
    /// The share of the whole work
    #[arg(long, value_name = "THOUSANDTHS", default_value = "1000", value_parser = scale)]
    scale: Scale,
    /// Print the allocator's own statistics after the sample
    #[arg(long = "report")]
    wants_report: bool,
}

impl Order {
    fn workload(&self, workloads: &Workloads) -> Result<&'static Workload, clap::Error> {
        let message = || format!("no workload is called {:?}", self.workload);
        workloads.find(&self.workload).ok_or_else(|| Self::command().error(ErrorKind::InvalidValue, message()))
    }
}

fn scale(thousandths: &str) -> Result<Scale, ParseIntError> {
    thousandths.parse().map(Scale::thousandths)
}

/// Measures one run. `before` is the number of resident bytes before the allocator was prepared.
fn measure(workload: &Workload, scale: Scale, allocator: &str, form: Form, before: u64) -> io::Result<Sample> {
    let begun_bytes = meter::anonymous_bytes()?.saturating_sub(before);
    let run = (workload.prepare)(scale);
    let (checksum, spent, mut marks) = clock::measure(|| black_box(black_box(&run)()))?;
    for mark in &mut marks {
        mark.resident_bytes = mark.resident_bytes.saturating_sub(begun_bytes);
    }
    Ok(Sample {
        workload: workload.name.to_owned(),
        allocator: allocator.to_owned(),
        form,
        elapsed_ns: spent.elapsed_ns,
        cpu_ns: spent.cpu_ns,
        checksum,
        peak_rss_bytes: meter::peak_rss_bytes()?,
        operations: workload.operations.map(|operations| operations(scale) as u64),
        marks,
    })
}

fn print(sample: &Sample) -> io::Result<()> {
    let line = serde_json::to_string(sample)?;
    writeln!(io::stdout().lock(), "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads;

    static WORKLOADS: Workloads = Workloads { form: Form::Library, sets: &workloads::SETS };

    fn order(args: &[&str]) -> Result<(Order, &'static Workload), clap::Error> {
        let order = Order::try_parse_from([&["worker"], args].concat())?;
        let workload = order.workload(&WORKLOADS)?;
        Ok((order, workload))
    }

    #[test]
    fn arguments_name_the_work() {
        let (order, workload) = order(&["json", "--scale", "250", "--report"]).expect("these are good arguments");
        assert_eq!((workload.name, order.scale, order.wants_report), ("json", Scale::QUICK, true));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for args in [&[][..], &["no such"], &["json", "syn"], &["json", "--scale"], &["json", "--scale", "-1"]] {
            assert_eq!(order(args).expect_err("bad arguments").exit_code(), 2, "{args:?}");
        }
    }
}
