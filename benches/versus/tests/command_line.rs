//! The programs as a user starts them: the workers' protocol, the driver's output and its exit codes.
//!
//! `cargo test -p versus`

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use versus::driver::{Set, Sets};
use versus::form::Form;
use versus::sample::Sample;

const DRIVER: &str = env!("CARGO_BIN_EXE_versus");
const SYSTEM: &str = env!("CARGO_BIN_EXE_versus-system");
const POOLMALLOC: &str = env!("CARGO_BIN_EXE_versus-poolmalloc");

fn run(program: impl AsRef<Path>, args: &[&str]) -> Output {
    Command::new(program.as_ref()).args(args).output().expect("the program starts")
}

/// The form of the workers that cargo has built for these tests, and the other form.
const FORMS: [Form; 2] =
    if cfg!(feature = "library-form") { [Form::Library, Form::Own] } else { [Form::Own, Form::Library] };

/// Measures briefly with those workers.
fn measure(args: &[&str]) -> Output {
    run(DRIVER, &[&["--no-build", "--quick", "--form", FORMS[0].name()], args].concat())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output is text")
}

#[test]
fn workers_agree_on_the_results() {
    let checksum = |worker| {
        let output = run(worker, &["json", "--scale", "1"]);
        let sample: Sample = serde_json::from_slice(&output.stdout).expect("a worker prints a sample");
        assert!(output.status.success() && sample.workload == "json" && sample.elapsed_ns > 0);
        assert!(sample.peak_rss_bytes > 100_000, "{sample:?}");
        sample.checksum
    };
    assert_eq!(checksum(SYSTEM), checksum(POOLMALLOC));
}

#[test]
fn a_report_follows_the_sample() {
    let output = run(POOLMALLOC, &["hello", "--report"]);
    let (line, report) = text(&output.stdout).split_once('\n').expect("the sample is a line");
    assert_eq!(serde_json::from_str::<Sample>(line).expect("a sample").allocator, "poolmalloc");
    assert!(!report.trim().is_empty());
    assert_eq!(run(SYSTEM, &["hello", "--report"]).status.code(), Some(2), "system malloc keeps no statistics");
}

#[test]
fn the_table_has_the_rows_that_were_asked_for() {
    let output = measure(&["--rounds", "1", "--filter", "hello", "--report", "hello"]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(table.contains("| minimal | hello "), "{table}");
    assert!(!table.contains("json"), "{table}");
    assert!(table.contains("poolmalloc after hello:"), "{table}");
}

#[test]
fn the_form_stands_above_the_table_and_must_be_that_of_the_workers() {
    let [form, other] = FORMS.map(Form::name);
    let output = measure(&["--rounds", "1", "--filter", "hello"]);
    assert!(output.status.success() && text(&output.stdout).starts_with(&format!("Form {form}: ")), "{output:?}");
    let output = run(DRIVER, &["--no-build", "--filter", "hello", "--form", other]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("was built in the form {form}")), "{output:?}");
}

#[test]
fn the_debug_mode_is_compared_with_the_usual_one() {
    let options = ["--rounds", "1", "--filter", "hello", "--allocator", "poolmalloc-debug"];
    let output = measure(&options);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(table.contains("| poolmalloc MiB | poolmalloc-debug MiB |"), "{table}");
    assert!(!table.contains("system"), "{table}");
}

#[test]
fn synthetic_rows_have_tables_of_their_own() {
    let rows = ["--filter", "pair_24", "--filter", "bytes_24", "--filter", "phases"];
    let output = measure(&[&["--rounds", "1", "--set", "synthetic"][..], &rows].concat());
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (times, bytes) = table.split_once("system bytes/block").expect("the second table's head");
    assert!(times.contains("system ns/op") && times.contains("| pair  | pair_24 "), "{table}");
    assert!(bytes.contains("| block | bytes_24 ") && bytes.contains("| block | phases "), "{table}");
}

#[test]
fn a_block_takes_at_least_its_size() {
    for (worker, size) in [(SYSTEM, 200), (POOLMALLOC, 200), (POOLMALLOC, 24)] {
        let output = run(worker, &[&format!("bytes_{size}"), "--scale", "2"]);
        let sample: Sample = serde_json::from_slice(&output.stdout).expect("a worker prints a sample");
        let (blocks, bytes) = (sample.operations.expect("blocks are counted"), sample.marks[0].resident_bytes);
        assert!((blocks * size..blocks * size * 3 / 2).contains(&bytes), "{sample:?}");
    }
}

#[test]
fn the_json_has_all_rounds_and_the_summary() {
    let output = measure(&["--rounds", "2", "--filter", "hello", "--json"]);
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).expect("stdout is JSON alone");
    let allocators = |round: usize| -> Vec<&str> {
        let samples = record["rounds"][round]["samples"].as_array().expect("samples");
        samples.iter().filter_map(|sample| sample["allocator"].as_str()).collect()
    };
    assert_eq!(allocators(0), ["system", "poolmalloc"]);
    assert_eq!(allocators(1), ["poolmalloc", "system"], "the order alternates");
    assert_eq!(record["form"], FORMS[0].name());
    assert_eq!(record["summary"][0]["allocator"], "poolmalloc");
    assert_eq!(record["summary"][0]["rows"][0]["group"], "minimal");
}

#[test]
fn the_list_names_every_workload() {
    for set in Set::all() {
        let output = run(DRIVER, &["--list", "--set", &set.name()]);
        let lines: Vec<_> = text(&output.stdout).lines().collect();
        assert_eq!(lines.len(), set.workloads().len());
        for (line, workload) in lines.iter().zip(set.workloads()) {
            assert!(line.starts_with(workload.name) && line.ends_with(workload.about), "{line}");
        }
    }
}

#[test]
fn bad_input_gets_a_message_and_exit_code_2() {
    for (args, message) in [
        (&["--filter", "no such"][..], "no workload's name contains no such"),
        (&["--rounds", "0"], "0 is not in"),
        (&["--report", "no such"], "invalid value"),
        (&["--unknown"], "unexpected argument"),
    ] {
        let output = run(DRIVER, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(message), "{args:?}: {}", text(&output.stderr));
    }
    assert_eq!(run(SYSTEM, &["no such"]).status.code(), Some(2));
}

#[test]
fn a_missing_worker_is_named() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("driver-alone");
    fs::create_dir_all(&folder).expect("cargo's folder for tests can be written to");
    let driver = folder.join("versus");
    if !driver.exists() {
        fs::hard_link(DRIVER, &driver).expect("the driver can be linked");
    }
    let output = run(&driver, &["--no-build"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no worker for system at "), "{}", text(&output.stderr));
}

#[test]
fn a_failed_build_is_told() {
    for (cargo, message) in [("false", "building the workers of versus failed"), ("/no/such/cargo", "cannot start")] {
        let output = Command::new(DRIVER).env("CARGO", cargo).output().expect("the driver starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}
