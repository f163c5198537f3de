//! tantivy: documents are put into a search index in memory, and queries are run on it.
//!
//! Stands for search engines and other stores that write sorted tables. Each pass builds an index of one segment and
//! runs all queries, parsed from text: words, phrases, fields and combinations.
//!
//! Requests: 0.7 M, 79 % for 256 bytes or less, 39 % for 65 to 128. The others are buffers and blocks of the tables.
//!
//! Caveat: the engine keeps words and postings in arenas of its own, which are large blocks. So most small requests
//! come from documents, tokens and queries. The program writes no file and uses no second thread.

use tantivy::collector::{Count, TopDocs};
use tantivy::directory::RamDirectory;
use tantivy::query::QueryParser;
use tantivy::schema::{FAST, Field, INDEXED, STORED, STRING, Schema, TEXT, Value};
use tantivy::{Index, IndexSettings, ReloadPolicy, SingleSegmentIndexWriter, TantivyDocument};
use versus::workload::{Group, Run, Scale, Workload, checksum};

use super::text::Source;

pub(crate) const WORKLOAD: Workload = Workload {
    name: "tantivy",
    group: Group::Program,
    about: "a search index built in memory and queried (tantivy)",
    operations: None,
    prepare,
};

const PAGES: usize = 1200;
const QUERIES: usize = 150;
const FULL_PASSES: usize = 15;
/// The least that tantivy allows.
const WRITER_BYTES: usize = 15_000_000;

/// A page as an application has it, before it becomes a document.
struct Page {
    title: String,
    text: String,
    topic: String,
    year: u64,
}

struct Fields {
    title: Field,
    text: Field,
    topic: Field,
    year: Field,
}

fn prepare(scale: Scale) -> Run {
    let mut source = Source::new(15, 4000);
    let pages: Vec<Page> = (0..PAGES).map(|_| page(&mut source)).collect();
    let queries: Vec<String> = (0..QUERIES).map(|kind| query(kind, &mut source)).collect();
    let passes = scale.of(FULL_PASSES);
    Box::new(move || checksum(&(0..passes).map(|pass| pass_through(&pages, &queries, pass)).collect::<Vec<_>>()))
}

fn pass_through(pages: &[Page], queries: &[String], pass: usize) -> u64 {
    let mut schema = Schema::builder();
    let fields = Fields {
        title: schema.add_text_field("title", TEXT | STORED),
        text: schema.add_text_field("text", TEXT),
        topic: schema.add_text_field("topic", STRING | STORED),
        year: schema.add_u64_field("year", INDEXED | FAST | STORED),
    };
    let index = build(pages, schema.build(), &fields, pass).expect("memory is all that an index needs");
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().expect("the index is complete");
    let searcher = reader.searcher();
    let parser = QueryParser::for_index(&index, vec![fields.title, fields.text]);
    let mut found = Vec::new();
    for query in queries {
        let query = parser.parse_query(query).expect("the query is correct");
        let best = TopDocs::with_limit(10).order_by_score();
        let (count, best) = searcher.search(&query, &(Count, best)).expect("the index is correct");
        found.push((count, 0, String::new()));
        for (score, address) in best {
            let document: TantivyDocument = searcher.doc(address).expect("the document is in the index");
            let title = document.get_first(fields.title).and_then(|title| title.as_str()).unwrap_or_default();
            found.push((count, score.to_bits(), title.to_owned()));
        }
    }
    checksum(&found)
}

fn build(pages: &[Page], schema: Schema, fields: &Fields, pass: usize) -> tantivy::Result<Index> {
    // All work is done by this thread, so that the row measures no scheduler.
    let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
    let mut writer: SingleSegmentIndexWriter = Index::builder()
        .schema(schema)
        .settings(settings)
        .single_segment_index_writer(RamDirectory::create(), WRITER_BYTES)?;
    for (number, page) in pages.iter().enumerate() {
        let mut document = TantivyDocument::new();
        document.add_text(fields.title, &page.title);
        document.add_text(fields.text, &page.text);
        document.add_text(fields.topic, &page.topic);
        document.add_u64(fields.year, page.year + (number + pass) as u64 % 7);
        writer.add_document(document)?;
    }
    writer.finalize()
}

fn page(source: &mut Source) -> Page {
    let words = 40 + source.below(80);
    Page {
        title: source.words(5),
        text: source.words(words),
        topic: format!("{}/{}", source.pick(&["arts", "science", "sports"]), source.below(20)),
        year: 1980 + source.below(40) as u64,
    }
}

fn query(kind: usize, source: &mut Source) -> String {
    let (a, b, c) = (source.word().to_owned(), source.word().to_owned(), source.word().to_owned());
    let year = 1980 + source.below(40);
    match kind % 6 {
        0 => a,
        1 => format!("{a} {b} {c}"),
        2 => format!("+{a} +{b}"),
        3 => format!("title:{a} OR (text:{b} AND NOT text:{c})"),
        4 => format!("\"{a} {b}\""),
        _ => format!("{a} AND year:[{year} TO {}]", year + 5),
    }
}
