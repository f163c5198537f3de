//! Indexes documents, and shows from samples which places of the program allocated the blocks that are live.
//!
//! `cargo run --release -p poolmalloc-examples --bin profile` prints the five places with the most live bytes. With a
//! path it writes a profile there: collapsed stacks of live bytes for a flame graph if the path ends in `.folded`, else
//! pprof's format. `--mean BYTES` sets the mean number of bytes between samples. `--cost` prints the cost of sampling
//! for the index and for pairs of requests, as ratios to the time without sampling. `--pairs N` only makes N pairs of
//! requests, and `--index N` only indexes N documents: use them to count instructions.
//!
//! `docs/guide/profiling.md` draws the flame graph.

use clap::Parser;
use poolmalloc::PoolMalloc;
use poolmalloc::profile::{self, Measure, Profile};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

const DOCUMENTS: usize = 20_000;

/// Functions of this program that the output names.
const OURS: [&str; 5] = ["read_document", "add_document", "find_titles", "normalized", "work"];

/// A document, as it was read.
struct Document {
    title: String,
    text: String,
}

/// The documents in which each word occurs, and the answers to all questions so far.
#[derive(Default)]
struct Index {
    titles: Vec<String>,
    words: HashMap<String, Vec<u32>>,
    /// Never cleared. A profile of live bytes shows this.
    answers: BTreeMap<String, Vec<String>>,
}

#[inline(never)]
fn read_document(random: &mut fastrand::Rng) -> Document {
    let mut text = String::new();
    for _ in 0..60 {
        let word = random.usize(..5000) * random.usize(..5000) / 5000;
        text.push_str(&format!("word{word} "));
    }
    Document { title: format!("document {}", random.u32(..)), text }
}

impl Index {
    #[inline(never)]
    fn add_document(&mut self, document: Document) {
        let number = self.titles.len() as u32;
        for word in document.text.split_whitespace().map(normalized) {
            self.words.entry(word).or_default().push(number);
        }
        self.titles.push(document.title);
    }

    #[inline(never)]
    fn find_titles(&mut self, words: &str) -> usize {
        let titles = |word: String| {
            self.words.get(&word).into_iter().flatten().map(|number| self.titles[*number as usize].clone())
        };
        let found: Vec<_> = words.split(' ').map(normalized).flat_map(titles).take(50).collect();
        let count = found.len();
        self.answers.insert(words.to_owned(), found);
        count
    }
}

#[inline(never)]
fn normalized(word: &str) -> String {
    word.to_lowercase()
}

#[inline(never)]
fn work(documents: usize) -> Index {
    let mut random = fastrand::Rng::with_seed(1);
    let mut index = Index::default();
    for _ in 0..documents {
        index.add_document(read_document(&mut random));
        if random.u8(..) < 40 {
            let words = format!("Word{} Word{}", random.usize(..5000), random.usize(..5000));
            black_box(index.find_titles(&words));
        }
    }
    index
}

/// Makes `count` requests of 48 bytes, and frees each at once.
#[inline(never)]
fn pairs(count: usize) {
    for _ in 0..count {
        drop(black_box(Box::new([0_u64; 6])));
    }
}

/// Indexes documents, and shows which places of the program allocated the blocks that are live.
#[derive(Parser)]
struct Options {
    /// Where the profile goes: collapsed stacks if it ends in `.folded`, else pprof's format [default: the five places
    /// with the most live bytes go to stdout]
    path: Option<PathBuf>,
    /// Mean bytes between samples
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024)]
    mean: u64,
    /// Print what sampling costs
    #[arg(long)]
    cost: bool,
    /// Only make N pairs of requests
    #[arg(long, value_name = "N", conflicts_with_all = ["cost", "index"])]
    pairs: Option<usize>,
    /// Only index N documents
    #[arg(long, value_name = "N", conflicts_with = "cost")]
    index: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(count) = options.pairs {
        pairs(count);
        return Ok(());
    }
    if let Some(documents) = options.index {
        drop(work(documents));
        return Ok(());
    }
    if options.cost {
        measure_cost();
        return Ok(());
    }

    profile::start(options.mean);
    let index = work(DOCUMENTS);
    let profile = profile::snapshot();
    profile::stop();
    println!("{} documents, {} words, {} answers", index.titles.len(), index.words.len(), index.answers.len());
    match options.path {
        Some(path) => write(&profile, &path)?,
        None => print_places(&profile)?,
    }
    Ok(())
}

fn write(profile: &Profile, path: &Path) -> anyhow::Result<()> {
    let file = File::create(path)?;
    if path.extension().is_some_and(|extension| extension == "folded") {
        profile.write_collapsed(file, Measure::InuseSpace)?;
    } else {
        profile.write_pprof(file)?;
    }
    Ok(())
}

/// Prints the functions of this program that allocated the most live bytes. A stack counts for its innermost function
/// of this program.
fn print_places(profile: &Profile) -> anyhow::Result<()> {
    let mut folded = Vec::new();
    profile.write_collapsed(&mut folded, Measure::InuseSpace)?;
    let mut places: HashMap<&str, u64> = HashMap::new();
    for line in std::str::from_utf8(&folded)?.lines() {
        let (stack, bytes) = line.rsplit_once(' ').expect("a stack and its value");
        let functions = stack.rsplit(';').map(|name| name.rsplit("::").next().unwrap_or(name));
        let place = functions.into_iter().find(|name| OURS.contains(name)).unwrap_or("elsewhere");
        *places.entry(place).or_default() += bytes.parse::<u64>()?;
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (place, bytes) in places.into_iter().take(5) {
        println!("{:>8} KiB live  {place}", bytes / 1024);
    }
    Ok(())
}

/// Times each kind of work without sampling and with each mean, in turn, and prints the ratios of the shortest times.
fn measure_cost() {
    const ROUNDS: usize = 15;
    let kinds: [(&str, fn()); 2] = [("index", || drop(work(4000))), ("pairs", || pairs(2_000_000))];
    for (name, body) in kinds {
        let means = [None, Some(512 * 1024), Some(64 * 1024)];
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (times, mean) in times.iter_mut().zip(means) {
                mean.map_or_else(profile::stop, profile::start);
                let start = Instant::now();
                body();
                times.push(start.elapsed());
            }
        }
        profile::stop();
        let [off, rare, frequent] = times.map(|times| times.into_iter().min().unwrap_or_default());
        let ratio = |on: Duration| on.as_secs_f64() / off.as_secs_f64();
        println!("{name}: {:.3} with 512 KiB, {:.3} with 64 KiB, of the time without", ratio(rare), ratio(frequent));
    }
}
