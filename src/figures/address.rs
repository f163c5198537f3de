//! Addresses that are kept in a form that is no pointer.

use core::fmt::{self, Debug, Display, Formatter, LowerHex};

/// The address of a block, kept with all its bits inverted.
///
/// The leak finder takes every word in memory that holds the address of a block for a pointer to the block. Without the
/// inversion, a report in memory would make each leaked block look reachable, and the next search would find none of
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "usize", into = "usize"))]
pub struct Address(usize);

impl Address {
    /// The complement of the address.
    pub(crate) const fn hidden(self) -> usize {
        self.0
    }

    /// The address as a number. While a variable holds this number, the leak finder takes it for a pointer to the
    /// block.
    #[must_use]
    pub const fn get(self) -> usize {
        !self.0
    }
}

impl From<usize> for Address {
    fn from(address: usize) -> Self {
        Self(!address)
    }
}

impl From<Address> for usize {
    fn from(address: Address) -> Self {
        address.get()
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}

impl LowerHex for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        LowerHex::fmt(&self.get(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_memory_is_no_pointer() {
        let address = Address::from(0x1234);
        assert_eq!((address.get(), usize::from(address)), (0x1234, 0x1234));
        assert_eq!(address.0, !0x1234);
        assert!(Address::from(1) < Address::from(2));
        assert_eq!(format!("{address} {address:?} {address:x}"), "0x1234 0x1234 1234");
    }
}
