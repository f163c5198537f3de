//! Tasks of tokio that hold each other.

use poolmalloc::leaks::Address;
use poolmalloc_plants::{Is, Plant, Planted, counted};
use std::hint::black_box;
use std::ptr;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) const PLANTS: &[(&str, Plant)] =
    &[("tasks_that_wait_for_each_other", waiting), ("ended_tasks_that_hold_each_other", ended)];

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

/// Plants two tasks that wait for each other for ever. The runtime holds both tasks, and a static holds the runtime: no
/// leak.
#[inline(never)]
fn waiting() -> Planted {
    static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
    let runtime = runtime();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (to_first, from_second) = oneshot::channel::<()>();
    let (to_second, from_first) = oneshot::channel::<()>();
    for (waits, holds) in [(from_second, to_second), (from_first, to_first)] {
        let begun = begun.clone();
        drop(runtime.spawn(async move {
            let own = Arc::new([7_u64; 9]);
            begun.send(counted(&*own)).expect("the planter");
            let told = waits.await;
            drop((holds, own, told));
        }));
    }
    let planted = (0..2).map(|_| (has_begun.blocking_recv().expect("a task"), Is::Held)).collect();
    *black_box(&RUNTIME).lock().expect("the runtime") = Some(runtime);
    planted
}

struct Session {
    peer: Mutex<Option<Arc<Session>>>,
    _task: JoinHandle<u64>,
}

/// Plants two sessions that hold each other. Each also holds the handle of a task that has ended, and so the block of
/// this task.
#[inline(never)]
fn ended() -> Planted {
    let runtime = runtime();
    // The tasks are made before the sessions: a part of a task that is never written holds words of the stack, and
    // these must not point to a session.
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let (tell, told) = oneshot::channel::<()>();
            let task = runtime.spawn(async move {
                drop(tell);
                7
            });
            let _ = told.blocking_recv();
            task
        })
        .collect();
    let mut planted: Planted = tasks.iter().map(|task| (behind(task), Is::Indirect)).collect();
    let session = |task| Arc::new(Session { peer: Mutex::new(None), _task: task });
    let sessions: Vec<_> = tasks.into_iter().map(session).collect();
    for (session, peer) in sessions.iter().zip(sessions.iter().rev()) {
        *session.peer.lock().expect("a session") = Some(peer.clone());
        planted.push((counted(&**session), Is::Cycle(0)));
    }
    // Ends the threads of the runtime.
    drop(runtime);
    planted
}

/// Returns the address of the block that holds a task. A handle is a pointer to the beginning of the block.
fn behind(task: &JoinHandle<u64>) -> Address {
    const { assert!(size_of::<JoinHandle<u64>>() == size_of::<usize>()) };
    // SAFETY: a handle is as large as a pointer and has one in it: the report must have a block at this address.
    Address::from(unsafe { ptr::from_ref(task).cast::<usize>().read() })
}
