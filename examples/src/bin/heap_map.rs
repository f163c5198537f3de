//! Draws the heap: `poolmalloc::arenas()` as an SVG picture.
//!
//! The program fills its heap in several phases. Then it draws each arena of 256 KiB as a row of its 64 pools. The
//! color of a pool shows the size of its blocks, and the height of the color shows how many of them are out. Point at a
//! pool in a browser to see its figures.
//!
//! `cargo run --release -p poolmalloc-examples --bin heap_map -- docs/images/heap-map.svg`

use anyhow::Context;
use clap::Parser;
use poolmalloc::{ArenaMap, PoolMalloc, PoolMap};
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Draws the heap after a program of several phases.
#[derive(Parser)]
struct Options {
    /// Where the picture goes
    #[arg(value_name = "FILE.svg")]
    path: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Options { path } = Options::parse();
    let arenas = arenas_after_a_workload();
    let mut picture = String::new();
    draw(&arenas, &mut picture)?;
    std::fs::write(&path, picture).with_context(|| format!("writing {}", path.display()))?;
    println!("{}: {} arenas", path.display(), arenas.len());
    Ok(())
}

/// Blocks of any size, to be dropped when the picture is done.
type Blocks = Vec<Box<[u8]>>;

fn blocks(count: usize, bytes: usize) -> Blocks {
    (0..count).map(|_| vec![0; bytes].into_boxed_slice()).collect()
}

/// Drops blocks at random, so that about one in `keep_one_of` stays.
fn thin_out(blocks: &mut Blocks, random: &mut fastrand::Rng, keep_one_of: u32) {
    blocks.retain(|_| random.u32(..keep_one_of) == 0);
}

/// Runs a program of several phases, and returns the arenas of its heap at the end.
fn arenas_after_a_workload() -> Vec<ArenaMap> {
    let mut random = fastrand::Rng::with_seed(2001);

    // Phase 1: many blocks of two sizes, side by side.
    let mut nodes = Vec::new();
    let mut names = Vec::new();
    for _ in 0..40 {
        nodes.extend(blocks(500, 48));
        names.extend(blocks(375, 16));
    }

    // Phase 2: nearly all nodes of the first half are dropped; the few that stay hold their arenas. The second half
    // loses one node in two.
    let mut kept = nodes.split_off(nodes.len() / 2);
    thin_out(&mut nodes, &mut random, 150);
    thin_out(&mut kept, &mut random, 2);

    // Phase 3: other sizes take the pools that have become wholly free.
    let records: Vec<Blocks> = [(2500, 96), (1500, 160), (500, 256)].map(|(count, bytes)| blocks(count, bytes)).into();

    // A thread that waits while this thread frees half of its blocks: those wait as remote frees.
    let (send, receive) = mpsc::channel();
    let drawn = Arc::new(Barrier::new(2));
    let to_be_drawn = drawn.clone();
    let producer = thread::spawn(move || {
        send.send([blocks(4000, 120), blocks(4000, 32)]).expect("the other side listens");
        // It allocates nothing from here on, else it would collect the remote frees.
        to_be_drawn.wait();
    });
    let mut messages = receive.recv().expect("the producer sends once");
    for blocks in &mut messages {
        thin_out(blocks, &mut random, 2);
    }

    // A thread that has ended and whose blocks live on: its heap is parked.
    let left_behind = thread::spawn(|| {
        let mut blocks = blocks(5000, 64);
        thin_out(&mut blocks, &mut fastrand::Rng::with_seed(2), 6);
        blocks
    });
    let left_behind = left_behind.join().expect("the thread only allocates");

    let arenas = poolmalloc::arenas().collect();

    drawn.wait();
    producer.join().expect("the producer only allocates");
    drop((nodes, names, kept, records, left_behind, messages));
    arenas
}

// Sizes in units of the picture. A pool is a cell, and a row has 64 cells.
const CELL_WIDTH: usize = 11;
const CELL_HEIGHT: usize = 22;
const ROW: usize = 28;
const LEFT: usize = 76;
const TOP: usize = 70;
const RIGHT: usize = 128;

/// Draws the arenas, a row for each.
fn draw(arenas: &[ArenaMap], out: &mut String) -> fmt::Result {
    let sizes: BTreeSet<u16> =
        arenas.iter().flat_map(|arena| &arena.pools).map(|pool| pool.block_bytes).filter(|&bytes| bytes > 0).collect();
    let map_bottom = TOP + arenas.len() * ROW;
    let (width, height) = (LEFT + 64 * CELL_WIDTH + RIGHT, map_bottom + 94);

    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <title>Heap map of poolmalloc: {} arenas of 64 pools</title>\n<style>\n{STYLE}",
        arenas.len()
    )?;
    for &bytes in &sizes {
        writeln!(out, ".b{bytes} {{ fill: #{:x} }}", color(bytes))?;
    }
    writeln!(out, "</style>\n<rect class=\"back\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>")?;
    writeln!(out, "<text class=\"head\" x=\"20\" y=\"30\">{} arenas of 256 KiB, 64 pools each</text>", arenas.len())?;
    writeln!(
        out,
        "<text class=\"soft\" x=\"20\" y=\"50\">Each cell is a pool of 4 KiB. The color shows the size of its blocks, \
         the height shows how many of them are live.</text>"
    )?;

    for (row, arena) in arenas.iter().enumerate() {
        draw_arena(arena, row, out)?;
    }
    draw_legend(&sizes, map_bottom + 22, out)?;
    out.write_str("</svg>\n")
}

