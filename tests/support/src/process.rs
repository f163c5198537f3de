//! Children: a test binary starts itself again and watches the new process from outside.
//!
//! A child's role begins with the name of the module that started it, so two modules of one binary may use the same
//! name for a role.

use std::env;
use std::process::{Command, Output};

/// Name of the environment variable that holds the child's role. The library does not read it.
pub const ROLE: &str = "POOLMALLOC_TEST_ROLE";

/// The role of this process, with the module's name; `None` in the process that runs the tests.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// The role of this process, if the module with this `module_path!()` started it. Makes no request to the allocator, so
/// code that runs before `main` may call it.
pub fn role_before_main(module_path: &str) -> Option<&'static str> {
    let mut name = [0; 64];
    name[..ROLE.len()].copy_from_slice(ROLE.as_bytes());
    // SAFETY: `name` ends in a zero byte; no other thread exists yet.
    let role = unsafe { libc::getenv(name.as_ptr().cast()) };
    if role.is_null() {
        return None;
    }
    // SAFETY: each string of the environment ends in a zero byte and lives as long as the environment.
    let role = unsafe { std::ffi::CStr::from_ptr(role) }.to_str().ok()?;
    role.strip_prefix(module(module_path))?.strip_prefix("::")
}

/// The module's name in a `module_path!()` of a test binary: the part behind the name of the binary.
fn module(module_path: &str) -> &str {
    module_path.split("::").nth(1).expect("a module of a test binary")
}

/// A command that starts this binary as a child, with a role of the module that uses the macro.
#[macro_export]
macro_rules! command {
    ($role:expr) => {
        $crate::process::command_of(module_path!(), $role)
    };
}

/// A command that starts this binary as a child, with a role of the module with this `module_path!()`.
pub fn command_of(module_path: &str, role: &str) -> Command {
    command(&format!("{}::{role}", module(module_path)))
}

/// A command that starts this binary as a child, with a role in the form that [`role`] returns.
pub fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this binary"));
    // A backtrace allocates while it holds a lock. If memory runs out there, the code that handles it needs the same
    // lock, and the child would hang.
    command.env(ROLE, role).env("RUST_BACKTRACE", "0");
    command
}

/// Runs the child to its end and returns what it printed; fails unless it exits with 0.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("starting the child");
    assert!(output.status.success(), "{:?}: {}", command.get_envs().collect::<Vec<_>>(), told(&output));
    String::from_utf8(output.stdout).expect("UTF-8 from the child")
}

/// Text for messages: how a child ended and what it printed.
pub fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy;
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Number of resident bytes of this process; `None` where the system has no `/proc/self/status`.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Prints `line` without the standard library, which would allocate a buffer for its standard output.
pub fn say(line: &str) {
    // SAFETY: the bytes are readable for their length.
    let written = unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
    assert_eq!(written, line.len() as isize, "writing {line:?}");
}
