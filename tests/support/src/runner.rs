//! Runs the tests of a binary one after another on the main thread, with the command line of the usual harness.
//!
//! The usual harness runs its tests on threads of its own and allocates while they run. Tests that compare statistics,
//! count heaps or fork therefore cannot use it.
//!
//! A binary has one module of tests for each file of its folder. The name of a test begins with the name of its module,
//! as in `sizes::size_matrix`. The role of a child begins with it too: the role `exit::return` belongs to the module
//! `exit`.

use std::borrow::Cow;

use libtest_mimic::{Arguments, Trial};

use crate::oracle::mode;
use crate::process::role;

/// Name of the environment variable that ends a test binary at its first panic. `tests/mutants/run` sets it: one test
/// that fails is enough.
const FAIL_FAST: &str = "POOLMALLOC_TEST_FAIL_FAST";

type Body = Box<dyn FnOnce() + Send>;

/// One test: it passes unless it panics.
pub struct Test {
    name: Cow<'static, str>,
    body: Body,
    is_ignored: bool,
    left_out: Option<&'static str>,
}

impl Test {
    /// A test that runs `body`.
    pub fn new(name: impl Into<Cow<'static, str>>, body: impl FnOnce() + Send + 'static) -> Self {
        Self { name: name.into(), body: Box::new(body), is_ignored: false, left_out: None }
    }

    /// Ignores the test if `is_ignored`. The option `--ignored` still runs it.
    #[must_use]
    pub fn ignored_if(self, is_ignored: bool) -> Self {
        Self { is_ignored, ..self }
    }

    /// Leaves the test out in debug mode (`POOLMALLOC=debug`). The runner then prints `reason`.
    #[must_use]
    pub fn not_in_debug(self, reason: &'static str) -> Self {
        Self { left_out: mode::is_debug().then_some(reason), ..self }
    }
}

/// Tests that are named after the functions that they run.
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => {
        vec![$($crate::Test::new(stringify!($test), $test)),*]
    };
}

/// Leaves the tests with these names out in debug mode.
///
/// # Panics
/// If no test has one of the names.
#[must_use]
pub fn not_in_debug(tests: Vec<Test>, names: &[&str], reason: &'static str) -> Vec<Test> {
    for name in names {
        assert!(tests.iter().any(|test| test.name == *name), "there is no test {name}");
    }
    let mark = |test: Test| if names.contains(&&*test.name) { test.not_in_debug(reason) } else { test };
    tests.into_iter().map(mark).collect()
}

/// The tests of one file, and the function that their children run.
pub struct Module {
    name: &'static str,
    tests: fn() -> Vec<Test>,
    child: Option<fn(&str)>,
}

impl Module {
    /// A module whose tests start no children.
    pub const fn new(name: &'static str, tests: fn() -> Vec<Test>) -> Self {
        Self { name, tests, child: None }
    }

    /// A module whose tests start children; `child` gets the role that [`command!`](crate::command!) was given.
    pub const fn with_children(name: &'static str, tests: fn() -> Vec<Test>, child: fn(&str)) -> Self {
        Self { name, tests, child: Some(child) }
    }
}

/// Runs the tests of all modules. In a child, runs the function for children of the module that started it.
///
/// # Panics
/// If the child's role belongs to no module with children.
pub fn main(modules: &[Module]) {
    if let Some(role) = role() {
        let (name, role) = role.split_once("::").expect("a module's name and a role");
        let module = modules.iter().find(|module| module.name == name).expect("a module of this binary");
        return module.child.expect("a module with children")(role);
    }
    let tests_of = |module: &Module| {
        let name = module.name;
        (module.tests)().into_iter().map(move |test| Test { name: format!("{name}::{}", test.name).into(), ..test })
    };
    run(modules.iter().flat_map(tests_of).collect());
}

/// Runs `tests` one after another on the main thread.
pub fn run(tests: Vec<Test>) {
    if std::env::var_os(FAIL_FAST).is_some() {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            // SAFETY: no preconditions.
            unsafe { libc::_exit(101) };
        }));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let is_chosen = |name: &str| arguments.filter.as_ref().is_none_or(|filter| name.contains(filter));
    let mut trials = Vec::new();
    for Test { name, body, is_ignored, left_out } in tests {
        if let Some(reason) = left_out {
            if is_chosen(&name) {
                println!("left out in debug mode: {name}: {reason}");
            }
            continue;
        }
        let body = move || {
            body();
            Ok(())
        };
        trials.push(Trial::test(name, body).with_ignored_flag(is_ignored));
    }
    libtest_mimic::run(&arguments, trials).exit_if_failed();
}
