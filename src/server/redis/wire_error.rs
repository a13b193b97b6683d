//! Why an entry of a Redis stream can't be written or read, see [`wire`](crate::server::redis::wire).

use crate::codec::socket_packet::SocketError;
use crate::server::redis::msgpack::MsgpackError;
use std::fmt;

/// Why an entry can't be written or read: one variant per rule. A reader skips the entry and counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// This field is missing, or makes no sense.
    Field(&'static str),
    /// The type is none that we know.
    UnknownType,
    /// The data is larger than [`Limits::entry_bytes`](crate::limits::Limits::entry_bytes).
    TooLarge,
    /// The data is not a JSON object, or a part of it that should be one is not.
    Json,
    /// The data is neither JSON nor base64.
    Base64,
    /// The data, base64 of MessagePack, can't be read or written.
    Msgpack(MsgpackError),
    /// This key of the data is missing, or its value makes no sense.
    Key(&'static str),
    /// The event or answer is none.
    Event(SocketError),
    /// A name is longer than [`Limits::name_bytes`](crate::limits::Limits::name_bytes).
    NameTooLong,
    /// More rooms than a client may be in, or than a target may name.
    TooManyRooms,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Field(field) => write!(f, "field {field} is missing or illegal"),
            WireError::UnknownType => f.write_str("unknown type"),
            WireError::TooLarge => f.write_str("data too large"),
            WireError::Json => f.write_str("data is not a JSON object"),
            WireError::Base64 => f.write_str("data is neither JSON nor base64"),
            WireError::Msgpack(error) => write!(f, "data: {error}"),
            WireError::Key(key) => write!(f, "data: {key} is missing or illegal"),
            WireError::Event(error) => write!(f, "data: {error}"),
            WireError::NameTooLong => f.write_str("name too long"),
            WireError::TooManyRooms => f.write_str("too many rooms"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<MsgpackError> for WireError {
    fn from(error: MsgpackError) -> WireError {
        WireError::Msgpack(error)
    }
}

impl From<SocketError> for WireError {
    fn from(error: SocketError) -> WireError {
        WireError::Event(error)
    }
}
