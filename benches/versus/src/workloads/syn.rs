//! syn: Rust source is parsed into a syntax tree, which is walked and dropped.
//!
//! Stands for compilers, linters and procedural macros. The source is this package's own.
//!
//! Requests: 2.7 M, 97 % for 256 bytes or less: half for 16 or less (identifiers), every tenth for over 120 (boxed
//! expressions, vectors).
//!
//! Caveat: the parser makes tokens first (vectors of them grow past 256 bytes), then the tree. The walk makes one
//! `String` for each identifier. The input changes when these files change, so compare only rows of one build.

use syn::visit::{self, Visit};
use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "syn",
    group: Group::Program,
    about: "Rust source to a syntax tree (syn), walked and dropped",
    operations: None,
    prepare,
};

const SOURCES: [&str; 12] = [
    include_str!("../summary.rs"),
    include_str!("../worker.rs"),
    include_str!("../workload.rs"),
    include_str!("btree.rs"),
    include_str!("channel.rs"),
    include_str!("index.rs"),
    include_str!("json.rs"),
    include_str!("lisp.rs"),
    include_str!("rc_graph.rs"),
    include_str!("replace.rs"),
    include_str!("sort.rs"),
    include_str!("tokio.rs"),
];
const FULL_PASSES: usize = 40;

fn prepare(scale: Scale) -> Run {
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let mut census = Census::default();
        for _ in 0..passes {
            // All trees live together, as the modules of one crate do in a compiler.
            let files = SOURCES.map(|source| syn::parse_file(source).expect("the source is Rust"));
            files.iter().for_each(|file| census.visit_file(file));
        }
        checksum(&[census.functions, census.calls, census.identifiers, census.letters])
    })
}

#[derive(Default)]
struct Census {
    functions: usize,
    calls: usize,
    identifiers: usize,
    letters: usize,
}

impl<'ast> Visit<'ast> for Census {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.functions += 1;
        visit::visit_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.calls += 1;
        visit::visit_expr_method_call(self, call);
    }

    fn visit_ident(&mut self, identifier: &'ast syn::Ident) {
        self.identifiers += 1;
        self.letters += identifier.to_string().len();
    }
}
