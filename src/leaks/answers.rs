//! The answers of the search about single blocks, as plain data.

use crate::figures::Address;
use core::fmt::{self, Display, Formatter};

/// A live block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LiveBlock {
    /// Address of its first byte.
    pub address: Address,
    /// Its size in bytes. For a small block, this is the size of its size class; for a large one, the requested size.
    /// In debug mode it is the requested size for all blocks.
    pub bytes: u64,
    /// Its number in debug mode: the first block of the process is 1. A block that was resized has a new one.
    pub serial: Option<u64>,
}

/// A word that points into a block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Referrer {
    /// Address of the word.
    pub address: Address,
    /// The block or the memory that the word is part of.
    pub holder: Holder,
}

/// The block or the memory that contains a word.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Holder {
    /// A live block.
    Block(LiveBlock),
    /// The mapping with the stack of the thread with this number. The thread's saved registers are on that stack, and
    /// its thread-locals may be in the same mapping.
    Thread(u32),
    /// Another mapping: the end of its name, as in `/proc/self/maps`. Empty if it has no name.
    Mapping(String),
}

impl Display for Referrer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} in ", self.address)?;
        match &self.holder {
            Holder::Block(block) => write!(f, "<{} bytes at {}>", block.bytes, block.address),
            Holder::Thread(number) => write!(f, "thread {number}"),
            Holder::Mapping(name) if name.is_empty() => f.write_str("memory without a name"),
            Holder::Mapping(name) => f.write_str(name),
        }
    }
}
