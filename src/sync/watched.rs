//! Words that only their owner writes, and that any thread may read for a report or a check of the heap.
//!
//! All loads and stores are relaxed, and there is no read-modify-write. So the machine code is that of plain memory.
//! Each value stands for itself. The owner may change, by a protocol that orders the last owner's stores before
//! everything that the next owner does.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

macro_rules! watched {
    ($name:ident, $atomic:ty, $value:ty) => {
        #[doc = concat!("A `", stringify!($value), "` that one thread writes and any may read.")]
        #[doc = "Zero memory holds the value 0."]
        #[repr(transparent)]
        pub(crate) struct $name($atomic);

        impl $name {
            #[allow(dead_code, reason = "fields of tables begin as zero memory")]
            pub(crate) const fn new(value: $value) -> Self {
                Self(<$atomic>::new(value))
            }

            #[inline(always)]
            pub(crate) fn get(&self) -> $value {
                self.0.load(Ordering::Relaxed)
            }

            /// Only the owner may call this.
            #[inline(always)]
            pub(crate) fn set(&self, value: $value) {
                self.0.store(value, Ordering::Relaxed);
            }
        }
    };
}

watched!(WatchedU8, AtomicU8, u8);
watched!(WatchedU32, AtomicU32, u32);
watched!(WatchedU64, AtomicU64, u64);
watched!(WatchedUsize, AtomicUsize, usize);

/// A pointer that one thread writes and any thread may read. Zero memory is a null pointer.
#[repr(transparent)]
pub(crate) struct WatchedPtr<T>(AtomicPtr<T>);

impl<T> WatchedPtr<T> {
    pub(crate) const fn new(pointer: *mut T) -> Self {
        Self(AtomicPtr::new(pointer))
    }

    pub(crate) const fn null() -> Self {
        Self::new(ptr::null_mut())
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> *mut T {
        self.0.load(Ordering::Relaxed)
    }

    /// Only the owner may call this.
    #[inline(always)]
    pub(crate) fn set(&self, pointer: *mut T) {
        self.0.store(pointer, Ordering::Relaxed);
    }
}
