//! The fast paths are inlined whole into a program that defines the allocator in the crate that allocates: no call of
//! the accessor of the thread's front is left (tests/own-crate).
//!
//! In such a program the compiler splits the crate into codegen units, and imports functions of one unit into another.
//! If it imports the allocator's functions before it has inlined the accessor, each allocation and each free calls it.
//! The programs are built as cargo builds them by default, and this test reads their assembly.
//!
//! To see it fail: write `FRONT.with(Cell::get)` for the body of `front_pointer` in `src/process/tls.rs`.
//!
//! `cargo test --test builds own_crate::`

use std::collections::BTreeSet;

use poolmalloc_support::cargo::assembly;
use poolmalloc_support::{Test, tests};

/// Part of the symbol of the thread-local that holds the thread's front.
const FRONT: &str = "7process3tls5FRONT";

/// Largest number of instructions of an accessor: it loads the address of the thread-local and returns.
const ACCESSOR: usize = 4;

/// One function of the assembly.
struct Function<'t> {
    name: &'t str,
    instructions: Vec<&'t str>,
}

/// Returns the functions of one unit.
fn functions(unit: &str) -> Vec<Function<'_>> {
    let mut functions: Vec<Function> = Vec::new();
    let mut is_inside = false;
    for line in unit.lines().map(str::trim) {
        let begins = line.strip_prefix(".type").and_then(|line| line.trim().strip_suffix(",@function"));
        if let Some(name) = begins {
            functions.push(Function { name, instructions: Vec::new() });
            is_inside = true;
        }
        is_inside &= !line.starts_with(".size");
        let is_instruction = !line.is_empty() && !line.starts_with(['.', '#']) && !line.ends_with(':');
        if let (true, true, Some(function)) = (is_inside, is_instruction, functions.last_mut()) {
            function.instructions.push(line);
        }
    }
    functions
}

impl<'t> Function<'t> {
    fn uses_front(&self) -> bool {
        self.instructions.iter().any(|instruction| instruction.contains(FRONT))
    }

    fn is_accessor(&self) -> bool {
        self.uses_front() && self.instructions.len() <= ACCESSOR
    }

    /// Returns the functions that this function calls, or to which it jumps at its end.
    fn calls(&self) -> impl Iterator<Item = &'t str> {
        self.instructions.iter().filter_map(|instruction| {
            let (operation, target) = instruction.split_once(char::is_whitespace)?;
            let target = target.trim().trim_start_matches('*');
            let is_call = operation.starts_with("call") || operation.starts_with('j');
            let target = target.split_once('@').map_or(target, |(name, _)| name);
            (is_call && !target.starts_with('.')).then_some(target)
        })
    }
}

/// Builds a program. Fails if a function in it calls an accessor, or if the program is not one in which that could be.
fn assert_inlined(program: &str, least_units: usize, hot_functions: usize) {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("left out: this test reads the assembly of x86-64 Linux");
        return;
    }
    let units = assembly(env!("CARGO_TARGET_TMPDIR"), "own-crate", program);
    let units: Vec<_> = units.iter().map(|unit| functions(unit)).collect();
    let is_hot = |function: &&Function| function.name.contains("hot_");
    let hot_units = units.iter().filter(|unit| unit.iter().any(|function| is_hot(&function))).count();
    assert!(hot_units >= least_units, "the hot functions of {program} are in {hot_units} units");

    let functions = || units.iter().flatten();
    let hot: Vec<_> = functions().filter(is_hot).collect();
    assert_eq!(hot.len(), hot_functions, "hot functions of {program}");
    let accessors: BTreeSet<_> = functions().filter(|function| function.is_accessor()).map(|it| it.name).collect();
    let is_accessor = |name: &str| {
        accessors.contains(name) || [FRONT, "LocalKey", "__tls_get_addr"].iter().any(|it| name.contains(it))
    };
    for function in functions() {
        for called in function.calls() {
            assert!(!is_accessor(called), "in {program}, {} calls the accessor {called}", function.name);
        }
    }
    // The allocator is inlined there at all. A loop may leave the frees to another function.
    let with_front = hot.iter().filter(|function| function.uses_front()).count();
    assert!(with_front * 4 >= hot_functions * 3, "{with_front} of {hot_functions} hot functions allocate themselves");
}

fn many_modules() {
    assert_inlined("many", 5, 20 * 4);
}

fn one_module() {
    assert_inlined("one", 1, 4);
}

pub(crate) fn tests() -> Vec<Test> {
    tests![many_modules, one_module]
}
