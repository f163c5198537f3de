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

/// Each waits for what the other would send: for ever, but the runtime holds both, and a static the runtime. No leak.
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

/// Two sessions keep each other, and each the handle of a task that has ended, and so what that task has left.
#[inline(never)]
fn ended() -> Planted {
    let runtime = runtime();
    // Before there is a session: parts of a task that it never writes hold what was on the stack.
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
    // Ends its threads.
    drop(runtime);
    planted
}

/// The block that holds a task: a handle is a pointer to its beginning.
fn behind(task: &JoinHandle<u64>) -> Address {
    const { assert!(size_of::<JoinHandle<u64>>() == size_of::<usize>()) };
    // SAFETY: it is as large as this, and has a pointer in it, as is checked by what is found at the address.
    Address::from(unsafe { ptr::from_ref(task).cast::<usize>().read() })
}
