//! One program (tests/program) is built in the ways in which programs are shipped, and runs to its end each time.
//!
//! The allocator may depend on how it is built: on inlining across crates, on what a linker keeps or drops, on
//! thread-locals and constructors in a static program, or on assertions that a release build leaves out.
//!
//! To see it fail: do something needed inside a `debug_assert!`.
//!
//! `cargo test --test builds program::`

use std::path::Path;
use std::process::Command;

use poolmalloc_plants::errors::PLANTS;
use poolmalloc_support::cargo::{FAT_LTO, build};
use poolmalloc_support::process::succeed;
use poolmalloc_support::reported::{assert_reported, no_core};
use poolmalloc_support::{Test, tests};

/// The folder of the builds.
const TO: &str = env!("CARGO_TARGET_TMPDIR");

/// Builds the program in a profile of its own, with settings for cargo, and runs it. Fails unless the program prints
/// `built` and comes to its end.
fn assert_works(profile: &str, settings: &[&str], built: &str) {
    let settings: Vec<_> = settings.iter().map(|setting| format!("--config=profile.{profile}.{setting}")).collect();
    let mut arguments = vec!["--profile", profile];
    arguments.extend(settings.iter().map(String::as_str));
    assert_runs(&build(TO, "program", &arguments).join(profile), built);
}

fn assert_runs(folder: &Path, built: &str) {
    let said = succeed(&mut Command::new(folder.join("poolmalloc-program")));
    assert_eq!(said, format!("{built}\ndone\nand after main\n"));
}

fn debug() {
    assert_works("unoptimized", &["inherits='dev'", "debug=0"], "debug: true, abort: false, static: false");
}

fn smallest() {
    let settings = ["inherits='release'", "opt-level='z'", "panic='abort'", "strip=true"];
    assert_works("smallest", &settings, "debug: false, abort: true, static: false");
}

fn fat_lto() {
    assert_runs(&build(TO, "program", &FAT_LTO).join("fat"), "debug: false, abort: true, static: false");
}

/// In debug mode the optimized program runs to its end too, and each planted error is reported.
fn fat_lto_in_debug_mode() {
    let program = build(TO, "program", &FAT_LTO).join("fat").join("poolmalloc-program");
    for plant in PLANTS {
        assert_reported(plant, &no_core(Command::new(&program).arg(plant.name).env("POOLMALLOC", "debug")));
    }
    succeed(Command::new(&program).env("POOLMALLOC", "debug"));
}

/// A position-independent program that has the C library inside, and loads no library.
fn static_pie() {
    let found = Command::new("cc").arg("--print-file-name=libc.a").output().expect("asking the C compiler");
    if found.stdout == b"libc.a\n" {
        println!("there is no static C library on this machine; nothing is tested");
        return;
    }
    let arguments = [
        "--profile",
        "static",
        "--config=profile.static.inherits='release'",
        "--config=build.rustflags='-Ctarget-feature=+crt-static'",
    ];
    assert_runs(&build(TO, "program", &arguments).join("static"), "debug: false, abort: false, static: true");
}

pub(crate) fn tests() -> Vec<Test> {
    if cfg!(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static"))) {
        tests![debug, smallest, fat_lto, fat_lto_in_debug_mode, static_pie]
    } else {
        vec![]
    }
}
