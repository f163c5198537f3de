//! Builds, finds and starts the workers: `cargo run` has built only this driver.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Allocator;
use crate::form::{Form, LIBRARY_FEATURE};
use crate::sample::Sample;
use crate::workload::{Scale, Workload};

/// The folder that holds the workers, and their form.
#[derive(Debug)]
pub struct Workers {
    folder: PathBuf,
    form: Form,
}

impl Workers {
    /// The workers beside the driver, where cargo builds them.
    ///
    /// # Errors
    /// If the driver's own file cannot be found.
    pub fn beside_the_driver(form: Form) -> Result<Self> {
        let driver = env::current_exe().context("cannot find the driver's own file")?;
        Ok(Self { folder: driver.parent().context("the driver's file is in no folder")?.to_owned(), form })
    }

    /// Builds the workers of those allocators that are in one package. The folder must be one that cargo builds into
    /// with some profile.
    ///
    /// All of them are built by one command. So packages that several workers use have the same features in all of
    /// them, and the workloads have the same code. `more` are further arguments for cargo. Cargo prints its messages on
    /// stderr.
    ///
    /// # Errors
    /// If cargo cannot be started, or fails.
    pub fn build(&self, package: &str, manifest: &Path, allocators: &[Allocator], more: &[&OsStr]) -> Result<()> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(&cargo);
        command.arg("build").args(self.profile()).args(["-p", package, "--manifest-path"]).arg(manifest).args(more);
        let of_package = allocators.iter().filter(|allocator| allocator.package == package);
        // Two allocators may be one worker with different options.
        let binaries: BTreeSet<_> = of_package.map(|allocator| allocator.binary).collect();
        command.args(binaries.iter().flat_map(|binary| ["--bin", binary])).args(self.features());
        // Only the samples, the table and the report belong on stdout.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().with_context(|| {
            format!("cannot start {} to build the workers (--no-build takes them as they are)", cargo.display())
        })?;
        ensure!(status.success(), "building the workers of {package} failed ({status}): {command:?}");
        Ok(())
    }

    /// The options that make cargo build into the folder that the driver was built into.
    fn profile(&self) -> Vec<&str> {
        match self.folder.file_name().and_then(|name| name.to_str()) {
            Some("release") => vec!["--release"],
            Some("debug") | None => vec![],
            Some(profile) => vec!["--profile", profile],
        }
    }

    /// The options that make cargo build workers of the form.
    fn features(&self) -> &'static [&'static str] {
        match self.form {
            Form::Own => &[],
            Form::Library => &["--features", LIBRARY_FEATURE],
        }
    }

    /// Checks that the worker of an allocator is there.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, allocator: Allocator) -> Result<()> {
        let path = self.path(allocator);
        ensure!(
            path.is_file(),
            "no worker for {} at {}; build it into this folder with `cargo build {} -p {} --bin {}`",
            allocator.name,
            path.display(),
            [&self.profile()[..], self.features()].concat().join(" "),
            allocator.package,
            allocator.binary,
        );
        Ok(())
    }

    fn path(&self, allocator: Allocator) -> PathBuf {
        self.folder.join(allocator.binary).with_extension(env::consts::EXE_EXTENSION)
    }

    /// Runs a workload once.
    ///
    /// # Errors
    /// If the worker cannot be started, fails, or prints no sample of this workload and allocator.
    pub fn run(&self, allocator: Allocator, workload: &Workload, scale: Scale) -> Result<Sample> {
        let (sample, _) = self.start(allocator, workload, scale, &[])?;
        Ok(sample)
    }

    /// Runs a workload once for the allocator's own statistics.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn report(&self, allocator: Allocator, workload: &Workload, scale: Scale) -> Result<String> {
        let (_, report) = self.start(allocator, workload, scale, &["--report"])?;
        Ok(report)
    }

    /// Returns the sample, which is the first line that the worker prints, and the report, which is the rest.
    fn start(
        &self,
        allocator: Allocator,
        workload: &Workload,
        scale: Scale,
        more: &[&str],
    ) -> Result<(Sample, String)> {
        let mut command = Command::new(self.path(allocator));
        command.arg(workload.name).arg("--scale").arg(scale.as_thousandths().to_string()).args(more);
        match allocator.words {
            "" => command.env_remove("POOLMALLOC"),
            words => command.env("POOLMALLOC", words),
        };
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
        let told = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let (workload, told) = (workload.name, told.trim());
            bail!("{workload} under {} failed ({}): {told}", allocator.name, output.status);
        }
        eprint!("{told}");
        let text = String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed no text"))?;
        let (line, report) = text.split_once('\n').unwrap_or((&text, ""));
        let mut sample: Sample =
            serde_json::from_str(line).with_context(|| format!("{command:?} printed no sample: {line:?}"))?;
        ensure!(
            sample.workload == workload.name && sample.allocator == allocator.worker,
            "{command:?} answered for {} under {}",
            sample.workload,
            sample.allocator,
        );
        ensure!(
            sample.form == self.form,
            "{} was built in the form {}, and the form {} is to be measured; without --no-build it is built anew",
            allocator.binary,
            sample.form.name(),
            self.form.name(),
        );
        allocator.name.clone_into(&mut sample.allocator);
        Ok((sample, report.to_owned()))
    }
}
