//! Builds, finds and starts the workers: `cargo run` has built nothing but this driver.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use versus::sample::Sample;
use versus::workload::{Scale, Workload};

use crate::allocators::Allocator;
use crate::cli::{self, Plan};

/// The folder that holds a worker for each allocator of the plan.
pub(crate) struct Workers {
    folder: PathBuf,
}

/// Makes sure that every allocator of the plan has its worker.
///
/// # Errors
/// If the build fails, or a worker is not beside the driver.
pub(crate) fn find(plan: &Plan) -> Result<Workers> {
    let driver = env::current_exe().context("cannot find the driver's own file")?;
    let folder = driver.parent().context("the driver's file is in no folder")?.to_owned();
    if plan.workers == cli::Workers::Build {
        // One after the other: built together, packages would share features and so become different programs.
        let packages: BTreeSet<_> = plan.allocators().map(|allocator| allocator.package).collect();
        packages.into_iter().try_for_each(|package| build(package, &folder))?;
    }
    let workers = Workers { folder };
    for allocator in plan.allocators() {
        let path = workers.path(allocator);
        ensure!(
            path.is_file(),
            "no worker for {} at {}; build it into this folder with `cargo build {} -p {} --bins`",
            allocator.name,
            path.display(),
            profile(&workers.folder).join(" "),
            allocator.package,
        );
    }
    Ok(workers)
}

/// The options that make cargo build into the folder that the driver was built into.
fn profile(folder: &Path) -> Vec<String> {
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("release") => vec!["--release".into()],
        Some("debug") | None => vec![],
        Some(profile) => vec!["--profile".into(), profile.into()],
    }
}

fn build(package: &str, folder: &Path) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut command = Command::new(&cargo);
    command.arg("build").args(profile(folder)).args(["-p", package, "--bins", "--manifest-path"]).arg(&manifest);
    // Only the samples, the table and the report belong on stdout.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().with_context(|| {
        format!("cannot start {} to build the workers (--no-build takes them as they are)", cargo.display())
    })?;
    ensure!(status.success(), "building the workers of {package} failed ({status}): {command:?}");
    Ok(())
}

impl Workers {
    fn path(&self, allocator: Allocator) -> PathBuf {
        self.folder.join(allocator.binary).with_extension(env::consts::EXE_EXTENSION)
    }

    /// Runs a workload once.
    pub(crate) fn run(&self, allocator: Allocator, workload: &Workload, scale: Scale) -> Result<Sample> {
        let (sample, _) = self.start(allocator, workload, scale, &[])?;
        Ok(sample)
    }

    /// Runs a workload once for the allocator's own statistics.
    pub(crate) fn report(&self, allocator: Allocator, workload: &Workload, scale: Scale) -> Result<String> {
        let (_, report) = self.start(allocator, workload, scale, &["--report"])?;
        Ok(report)
    }

    /// The sample is the first line that a worker prints; what follows is the report.
    fn start(
        &self,
        allocator: Allocator,
        workload: &Workload,
        scale: Scale,
        more: &[&str],
    ) -> Result<(Sample, String)> {
        let mut command = Command::new(self.path(allocator));
        command.arg(workload.name).arg("--scale").arg(scale.as_thousandths().to_string()).args(more);
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {command:?}"))?;
        if !output.status.success() {
            bail!("{} under {} failed ({}): {command:?}", workload.name, allocator.name, output.status);
        }
        let text = String::from_utf8(output.stdout).with_context(|| format!("{command:?} printed no text"))?;
        let (line, report) = text.split_once('\n').unwrap_or((&text, ""));
        let sample: Sample =
            serde_json::from_str(line).with_context(|| format!("{command:?} printed no sample: {line:?}"))?;
        ensure!(
            sample.workload == workload.name && sample.allocator == allocator.name,
            "{command:?} answered for {} under {}",
            sample.workload,
            sample.allocator,
        );
        Ok((sample, report.to_owned()))
    }
}
