//! A test binary that starts itself again, to be watched from outside.

use std::env;
use std::process::{Command, Output};

/// Names what the child is to do. Not read by the library.
pub(crate) const ROLE: &str = "POOLMALLOC_TEST_ROLE";

/// What this process was started for, `None` in the process that runs the tests.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// As [`role`], without a request to the allocator, for what runs before `main`.
pub(crate) fn role_before_main() -> Option<&'static str> {
    let mut name = [0; 64];
    name[..ROLE.len()].copy_from_slice(ROLE.as_bytes());
    // SAFETY: `name` ends in a zero byte; no other thread exists yet.
    let role = unsafe { libc::getenv(name.as_ptr().cast()) };
    if role.is_null() {
        return None;
    }
    // SAFETY: the environment's strings end in a zero byte and live as long as it.
    unsafe { std::ffi::CStr::from_ptr(role) }.to_str().ok()
}

/// This very binary, to be started as a child for `role`.
pub(crate) fn command(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this binary"));
    // A backtrace allocates while it holds a lock that running out of memory wants: a failing child would hang.
    command.env(ROLE, role).env("RUST_BACKTRACE", "0");
    command
}

/// Runs the child to its end and returns what it printed; fails unless it exits with 0.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("starting the child");
    assert!(output.status.success(), "{:?}: {}", command.get_envs().collect::<Vec<_>>(), told(&output));
    String::from_utf8(output.stdout).expect("UTF-8 from the child")
}

/// How a child ended and what it said, for messages.
pub(crate) fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy;
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Prints without the standard library, which buffers (and allocates) for its standard output.
pub(crate) fn say(line: &str) {
    // SAFETY: the bytes are readable for their length.
    let written = unsafe { libc::write(libc::STDOUT_FILENO, line.as_ptr().cast(), line.len()) };
    assert_eq!(written, line.len() as isize, "writing {line:?}");
}