/// Text and lines are readable on a light and on a dark background. The colors of the sizes suit both.
const STYLE: &str = "\
.back { fill: #ffffff; stroke: #d0d7de }
.head { font-size: 18px; font-weight: bold }
text { fill: #1f2328 }
.soft { fill: #59636e }
.frame { fill: none; stroke: #d0d7de }
.none { fill: #8c959f; fill-opacity: .12 }
.pale { fill-opacity: .18 }
.waits { fill-opacity: .5 }
@media (prefers-color-scheme: dark) {
  .back { fill: #0d1117; stroke: #3d444d }
  text { fill: #f0f6fc }
  .soft { fill: #9198a1 }
  .frame { stroke: #3d444d }
}
";

/// The color of a block size, from blue for 8 bytes to red for 256. Small sizes are the most common, so their colors
/// lie further apart.
fn color(block_bytes: u16) -> colorous::Color {
    // The ends of the scale are too dark for a dark background.
    colorous::TURBO.eval_continuous(0.05 + 0.85 * (f64::from(block_bytes) / 256.0).sqrt())
}

fn draw_arena(arena: &ArenaMap, row: usize, out: &mut String) -> fmt::Result {
    let y = TOP + row * ROW;
    let baseline = y + CELL_HEIGHT / 2 + 4;
    let owner = arena.heap.map_or("unused".to_string(), |heap| format!("heap {heap}"));
    let share = arena.held_bytes() * 100 / (256 * 1024);
    let pinned = if arena.is_pinned() { ", pinned" } else { "" };
    writeln!(out, "<g><title>{arena}</title>")?;
    writeln!(out, "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{owner}</text>", LEFT - 10)?;
    for (column, pool) in arena.pools.iter().enumerate() {
        draw_pool(pool, LEFT + column * CELL_WIDTH, y, out)?;
    }
    let end = LEFT + 64 * CELL_WIDTH;
    writeln!(out, "<text class=\"soft\" x=\"{}\" y=\"{baseline}\">{share} % out{pinned}</text></g>", end + 10)
}

/// Draws the cell of a pool, pale in the color of its blocks. Over that, from the bottom up, lie the blocks that are
/// out and those that wait as remote frees.
fn draw_pool(pool: &PoolMap, x: usize, y: usize, out: &mut String) -> fmt::Result {
    let &PoolMap { block_bytes, blocks, held_blocks, waiting_blocks, .. } = pool;
    if block_bytes == 0 {
        return writeln!(out, "{}", bar("none", x, y as f64, CELL_HEIGHT as f64));
    }
    write!(out, "<g class=\"b{block_bytes}\"><title>{blocks} blocks of {block_bytes} bytes, {held_blocks} out")?;
    if waiting_blocks > 0 {
        write!(out, ", {waiting_blocks} freed by another thread")?;
    }
    write!(out, "</title>")?;
    out.write_str(&bar("pale", x, y as f64, CELL_HEIGHT as f64))?;
    let mut top = (y + CELL_HEIGHT) as f64;
    for (class, count) in [("out", held_blocks), ("waits", waiting_blocks)] {
        if count > 0 {
            let height = CELL_HEIGHT as f64 * f64::from(count) / f64::from(blocks);
            top -= height;
            out.write_str(&bar(class, x, top, height))?;
        }
    }
    out.write_str("</g>\n")
}

/// A rectangle as wide as a cell. A path takes less text than a `rect`.
fn bar(class: &str, x: usize, top: f64, height: f64) -> String {
    let width = CELL_WIDTH - 1;
    format!("<path class=\"{class}\" d=\"M{x} {top:.1}h{width}v{height:.1}h-{width}z\"/>")
}

/// Draws the sizes that occur, and the meaning of the shades.
fn draw_legend(sizes: &BTreeSet<u16>, y: usize, out: &mut String) -> fmt::Result {
    let mut label = |x: usize, y: usize, class: &str, text: &str| {
        writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\"/>", y - 10)?;
        writeln!(out, "<text x=\"{}\" y=\"{y}\">{text}</text>", x + 17)
    };
    for (column, bytes) in sizes.iter().enumerate() {
        label(LEFT + column * 52, y, &format!("b{bytes}"), &bytes.to_string())?;
    }
    let shades = [
        ("b48", "out: live, or in a magazine"),
        ("b48 waits", "freed by another thread, not collected"),
        ("b48 pale", "free"),
        ("none", "a pool without a class"),
    ];
    let mut x = LEFT;
    for (class, text) in shades {
        label(x, y + 26, class, text)?;
        x += 40 + text.len() * 6;
    }
    let pinned = "pinned: less than a quarter is out, yet it holds the whole arena";
    writeln!(out, "<text class=\"soft\" x=\"{LEFT}\" y=\"{}\">{pinned}</text>", y + 52)?;
    writeln!(out, "<text class=\"soft\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">bytes</text>", LEFT - 10)
}
