//! Key and subprotocol of a WebSocket's opening handshake, and the frames that the server writes.
//!
//! RFC 6455 sections 4.2 (key, subprotocol) and 5.2 (frames). A server's frames are never masked and never fragmented here. The
//! receiving side is a state machine: `proto::websocket`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// "The string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"" of section 1.3, the same for all.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// "All control frames MUST have a payload length of 125 bytes or less" (5.5).
const CONTROL: usize = 125;

/// What kind of frame follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A whole text message.
    Text,
    /// A whole binary message.
    Binary,
    /// The end of the connection.
    Close,
    /// The answer to a ping.
    Pong,
}

/// `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`.
#[must_use]
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// "A base64-encoded value that, when decoded, is 16 bytes in length" (4.2.1).
#[must_use]
pub fn is_valid_key(key: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    key.strip_suffix("==").is_some_and(|digits| digits.len() == 22 && digits.bytes().all(legal))
}

/// The list of subprotocols that a client offers is none: something in it is no token, or stands twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalSubprotocols;

impl fmt::Display for IllegalSubprotocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("illegal Sec-WebSocket-Protocol")
    }
}

impl std::error::Error for IllegalSubprotocols {}

/// The subprotocol for a client that offers those in these headers: the first, as the official server chooses. What it means is the
/// application's business; a client that gets none of its offers must fail the connection.
///
/// # Errors
/// [`IllegalSubprotocols`]: "The elements that comprise this value MUST be non-empty strings with characters in the range U+0021 to U+007E not
/// including separator characters [...] and MUST all be unique strings" (4.1). "The ABNF for the value of this header field is 1#token".
pub fn subprotocol<'a>(offers: impl Iterator<Item = &'a str>) -> Result<Option<&'a str>, IllegalSubprotocols> {
    let (mut first, mut known) = (None, BTreeSet::new());
    for offer in offers.flat_map(|list| list.split(',')) {
        let offer = offer.trim_matches([' ', '\t']);
        if offer.is_empty() || !offer.bytes().all(is_token) || !known.insert(offer) {
            return Err(IllegalSubprotocols);
        }
        first = first.or(Some(offer));
    }
    Ok(first)
}

/// RFC 9110 section 5.6.2, `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The head of a frame that is whole (FIN) and not masked; the second value says how many of the bytes are used.
#[must_use]
pub fn head(opcode: Opcode, len: usize) -> ([u8; 10], u8) {
    let first = 0x80
        | match opcode {
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Pong => 0xa,
        };
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ 0..=125), _) => ([first, short, 0, 0, 0, 0, 0, 0, 0, 0], 2),
        (_, Ok(medium)) => {
            let [a, b] = medium.to_be_bytes();
            ([first, 126, a, b, 0, 0, 0, 0, 0, 0], 4)
        }
        _ => {
            let [a, b, c, d, e, f, g, h] = u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes();
            ([first, 127, a, b, c, d, e, f, g, h], 10)
        }
    }
}

