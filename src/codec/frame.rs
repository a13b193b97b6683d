//! A packet on its way out: encoded once, whatever the number of its receivers and their transports.
//!
//! RFC 6455 section 5.2 and Engine.IO protocol 4, "Packet encoding". One shared buffer holds the head of a WebSocket
//! frame and the packet; a WebSocket gets all of it, a polling client the packet alone. A server's frames are not
//! masked, so every client can be sent the same bytes.
//!
//! ```text
//! [82 or 81, length: 2, 4 or 10 bytes][ 42["event",…] ]
//! ^ websocket()                       ^ packet()
//! ```

use super::websocket::{Opcode, head};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::cell::Cell;
use std::sync::Arc;

/// The longest head of a frame that isn't masked.
const HEAD: usize = 10;
/// Bytes that a thread keeps to write packets into.
const ROOM: usize = 64 * 1024;

thread_local! {
    static DRAFT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An outgoing packet. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Arc<[u8]>,
    head: u8,
    binary: bool,
}

impl Frame {
    /// A whole text packet with its type, such as `2` or `3probe`.
    #[must_use]
    pub fn text(packet: &str) -> Frame {
        let mut builder = FrameBuilder::with_capacity(packet.len());
        builder.push(packet);
        builder.finish()
    }

    /// A binary message: it has no type.
    #[must_use]
    pub fn binary(data: &[u8]) -> Frame {
        let mut builder = FrameBuilder::with_capacity(data.len());
        builder.bytes.extend_from_slice(data);
        builder.close(Opcode::Binary)
    }

    /// Head and packet, to be written to a WebSocket as they are.
    #[must_use]
    pub fn websocket(&self) -> &[u8] {
        &self.bytes
    }

    /// The packet alone.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.bytes.get(usize::from(self.head)..).unwrap_or_default()
    }

    /// Whether it goes out as a binary frame.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// For a client that asked for `b64`: a binary packet as the text `b…`; a text packet as it is.
    #[must_use]
    pub fn to_base64(&self) -> Frame {
        if !self.binary {
            return self.clone();
        }
        let size = base64::encoded_len(self.packet().len(), true).unwrap_or_default();
        let mut builder = FrameBuilder::with_capacity(size.saturating_add(1));
        push_base64(&mut builder.bytes, self.packet());
        builder.finish()
    }
}

/// Writes a text packet into a buffer of the thread, behind room for the longest head. The frame is then allocated once, at its size.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl FrameBuilder {
    /// Room for a packet of this many bytes; it may become longer.
    #[must_use]
    pub fn with_capacity(packet_bytes: usize) -> FrameBuilder {
        let mut bytes = DRAFT.take();
        bytes.clear();
        bytes.reserve(packet_bytes.saturating_add(HEAD));
        bytes.extend_from_slice(&[0; HEAD]);
        FrameBuilder { bytes }
    }

    /// Adds text to the packet.
    pub fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Adds a number in decimal digits.
    pub fn push_number(&mut self, n: u64) {
        self.push(itoa::Buffer::new().format(n));
    }

    /// The packet, as a text frame.
    #[must_use]
    pub fn finish(self) -> Frame {
        self.close(Opcode::Text)
    }

    /// Puts the head right before the packet and lets the unused room in front of it go.
    fn close(mut self, opcode: Opcode) -> Frame {
        let (bytes, size) = head(opcode, self.bytes.len().saturating_sub(HEAD));
        let unused = HEAD.saturating_sub(usize::from(size));
        for (place, byte) in self.bytes.iter_mut().take(HEAD).skip(unused).zip(bytes) {
            *place = byte;
        }
        let frame = self.bytes.get(unused..).unwrap_or_default().into();
        if self.bytes.capacity() <= ROOM {
            DRAFT.set(self.bytes);
        }
        Frame { bytes: frame, head: size, binary: opcode == Opcode::Binary }
    }
}

/// Adds the text form of a binary packet: `b` and padded standard base64.
pub(super) fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'b');
    let start = out.len();
    let size = base64::encoded_len(data.len(), true).unwrap_or_default();
    out.resize(start.saturating_add(size), 0);
    // The room is what `encoded_len` asks for, so this can't fail.
    let _ = STANDARD.encode_slice(data, out.get_mut(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary() {
        let frame = Frame::text("4€");
        assert_eq!((frame.websocket(), frame.packet()), (&b"\x81\x044\xe2\x82\xac"[..], "4€".as_bytes()));
        assert!(!frame.is_binary());
        let frame = Frame::binary(&[1, 2]);
        assert_eq!((frame.websocket(), frame.packet()), (&[0x82, 2, 1, 2][..], &[1, 2][..]));
        assert!(frame.is_binary());
        assert_eq!(Frame::binary(&[]).websocket()[..], [0x82, 0]);
    }

    #[test]
    fn every_length_of_head() {
        for (size, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let packet = "x".repeat(size);
            for frame in [Frame::text(&packet), Frame::binary(packet.as_bytes())] {
                assert_eq!(frame.packet(), packet.as_bytes());
                assert_eq!(frame.websocket().len(), size + head);
            }
        }
    }

    #[test]
    fn base64_for_clients_without_binary() {
        let frame = Frame::binary(&[1, 2, 3, 4]).to_base64();
        assert_eq!(frame.websocket()[..], *b"\x81\x09bAQIDBA==");
        assert!(!frame.is_binary());
        assert_eq!(Frame::binary(&[]).to_base64().packet(), b"b");
        assert_eq!(Frame::text("2").to_base64().packet(), b"2");
    }

    #[test]
    fn numbers_and_growth() {
        let mut builder = FrameBuilder::with_capacity(0);
        builder.push("a");
        builder.push_number(0);
        builder.push_number(u64::MAX);
        assert_eq!(builder.finish().packet(), b"a018446744073709551615");
    }

    #[test]
    fn a_clone_shares_the_bytes() {
        let frame = Frame::text("4hello");
        assert_eq!(frame.clone().websocket().as_ptr(), frame.websocket().as_ptr());
        assert_eq!(frame.to_base64().websocket().as_ptr(), frame.websocket().as_ptr());
    }
}
