//! Builds the small packages of this workspace under tests/, for the tests that need them.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
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
    let to = Path::new(folder).join("built");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(name).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&to)
        .args(arguments)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .expect("starting cargo");
    assert!(output.status.success(), "building {name} {arguments:?}: {}", told(&output));
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
