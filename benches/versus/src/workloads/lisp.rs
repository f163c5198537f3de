//! lisp: an interpreter of a small Lisp reads and runs programs: naive Fibonacci, merge sort, map and fold.
//!
//! Stands for interpreters whose values are counted references: every cons cell, every variable binding and every
//! closure is one `Rc`, and each call makes a short vector of its arguments.
//!
//! Requests: 9.6 M, all small: 48 bytes for a cell or a binding, 64 for the vector of arguments.
//!
//! Caveat: most blocks are freed right after they were made, in the order that suits any allocator best.

use std::collections::BTreeMap;
use std::rc::Rc;

use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "lisp",
    group: Group::Program,
    about: "a small Lisp interpreter: Fibonacci, merge sort, map and fold over lists",
    operations: None,
    prepare,
};

const PRELUDE: &str = "
(define reverse (lambda (xs acc) (if (null? xs) acc (reverse (cdr xs) (cons (car xs) acc)))))
(define map (lambda (f xs acc) (if (null? xs) (reverse acc nil) (map f (cdr xs) (cons (f (car xs)) acc)))))
(define fold (lambda (f acc xs) (if (null? xs) acc (fold f (f acc (car xs)) (cdr xs)))))
(define range (lambda (n acc) (if (< n 1) acc (range (- n 1) (cons n acc)))))
(define noise (lambda (n seed acc)
  (if (< n 1) acc (noise (- n 1) (mod (+ (* seed 1103515245) 12345) 2147483648) (cons seed acc)))))
(define fib (lambda (n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2))))))
(define split (lambda (xs left right) (if (null? xs) (cons left right) (split (cdr xs) (cons (car xs) right) left))))
(define merge (lambda (xs ys acc)
  (if (null? xs) (reverse acc ys)
  (if (null? ys) (reverse acc xs)
  (if (< (car ys) (car xs)) (merge xs (cdr ys) (cons (car ys) acc)) (merge (cdr xs) ys (cons (car xs) acc)))))))
(define sort (lambda (xs)
  (if (null? xs) xs (if (null? (cdr xs)) xs
  (let ((halves (split xs nil nil))) (merge (sort (car halves)) (sort (cdr halves)) nil))))))
";
const PROGRAMS: [&str; 3] = [
    "(fib 16)",
    "(fold (lambda (sum x) (mod (+ (* sum 31) x) 1000003)) 7 (sort (noise 500 42 nil)))",
    "(fold + 0 (map (lambda (x) (let ((square (* x x))) (mod square 97))) (range 1000 nil) nil))",
];
const FULL_PASSES: usize = 48;

