//! Growing arrays in mappings of their own, for code that must not allocate. The leak finder is such code: it must not
//! use the allocator that it examines.

use super::memory::{open, page_bytes, reserve, unreserve};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

/// A growing array of plain values.
pub(crate) struct MappedSlice<T> {
    start: NonNull<T>,
    length: usize,
    /// Bytes of the mapping.
    bytes: usize,
}

// SAFETY: it owns its memory, as a vector does.
unsafe impl<T: Copy + Send> Send for MappedSlice<T> {}
// SAFETY: as above; a shared reference only reads.
unsafe impl<T: Copy + Sync> Sync for MappedSlice<T> {}

impl<T: Copy> MappedSlice<T> {
    /// An empty array, without memory yet.
    pub(crate) const fn new() -> Self {
        Self { start: NonNull::dangling(), length: 0, bytes: 0 }
    }

    /// Returns an empty array with room for the values that fit into `bytes`. `None` if there is no memory.
    fn map(bytes: usize) -> Option<Self> {
        let bytes = bytes.max(1).checked_next_multiple_of(page_bytes())?;
        let start = reserve(bytes)?;
        // SAFETY: just reserved.
        if !unsafe { open(start, bytes) } {
            // SAFETY: just reserved, and not used yet.
            unsafe { unreserve(start, bytes) };
            return None;
        }
        Some(Self { start: start.cast(), length: 0, bytes })
    }

    /// Returns an empty array with room for `values` values. `None` if there is no memory.
    pub(crate) fn with_room(values: usize) -> Option<Self> {
        Self::map(values.checked_mul(size_of::<T>())?)
    }

    /// Adds a value. `None` if there is no memory; the array is unchanged then.
    pub(crate) fn push(&mut self, value: T) -> Option<()> {
        if (self.length + 1) * size_of::<T>() > self.bytes {
            let mut larger = Self::map(self.bytes.max(32 * 1024).checked_mul(2)?)?;
            // SAFETY: the array has `length` values, and the new mapping has room for more.
            unsafe { ptr::copy_nonoverlapping(self.start.as_ptr(), larger.start.as_ptr(), self.length) };
            larger.length = self.length;
            *self = larger;
        }
        // SAFETY: the mapping has room for one more value. If it was full, a larger one has just replaced it.
        let place = unsafe { self.start.add(self.length) };
        // SAFETY: inside the mapping, which is this array's alone.
        unsafe { place.write(value) };
        self.length += 1;
        Some(())
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let value = *self.last()?;
        self.length -= 1;
        Some(value)
    }

    /// Start and end of the array's mapping.
    pub(crate) fn range(&self) -> (usize, usize) {
        let start = self.start.addr().get();
        (start, start + self.bytes)
    }
}

impl MappedSlice<u64> {
    /// Returns an array of `length` zeros. `None` if there is no memory.
    pub(crate) fn zeros(length: usize) -> Option<Self> {
        let mut zeros = Self::map(length.checked_mul(size_of::<u64>())?)?;
        zeros.length = length;
        Some(zeros)
    }
}

impl<T> Deref for MappedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `length` values have been written, or are zeros of type `u64`. The pointer dangles only while
        // `length` is 0.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T> DerefMut for MappedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; the mapping is this array's alone.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T> Drop for MappedSlice<T> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: mapped by `map`, and only this array used it.
            unsafe { unreserve(self.start.cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_array_that_grows() {
        let mut array = MappedSlice::new();
        for number in 0..100_000_u64 {
            array.push(number).unwrap();
        }
        assert!(array.iter().copied().eq(0..100_000));
        assert_eq!(array.pop(), Some(99_999));
        assert_eq!(array.len(), 99_999);
        let mut zeros = MappedSlice::zeros(5000).unwrap();
        zeros[4999] = 1;
        assert_eq!(zeros.iter().sum::<u64>(), 1);
    }
}
