//! Shows the heap of a running program in the terminal: its bytes, the rates of allocations and frees, and each size
//! class.
//!
//! Worker threads allocate in waves meanwhile. They hand blocks to each other, so that some frees are remote. The view
//! costs the workers nothing: it reads `poolmalloc::stats()` four times a second.
//!
//! `cargo run --release -p poolmalloc-examples --bin live`, and `q` to quit. With `--frames N` it needs no terminal: it
//! draws N frames into memory and prints the last.

use clap::Parser;
use poolmalloc::{Delta, PoolMalloc, Stats, stats};
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{Block, Row, Sparkline, Table};
use ratatui::{Frame, Terminal};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

const BETWEEN_FRAMES: Duration = Duration::from_millis(250);

/// Watches the heap of a busy program, which is this one; `q` quits.
#[derive(Parser)]
struct Options {
    /// Draw N frames into memory, and print the last
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();

    // Each worker sends to the next, and the last to the first. The workers end with the process.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| sync_channel(1000)).unzip();
    for (number, (sender, receiver)) in senders.into_iter().cycle().skip(1).zip(receivers).enumerate() {
        thread::spawn(move || work(number as u64, &sender, &receiver));
    }
    match options.frames {
        Some(frames) => show_in_memory(frames),
        None => show_in_terminal(),
    }
}

/// Allocates forever. The number of blocks that it holds grows and shrinks, and one block in eight goes to another
/// worker.
fn work(number: u64, sender: &SyncSender<Box<[u8]>>, receiver: &Receiver<Box<[u8]>>) -> ! {
    let mut random = fastrand::Rng::with_seed(number);
    let mut held: VecDeque<Box<[u8]>> = VecDeque::new();
    let mut wanted = 0;
    loop {
        if held.len().abs_diff(wanted) < 500 {
            wanted = random.usize(..20_000);
        }
        for _ in 0..500 {
            // Small sizes are the most common.
            let bytes = 1 + random.usize(..320) * random.usize(..320) / 320;
            let block = vec![0; bytes].into_boxed_slice();
            if random.u8(..) < 32 {
                // A full queue means that the other worker is busy. The block is dropped here then.
                let _ = sender.try_send(block);
            } else {
                held.push_back(block);
            }
        }
        let surplus = if held.len() > wanted { 1000 } else { 250 };
        held.drain(..surplus.min(held.len()));
        receiver.try_iter().for_each(drop);
        thread::sleep(Duration::from_millis(2));
    }
}

fn show_in_terminal() -> anyhow::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut view = View::new();
    let ended = loop {
        view.update();
        if let Err(error) = terminal.draw(|frame| view.draw(frame)) {
            break Err(error);
        }
        match is_quit_asked_for() {
            Ok(false) => {}
            other => break other.map(drop),
        }
    };
    ratatui::try_restore()?;
    Ok(ended?)
}

