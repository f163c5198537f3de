//! Counts the allocations of each request to a tokio server, although the task of a request moves between threads.
//!
//! `poolmalloc::thread_stats()` counts the work of one thread, and a task is not a thread. While a task waits, its
//! thread runs other tasks, and the task may continue on another thread. But each *poll* runs on one thread from begin
//! to end. So [`counted`] measures each poll and adds the results.
//!
//! `cargo run --release -p poolmalloc-examples --bin per_request`

use anyhow::ensure;
use poolmalloc::{PoolMalloc, measure};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Allocations and frees during the polls of a future.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Cost {
    allocations: i64,
    frees: i64,
    /// Bytes allocated minus bytes freed. These bytes belong to the future's output, if the future has kept nothing
    /// anywhere else.
    bytes_left: i64,
}

/// How a future was run.
#[derive(Debug, Default)]
struct Course {
    polls: u32,
    /// Polls on another thread than the poll before.
    moves: u32,
}

/// Runs a future, and counts allocations and frees during its polls, whatever threads the polls run on.
///
/// It counts the work of the future itself and of everything that it awaits in place: function calls, `join!`,
/// `select!`, and futures that are counted themselves. It also counts the work that tokio does for the future, such as
/// the allocation of a task that it spawns.
///
/// It does not count work elsewhere: in tasks that the future spawns, in `spawn_blocking`, in the runtime between two
/// polls. A block that the future allocates and another task frees is an allocation without a free. A block that
/// another task allocated and the future frees is a free without an allocation. If the future is dropped before its
/// end, there is no result.
async fn counted<F: Future>(future: F) -> (F::Output, Cost, Course) {
    let mut future = pin!(future);
    let (mut cost, mut course, mut last_thread) = (Cost::default(), Course::default(), None::<ThreadId>);
    let output = poll_fn(|context| {
        let (polled, delta) = measure(|| future.as_mut().poll(context));
        cost.allocations += delta.allocations();
        cost.frees += delta.frees();
        cost.bytes_left += delta.live_bytes();
        let thread = thread::current().id();
        course.polls += 1;
        course.moves += u32::from(last_thread.replace(thread).is_some_and(|last| last != thread));
        polled
    });
    let output = output.await;
    (output, cost, course)
}

/// Answers a request: the different words of a line, sorted. Waits twice meanwhile, as a request waits for a database.
async fn different_words(line: &str) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
    sleep(Duration::from_millis(1)).await;
    words.sort_unstable();
    words.dedup();
    sleep(Duration::from_millis(1)).await;
    words.join(" ")
}

/// The report on a request.
struct Report {
    line: String,
    cost: Cost,
    course: Course,
}

/// Answers each line of each connection, and reports its cost.
async fn serve(listener: TcpListener, reports: UnboundedSender<Report>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let reports = reports.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await? > 0 {
                let (mut answer, cost, course) = counted(different_words(&line)).await;
                answer.push('\n');
                stream.write_all(answer.as_bytes()).await?;
                reports.send(Report { line: line.trim_end().to_string(), cost, course })?;
                line.clear();
            }
            anyhow::Ok(())
        });
    }
}

const LINES: [&str; 3] =
    ["to be or not to be", "a rose is a rose is a rose is a rose", "the quick brown fox jumps over the lazy dog"];

/// Sends each line `times` times.
async fn ask(server: SocketAddr, times: usize) -> anyhow::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(server).await?);
    let mut answer = String::new();
    for line in LINES.iter().cycle().take(times * LINES.len()) {
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        answer.clear();
        stream.read_line(&mut answer).await?;
        ensure!(line.split(' ').all(|word| answer.contains(word)), "{line:?} was answered by {answer:?}");
    }
    Ok(())
}

#[tokio::main(worker_threads = 4)]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let (send, mut reports) = unbounded_channel();
    tokio::spawn(serve(listener, send));

    // First one client alone, then 16 at once: each request must cost the same.
    ask(server, 1).await?;
    let alone = next(&mut reports, LINES.len()).await;
    let clients: Vec<_> = (0..16).map(|_| tokio::spawn(ask(server, 10))).collect();
    for client in clients {
        client.await??;
    }
    let together = next(&mut reports, 160 * LINES.len()).await;

    let costs: HashMap<&str, &Cost> = alone.iter().map(|report| (&*report.line, &report.cost)).collect();
    println!("allocations  frees  bytes left  request");
    for Report { line, cost, .. } in &alone {
        println!("{:>11}  {:>5}  {:>10}  {line}", cost.allocations, cost.frees, cost.bytes_left);
    }
    for Report { line, cost, .. } in &together {
        ensure!(costs[&**line] == cost, "{line:?} took {:?} alone and {cost:?} among others", costs[&**line]);
    }
    let (polls, moves) = together
        .iter()
        .fold((0, 0), |(polls, moves), report| (polls + report.course.polls, moves + report.course.moves));
    println!("{} requests more, of 16 clients at once, cost the same to the block.", together.len());
    println!("They took {polls} polls, {moves} of them on another thread than the one before.");
    Ok(())
}

async fn next(reports: &mut UnboundedReceiver<Report>, count: usize) -> Vec<Report> {
    let mut received = Vec::new();
    while received.len() < count && reports.recv_many(&mut received, count).await > 0 {}
    received
}
