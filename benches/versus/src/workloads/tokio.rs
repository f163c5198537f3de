//! tokio: clients ask servers over channels, on a runtime of two worker threads.
//!
//! Stands for asynchronous services: each request is a boxed message with a key, a payload and a `oneshot` channel for
//! the boxed answer, and the client waits for each answer in a task of its own. Tasks move between the worker threads,
//! so another thread frees many of the blocks.
//!
//! Requests: 2.9 M, all small: half for 56 bytes or less, tasks and payloads of 100 to 200.
//!
//! Caveat: which thread runs which task differs from run to run, and waking tasks takes a good part of the time:
//! expect a wide spread.

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "tokio",
    group: Group::Program,
    about: "tasks and boxed messages on a tokio runtime of two threads",
    operations: None,
    prepare,
};

const SERVERS: usize = 2;
const CLIENTS: usize = 8;
/// Requests that a client sends before it waits for their answers.
const BATCH: usize = 16;
const FULL_BATCHES: usize = 3500;

#[derive(Debug)]
struct Request {
    key: String,
    payload: Vec<u8>,
    reply: oneshot::Sender<Box<Reply>>,
}

#[derive(Debug)]
struct Reply {
    key: String,
    sum: u64,
}

fn prepare(scale: Scale) -> Run {
    let batches = scale.of(FULL_BATCHES);
    Box::new(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("the system can start two threads");
        runtime.block_on(converse(batches))
    })
}

async fn converse(batches: usize) -> u64 {
    let (senders, servers): (Vec<_>, Vec<_>) = (0..SERVERS)
        .map(|_| {
            let (sender, receiver) = mpsc::channel(64);
            (sender, tokio::spawn(serve(receiver)))
        })
        .unzip();
    let clients: Vec<JoinHandle<u64>> =
        (0..CLIENTS).map(|client| tokio::spawn(ask(client, batches, senders[client % SERVERS].clone()))).collect();
    drop(senders);
    let mut results = Vec::new();
    for task in clients.into_iter().chain(servers) {
        results.push(task.await.expect("no task panics"));
    }
    checksum(&results)
}

/// Answers until all clients are gone. Returns the number of requests.
async fn serve(mut requests: mpsc::Receiver<Box<Request>>) -> u64 {
    let mut answered = 0;
    while let Some(request) = requests.recv().await {
        answered += 1;
        let sum = request.payload.iter().map(|&byte| u64::from(byte)).sum();
        let reply = Box::new(Reply { key: request.key + "/reply", sum });
        // If the client no longer waits, the reply is dropped.
        drop(request.reply.send(reply));
    }
    answered
}

/// Sends batches of requests and adds up the answers, in whatever order they come.
async fn ask(client: usize, batches: usize, server: mpsc::Sender<Box<Request>>) -> u64 {
    let mut total = 0_u64;
    for batch in 0..batches {
        let mut waiting = Vec::new();
        for number in 0..BATCH {
            let (reply, answer) = oneshot::channel();
            let payload = vec![1; 16 + (number * 37 + batch) % 180];
            let request = Request { key: format!("client/{client}/{number}"), payload, reply };
            server.send(Box::new(request)).await.expect("the server listens while there are clients");
            waiting.push(tokio::spawn(async move {
                let reply = answer.await.expect("the server answers every request");
                reply.sum * 31 + reply.key.len() as u64
            }));
        }
        for answer in waiting {
            total = total.wrapping_add(answer.await.expect("no task panics"));
        }
    }
    total
}
