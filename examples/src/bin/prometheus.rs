//! A web server whose heap Prometheus can watch: `/metrics` is the statistics, and `/work/N` gives them something to tell.
//!
//! `cargo run --release -p poolmalloc-examples --bin prometheus`, then
//! `curl http://127.0.0.1:9898/work/1000; curl http://127.0.0.1:9898/metrics`. Another address can be named:
//! `prometheus 0.0.0.0:80`. With `--self-test` it takes any free port, asks itself for its metrics, checks them and ends.

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::Path;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use poolmalloc::PoolMalloc;
use std::collections::{HashMap, HashSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--self-test") => self_test().await,
        address => {
            let listener = TcpListener::bind(address.unwrap_or("127.0.0.1:9898")).await?;
            println!("http://{}/metrics", listener.local_addr()?);
            Ok(axum::serve(listener, routes()).await?)
        }
    }
}

fn routes() -> Router {
    Router::new().route("/metrics", get(metrics)).route("/work/{words}", get(work))
}

/// The whole process, this server included. Prometheus asks for it every few seconds.
async fn metrics() -> ([(HeaderName, &'static str); 1], String) {
    let mut text = String::new();
    poolmalloc::stats().write_prometheus(&mut text).expect("a String takes any text");
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Makes some words and counts them: a word is a block, and so is the entry of each.
async fn work(Path(words): Path<u16>) -> String {
    let mut lengths: HashMap<String, Vec<usize>> = HashMap::new();
    for number in 0..words {
        let word = format!("word {}", number % 100);
        lengths.entry(word).or_default().push(number.into());
    }
    format!("{} different words\n", lengths.len())
}

/// Serves, asks, works, asks again: the metrics must be well-formed, and tell of the work.
async fn self_test() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, routes()).await });
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
        ensure!(head.starts_with("HTTP/1.0 200"), "{path}: {head}");
        anyhow::Ok((head.to_string(), body.to_string()))
    };

    let (head, first) = ask("/metrics").await?;
    ensure!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let before = samples(&first)?;
    ensure!(ask("/work/1000").await?.1 == "100 different words\n", "the wrong work was done");
    let (_, second) = ask("/metrics").await?;
    let after = samples(&second)?;

    for (sample, at_least) in [("poolmalloc_small_allocations_total", 1100.0), ("poolmalloc_small_frees_total", 1100.0)]
    {
        let made = after[sample] - before[sample];
        ensure!(made >= at_least, "{sample} grew by {made} only");
    }
    ensure!(after["poolmalloc_region_resident_bytes"] > 0.0, "nothing is in memory");
    println!("{} metrics of {address} are well-formed and tell of the work", after.len());
    Ok(())
}

/// The samples of a page in the Prometheus text format, each of which must follow the line with its type.
fn samples(text: &str) -> anyhow::Result<HashMap<&str, f64>> {
    let (mut metrics, mut samples) = (HashSet::new(), HashMap::new());
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            metrics.extend(metric.split(' ').next());
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').with_context(|| line.to_string())?;
            let metric = sample.split('{').next().unwrap_or_default();
            ensure!(metrics.contains(metric), "{line}: has no type");
            ensure!(samples.insert(sample, value.parse()?).is_none(), "{line}: occurs twice");
        }
    }
    Ok(samples)
}
