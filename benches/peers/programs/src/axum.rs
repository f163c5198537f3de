//! axum: a web service answers requests over HTTP/1.1, without a network.
//!
//! Stands for servers: the framework (axum), the protocol (hyper) and the executor (tokio) are those of real services.
//! Clients send requests over pipes in memory, each over a connection of its own, and wait for each answer. All tasks
//! run on one thread, so the schedule is the same in each run. The service keeps notes: it takes new ones as JSON,
//! finds one by its number, and searches them.
//!
//! Requests: 2.2 M, 85 % for 256 bytes or less, 58 % for 32 or less. The others are bodies, heads of messages, and
//! buffers.
//!
//! Caveat: the client is hyper too and makes its share of the requests. There is no kernel, no encryption and no second
//! thread, so allocation has a larger part in the time than in a real server.

use std::sync::{Arc, RwLock};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;
use versus::workload::{Group, Run, Scale, Workload, checksum};

use super::text::Source;

pub(crate) const WORKLOAD: Workload = Workload {
    name: "axum",
    group: Group::Program,
    about: "a web service and its clients over pipes in memory (axum, hyper)",
    operations: None,
    prepare,
};

const CONNECTIONS: usize = 8;
/// Notes that the service has in the beginning.
const NOTES: usize = 200;
const FULL_CALLS: usize = 48_000;

type Notes = Arc<RwLock<Vec<Note>>>;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Note {
    title: String,
    text: String,
    tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Search {
    tag: String,
    #[serde(default)]
    limit: usize,
}

/// A request that a client sends.
enum Call {
    Add(String),
    Find(usize),
    Search(String),
}

fn prepare(scale: Scale) -> Run {
    let mut source = Source::new(14, 400);
    let notes: Vec<Note> = (0..NOTES).map(|_| note(&mut source)).collect();
    let calls: Vec<Arc<[Call]>> = (0..CONNECTIONS)
        .map(|_| (0..scale.of(FULL_CALLS / CONNECTIONS)).map(|_| call(&mut source)).collect())
        .collect();
    Box::new(move || {
        let runtime = Builder::new_current_thread().build().expect("a runtime without timers needs nothing");
        checksum(&runtime.block_on(serve(notes.clone(), &calls)))
    })
}

/// Serves a connection for each list of calls, all at a time, and returns a checksum of the answers of each.
async fn serve(notes: Vec<Note>, calls: &[Arc<[Call]>]) -> Vec<u64> {
    let service = Router::new()
        .route("/notes", post(add).get(search))
        .route("/notes/{number}", get(find))
        .with_state(Arc::new(RwLock::new(notes)));
    let clients: Vec<_> = calls.iter().map(|calls| tokio::spawn(connect(service.clone(), Arc::clone(calls)))).collect();
    let mut results = Vec::new();
    for client in clients {
        results.push(client.await.expect("no panic"));
    }
    results
}

async fn connect(service: Router, calls: Arc<[Call]>) -> u64 {
    let (here, there) = tokio::io::duplex(4096);
    let server = http1::Builder::new().serve_connection(TokioIo::new(there), TowerToHyperService::new(service));
    let server = tokio::spawn(server);
    let (client, connection) = handshake(TokioIo::new(here)).await.expect("the pipe is open");
    let connection = tokio::spawn(connection);
    let answers = converse(client, &calls).await;
    connection.await.expect("no panic").expect("the client's side ends well");
    server.await.expect("no panic").expect("the server's side ends well");
    answers
}

/// Sends one request after another, and returns a checksum of all answers. The connection ends with it.
async fn converse(mut client: SendRequest<Full<Bytes>>, calls: &[Call]) -> u64 {
    let mut answers = Vec::new();
    for call in calls {
        let answer = client.send_request(request(call)).await.expect("the service answers");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("the answer is complete").to_bytes();
        answers.push((status, checksum(&body)));
    }
    checksum(&answers)
}

fn request(call: &Call) -> Request<Full<Bytes>> {
    let (method, path, body) = match call {
        Call::Add(note) => (Method::POST, "/notes".to_owned(), Bytes::copy_from_slice(note.as_bytes())),
        Call::Find(number) => (Method::GET, format!("/notes/{number}"), Bytes::new()),
        Call::Search(tag) => (Method::GET, format!("/notes?limit=5&tag={tag}"), Bytes::new()),
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "notes.example")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "peers/1.0")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, "session=8f14e45fceea167a; theme=dark")
        .body(Full::new(body))
        .expect("the request is correct")
}

async fn add(State(notes): State<Notes>, headers: HeaderMap, Json(note): Json<Note>) -> impl IntoResponse {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown").to_owned();
    let mut notes = notes.write().expect("no panic");
    // The service forgets old notes, so that it does not grow.
    let number = notes.len();
    if number >= 2 * NOTES {
        notes.truncate(NOTES);
    }
    notes.push(note);
    (StatusCode::CREATED, [("x-agent", agent)], Json(serde_json::json!({ "number": number })))
}

async fn find(State(notes): State<Notes>, Path(number): Path<usize>) -> Response {
    match notes.read().expect("no panic").get(number) {
        Some(note) => Json(note).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no note has the number {number}")).into_response(),
    }
}

async fn search(State(notes): State<Notes>, Query(search): Query<Search>) -> Json<Vec<Note>> {
    let notes = notes.read().expect("no panic");
    Json(notes.iter().filter(|note| note.tags.contains(&search.tag)).take(search.limit).cloned().collect())
}

fn note(source: &mut Source) -> Note {
    let tags = (0..source.below(5)).map(|_| source.word().to_owned()).collect();
    let words = 8 + source.below(20);
    Note { title: source.words(4), text: source.words(words), tags }
}

fn call(source: &mut Source) -> Call {
    match source.below(10) {
        0..=2 => Call::Add(serde_json::to_string(&note(source)).expect("a note is JSON")),
        3..=6 => Call::Find(source.below(2 * NOTES)),
        _ => Call::Search(source.word().to_owned()),
    }
}
