//! Finds leaks in a program that has some, draws a cycle, and measures a search.
//!
//! * `leaks` plants a cycle of `Rc` and a forgotten `Box`, and prints the report: the output in `docs/guide/leaks.md`.
//! * `leaks --dot` prints the leaked blocks for Graphviz, with an arrow for each pointer: `leaks --dot | dot -Tsvg`.
//! * `leaks --measure BLOCKS` makes BLOCKS live blocks while four other threads allocate, and prints the cost of a
//!   search.
//!
//! `cargo run --release -p poolmalloc-examples --bin leaks`

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use petgraph::dot::{Config, Dot};
use petgraph::graph::{DiGraph, NodeIndex};
use poolmalloc::PoolMalloc;
use poolmalloc::leaks::{LeakKind, LeakReport, find};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Plants a cycle of `Rc` and a forgotten `Box`, finds them, and prints the report.
#[derive(Parser)]
struct Options {
    /// Print the leaked blocks for Graphviz instead
    #[arg(long, conflicts_with = "measure")]
    dot: bool,
    /// Make BLOCKS live blocks instead, and print the cost of a search
    #[arg(long, value_name = "BLOCKS")]
    measure: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(blocks) = options.measure {
        return measure(blocks);
    }
    // A new thread gets blocks that nothing pointed to before. Memory that the parser gave back to the C library may
    // still hold pointers to earlier blocks. Unless the finder is armed, all memory of the C library is a root.
    thread::spawn(plant).join().expect("planting does not panic");
    let report = find()?;
    if options.dot {
        print_dot(&report)
    } else {
        print!("{report}")
    }
    Ok(())
}

/// A model, which keeps its views. Each view keeps the model.
struct Model {
    views: RefCell<Vec<Rc<View>>>,
}

struct View {
    _model: Rc<Model>,
    _title: String,
}

#[inline(never)]
fn plant() {
    let model = Rc::new(Model { views: RefCell::new(Vec::new()) });
    let view = Rc::new(View { _model: model.clone(), _title: String::from("the third window") });
    model.views.borrow_mut().push(view);
    std::mem::forget(black_box(Box::new([0_u64; 12])));
}

fn print_dot(report: &LeakReport) {
    let mut graph = DiGraph::new();
    for block in &report.blocks {
        let counts = block.counts.map(|counts| format!("\nstrong {}, weak {}", counts.strong, counts.weak - 1));
        graph.add_node(format!("{}\n{} bytes{}", block.address, block.bytes, counts.unwrap_or_default()));
    }
    for (number, block) in report.blocks.iter().enumerate() {
        for target in &block.referents {
            graph.add_edge(NodeIndex::new(number), NodeIndex::new(*target), "");
        }
    }
    let look = |_: &DiGraph<_, _>, (number, _): (NodeIndex, &String)| {
        let color = match report.blocks[number.index()].kind {
            LeakKind::Direct => "lightsalmon",
            LeakKind::Cycle(_) => "gold",
            _ => "lightgrey",
        };
        format!("shape = box fontname = monospace style = filled fillcolor = {color} ")
    };
    // The alternate form aligns each line of a label at the left.
    print!("{:#}", Dot::with_attr_getters(&graph, &[Config::EdgeNoLabel], &|_, _| String::new(), &look));
}

/// Node of a tree. The nodes point to each other, as blocks of real programs do.
struct Node {
    _left: Option<Box<Node>>,
    _right: Option<Box<Node>>,
    _payload: [u64; 3],
}

fn tree(nodes: usize) -> Option<Box<Node>> {
    let rest = nodes.checked_sub(1)?;
    Some(Box::new(Node { _left: tree(rest / 2), _right: tree(rest - rest / 2), _payload: [1; 3] }))
}

/// Figure of a line of `/proc/self/status`, in kilobytes.
fn status(name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
}

fn measure(blocks: usize) -> anyhow::Result<()> {
    const SEARCHES: u32 = 11;
    let held = tree(blocks);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    drop(black_box((0..100).map(|number| vec![number; 5]).collect::<Vec<_>>()));
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
        let measured = searches(SEARCHES);
        is_over.store(true, Ordering::Relaxed);
        measured
    })?;
    drop(black_box(held));
    Ok(())
}

fn searches(count: u32) -> anyhow::Result<()> {
    let before = status("VmHWM:")?;
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        let report = find()?;
        times.push((begin.elapsed(), report.stopped_for, report));
    }
    let memory = status("VmHWM:")?.saturating_sub(before);
    times.sort_by_key(|(time, _, _)| *time);
    let (time, stopped, report) = &times[times.len() / 2];
    let longest = times.iter().map(|(_, stopped, _)| *stopped).max().unwrap_or_default();
    println!("{} live blocks, {} bytes; {} bytes of roots", report.live.blocks, report.live.bytes, report.root_bytes);
    println!(
        "a search takes {time:.1?}, the median of {count}; {} others stopped for {stopped:.1?} of it",
        report.stopped_threads
    );
    println!("at most {longest:.1?}; {memory} KiB more memory at its peak; {} leaked", report.blocks.len());
    Ok(())
}
