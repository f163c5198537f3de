//! Builds the small packages of this workspace under tests/, for the tests that need them.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::told;

/// Arguments for cargo that optimize a program as far as possible, in the profile `fat`.
pub const FAT_LTO: [&str; 6] = [
    "--profile=fat",
    "--config=profile.fat.inherits='release'",
    "--config=profile.fat.lto='fat'",
    "--config=profile.fat.codegen-units=1",
    "--config=profile.fat.panic='abort'",
    "--config=profile.fat.debug=false",
];

/// Builds the package in `tests/<name>` with further arguments for cargo, and returns the target folder. The target
/// folder has one folder for each profile, and lies in `folder`. The test passes `env!("CARGO_TARGET_TMPDIR")` as
/// `folder`.
///
/// The build works offline, since the packages need no crate that the library does not need. It does not use the flags
/// that are set for the tests.
pub fn build(folder: &str, name: &str, arguments: &[&str]) -> PathBuf {
    run(folder, name, "build", arguments)
}

/// Builds a program of the package in `tests/<name>` as [`build`] does, in the profile `assembly`: `release` with 16
/// codegen units, which is cargo's default. Returns the assembly of each unit.
pub fn assembly(folder: &str, name: &str, program: &str) -> Vec<String> {
    // A unit of an earlier build may have another name, so its file would stay.
    let profile = ["--profile=assembly", "--config=profile.assembly.inherits='release'"];
    let package = format!("--package=poolmalloc-{name}");
    run(folder, name, "clean", &[&profile[..], &[&package]].concat());
    let bin = format!("--bin={program}");
    // Without a number of units the compiler would make one unit, because of the assembly.
    let more = ["--config=profile.assembly.codegen-units=16", "--config=profile.assembly.debug=false", &bin];
    let to = run(folder, name, "rustc", &[&profile[..], &more, &["--", "--emit=asm"]].concat());
    let files = fs::read_dir(to.join("assembly/deps")).expect("the folder of the build");
    let paths = files.map(|file| file.expect("a file of the build").path());
    let units = paths.filter(|path| path.extension().is_some_and(|extension| extension == "s"));
    units.map(|path| fs::read_to_string(path).expect("assembly")).collect()
}

/// Runs a command of cargo for the package in `tests/<name>`, and returns the target folder.
fn run(folder: &str, name: &str, command: &str, arguments: &[&str]) -> PathBuf {
    let to = Path::new(folder).join("built");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(name).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([command, "--quiet", "--offline", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&to)
        .args(arguments)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .expect("starting cargo");
    assert!(output.status.success(), "cargo {command} of {name} {arguments:?}: {}", told(&output));
    to
}

/// Runs a test binary of the library's package again, with a feature, as optimized as this one.
pub fn test_with_feature(test: &str, feature: &str) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--test", test, "--features", feature, "--manifest-path"]);
    cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"));
    cargo.args(["--profile", if cfg!(debug_assertions) { "test" } else { "release" }]);
    cargo.arg("--").args(std::env::args_os().skip(1));
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(flags);
    }
    let status = cargo.status().expect("starting cargo");
    assert!(status.success(), "{test} with the feature {feature}: {status}");
}

/// Builds the shared library in `tests/<name>`, as optimized as this test, and returns its path. `folder` is the same
/// as for [`build`].
pub fn build_library(folder: &str, name: &str) -> PathBuf {
    let (profile, of_profile) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    let file = format!("{DLL_PREFIX}poolmalloc_{name}{DLL_SUFFIX}");
    build(folder, name, &["--profile", profile]).join(of_profile).join(file)
}
