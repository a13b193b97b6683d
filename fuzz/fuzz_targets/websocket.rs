//! A stream gives the same messages and the same error however it is cut, no error is taken back, and the messages are tungstenite's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::proto::websocket::{Received, Receiver, WebSocketError};
use std::io::{self, Read, Write};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// What was received, in a form that can be compared.
#[derive(Debug, PartialEq)]
enum Got {
    Message(&'static str, Vec<u8>),
    Close(Option<u16>),
    Error(WebSocketError),
}

// The first 4 bytes say how the stream is cut.
fuzz_target!(|data: &[u8]| {
    let Some((cuts, stream)) = data.split_first_chunk::<4>() else { return };
    let whole = receive([stream].into_iter());
    assert_eq!(receive(stream.chunks(1)), whole);
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(receive(pieces.into_iter()), whole);

    let ours: Vec<_> = whole.iter().filter(|got| matches!(got, Got::Message(kind, _) if *kind != "pong")).collect();
    let theirs = tungstenite(stream);
    assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| *ours == theirs), "{ours:?} {theirs:?}");
    // We refuse more: long forms of lengths, many fragments. They refuse text sooner, before all of it is there.
    if !matches!(whole.last(), Some(Got::Error(_) | Got::Close(_))) {
        assert!(theirs.len() <= ours.len());
    }
});

/// A connection on which the client has sent all it will.
struct Stream<'a>(&'a [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text, binary and ping messages as tungstenite receives them.
fn tungstenite(stream: &[u8]) -> Vec<Got> {
    let limits = WebSocketConfig::default().read_buffer_size(0).max_message_size(Some(2000)).max_frame_size(Some(2000));
    let mut socket = WebSocket::from_raw_socket(Stream(stream), Role::Server, Some(limits));
    let mut got = Vec::new();
    while let Ok(message) = socket.read() {
        got.push(match message {
            Message::Text(text) => Got::Message("text", text.as_bytes().to_vec()),
            Message::Binary(data) => Got::Message("binary", data.to_vec()),
            Message::Ping(data) => Got::Message("ping", data.to_vec()),
            Message::Pong(_) | Message::Frame(_) => continue,
            Message::Close(_) => break,
        });
    }
    got
}

fn receive<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Got> {
    let mut receiver = Receiver::new(2000, 5);
    let mut got = Vec::new();
    for piece in pieces {
        let (mut input, mut at) = (piece.to_vec(), 0);
        loop {
            got.push(match receiver.next(&mut input, &mut at) {
                Ok(Some(Received::Text(text))) => Got::Message("text", text.into()),
                Ok(Some(Received::Binary(data))) => Got::Message("binary", data.into()),
                Ok(Some(Received::Ping(data))) => Got::Message("ping", data.into()),
                Ok(Some(Received::Pong)) => Got::Message("pong", Vec::new()),
                Ok(Some(Received::Close { code })) => Got::Close(code),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(receiver.next(&mut input, &mut at), Err(error));
                    got.push(Got::Error(error));
                    return got;
                }
            });
            if let Some(Got::Message(_, data)) = got.last() {
                assert!(data.len() <= 2000);
            }
        }
        assert_eq!(at, input.len());
    }
    got
}
