//! A web server whose heap Prometheus can watch: `/metrics` returns the statistics, and `/work/N` allocates, so that
//! they change.
//!
//! `cargo run --release -p poolmalloc-examples --bin prometheus`, then
//! `curl http://127.0.0.1:9898/work/1000; curl http://127.0.0.1:9898/metrics`. You can name another address:
//! `prometheus 0.0.0.0:80`. With `--self-test` the program takes any free port, requests its own metrics, checks them
//! and ends.

use anyhow::ensure;
use axum::Router;
use axum::extract::Path;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use clap::Parser;
use minreq::Response;
use nom_openmetrics::{MetricDescriptor, MetricType};
use poolmalloc::PoolMalloc;
use std::collections::HashMap;
use std::iter;
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// A web server whose heap Prometheus can watch.
#[derive(Parser)]
struct Options {
    /// Where to listen
    #[arg(default_value = "127.0.0.1:9898")]
    address: String,
    /// Take any free port, ask for the metrics, check them and end
    #[arg(long, conflicts_with = "address")]
    self_test: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.self_test {
        return self_test().await;
    }
    let listener = TcpListener::bind(options.address).await?;
    println!("http://{}/metrics", listener.local_addr()?);
    Ok(axum::serve(listener, routes()).await?)
}

fn routes() -> Router {
    Router::new().route("/metrics", get(metrics)).route("/work/{words}", get(work))
}

/// Returns the statistics of the whole process, including this server. Prometheus requests them every few seconds.
async fn metrics() -> ([(HeaderName, &'static str); 1], String) {
    let mut text = String::new();
    poolmalloc::stats().write_prometheus(&mut text).expect("a String takes any text");
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Makes some words and counts them. Each word is a block, and the list of its numbers is another.
async fn work(Path(words): Path<u16>) -> String {
    let mut lengths: HashMap<String, Vec<usize>> = HashMap::new();
    for number in 0..words {
        let word = format!("word {}", number % 100);
        lengths.entry(word).or_default().push(number.into());
    }
    format!("{} different words\n", lengths.len())
}

/// Starts the server, then requests the metrics, some work, and the metrics again. Fails unless the metrics are
/// well-formed and show the work.
async fn self_test() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, routes()).await });
    tokio::task::spawn_blocking(move || check(address)).await?
}

fn check(address: SocketAddr) -> anyhow::Result<()> {
    let before = ask(address, "metrics")?;
    let content = before.header("content-type");
    ensure!(content == Some("text/plain; version=0.0.4"), "the content is {content:?}");
    ensure!(ask(address, "work/1000")?.as_str()? == "100 different words\n", "the wrong work was done");
    let (before, after) = (samples(before.as_str()?)?, samples(ask(address, "metrics")?.as_str()?)?);

    for sample in ["poolmalloc_small_allocations_total", "poolmalloc_small_frees_total"] {
        let made = after[sample] - before[sample];
        ensure!(made >= 1100.0, "{sample} grew by {made} only");
    }
    ensure!(after["poolmalloc_region_resident_bytes"] > 0.0, "nothing is in memory");
    println!("{} metrics of {address} are well-formed and tell of the work", after.len());
    Ok(())
}

fn ask(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let answer = minreq::get(format!("http://{address}/{path}")).send()?;
    ensure!(answer.status_code == 200, "{path}: {} {}", answer.status_code, answer.reason_phrase);
    Ok(answer)
}

/// The samples of a page in the Prometheus text format. Fails unless each follows the line with its type and occurs
/// once.
fn samples(page: &str) -> anyhow::Result<HashMap<String, f64>> {
    let (mut rest, mut samples) = (page, HashMap::new());
    while let Ok((behind, family)) = nom_openmetrics::parser::family(rest) {
        for sample in family.samples {
            let name = sample.name();
            let is_its_type = |line: &_| match line {
                MetricDescriptor::Type { metric, r#type } => {
                    *metric == name && matches!(r#type, MetricType::Counter | MetricType::Gauge)
                }
                _ => false,
            };
            ensure!(family.descriptors.iter().any(is_its_type), "{name}: has no type");
            let labels = sample.labels().iter().map(|label| format!(" {}={}", label.name, label.value));
            let key = iter::once(name.to_string()).chain(labels).collect();
            ensure!(samples.insert(key, sample.number()).is_none(), "{sample:?}: occurs twice");
        }
        rest = behind;
    }
    // After the last sample there may be metrics without samples.
    let line = rest.lines().find(|line| !line.starts_with('#'));
    ensure!(line.is_none(), "{line:?}: is no sample");
    Ok(samples)
}
