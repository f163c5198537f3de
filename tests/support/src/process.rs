//! A test binary that starts itself again, to be watched from outside.
//!
//! A child's role begins with the name of the module that started it, so that modules of one binary may have roles of
//! the same name.

use std::env;
use std::process::{Command, Output};

/// Names what the child is to do. Not read by the library.
pub const ROLE: &str = "POOLMALLOC_TEST_ROLE";

/// What this process was started for, module and all; `None` in the process that runs the tests.
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// The role of a child that the module with this `module_path!()` started, without a request to the allocator, for what
/// runs before `main`.
pub fn role_before_main(module_path: &str) -> Option<&'static str> {
    let mut name = [0; 64];
    name[..ROLE.len()].copy_from_slice(ROLE.as_bytes());
    // SAFETY: `name` ends in a zero byte; no other thread exists yet.
    let role = unsafe { libc::getenv(name.as_ptr().cast()) };
    if role.is_null() {
        return None;
    }
    // SAFETY: the environment's strings end in a zero byte and live as long as it.
    let role = unsafe { std::ffi::CStr::from_ptr(role) }.to_str().ok()?;
    role.strip_prefix(module(module_path))?.strip_prefix("::")
}

/// The name of the module of a binary to which a `module_path!()` belongs.
fn module(module_path: &str) -> &str {
    module_path.split("::").nth(1).expect("a module of a test binary")
}

/// This very binary, to be started as a child for a role of the module that says so.
#[macro_export]
macro_rules! command {
    ($role:expr) => {
        $crate::process::command_of(module_path!(), $role)
    };
}

/// As [`command!`](crate::command!), for the module with this `module_path!()`.
pub fn command_of(module_path: &str, role: &str) -> Command {
    command(&format!("{}::{role}", module(module_path)))
}

/// This very binary, to be started as a child for a role as [`role`] tells it.
pub fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this binary"));
    // A backtrace allocates while it holds a lock that running out of memory wants: a failing child would hang.
    command.env(ROLE, role).env("RUST_BACKTRACE", "0");
    command
}

/// Runs the child to its end and returns what it printed; fails unless it exits with 0.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("starting the child");
    assert!(output.status.success(), "{:?}: {}", command.get_envs().collect::<Vec<_>>(), told(&output));
    String::from_utf8(output.stdout).expect("UTF-8 from the child")
}

/// How a child ended and what it said, for messages.
pub fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy;
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Bytes of memory that the process has; `None` where the system does not tell in this way.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Prints without the standard library, which buffers (and allocates) for its standard output.
pub fn say(line: &str) {
    // SAFETY: the bytes are readable for their length.
    let written = unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
    assert_eq!(written, line.len() as isize, "writing {line:?}");
}
