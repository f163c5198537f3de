//! The forms: how each is built, and the command that runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::limits;
use crate::operations::Counts;

/// One form of a program.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) limits: Counts,
    program: Program,
    profile: &'static str,
    /// Further settings of the profile, which inherits `release`.
    settings: &'static [&'static str],
}

/// Which crate defines the allocator, and which allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// One crate, a program, does both.
    Own,
    /// The program defines the allocator; a library allocates.
    Calls,
    /// A library defines the allocator; the program allocates.
    Library,
    /// A shared library does both. A program without this allocator loads it.
    Plugin,
    /// As `Own`, with the C library inside.
    Static,
}

/// The default settings of cargo, without debug information.
const PLAIN: &str = "plain";

/// The argument for cargo that makes the library define the allocator.
const ALLOCATOR: &str = "--features=allocator";

/// The argument for cargo that puts the C library into the program.
const CRT_STATIC: &str = "--config=build.rustflags='-Ctarget-feature=+crt-static'";

const fn form(name: &'static str, program: Program, limits: Counts) -> Form {
    Form { name, limits, program, profile: PLAIN, settings: &[] }
}

pub(crate) const FORMS: [Form; 7] = [
    form("own", Program::Own, limits::OWN),
    Form { profile: "small", settings: &["opt-level='s'"], ..form("own-small", Program::Own, limits::OWN_SMALL) },
    form("calls", Program::Calls, limits::CALLS),
    form("library", Program::Library, limits::LIBRARY),
    Form { profile: "fat", settings: &["lto='fat'"], ..form("fat", Program::Calls, limits::FAT) },
    form("plugin", Program::Plugin, limits::PLUGIN),
    Form { profile: "static", ..form("static-pie", Program::Static, limits::STATIC_PIE) },
];

impl Form {
    /// Builds the form, and returns the command that runs it; `None` if this machine cannot build it.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn build(&self, to: &Path) -> Result<Option<Vec<PathBuf>>> {
        let program = match self.program {
            Program::Own | Program::Static => "form-own",
            Program::Calls => "form-calls",
            Program::Library => "form-library",
            Program::Plugin => "form-loader",
        };
        let bin = format!("--bin={program}");
        match self.program {
            Program::Own | Program::Calls => self.run_cargo("build", to, &[&bin])?,
            Program::Library => self.run_cargo("build", to, &[&bin, ALLOCATOR])?,
            Program::Plugin => {
                self.run_cargo("build", to, &[&bin])?;
                self.run_cargo("rustc", to, &["--lib", "--crate-type=cdylib", ALLOCATOR])?;
            }
            Program::Static if !has_static_c_library()? => return Ok(None),
            Program::Static => self.run_cargo("build", to, &[&bin, CRT_STATIC])?,
        }
        let built = to.join(self.profile);
        let library = (self.program == Program::Plugin).then(|| built.join("libpoolmalloc_forms_program.so"));
        Ok(Some([built.join(program)].into_iter().chain(library).collect()))
    }

    fn run_cargo(&self, command: &str, to: &Path, what: &[&str]) -> Result<()> {
        let settings = ["inherits='release'", "debug=false"].iter().chain(self.settings);
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([command, "--quiet", "--profile", self.profile, "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/program/Cargo.toml")).arg("--target-dir").arg(to).args(what);
        cargo.args(settings.map(|setting| format!("--config=profile.{}.{setting}", self.profile)));
        // The form decides the flags, not the environment.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
        let status = cargo.status().context("starting cargo")?;
        ensure!(status.success(), "building {}: {status}: {cargo:?}", self.name);
        Ok(())
    }
}

/// Asks the C compiler, which links the program.
fn has_static_c_library() -> Result<bool> {
    let found = Command::new("cc").arg("--print-file-name=libc.a").output().context("asking the C compiler")?;
    // Without a file of that name the compiler prints the name alone.
    Ok(found.stdout != b"libc.a\n")
}