/// Waits until it is time for the next frame. Returns true at once when the user wants to quit.
fn is_quit_asked_for() -> std::io::Result<bool> {
    let next = Instant::now() + BETWEEN_FRAMES;
    while event::poll(next.saturating_duration_since(Instant::now()))? {
        if let Event::Key(key) = event::read()? {
            let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if is_control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn show_in_memory(frames: u32) -> anyhow::Result<()> {
    let mut terminal = Terminal::new(TestBackend::new(100, 43))?;
    let mut view = View::new();
    for _ in 0..frames {
        thread::sleep(BETWEEN_FRAMES);
        view.update();
        terminal.draw(|frame| view.draw(frame))?;
    }
    let buffer = terminal.backend().buffer();
    for line in buffer.content.chunks(buffer.area.width.into()) {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        println!("{}", line.trim_end());
    }
    Ok(())
}

/// The statistics, and the changes since the last frame.
struct View {
    now: Stats,
    since: Delta,
    seconds: f64,
    read_at: Instant,
    /// Allocations a second, the newest first.
    history: VecDeque<u64>,
}

impl View {
    fn new() -> Self {
        let read_at = Instant::now();
        Self { now: stats(), since: Delta::default(), seconds: 1.0, read_at, history: VecDeque::new() }
    }

    fn update(&mut self) {
        let (now, read_at) = (stats(), Instant::now());
        self.since = now - self.now;
        self.seconds = (read_at - self.read_at).as_secs_f64();
        (self.now, self.read_at) = (now, read_at);
        self.history.push_front(self.rate(self.since.allocations()));
        self.history.truncate(200);
    }

    /// Rate per second. Figures are read one after the other while threads run, so a small figure may even go down.
    /// Then the rate is 0.
    fn rate(&self, count: i64) -> u64 {
        (count.max(0) as f64 / self.seconds) as u64
    }

    fn draw(&self, frame: &mut Frame) {
        let [head, body] = Layout::vertical([Constraint::Length(8), Constraint::Min(4)]).areas(frame.area());
        let [totals, rates, history] =
            Layout::horizontal([Constraint::Length(34), Constraint::Length(30), Constraint::Min(10)]).areas(head);
        self.draw_totals(frame, totals);
        self.draw_rates(frame, rates);
        let newest_first: Vec<u64> = self.history.iter().copied().collect();
        let sparkline = Sparkline::default().data(newest_first).green();
        frame.render_widget(sparkline.block(Block::bordered().title("allocations/s, newest left")), history);
        self.draw_classes(frame, body);
    }

    fn draw_totals(&self, frame: &mut Frame, area: Rect) {
        let Stats { small, large, region, .. } = &self.now;
        let lines = [
            ("live bytes, small", small.live_bytes),
            ("live bytes, large", large.live_bytes),
            ("cached bytes", small.cached_bytes),
            ("free bytes", small.free_bytes),
            ("resident bytes", region.resident_bytes),
        ];
        draw_figures(frame, area, "the heap (q quits)", &lines);
    }

    fn draw_rates(&self, frame: &mut Frame, area: Rect) {
        let Delta { small, .. } = &self.since;
        let Stats { heaps, arenas, .. } = &self.now;
        let lines = [
            ("allocations/s", self.rate(self.since.allocations())),
            ("frees/s", self.rate(self.since.frees())),
            ("  remote frees/s", self.rate(small.remote_frees)),
            ("heaps in use", heaps.in_use),
            ("heaps parked", heaps.parked),
            ("arenas", arenas.open),
        ];
        draw_figures(frame, area, "rates and heaps", &lines);
    }

    fn draw_classes(&self, frame: &mut Frame, area: Rect) {
        let names = ["size", "pools", "live", "cached", "free", "allocations/s", "frees/s"].map(right);
        let header = Row::new(names.into_iter().chain([Line::from(" live share of its pools")])).bold();
        let classes = self.now.classes.iter().zip(&self.since.classes).filter(|(class, _)| class.pools > 0);
        let rows = classes.map(|(class, since)| {
            let (live, cached, free) = (class.live_blocks, class.cached_blocks, class.free_blocks);
            let (allocations, frees) = (self.rate(since.allocations), self.rate(since.frees));
            let figures = [class.block_bytes, class.pools, live, cached, free, allocations, frees].map(right);
            let share = live * SHARE_WIDTH / (live + cached + free).max(1);
            let bar = Line::from(format!(" {}", "█".repeat(share as usize))).cyan();
            Row::new(figures.into_iter().chain([bar]))
        });
        let widths = [4, 6, 8, 8, 8, 13, 9, SHARE_WIDTH as u16 + 1].map(Constraint::Length);
        let block = Block::bordered().title("size classes in use: blocks, and rates");
        frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
    }
}

/// Width of a bar that stands for all blocks of a class, in characters.
const SHARE_WIDTH: u64 = 28;

fn right(text: impl ToString) -> Line<'static> {
    Line::from(text.to_string()).right_aligned()
}

fn draw_figures(frame: &mut Frame, area: Rect, title: &str, figures: &[(&str, u64)]) {
    let rows = figures.iter().map(|&(name, figure)| Row::new([Line::from(name), right(figure)]));
    let widths = [Constraint::Fill(1), Constraint::Length(12)];
    frame.render_widget(Table::new(rows, widths).block(Block::bordered().title(title)), area);
}
