//! rhai: the interpreter of the scripting language Rhai compiles and runs two scripts.
//!
//! Stands for programs with scripts inside: games, rule engines, configuration. Each pass compiles both scripts, as a
//! program does that loads its rules. One script keeps an inventory in maps, arrays and strings; the other reads a
//! small language of its own: it makes tokens, a tree of maps, and a value.
//!
//! Requests: 2.7 M, 68 % for 256 bytes or less: strings, arrays, variables and syntax trees. Nearly all others are for
//! 385 to 512 bytes: the nodes of the B-trees in which the interpreter keeps maps.
//!
//! Caveat: the interpreter copies a map when a script hands it to a function. So a program that keeps its data in
//! arrays makes fewer large requests. Walking the tree and looking up variables takes most of the time.

use rhai::{Dynamic, Engine, Scope};
use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "rhai",
    group: Group::Program,
    about: "scripts compiled and run by an interpreter (rhai)",
    operations: None,
    prepare,
};

const SCRIPTS: [&str; 2] = [include_str!("../inputs/inventory.rhai"), include_str!("../inputs/formula.rhai")];
const FULL_PASSES: usize = 48;

fn prepare(scale: Scale) -> Run {
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let mut engine = Engine::new();
        engine.set_max_expr_depths(128, 128);
        let results: Vec<String> =
            (0..passes).flat_map(|pass| SCRIPTS.map(|script| run(&engine, script, pass))).collect();
        checksum(&results)
    })
}

fn run(engine: &Engine, script: &str, pass: usize) -> String {
    let tree = engine.compile(script).expect("the script is Rhai");
    let mut scope = Scope::new();
    scope.push("seed", i64::try_from(pass).expect("a small number"));
    let result: Dynamic = engine.eval_ast_with_scope(&mut scope, &tree).expect("the script has no errors");
    result.to_string()
}
