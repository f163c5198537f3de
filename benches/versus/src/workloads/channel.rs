//! channel: a producer makes messages, a consumer on another thread reads and drops them.
//!
//! Stands for pipelines: readers, decoders, loggers. Each message is a `Box` or a `Vec`, 16 to 200 bytes, and every
//! one is freed by the thread that did not allocate it.
//!
//! Requests: 3.3 M, 97 % for 256 bytes or less; the rest are the vectors of a batch.
//!
//! Caveat: it needs two free processor cores. With fewer, the row measures how the system switches between the threads,
//! and the threads wait for each other when the queue is full or empty.

use std::sync::mpsc::sync_channel;
use std::thread;

use versus::workload::{Group, Run, Scale, Workload};

pub(super) const WORKLOAD: Workload = Workload {
    name: "channel",
    group: Group::Small,
    about: "producer and consumer threads over a bounded queue of boxed messages",
    operations: None,
    prepare,
};

/// Messages that may wait between the threads.
const QUEUE: usize = 1024;
/// Messages that are handed over together. Pipelines do this to keep the cost of the queue itself small.
const BATCH: usize = 32;
const FULL_BATCHES: usize = 100_000;

enum Message {
    Point(Box<[u64; 3]>),
    Line(Box<[u64; 12]>),
    Text(Vec<u8>),
}

fn prepare(scale: Scale) -> Run {
    let batches = scale.of(FULL_BATCHES);
    Box::new(move || {
        let (sender, receiver) = sync_channel::<Vec<Message>>(QUEUE / BATCH);
        thread::scope(|scope| {
            scope.spawn(move || {
                for batch in 0..batches as u64 {
                    let messages = (0..BATCH as u64).map(|at| message(batch * BATCH as u64 + at)).collect();
                    sender.send(messages).expect("the consumer takes every message");
                }
            });
            receiver
                .into_iter()
                .flatten()
                .fold(0_u64, |sum, message| sum.wrapping_mul(31).wrapping_add(digest(message)))
        })
    })
}

fn message(number: u64) -> Message {
    match number % 3 {
        0 => Message::Point(Box::new([number; 3])),
        1 => Message::Line(Box::new([number; 12])),
        _ => {
            let mut text = Vec::with_capacity(usize::try_from(16 + number * 7 % 185).expect("at most 200"));
            text.extend_from_slice(&number.to_le_bytes());
            Message::Text(text)
        }
    }
}

fn digest(message: Message) -> u64 {
    match message {
        Message::Point(point) => point[2],
        Message::Line(line) => line[0] ^ line[11].rotate_left(7),
        Message::Text(text) => text.iter().map(|&byte| u64::from(byte)).sum(),
    }
}
