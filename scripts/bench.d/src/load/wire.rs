//! The client's side of a WebSocket (RFC 6455, section 5), no more of it than a load needs: whole text and binary messages, one mask.

use crate::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Not zero: some servers do not unmask at all then.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// One read takes at least this much, if there is as much.
const ROOM: usize = 64 * 1024;

pub enum Frame<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// One connection, after its opening handshake.
pub struct Wire {
    stream: TcpStream,
    /// Received and not yet taken, from `taken` on.
    received: Vec<u8>,
    taken: usize,
    /// To be sent at the next flush.
    out: Vec<u8>,
}

impl Wire {
    /// WebSocket, Engine.IO and the main namespace, in three round trips.
    pub async fn open(port: u16) -> Result<Wire, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut received = Vec::new();
        let end = loop {
            if let Some(at) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Err("closed in the opening handshake".into());
            }
        };
        // The accept key that RFC 6455 gives for this key.
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 101") || !head.contains("s3pplmbitxaq9kygzzhzrbk+xoo=") {
            return Err(format!("not upgraded: {head}").into());
        }
        let mut wire = Wire { stream, received, taken: end, out: Vec::new() };
        wire.expect(b"0{").await?;
        wire.text(b"40");
        wire.flush().await?;
        wire.expect(b"40{").await?;
        wire.received = Vec::new();
        wire.taken = 0;
        Ok(wire)
    }

    /// One namespace more.
    pub async fn join(&mut self, nsp: &str) -> Result<(), Failure> {
        self.text(format!("40{nsp},").as_bytes());
        self.flush().await?;
        self.expect(format!("40{nsp},{{").as_bytes()).await
    }

    /// The next message is a text that begins so.
    pub async fn expect(&mut self, start: &[u8]) -> Result<(), Failure> {
        loop {
            match self.next()? {
                Some(Frame::Text(text)) if text.starts_with(start) => return Ok(()),
                Some(Frame::Text(b"2")) => self.text(b"3"),
                Some(Frame::Text(text)) => {
                    let (text, start) = (String::from_utf8_lossy(text), String::from_utf8_lossy(start));
                    return Err(format!("{text} where {start} was expected").into());
                }
                Some(Frame::Binary(_)) => return Err("binary where text was expected".into()),
                None => self.read().await?,
            }
        }
    }

    pub fn text(&mut self, payload: &[u8]) {
        self.frame(0x81, payload);
    }

    pub fn binary(&mut self, payload: &[u8]) {
        self.frame(0x82, payload);
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        self.out.push(first);
        match payload.len() {
            length @ 0..126 => self.out.push(0x80 | length as u8),
            length @ 126..65_536 => {
                self.out.push(0x80 | 126);
                self.out.extend((length as u16).to_be_bytes());
            }
            length => {
                self.out.push(0x80 | 127);
                self.out.extend((length as u64).to_be_bytes());
            }
        }
        self.out.extend(MASK);
        let start = self.out.len();
        self.out.extend(payload);
        // By words: a client that takes longer than the server lets it sleep, and its sleep costs the server time.
        let mask = u32::from_ne_bytes(MASK);
        let (words, rest) = self.out[start..].as_chunks_mut();
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ mask).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }

    /// All that waits, in one write if the socket takes it.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits until something has arrived, and takes it. May be dropped while it waits.
    pub async fn read(&mut self) -> Result<(), Failure> {
        self.received.drain(..self.taken);
        self.taken = 0;
        self.received.reserve(ROOM);
        // Unlike `try_read_buf` this notices that nothing more is there, which saves a system call for each message.
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    /// The next whole message among those received.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Failure> {
        let rest = &self.received[self.taken..];
        let (head, length) = match *rest {
            [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
            [_, 127, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize),
            [_, length @ 0..126, ..] => (2, usize::from(length)),
            [] | [_] | [_, 126 | 127, ..] => return Ok(None),
            [_, 128..=255, ..] => return Err("a masked frame from a server".into()),
        };
        let Some(payload) = rest.get(head..head + length) else { return Ok(None) };
        self.taken += head + length;
        match rest[0] {
            0x81 => Ok(Some(Frame::Text(payload))),
            0x82 => Ok(Some(Frame::Binary(payload))),
            other => Err(format!("a frame that begins with {other:#x}").into()),
        }
    }
}
