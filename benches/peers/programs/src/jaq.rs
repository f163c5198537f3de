//! jaq: queries in the language of jq, compiled and run over JSON records.
//!
//! Stands for tools that select, group and rewrite JSON, and for interpreters whose values are counted references. Each
//! pass does what one call of the command-line program does: it parses the standard definitions and a query, compiles
//! them, reads the records, and writes the results as text.
//!
//! Requests: 16 M, 99 % for 256 bytes or less, 70 % for 32 or less.
//!
//! Caveat: a third of the time is allocation, more than in most programs. The interpreter keeps each list of results as
//! a boxed iterator, and frees it soon after it was made. Objects are hash tables; other libraries use trees of nodes.

use std::fmt::Write;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use versus::workload::{Group, Run, Scale, Workload, checksum};

use super::text::Source;

pub(crate) const WORKLOAD: Workload = Workload {
    name: "jaq",
    group: Group::Program,
    about: "queries of the jq language over JSON records (jaq)",
    operations: None,
    prepare,
};

const QUERIES: [&str; 4] = [
    include_str!("../inputs/report.jq"),
    include_str!("../inputs/errors.jq"),
    include_str!("../inputs/redact.jq"),
    include_str!("../inputs/sessions.jq"),
];
const RECORDS: usize = 200;
const FULL_PASSES: usize = 10;

fn prepare(scale: Scale) -> Run {
    let log = log();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let results: Vec<u64> = (0..passes).flat_map(|_| QUERIES.map(|query| answer(query, &log))).collect();
        checksum(&results)
    })
}

/// Runs a query over the array of all records, and writes its results.
fn answer(query: &str, log: &str) -> u64 {
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code: query, path: () }).expect("the query is correct");
    let filter = Compiler::default().with_funs(functions).compile(modules).expect("the query's names are known");
    let records: Vec<Val> = read::parse_many(log.as_bytes()).collect::<Result<_, _>>().expect("the records are JSON");
    let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let mut output = String::new();
    for result in filter.id.run((context, records.into_iter().collect())).map(unwrap_valr) {
        writeln!(output, "{}", result.expect("the query has no errors")).expect("a string takes all text");
    }
    checksum(&output)
}

/// The log of a web service, one record a line.
fn log() -> String {
    let mut source = Source::new(11, 600);
    let mut text = String::new();
    let mut time = 1_700_000_000;
    for id in 0..RECORDS {
        time += source.below(20);
        let user = source.below(60);
        let path = format!("/{}/{}", source.pick(&["api", "shop", "static"]), source.word());
        let method = source.pick(&["GET", "GET", "GET", "POST", "DELETE"]);
        let status = source.pick(&["200", "200", "200", "204", "304", "404", "500", "503"]);
        let (milliseconds, bytes) = (source.below(900), source.below(50_000));
        write!(
            text,
            r#"{{"id":{id},"time":{time},"user":{{"name":"user{user}","email":"user{user}@mail.example","roles":["#
        )
        .expect("a string takes all text");
        text.push_str(if user.is_multiple_of(5) { r#""admin","staff""# } else { r#""customer""# });
        write!(text, r#"]}},"request":{{"method":"{method}","path":"{path}","headers":{{"agent":"{}","#, source.word())
            .expect("a string takes all text");
        write!(text, r#""language":"{}","token":"{:016x}"}}}},"#, source.pick(&["de", "en", "fr"]), time * 7919 + id)
            .expect("a string takes all text");
        write!(text, r#""status":{status},"took":{milliseconds}.5,"bytes":{bytes},"tags":["#)
            .expect("a string takes all text");
        for at in 0..source.below(4) {
            let comma = if at > 0 { "," } else { "" };
            write!(text, r#"{comma}"{}""#, source.word()).expect("a string takes all text");
        }
        writeln!(text, r#"],"message":"{}"}}"#, source.words(8)).expect("a string takes all text");
    }
    text
}