fn prepare(scale: Scale) -> Run {
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let mut lisp = Lisp::new();
        lisp.run(PRELUDE).expect("the prelude is correct");
        let mut results = Vec::new();
        for _ in 0..passes {
            for program in PROGRAMS {
                match lisp.run(program) {
                    Ok(Value::Integer(result)) => results.push(result),
                    other => panic!("{program} gave {other:?}"),
                }
            }
        }
        checksum(&results)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Symbol(usize);

#[derive(Clone, Debug)]
enum Value {
    Nil,
    Integer(i64),
    Symbol(Symbol),
    Builtin(Builtin),
    Cons(Rc<(Value, Value)>),
    Lambda(Rc<Lambda>),
}

type Builtin = fn(&[Value]) -> Result<Value, String>;

#[derive(Debug)]
struct Lambda {
    parameters: Vec<Symbol>,
    body: Value,
    scope: Scope,
}

/// The innermost binding in a chain of local variables.
type Scope = Option<Rc<Binding>>;

#[derive(Debug)]
struct Binding {
    name: Symbol,
    value: Value,
    outer: Scope,
}

/// An interpreter: the names that it has met and the global variables, by symbol.
struct Lisp {
    symbols: BTreeMap<String, Symbol>,
    globals: Vec<Option<Value>>,
}

const QUOTE: Symbol = Symbol(0);
const IF: Symbol = Symbol(1);
const DEFINE: Symbol = Symbol(2);
const LAMBDA: Symbol = Symbol(3);
const LET: Symbol = Symbol(4);
const SPECIAL: [&str; 5] = ["quote", "if", "define", "lambda", "let"];
const BUILTINS: [(&str, Builtin); 9] = [
    ("+", |arguments| fold(arguments, i64::wrapping_add)),
    ("-", |arguments| fold(arguments, i64::wrapping_sub)),
    ("*", |arguments| fold(arguments, i64::wrapping_mul)),
    ("mod", |arguments| fold(arguments, i64::rem_euclid)),
    ("<", |arguments| Ok(truth(integer(argument(arguments, 0)?)? < integer(argument(arguments, 1)?)?))),
    ("cons", |arguments| Ok(Value::Cons(Rc::new((argument(arguments, 0)?.clone(), argument(arguments, 1)?.clone()))))),
    ("car", |arguments| Ok(pair(argument(arguments, 0)?)?.0.clone())),
    ("cdr", |arguments| Ok(pair(argument(arguments, 0)?)?.1.clone())),
    ("null?", |arguments| Ok(truth(matches!(argument(arguments, 0)?, Value::Nil)))),
];

impl Lisp {
    fn new() -> Self {
        let mut lisp = Self { symbols: BTreeMap::new(), globals: Vec::new() };
        for name in SPECIAL {
            lisp.symbol(name);
        }
        let constants = [("nil", Value::Nil), ("true", truth(true))].into_iter();
        for (name, value) in
            BUILTINS.map(|(name, builtin)| (name, Value::Builtin(builtin))).into_iter().chain(constants)
        {
            let Symbol(at) = lisp.symbol(name);
            lisp.globals[at] = Some(value);
        }
        lisp
    }

    fn symbol(&mut self, name: &str) -> Symbol {
        if let Some(&symbol) = self.symbols.get(name) {
            return symbol;
        }
        let symbol = Symbol(self.globals.len());
        self.symbols.insert(name.to_owned(), symbol);
        self.globals.push(None);
        symbol
    }

    /// Runs all forms of the text. Returns the value of the last one.
    fn run(&mut self, text: &str) -> Result<Value, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut tokens = spaced.split_whitespace();
        let mut last = Value::Nil;
        while let Some(token) = tokens.next() {
            let form = self.read(token, &mut tokens)?;
            last = self.eval(form, None)?;
        }
        Ok(last)
    }

    fn read<'text>(&mut self, token: &'text str, rest: &mut impl Iterator<Item = &'text str>) -> Result<Value, String> {
        if token != "(" {
            return Ok(token.parse().map_or_else(|_| Value::Symbol(self.symbol(token)), Value::Integer));
        }
        let mut items = Vec::new();
        loop {
            match rest.next().ok_or("the text ends within a list")? {
                ")" => break,
                token => items.push(self.read(token, rest)?),
            }
        }
        Ok(items.into_iter().rfold(Value::Nil, |tail, head| Value::Cons(Rc::new((head, tail)))))
    }

    /// Evaluates a form. A call in tail position continues in this loop instead of going deeper into the stack.
    fn eval(&mut self, mut form: Value, mut scope: Scope) -> Result<Value, String> {
        loop {
            let call = match &form {
                Value::Symbol(name) => return self.lookup(*name, &scope),
                Value::Cons(call) => Rc::clone(call),
                _ => return Ok(form),
            };
            let (head, rest) = &*call;
            match head {
                Value::Symbol(QUOTE) => return Ok(nth(rest, 0)?.clone()),
                Value::Symbol(LAMBDA) => return lambda(rest, scope),
                Value::Symbol(DEFINE) => return self.define(rest, scope),
                Value::Symbol(IF) => {
                    let condition = self.eval(nth(rest, 0)?.clone(), scope.clone())?;
                    form = nth(rest, if matches!(condition, Value::Nil) { 2 } else { 1 })?.clone();
                }
                Value::Symbol(LET) => {
                    let outer = scope.clone();
                    for binding in items(nth(rest, 0)?) {
                        let Value::Symbol(name) = *nth(binding, 0)? else {
                            return Err("let binds names".into());
                        };
                        let value = self.eval(nth(binding, 1)?.clone(), outer.clone())?;
                        scope = Some(Rc::new(Binding { name, value, outer: scope }));
                    }
                    form = nth(rest, 1)?.clone();
                }
                _ => {
                    let function = self.eval(head.clone(), scope.clone())?;
                    let mut arguments = Vec::new();
                    for argument in items(rest) {
                        arguments.push(self.eval(argument.clone(), scope.clone())?);
                    }
                    match function {
                        Value::Builtin(builtin) => return builtin(&arguments),
                        Value::Lambda(lambda) => {
                            scope = bind(&lambda, arguments)?;
                            form = lambda.body.clone();
                        }
                        other => return Err(format!("{other:?} cannot be called")),
                    }
                }
            }
        }
    }

    fn lookup(&self, name: Symbol, scope: &Scope) -> Result<Value, String> {
        let mut binding = scope;
        while let Some(local) = binding {
            if local.name == name {
                return Ok(local.value.clone());
            }
            binding = &local.outer;
        }
        self.globals[name.0].clone().ok_or_else(|| format!("{name:?} has no value"))
    }

    fn define(&mut self, rest: &Value, scope: Scope) -> Result<Value, String> {
        let Value::Symbol(name) = *nth(rest, 0)? else {
            return Err("define gives a value to a name".into());
        };
        let value = self.eval(nth(rest, 1)?.clone(), scope)?;
        self.globals[name.0] = Some(value);
        Ok(Value::Nil)
    }
}

