//! The lock excludes, publishes what its holder wrote, and lets its holder pass.

use super::Seen;
use crate::lock::Lock;
use crate::sync::AtomicUsize;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Two threads change what the lock guards, in either order. Fails under L-acquire and U-release.
#[test]
fn holders_see_each_others_writes() {
    static SEEN: std::sync::LazyLock<Seen<Vec<usize>>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let shared = Arc::new((Lock::new(AtomicUsize::new(0)), UnsafeCell::new(Vec::new())));
        let enter = |shared: &(Lock, UnsafeCell<Vec<usize>>), me| {
            let _guard = shared.0.lock(me);
            // SAFETY: the lock; loom checks it.
            shared.1.with_mut(|list| unsafe { (*list).push(me) });
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || enter(&shared, 2))
        };
        enter(&shared, 1);
        other.join().unwrap();
        let _guard = shared.0.lock(1);
        // SAFETY: the lock; loom checks it.
        SEEN.note(shared.1.with(|list| unsafe { (*list).clone() }));
    });
    SEEN.assert_exactly(&[vec![1, 2], vec![2, 1]]);
}

/// The thread that holds the lock over a fork passes it, and does not free it by doing so. Fails under nested-unlocks.
#[test]
fn the_holder_passes_its_own_lock() {
    static SEEN: std::sync::LazyLock<Seen<u32>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let shared = Arc::new((Lock::new(AtomicUsize::new(0)), UnsafeCell::new(0)));
        shared.0.lock(1).hold();
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                let _guard = shared.0.lock(2);
                // SAFETY: the lock; loom checks it.
                shared.1.with_mut(|value| unsafe { std::mem::replace(&mut *value, 9) })
            })
        };
        drop(shared.0.lock(1));
        // SAFETY: the lock is held still; loom checks it.
        shared.1.with_mut(|value| unsafe { *value = 5 });
        shared.0.unlock();
        SEEN.note(other.join().unwrap());
    });
    SEEN.assert_exactly(&[5]);
}
