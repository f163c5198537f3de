//! The lock excludes, and publishes what its holder wrote.

use super::Seen;
use crate::lock::Lock;
use crate::sync::AtomicU32;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Two threads change what the lock guards, in either order. Fails under L-acquire and U-release.
#[test]
fn holders_see_each_others_writes() {
    static SEEN: std::sync::LazyLock<Seen<Vec<usize>>> = std::sync::LazyLock::new(Seen::new);
    loom::model(|| {
        let shared = Arc::new((Lock::new(AtomicU32::new(0)), UnsafeCell::new(Vec::new())));
        let enter = |shared: &(Lock, UnsafeCell<Vec<usize>>), me| {
            let _guard = shared.0.lock(1);
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