fn lambda(rest: &Value, scope: Scope) -> Result<Value, String> {
    let parameter = |item: &Value| match item {
        Value::Symbol(name) => Ok(*name),
        other => Err(format!("{other:?} is not a parameter")),
    };
    let parameters = items(nth(rest, 0)?).map(parameter).collect::<Result<_, _>>()?;
    Ok(Value::Lambda(Rc::new(Lambda { parameters, body: nth(rest, 1)?.clone(), scope })))
}

fn bind(lambda: &Lambda, arguments: Vec<Value>) -> Result<Scope, String> {
    if lambda.parameters.len() != arguments.len() {
        return Err(format!("{} arguments for {} parameters", arguments.len(), lambda.parameters.len()));
    }
    let bind = |outer, (&name, value)| Some(Rc::new(Binding { name, value, outer }));
    Ok(lambda.parameters.iter().zip(arguments).fold(lambda.scope.clone(), bind))
}

/// The items of a list.
fn items(mut list: &Value) -> impl Iterator<Item = &Value> {
    std::iter::from_fn(move || {
        let Value::Cons(cell) = list else { return None };
        list = &cell.1;
        Some(&cell.0)
    })
}

fn nth(list: &Value, at: usize) -> Result<&Value, String> {
    items(list).nth(at).ok_or_else(|| format!("{list:?} has no item {at}"))
}

fn argument(arguments: &[Value], at: usize) -> Result<&Value, String> {
    arguments.get(at).ok_or_else(|| format!("argument {at} is missing"))
}

fn fold(arguments: &[Value], operation: fn(i64, i64) -> i64) -> Result<Value, String> {
    let mut values = arguments.iter().map(integer);
    let first = values.next().ok_or("arithmetic of nothing")??;
    values.try_fold(first, |sum, value| Ok(operation(sum, value?))).map(Value::Integer)
}

fn integer(value: &Value) -> Result<i64, String> {
    match value {
        Value::Integer(integer) => Ok(*integer),
        other => Err(format!("{other:?} is not a number")),
    }
}

fn pair(value: &Value) -> Result<&(Value, Value), String> {
    match value {
        Value::Cons(cell) => Ok(cell),
        other => Err(format!("{other:?} is not a pair")),
    }
}

fn truth(is_true: bool) -> Value {
    if is_true { Value::Integer(1) } else { Value::Nil }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(program: &str) -> Result<i64, String> {
        let mut lisp = Lisp::new();
        lisp.run(PRELUDE)?;
        lisp.run(program).and_then(|value| integer(&value))
    }

    #[test]
    fn programs_compute_what_they_say() {
        for (program, expected) in [
            ("(fib 12)", 144),
            ("(fold (lambda (n x) (+ (* n 10) x)) 0 (sort (quote (3 1 2 5 4))))", 12345),
            ("(fold + 0 (map (lambda (x) (* x x)) (range 10 nil) nil))", 385),
            ("(let ((x 2) (y 3)) (if (< x y) (- y x) 0))", 1),
        ] {
            assert_eq!(result(program), Ok(expected), "{program}");
        }
    }

    #[test]
    fn wrong_programs_are_errors() {
        for program in ["(", "(unknown 1)", "(car nil)", "(fib)", "(1 2)", "(+ nil 1)"] {
            assert!(result(program).is_err(), "{program}");
        }
    }
}
