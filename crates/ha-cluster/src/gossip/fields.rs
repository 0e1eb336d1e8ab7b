//! The fields that gossip packets are made of: small numbers, short texts, ids and addresses.

use ha_net::{Address, AddressError, Incarnation, NODE_ID_BYTES_MAX, NodeId, NodeIdError};

/// Longest host of an address, in bytes.
const HOST_BYTES_MAX: usize = 255;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("it ends too early")]
    Truncated,
    /// They go on after the end.
    #[error("{bytes} bytes follow its end")]
    Trailing {
        /// How many too many.
        bytes: usize,
    },
    /// A number that its field cannot hold.
    #[error("a number is too large")]
    Number,
    /// A text that is too long, or not UTF-8.
    #[error("a text is too long or not UTF-8")]
    Text,
    /// No such kind of thing.
    #[error("unknown {what} {found}")]
    Kind {
        /// Kind of what.
        what: &'static str,
        /// What was found.
        found: u8,
    },
    /// Not a node id.
    #[error(transparent)]
    NodeId(#[from] NodeIdError),
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// Appends a number in groups of seven bits, the lowest first (LEB128).
pub(super) fn put_number(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

/// Appends a text and its length.
pub(super) fn put_text(buffer: &mut Vec<u8>, text: &str) {
    put_number(buffer, text.len() as u64);
    buffer.extend_from_slice(text.as_bytes());
}

/// Appends an address.
pub(super) fn put_address(buffer: &mut Vec<u8>, address: &Address) {
    put_text(buffer, address.host());
    put_number(buffer, address.port().into());
}

/// Takes fields off the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn number<N: TryFrom<u64>>(&mut self) -> Result<N, DecodeError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth group has room for one bit.
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return N::try_from(number).map_err(|_| DecodeError::Number);
            }
        }
        Err(DecodeError::Number)
    }

    pub(super) fn text(&mut self, bytes_max: usize) -> Result<&'a str, DecodeError> {
        let length: usize = self.number()?;
        if length > bytes_max {
            return Err(DecodeError::Text);
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| DecodeError::Text)
    }

    pub(super) fn node_id(&mut self) -> Result<NodeId, DecodeError> {
        Ok(self.text(NODE_ID_BYTES_MAX)?.parse()?)
    }

    pub(super) fn incarnation(&mut self) -> Result<Incarnation, DecodeError> {
        let incarnation = self.number().map(Incarnation)?;
        if incarnation <= Incarnation::MAX { Ok(incarnation) } else { Err(DecodeError::Number) }
    }

    pub(super) fn address(&mut self) -> Result<Address, DecodeError> {
        let host = self.text(HOST_BYTES_MAX)?;
        Ok(Address::new(host, self.number()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_return() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.number::<u64>(), Ok(number));
            assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 65_536);
        assert_eq!(Reader(&bytes).number::<u16>(), Err(DecodeError::Number));
        assert_eq!(Reader(&[0xff; 20]).number::<u64>(), Err(DecodeError::Number));
        assert_eq!(Reader(&[0xff; 3]).number::<u64>(), Err(DecodeError::Truncated));
        let twice_the_largest = [[0xff; 9].as_slice(), &[0x02]].concat();
        assert_eq!(Reader(&twice_the_largest).number::<u64>(), Err(DecodeError::Number));
    }

    #[test]
    fn incarnations_beyond_belief_are_refused() {
        for (number, expected) in [(1 << 40, Ok(Incarnation::MAX)), ((1 << 40) + 1, Err(DecodeError::Number))] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(Reader(&bytes).incarnation(), expected);
        }
    }

    #[test]
    fn addresses_return() {
        for text in ["a:1", "[::1]:65535", "node-1.example:7946"] {
            let address: Address = text.parse().unwrap();
            let mut bytes = Vec::new();
            put_address(&mut bytes, &address);
            assert_eq!(Reader(&bytes).address(), Ok(address));
        }
    }

    #[test]
    fn a_text_longer_than_allowed_is_refused_before_it_is_read() {
        assert_eq!(Reader(&[65]).node_id(), Err(DecodeError::Text));
        assert_eq!(Reader(&[64]).node_id(), Err(DecodeError::Truncated));
        assert_eq!(Reader(&[2, 0xc3, 0x28]).text(10), Err(DecodeError::Text));
    }
}
