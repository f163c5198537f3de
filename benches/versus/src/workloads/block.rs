//! Blocks that are only made, touched at both ends and dropped.

use std::hint::black_box;
use std::mem::MaybeUninit;

/// A block of which only the first and the last byte are ever written.
pub(crate) struct Block(Box<[MaybeUninit<u8>]>);

impl Block {
    pub(crate) fn new(size: usize, mark: u8) -> Self {
        let mut bytes = Box::new_uninit_slice(size.max(1));
        bytes[0].write(mark);
        bytes[size.max(1) - 1].write(mark);
        Self(bytes)
    }

    pub(crate) fn mark(&self) -> u8 {
        // SAFETY: `new` writes the last byte of every block, and a block has one.
        unsafe { self.0[self.0.len() - 1].assume_init() }
    }
}

/// A number below `count`, from the upper half of `choice` alone, so that one random number gives both slot and size.
pub(crate) fn share(choice: u64, count: usize) -> usize {
    (((choice >> 32) * count as u64) >> 32) as usize
}

/// A block of `SIZE` bytes of which only the first is ever written.
pub(crate) struct Fixed<const SIZE: usize>(Box<[MaybeUninit<u8>; SIZE]>);

impl<const SIZE: usize> Fixed<SIZE> {
    pub(crate) fn new(mark: u8) -> Self {
        let mut bytes = Box::new([MaybeUninit::uninit(); SIZE]);
        bytes[0].write(mark);
        // Code that knows the address might read the block, so the compiler cannot optimize the block away.
        black_box(bytes.as_ptr());
        Self(bytes)
    }

    pub(crate) fn mark(&self) -> u64 {
        // SAFETY: `new` writes the first byte of every block.
        u64::from(unsafe { self.0[0].assume_init() })
    }
}
