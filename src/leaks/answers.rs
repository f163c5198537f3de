//! What the search answers of single blocks: plain data.

use crate::figures::Address;
use core::fmt::{self, Display, Formatter};

/// A live block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LiveBlock {
    /// Where it begins.
    pub address: Address,
    /// Its bytes: of a small block those of its size class, of a large one as requested. In debug mode, those requested
    /// of any block.
    pub bytes: u64,
    /// In debug mode, its number: the first block of the process is 1. A block that was resized has a new one.
    pub serial: Option<u64>,
}

/// A word that points into a block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Referrer {
    /// Where the word lies.
    pub address: Address,
    /// What it is part of.
    pub holder: Holder,
}

/// What a word that points into a block is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Holder {
    /// A live block.
    Block(LiveBlock),
    /// The stack of the thread with this number, or its registers, or what lies in the same mapping: its thread-locals.
    Thread(u32),
    /// A mapping: the end of its name, as in `/proc/self/maps`; empty if it has none.
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
