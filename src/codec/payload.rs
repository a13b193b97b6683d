//! Several Engine.IO packets in the body of one HTTP request or response.
//!
//! Engine.IO protocol 4, "HTTP long-polling": packets in their text form, joined by the record separator 0x1E, which
//! JSON has only escaped. How many packets a body may have is the session's limit.

use super::frame::{Frame, push_base64};
use memchr::memchr;

/// Stands between two packets.
const SEPARATOR: u8 = 0x1e;

/// The packets of a body, in order, one at a time. An empty body is one empty packet, which is an error to decode.
pub fn packets(body: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr(SEPARATOR, text.as_bytes());
        rest = end.and_then(|end| text.get(end.saturating_add(1)..));
        text.get(..end.unwrap_or(text.len()))
    })
}

/// The body that carries these packets; binary ones as `b` and base64. Room for it is reserved once.
#[must_use]
pub fn encode(frames: &[Frame]) -> Vec<u8> {
    let size = |frame: &Frame| match frame.is_binary() {
        true => base64::encoded_len(frame.packet().len(), true).unwrap_or_default().saturating_add(2),
        false => frame.packet().len().saturating_add(1),
    };
    let mut body = Vec::with_capacity(frames.iter().map(size).sum::<usize>().saturating_sub(1));
    for (i, frame) in frames.iter().enumerate() {
        if i > 0 {
            body.push(SEPARATOR);
        }
        match frame.is_binary() {
            true => push_base64(&mut body, frame.packet()),
            false => body.extend_from_slice(frame.packet()),
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::engine_packet::{EnginePacket, decode};
    use proptest::prelude::*;

    fn check(frames: &[Frame], want: &str) {
        let body = encode(frames);
        assert_eq!(body, want.as_bytes());
        assert_eq!(body.capacity(), body.len(), "room for {want} is reserved exactly");
    }

    #[test]
    fn vectors() {
        check(&[Frame::text("4hello"), Frame::text("2"), Frame::text("4world")], "4hello\u{1e}2\u{1e}4world");
        check(&[Frame::text("4hello"), Frame::binary(&[1, 2, 3, 4])], "4hello\u{1e}bAQIDBA==");
        check(&[Frame::text("4€"), Frame::text("4"), Frame::binary(&[])], "4€\u{1e}4\u{1e}b");
        check(&[Frame::binary(&[0xff, 0xef])], "b/+8=");
        check(&[], "");
        assert_eq!(packets("4a\u{1e}\u{1e}2\u{1e}").collect::<Vec<_>>(), ["4a", "", "2", ""]);
        assert_eq!(packets("").collect::<Vec<_>>(), [""]);
    }

    /// CVE-2020-36048: a megabyte of tiny packets costs no more than reading it; no list of them is built.
    #[test]
    fn very_many_tiny_packets() {
        for tiny in ["2\u{1e}", "4\u{1e}"] {
            let body = tiny.repeat(500_000);
            assert_eq!(packets(&body).filter(|p| decode(p).is_ok()).count(), 500_000);
            assert_eq!(packets(&body).take(10_001).count(), 10_001);
        }
    }

    proptest! {
        #[test]
        fn round_trip(messages in prop::collection::vec((any::<bool>(), "[^\u{1e}]{0,20}"), 1..9)) {
            let frames: Vec<Frame> = messages.iter().map(|(binary, text)| match binary {
                true => Frame::binary(text.as_bytes()),
                false => Frame::text(&format!("4{text}")),
            }).collect();
            let body = String::from_utf8(encode(&frames)).unwrap();
            let decoded: Vec<_> = packets(&body).map(|p| decode(p).unwrap()).collect();
            let want: Vec<_> = messages.iter().map(|(binary, text)| match binary {
                true => EnginePacket::Binary(text.clone().into()),
                false => EnginePacket::Text(text),
            }).collect();
            prop_assert_eq!(decoded, want);
        }
    }
}
