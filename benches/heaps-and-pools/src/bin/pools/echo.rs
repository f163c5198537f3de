//! An echo server on tokio with two threads. It reads each request into a buffer of its own, and a task sends the
//! buffer back.
//!
//! Sixteen clients in the same process send requests of 200 to 8,000 bytes over the loopback device. Each sends its
//! next request when it has the answer to the last one.

use std::future::Future;
use std::ops::DerefMut;
use std::sync::Arc;

use lockfree_object_pool::LinearObjectPool;
use poolmalloc::SyncTypedPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::contest::Contest;

const CLIENTS: usize = 16;
const REQUESTS: usize = 100;
/// Room in a new buffer, in bytes. Servers make their buffers with room in advance.
const ROOM: usize = 16 << 10;

/// Reads a request: its length, then that many bytes.
async fn read(stream: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let length = stream.read_u32_le().await? as usize;
    buffer.resize(length, 0);
    stream.read_exact(buffer).await.map(|_| ())
}

/// Serves one client until it is gone. Each buffer that was filled goes to the task that writes.
async fn serve<B>(stream: TcpStream, take: impl Fn() -> B + Send + 'static)
where
    B: DerefMut<Target = Vec<u8>> + Send + Sync + 'static,
{
    let (mut from, mut to) = stream.into_split();
    let (sender, mut receiver) = mpsc::channel::<B>(4);
    let writer = tokio::spawn(async move {
        while let Some(buffer) = receiver.recv().await {
            if to.write_all(&buffer).await.is_err() {
                break;
            }
        }
    });
    loop {
        let mut buffer = take();
        if read(&mut from, &mut buffer).await.is_err() || sender.send(buffer).await.is_err() {
            break;
        }
    }
    drop(sender);
    // The error of a writer whose client is gone does not matter.
    drop(writer.await);
}

/// Runs a client. Returns the sum of the bytes that came back.
async fn ask(number: usize, address: std::net::SocketAddr) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sum, mut message, mut answer) = (0, Vec::new(), Vec::new());
    for request in 0..REQUESTS {
        let length = 200 + (number * 997 + request * 331) % 7800;
        message.clear();
        message.extend((length as u32).to_le_bytes());
        message.resize(4 + length, request as u8);
        stream.write_all(&message).await?;
        answer.resize(length, 0);
        stream.read_exact(&mut answer).await?;
        sum += answer.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    Ok(sum)
}

async fn converse<B, F>(take: F) -> std::io::Result<u64>
where
    B: DerefMut<Target = Vec<u8>> + Send + Sync + 'static,
    F: Fn() -> B + Clone + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(ask(number, address))).collect();
    let mut servers = Vec::new();
    for _ in 0..CLIENTS {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        servers.push(tokio::spawn(serve(stream, take.clone())));
    }
    let mut sum = 0;
    for client in clients {
        sum += client.await??;
    }
    for server in servers {
        server.await?;
    }
    Ok(sum)
}

fn run(runtime: &Runtime, conversation: impl Future<Output = std::io::Result<u64>>) -> u64 {
    runtime.block_on(conversation).expect("the loopback device works")
}

pub fn requests() -> Contest {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_io().build();
    let runtime = Arc::new(runtime.expect("the system can start two threads"));
    let [first, second, third, fourth] = [(); 4].map(|()| runtime.clone());
    let pool = Arc::new(SyncTypedPool::named("requests", 64).reusing());
    let others = Arc::new(object_pool::Pool::new(64, || Vec::with_capacity(ROOM)));
    let lockfree = Arc::new(LinearObjectPool::new(|| Vec::with_capacity(ROOM), |buffer: &mut Vec<u8>| buffer.clear()));
    Contest::new("echo server", "request", (CLIENTS * REQUESTS) as u64)
        .way("Vec::with_capacity", move || run(&first, converse(|| Box::new(Vec::with_capacity(ROOM)))))
        .way("SyncTypedPool, reusing", move || {
            let pool = pool.clone();
            run(&second, converse(move || pool.get_ready_or_owned(|| Vec::with_capacity(ROOM))))
        })
        .way("object-pool", move || {
            let others = others.clone();
            let pull = move || object_pool::Pool::pull_owned(&others, || Vec::with_capacity(ROOM));
            run(&third, converse(pull))
        })
        .way("lockfree-object-pool", move || {
            let lockfree = lockfree.clone();
            run(&fourth, converse(move || lockfree.pull_owned()))
        })
}
