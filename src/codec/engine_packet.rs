//! An Engine.IO packet as a client may send it, in a payload or in a WebSocket text frame.
//!
//! Engine.IO protocol 4, "Packet encoding": one digit for the type, then the data. Binary data in a text is `b` and
//! base64; in a WebSocket binary frame it has no type and does not come through here. Packets that the server sends
//! are [`Frame`](super::frame::Frame)s.
//!
//! ```text
//! 0 open   1 close   2 ping   3 pong   4 message   5 upgrade   6 noop   b binary message
//! ```

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use std::fmt;

/// Standard base64; the padding may be missing, as with clients that leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet from a client. Which of them it may send, and when, is the session's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePacket<'a> {
    /// `0`: only a server sends it.
    Open,
    /// `1`: the client leaves.
    Close,
    /// `2`: with `probe` as its text the first step of an upgrade.
    Ping(&'a str),
    /// `3`: the answer to a ping.
    Pong(&'a str),
    /// `4`: a message, the text of a Socket.IO packet.
    Text(&'a str),
    /// `b`: a message, an attachment of a Socket.IO packet.
    Binary(Bytes),
    /// `5`: the last step of an upgrade.
    Upgrade,
    /// `6`: nothing.
    Noop,
}

/// Why a text is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// Not even a type.
    Empty,
    /// A type other than `0` to `6` and `b`.
    UnknownType,
    /// `b` and something that isn't base64.
    Base64,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineError::Empty => "empty packet",
            EngineError::UnknownType => "unknown packet type",
            EngineError::Base64 => "illegal base64",
        })
    }
}

impl std::error::Error for EngineError {}

/// Reads one packet, such as `4hi`, `2probe` or `bAQID`. Data after a type that has none is ignored.
///
/// # Errors
/// See [`EngineError`]; the official server closes the session on each of them ("parse error").
pub fn decode(text: &str) -> Result<EnginePacket<'_>, EngineError> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(EngineError::Empty)?;
    let data = chars.as_str();
    match kind {
        '0' => Ok(EnginePacket::Open),
        '1' => Ok(EnginePacket::Close),
        '2' => Ok(EnginePacket::Ping(data)),
        '3' => Ok(EnginePacket::Pong(data)),
        '4' => Ok(EnginePacket::Text(data)),
        '5' => Ok(EnginePacket::Upgrade),
        '6' => Ok(EnginePacket::Noop),
        'b' => binary(data),
        _ => Err(EngineError::UnknownType),
    }
}

/// Line breaks count for nothing: the official client for Java ends each line of 76 characters with one, the last line too.
fn binary(data: &str) -> Result<EnginePacket<'_>, EngineError> {
    const BREAKS: [char; 2] = ['\r', '\n'];
    let decoded = match data.contains(BREAKS) {
        true => BASE64.decode(data.replace(BREAKS, "")),
        false => BASE64.decode(data),
    };
    decoded.map(|data| EnginePacket::Binary(data.into())).map_err(|_| EngineError::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors() {
        let bytes = |b: &'static [u8]| Ok(EnginePacket::Binary(Bytes::from_static(b)));
        for (name, text, want) in [
            ("open", "0", Ok(EnginePacket::Open)),
            ("close", "1", Ok(EnginePacket::Close)),
            ("ping", "2", Ok(EnginePacket::Ping(""))),
            ("probe", "2probe", Ok(EnginePacket::Ping("probe"))),
            ("pong", "3", Ok(EnginePacket::Pong(""))),
            ("message", "4hello", Ok(EnginePacket::Text("hello"))),
            ("message in euro", "4€", Ok(EnginePacket::Text("€"))),
            ("empty message", "4", Ok(EnginePacket::Text(""))),
            ("upgrade", "5", Ok(EnginePacket::Upgrade)),
            ("noop", "6", Ok(EnginePacket::Noop)),
            ("noop with data", "6x", Ok(EnginePacket::Noop)),
            ("binary", "bAQIDBA==", bytes(&[1, 2, 3, 4])),
            ("binary without padding", "bAQIDBA", bytes(&[1, 2, 3, 4])),
            ("binary without need of padding", "bAQID", bytes(&[1, 2, 3])),
            ("empty binary", "b", bytes(&[])),
            ("binary: half the padding", "bAQIDBA=", bytes(&[1, 2, 3, 4])),
            ("binary: a line break at the end", "bAQIDBA==\n", bytes(&[1, 2, 3, 4])),
            ("binary: line breaks anywhere", "b\r\nAQ\nID\r\nBA\n=\n=", bytes(&[1, 2, 3, 4])),
            ("binary: nothing but line breaks", "b\n\n", bytes(&[])),
            ("binary: a space", "bAQID BA==", Err(EngineError::Base64)),
            ("binary: one character too many", "bAQIDB", Err(EngineError::Base64)),
            ("binary: not the alphabet", "bAQ-_", Err(EngineError::Base64)),
            ("binary: not ASCII", "b€", Err(EngineError::Base64)),
            ("binary: text after it", "bAQIDBA==x", Err(EngineError::Base64)),
            ("empty", "", Err(EngineError::Empty)),
            ("unknown letter", "abc", Err(EngineError::UnknownType)),
            ("unknown digit", "7", Err(EngineError::UnknownType)),
            ("not ASCII", "€", Err(EngineError::UnknownType)),
            ("type of version 3", "\u{0}", Err(EngineError::UnknownType)),
        ] {
            assert_eq!(decode(text), want, "{name}");
        }
    }
}
