//! json: a document is parsed into a `serde_json::Value` tree, changed, and written back.
//!
//! Stands for services that pass JSON through, and for any parser that builds a tree of maps, vectors and strings.
//!
//! Requests: 1.8 M, 91 % for 256 bytes or less. More than half are for 8 bytes or less (short keys and values). The
//! others are vectors of up to 256 bytes, and map nodes of over 600 bytes.
//!
//! Caveat: half of the time is spent on reading and writing text. `Value` keeps its maps as B-trees: programs that
//! deserialize into their own structs make fewer requests, and have fewer large nodes.

use std::fmt::Write;

use rand::RngExt;
use serde_json::{Value, json};
use versus::workload::{Group, Random, Run, Scale, Workload, checksum, random};

use super::text::Vocabulary;

pub(super) const WORKLOAD: Workload = Workload {
    name: "json",
    group: Group::Program,
    about: "JSON text to a serde_json::Value tree, changed and written back",
    operations: None,
    prepare,
};

/// Records in a document. Each has about 300 bytes.
const RECORDS: usize = 3000;
const FULL_PASSES: usize = 18;

fn prepare(scale: Scale) -> Run {
    let text = document();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || checksum(&(0..passes).map(|pass| pass_through(&text, pass)).collect::<Vec<u64>>()))
}

fn pass_through(text: &str, pass: usize) -> u64 {
    let mut tree: Value = serde_json::from_str(text).expect("the document is JSON");
    for record in tree["records"].as_array_mut().expect("records are an array") {
        change(record, pass);
    }
    checksum(&tree.to_string())
}

/// Changes a record: counts a visit, adds a tag, removes a private field. A service that passes records on does the
/// same.
fn change(record: &mut Value, pass: usize) {
    let visits = record["visits"].as_u64().unwrap_or(0);
    record["visits"] = json!(visits + 1);
    record["seen"] = json!({ "by": "versus", "pass": pass });
    if let Some(tags) = record["tags"].as_array_mut() {
        tags.push(json!(format!("visits-{visits}")));
    }
    if let Some(fields) = record.as_object_mut() {
        fields.remove("email");
    }
}

fn document() -> String {
    let mut random = random(1);
    let vocabulary = Vocabulary::new(2000, &mut random);
    let mut text = String::from("{\"records\":[");
    for id in 0..RECORDS {
        if id > 0 {
            text.push(',');
        }
        add_record(&mut text, id, &vocabulary, &mut random);
    }
    text.push_str("]}");
    text
}

fn add_record(text: &mut String, id: usize, vocabulary: &Vocabulary, random: &mut Random) {
    let (first, last) = (vocabulary.word(random), vocabulary.word(random));
    let (visits, balance) = (random.random_range(0..1000), random.random_range(-500_000..500_000));
    write!(text, r#"{{"id":{id},"name":"{first} {last}","email":"{first}@{last}.example","visits":{visits},"#)
        .expect("a string takes all text");
    write!(text, r#""active":{},"balance":{balance}.25,"parent":null,"tags":["#, visits % 2 == 0)
        .expect("a string takes all text");
    for at in 0..random.random_range(1..=6) {
        let comma = if at > 0 { "," } else { "" };
        write!(text, r#"{comma}"{}""#, vocabulary.word(random)).expect("a string takes all text");
    }
    text.push_str(r#"],"address":{"street":""#);
    vocabulary.add_words(text, 2, random);
    text.push_str(r#"","city":""#);
    text.push_str(vocabulary.word(random));
    text.push_str(r#""},"note":""#);
    vocabulary.add_sentence(text, random);
    text.push_str(r#""}"#);
}