/// A whole close frame. A reason that doesn't fit is cut between two characters.
#[must_use]
pub fn close(code: u16, reason: &str) -> Arc<[u8]> {
    let mut payload = code.to_be_bytes().to_vec();
    for char in reason.chars() {
        if payload.len().saturating_add(char.len_utf8()) > CONTROL {
            break;
        }
        payload.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    control(Opcode::Close, &payload)
}

/// A whole close frame without a body: the answer to one that has none.
#[must_use]
pub fn empty_close() -> Arc<[u8]> {
    control(Opcode::Close, &[])
}

/// A whole pong frame: "identical "Application data" as found in the message body of the Ping frame" (5.5.3).
#[must_use]
pub fn pong(data: &[u8]) -> Arc<[u8]> {
    control(Opcode::Pong, data.get(..CONTROL).unwrap_or(data))
}

fn control(opcode: Opcode, payload: &[u8]) -> Arc<[u8]> {
    let (head, size) = head(opcode, payload.len());
    head.iter().take(usize::from(size)).chain(payload).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of sections 1.3 and 4.2.2.
    #[test]
    fn key_of_the_specification() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys() {
        for (name, key, want) in [
            ("of the specification", "dGhlIHNhbXBsZSBub25jZQ==", true),
            ("all of the alphabet", "+/AZaz09+/AZaz09+/AZaQ==", true),
            ("empty", "", false),
            ("15 bytes", "dGhlIHNhbXBsZSBub25j", false),
            ("17 bytes", "dGhlIHNhbXBsZSBub25jZXM=", false),
            ("without padding", "dGhlIHNhbXBsZSBub25jZQ", false),
            ("url-safe alphabet", "-_hlIHNhbXBsZSBub25jZQ==", false),
            ("spaces", "dGhlIHNhbXBs ZSBub25jZQ==", false),
            ("not ASCII", "dGhlIHNhbXBsZSBub25€==", false),
        ] {
            assert_eq!(is_valid_key(key), want, "{name}");
        }
    }

    #[test]
    fn subprotocols() {
        let every = "!#$%&'*+-.^_`|~09AZaz";
        for (name, headers, want) in [
            ("none offered", &[][..], Ok(None)),
            ("one", &["my-app"], Ok(Some("my-app"))),
            ("the first of several", &["chat.v2, chat.v1"], Ok(Some("chat.v2"))),
            ("space around them", &["  a\t , b "], Ok(Some("a"))),
            ("without space", &["a,b,c"], Ok(Some("a"))),
            ("several headers", &["b", "a, c"], Ok(Some("b"))),
            ("every character of a token", &[every], Ok(Some(every))),
            ("case tells them apart", &["a, A"], Ok(Some("a"))),
            ("an empty header", &[""], Err(IllegalSubprotocols)),
            ("only space", &[" "], Err(IllegalSubprotocols)),
            ("nothing before a comma", &[", a"], Err(IllegalSubprotocols)),
            ("nothing behind a comma", &["a,"], Err(IllegalSubprotocols)),
            ("nothing between commas", &["a,,b"], Err(IllegalSubprotocols)),
            ("space inside", &["a b"], Err(IllegalSubprotocols)),
            ("a separator", &["a;q=1"], Err(IllegalSubprotocols)),
            ("a quoted string", &["\"a\""], Err(IllegalSubprotocols)),
            ("a slash", &["a/b"], Err(IllegalSubprotocols)),
            ("a control character", &["a\u{7f}"], Err(IllegalSubprotocols)),
            ("not ASCII", &["chät"], Err(IllegalSubprotocols)),
            ("one twice", &["a, b, a"], Err(IllegalSubprotocols)),
            ("one twice, in two headers", &["a", "a"], Err(IllegalSubprotocols)),
        ] {
            assert_eq!(subprotocol(headers.iter().copied()), want, "{name}");
        }
    }

    /// The unmasked examples of section 5.7, and the lengths where the form changes.
    #[test]
    fn heads() {
        for (opcode, len, want) in [
            (Opcode::Text, 5, &[0x81, 0x05][..]),
            (Opcode::Binary, 256, &[0x82, 0x7e, 0x01, 0x00]),
            (Opcode::Binary, 65_536, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]),
            (Opcode::Text, 0, &[0x81, 0]),
            (Opcode::Text, 125, &[0x81, 125]),
            (Opcode::Text, 126, &[0x81, 126, 0, 126]),
            (Opcode::Text, 65_535, &[0x81, 126, 0xff, 0xff]),
            (Opcode::Close, 2, &[0x88, 2]),
            (Opcode::Pong, 0, &[0x8a, 0]),
        ] {
            let (bytes, size) = head(opcode, len);
            assert_eq!(&bytes[..usize::from(size)], want, "{opcode:?} {len}");
        }
    }

    #[test]
    fn control_frames() {
        assert_eq!(close(1000, "")[..], [0x88, 2, 0x03, 0xe8]);
        assert_eq!(empty_close()[..], [0x88, 0]);
        assert_eq!(close(1009, "no")[..], [0x88, 4, 0x03, 0xf1, b'n', b'o']);
        assert_eq!(pong(b"Hello")[..], *b"\x8a\x05Hello");
        assert_eq!(pong(&[])[..], [0x8a, 0]);
    }

    /// One over the limit of 125 bytes.
    #[test]
    fn control_frames_stay_short() {
        assert_eq!(close(1000, &"x".repeat(123)).len(), 2 + 125);
        assert_eq!(close(1000, &"x".repeat(124)).len(), 2 + 125);
        assert_eq!(close(1000, &"€".repeat(42))[4..], *"€".repeat(41).as_bytes());
        assert_eq!(pong(&[0; 125]).len(), 2 + 125);
        assert_eq!(pong(&[0; 126]).len(), 2 + 125);
    }
}
