//! egg: expressions are simplified by equality saturation.
//!
//! Stands for optimizers and solvers that keep many equal forms of a program side by side: compilers, query planners,
//! theorem provers. Each expression gets an e-graph of its own. Rules add equal forms to it for some rounds, then the
//! smallest form is taken out.
//!
//! Requests: 3.1 M, 95 % for 256 bytes or less, 66 % for 16 or less.
//!
//! Caveat: a good part of the time goes into searching for matches, in hash tables that grow past 256 bytes. The limit
//! on rounds is the only one, because a limit on time would make results differ between allocators.

use std::time::Duration;

use egg::{Analysis, AstSize, DidMerge, EGraph, Extractor, Id, RecExpr, Rewrite, Runner, Symbol};
use egg::{define_language, merge_option, rewrite};
use versus::workload::{Group, Run, Scale, Workload, checksum};

use super::text::Source;

pub(crate) const WORKLOAD: Workload = Workload {
    name: "egg",
    group: Group::Program,
    about: "expressions simplified by equality saturation (egg)",
    operations: None,
    prepare,
};

const FULL_EXPRESSIONS: usize = 48;
const ROUNDS: usize = 14;
const DEPTH: usize = 5;

fn prepare(scale: Scale) -> Run {
    let mut source = Source::new(12, 10);
    let count = scale.of(FULL_EXPRESSIONS);
    let expressions: Vec<String> = (0..count).map(|_| expression(DEPTH, &mut source)).collect();
    Box::new(move || {
        let rules = rules();
        let results: Vec<_> = expressions.iter().map(|expression| simplify(expression, &rules)).collect();
        checksum(&results)
    })
}

/// The smallest form of an expression, and the number of classes of equal forms.
fn simplify(expression: &str, rules: &[Rewrite<Arithmetic, Constants>]) -> (String, usize) {
    let expression: RecExpr<Arithmetic> = expression.parse().expect("the expression is correct");
    let runner = Runner::<Arithmetic, Constants>::default()
        .with_iter_limit(ROUNDS)
        .with_node_limit(usize::MAX)
        .with_time_limit(Duration::MAX)
        .with_expr(&expression)
        .run(rules);
    let (_, best) = Extractor::new(&runner.egraph, AstSize).find_best(runner.roots[0]);
    (best.to_string(), runner.egraph.number_of_classes())
}

define_language! {
    /// Arithmetic of 64-bit integers, without overflow checks.
    enum Arithmetic {
        Number(i64),
        "+" = Add([Id; 2]),
        "-" = Subtract([Id; 2]),
        "*" = Multiply([Id; 2]),
        "<<" = Shift([Id; 2]),
        "&" = And([Id; 2]),
        "if" = If([Id; 3]),
        Name(Symbol),
    }
}

/// Computes expressions whose operands are known.
#[derive(Default)]
struct Constants;

impl Analysis<Arithmetic> for Constants {
    type Data = Option<i64>;

    fn make(graph: &mut EGraph<Arithmetic, Self>, node: &Arithmetic, _: Id) -> Option<i64> {
        let value = |id: &Id| graph[*id].data;
        match node {
            Arithmetic::Number(number) => Some(*number),
            Arithmetic::Add([a, b]) => Some(value(a)?.wrapping_add(value(b)?)),
            Arithmetic::Subtract([a, b]) => Some(value(a)?.wrapping_sub(value(b)?)),
            Arithmetic::Multiply([a, b]) => Some(value(a)?.wrapping_mul(value(b)?)),
            Arithmetic::And([a, b]) => Some(value(a)? & value(b)?),
            _ => None,
        }
    }

    fn merge(&mut self, to: &mut Option<i64>, from: Option<i64>) -> DidMerge {
        merge_option(to, from, |_, _| DidMerge(false, false))
    }

    fn modify(graph: &mut EGraph<Arithmetic, Self>, id: Id) {
        if let Some(number) = graph[id].data {
            let constant = graph.add(Arithmetic::Number(number));
            graph.union(id, constant);
        }
    }
}

fn rules() -> Vec<Rewrite<Arithmetic, Constants>> {
    vec![
        rewrite!("add-swap"; "(+ ?a ?b)" => "(+ ?b ?a)"),
        rewrite!("add-turn"; "(+ ?a (+ ?b ?c))" => "(+ (+ ?a ?b) ?c)"),
        rewrite!("multiply-swap"; "(* ?a ?b)" => "(* ?b ?a)"),
        rewrite!("multiply-turn"; "(* ?a (* ?b ?c))" => "(* (* ?a ?b) ?c)"),
        rewrite!("subtract"; "(- ?a ?b)" => "(+ ?a (* -1 ?b))"),
        rewrite!("cancel"; "(- ?a ?a)" => "0"),
        rewrite!("add-0"; "(+ ?a 0)" => "?a"),
        rewrite!("multiply-0"; "(* ?a 0)" => "0"),
        rewrite!("multiply-1"; "(* ?a 1)" => "?a"),
        rewrite!("double"; "(+ ?a ?a)" => "(* 2 ?a)"),
        rewrite!("shift"; "(* ?a 2)" => "(<< ?a 1)"),
        rewrite!("shift-twice"; "(<< (<< ?a 1) 1)" => "(<< ?a 2)"),
        rewrite!("factor"; "(+ (* ?a ?b) (* ?a ?c))" => "(* ?a (+ ?b ?c))"),
        rewrite!("distribute"; "(* ?a (+ ?b ?c))" => "(+ (* ?a ?b) (* ?a ?c))"),
        rewrite!("and-same"; "(& ?a ?a)" => "?a"),
        rewrite!("and-0"; "(& ?a 0)" => "0"),
        rewrite!("and-swap"; "(& ?a ?b)" => "(& ?b ?a)"),
        rewrite!("if-same"; "(if ?a ?b ?b)" => "?b"),
        rewrite!("if-add"; "(if ?a (+ ?b ?c) (+ ?b ?d))" => "(+ ?b (if ?a ?c ?d))"),
        rewrite!("add-if"; "(+ ?b (if ?a ?c ?d))" => "(if ?a (+ ?b ?c) (+ ?b ?d))"),
    ]
}

fn expression(depth: usize, source: &mut Source) -> String {
    if depth == 0 || depth < DEPTH && source.below(10) == 0 {
        return source.pick(&["0", "1", "2", "3", "8", "x", "y", "z", "count", "size"]).to_owned();
    }
    let mut part = || expression(depth - 1, source);
    let (a, b, c) = (part(), part(), part());
    match source.below(9) {
        0..=3 => format!("(+ {a} {b})"),
        4 => format!("(- {a} {b})"),
        5 | 6 => format!("(* {a} {b})"),
        7 => format!("(& {a} {b})"),
        _ => format!("(if {a} {b} {c})"),
    }
}
