//! The receiving side of a WebSocket: bytes in, messages out.
//!
//! RFC 6455 sections 5 (framing) and 7.4 (close codes), without extensions. tungstenite reads the heads of frames;
//! fragments, limits and the rules of the protocol are here, each quoted beside its check.
//!
//! ```text
//!           head complete            payload complete: control frame, or last frame of a message
//!   Head ------------------> Payload -----------------------------------------------------------> handed out
//!    ^ ^                        |  payload complete: fragment                                         |
//!    | +------------------------+                                                                     |
//!    +------------------------------------------------------------------------------------------------+
//!   Close received: Closed, the rest is ignored.   Any error: Failed, and the same error for ever.
//! ```
//!
//! A frame that lies whole in the input is unmasked where it is and handed out from there. Only what does not is
//! copied into a buffer, which grows with the bytes that have arrived, not by the length that was announced, and is
//! given back with the message.

use std::fmt;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// A message from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping: to be answered by a pong with these bytes.
    Ping(&'a [u8]),
    /// A pong that nobody waits for.
    Pong,
    /// The client closes, or answers our close frame. Nothing comes after it.
    Close {
        /// Its reason, if it gave one.
        code: Option<u16>,
    },
}

/// Why a client's connection is failed. Final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketError {
    /// A rule of the protocol is broken.
    Protocol(&'static str),
    /// A message has more bytes than this.
    TooLarge(usize),
    /// A message has more fragments than this.
    TooManyFragments(usize),
    /// A text, or the reason of a close frame, is not UTF-8.
    Utf8,
}

impl WebSocketError {
    /// The code for the close frame that tells the client (7.4.1).
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            WebSocketError::Protocol(_) => 1002,
            WebSocketError::TooLarge(_) | WebSocketError::TooManyFragments(_) => 1009,
            WebSocketError::Utf8 => 1007,
        }
    }
}

impl WebSocketError {
    /// The reason for that frame. A message that is too large gets none: the official client's suite wants it so, and the open packet has told
    /// how large a message may be.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            WebSocketError::TooLarge(_) => String::new(),
            WebSocketError::Protocol(_) | WebSocketError::TooManyFragments(_) | WebSocketError::Utf8 => {
                self.to_string()
            }
        }
    }
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebSocketError::Protocol(rule) => f.write_str(rule),
            WebSocketError::TooLarge(most) => write!(f, "message larger than {most} bytes"),
            WebSocketError::TooManyFragments(most) => write!(f, "message of more than {most} fragments"),
            WebSocketError::Utf8 => f.write_str("invalid UTF-8"),
        }
    }
}

impl std::error::Error for WebSocketError {}

/// Head: 2 bytes, 8 of length, 4 of mask.
const LONGEST_HEAD: usize = 14;

/// The state of one connection. Between messages it owns no memory.
#[derive(Debug)]
pub struct Receiver {
    max_message: usize,
    max_fragments: usize,
    state: State,
    message: Option<Message>,
    /// What has arrived of the message; behind it, what has arrived of a control frame in its middle.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Before or in the head of a frame, of which these bytes have arrived.
    Head { bytes: [u8; LONGEST_HEAD], arrived: usize },
    /// In the payload of a frame.
    Payload(Payload),
    /// A close frame has been received.
    Closed,
    /// A rule was broken.
    Failed(WebSocketError),
}

const START: State = State::Head { bytes: [0; LONGEST_HEAD], arrived: 0 };

/// A frame of which `left` bytes are still to come; the mask begins with the byte for the next of them.
#[derive(Clone, Copy, Debug)]
struct Payload {
    kind: Kind,
    mask: [u8; 4],
    left: usize,
    /// Whether none of it is in the buffer.
    fresh: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Data { last: bool },
    Control(Control),
}

/// A message that has begun.
#[derive(Clone, Copy, Debug)]
struct Message {
    text: bool,
    fragments: usize,
    /// Bytes of complete fragments, all in the buffer.
    size: usize,
}

/// What one step has come to.
enum Step {
    /// The input is used up.
    More,
    /// Something else begins.
    Again,
    /// This frame, or the message that it ends, is complete: `from..to` of the input or, without `to`, of the buffer.
    Complete { kind: Kind, from: usize, to: Option<usize> },
}

impl Receiver {
    /// Takes messages of at most so many bytes and fragments.
    #[must_use]
    pub fn new(max_message: usize, max_fragments: usize) -> Receiver {
        Receiver { max_message, max_fragments, state: START, message: None, buffer: Vec::new() }
    }

    /// Takes the next message off `input`, from `at` on, and moves `at` behind it. Nothing means that all of the
    /// input is used; what is incomplete is kept inside. So call it until it gives nothing, with the same input, and
    /// then again with the next. The bytes of the input are changed.
    ///
    /// # Errors
    /// See [`WebSocketError`]. After an error there is only that error; after a close frame there is nothing.
    pub fn next<'a>(&'a mut self, input: &'a mut [u8], at: &mut usize) -> Result<Option<Received<'a>>, WebSocketError> {
        self.give_back();
        let complete = loop {
            match self.step(input, at) {
                Ok(Step::Again) => {}
                Ok(Step::More) => break None,
                Ok(Step::Complete { kind, from, to }) => break Some((kind, from, to)),
                Err(error) => return self.fail(error),
            }
        };
        let Some((kind, from, to)) = complete else { return Ok(None) };
        let ended = match kind {
            Kind::Data { .. } | Kind::Control(Control::Close) => self.message.take(),
            Kind::Control(_) => None,
        };
        self.state = match kind {
            Kind::Control(Control::Close) => State::Closed,
            Kind::Control(_) | Kind::Data { .. } => START,
        };
        let payload = match to {
            Some(to) => input.get(from..to),
            None => self.buffer.get(from..),
        };
        let text = ended.is_some_and(|message| message.text);
        match read(kind, text, payload.unwrap_or_default()) {
            Ok(received) => Ok(Some(received)),
            Err(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
        }
    }

    /// Something has begun and is not whole: a frame, or a message of several.
    #[must_use]
    pub fn is_within_message(&self) -> bool {
        match self.state {
            State::Head { arrived, .. } => arrived > 0 || self.message.is_some(),
            State::Payload(_) => true,
            State::Closed | State::Failed(_) => false,
        }
    }

    /// Gives the memory of what was handed out back. Between frames the buffer holds complete fragments and no more.
    fn give_back(&mut self) {
        if let State::Payload(_) = self.state {
            return;
        }
        match self.message {
            Some(message) if message.size > 0 => self.buffer.truncate(message.size),
            _ => self.buffer = Vec::new(),
        }
    }

    fn fail<T>(&mut self, error: WebSocketError) -> Result<T, WebSocketError> {
        self.state = State::Failed(error);
        self.message = None;
        self.buffer = Vec::new();
        Err(error)
    }

    fn step(&mut self, input: &mut [u8], at: &mut usize) -> Result<Step, WebSocketError> {
        match self.state {
            State::Head { bytes, arrived } => self.head(bytes, arrived, input, at),
            State::Payload(payload) => Ok(self.payload(payload, input, at)),
            // 5.5.1: after a close frame an endpoint "MUST NOT send any more data frames"; 1.4: what comes is discarded.
            State::Closed => {
                *at = input.len();
                Ok(Step::More)
            }
            State::Failed(error) => Err(error),
        }
    }

    /// Completes the head of a frame, which may have been cut anywhere.
    fn head(
        &mut self,
        mut bytes: [u8; LONGEST_HEAD],
        arrived: usize,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Step, WebSocketError> {
        let rest = input.get(*at..).unwrap_or_default();
        let room = bytes.iter_mut().skip(arrived);
        let taken = room.zip(rest).map(|(place, byte)| *place = *byte).count();
        let filled = arrived.saturating_add(taken);
        let mut cursor = Cursor::new(bytes.get(..filled).unwrap_or_default());
        // 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_."
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| WebSocketError::Protocol("reserved opcode"))?;
        let Some((head, length)) = parsed else {
            *at = at.saturating_add(taken);
            self.state = State::Head { bytes, arrived: filled };
            return Ok(Step::More);
        };
        let size = usize::try_from(cursor.position()).unwrap_or(LONGEST_HEAD);
        *at = at.saturating_add(size.saturating_sub(arrived));
        // 5.2: "the minimal number of bytes MUST be used to encode the length".
        if head.len(length) != size {
            return Err(WebSocketError::Protocol("length not in its shortest form"));
        }
        self.state = State::Payload(self.check(&head, length)?);
        Ok(Step::Again)
    }

    /// The rules that a head must keep.
    fn check(&mut self, head: &FrameHeader, length: u64) -> Result<Payload, WebSocketError> {
        use WebSocketError::Protocol;
        // 5.2: reserved bits "MUST be 0 unless an extension is negotiated".
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(Protocol("reserved bits"));
        }
        // 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
        let mask = head.mask.ok_or(Protocol("frame not masked"))?;
        let length = usize::try_from(length).map_err(|_| WebSocketError::TooLarge(self.max_message))?;
        let kind = match head.opcode {
            OpCode::Control(control) => {
                // 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
                if length > 125 {
                    return Err(Protocol("control frame too long"));
                }
                if !head.is_final {
                    return Err(Protocol("control frame fragmented"));
                }
                Kind::Control(control)
            }
            OpCode::Data(data) => {
                self.message = Some(self.fragment(data, length)?);
                Kind::Data { last: head.is_final }
            }
        };
        Ok(Payload { kind, mask, left: length, fresh: true })
    }

    /// The message as it is when this fragment begins.
    fn fragment(&self, data: Data, length: usize) -> Result<Message, WebSocketError> {
        use WebSocketError::{Protocol, TooLarge, TooManyFragments};
        let mut message = match (data, self.message) {
            // 5.4: the fragments of one message "MUST NOT be interleaved between the fragments of another message".
            (Data::Text | Data::Binary, Some(_)) => return Err(Protocol("new message inside a message")),
            (Data::Text, None) => Message { text: true, fragments: 0, size: 0 },
            (Data::Binary, None) => Message { text: false, fragments: 0, size: 0 },
            (Data::Continue, Some(message)) => message,
            (Data::Continue, None) => return Err(Protocol("continuation of no message")),
            (Data::Reserved(_), _) => return Err(Protocol("reserved opcode")),
        };
        message.fragments = message.fragments.saturating_add(1);
        if message.fragments > self.max_fragments {
            return Err(TooManyFragments(self.max_fragments));
        }
        if message.size.saturating_add(length) > self.max_message {
            return Err(TooLarge(self.max_message));
        }
        Ok(message)
    }

    /// Takes payload off the input: in place if all of it is there, otherwise into the buffer.
    fn payload(&mut self, mut payload: Payload, input: &mut [u8], at: &mut usize) -> Step {
        let from = *at;
        let to = from.saturating_add(payload.left).min(input.len());
        let arrived = input.get_mut(from..to).unwrap_or_default();
        *at = to;
        unmask(arrived, payload.mask);
        let size = self.message.map_or(0, |message| message.size);
        let whole = match payload.kind {
            Kind::Control(_) => true,
            Kind::Data { last } => last && size == 0,
        };
        if payload.fresh && whole && arrived.len() == payload.left {
            return Step::Complete { kind: payload.kind, from, to: Some(to) };
        }
        self.buffer.extend_from_slice(arrived);
        payload.left = payload.left.saturating_sub(arrived.len());
        if payload.left > 0 {
            payload.mask.rotate_left(arrived.len() % 4);
            payload.fresh = payload.fresh && arrived.is_empty();
            self.state = State::Payload(payload);
            return Step::More;
        }
        match (payload.kind, &mut self.message) {
            (Kind::Data { last: false }, Some(message)) => {
                message.size = self.buffer.len();
                self.state = START;
                Step::Again
            }
            (Kind::Data { .. }, _) => Step::Complete { kind: payload.kind, from: 0, to: None },
            (Kind::Control(_), _) => Step::Complete { kind: payload.kind, from: size, to: None },
        }
    }
}

/// The message that a complete payload is.
fn read(kind: Kind, text: bool, payload: &[u8]) -> Result<Received<'_>, WebSocketError> {
    match kind {
        // 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in fact,
        // a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_."
        Kind::Data { .. } if text => match std::str::from_utf8(payload) {
            Ok(text) => Ok(Received::Text(text)),
            Err(_) => Err(WebSocketError::Utf8),
        },
        Kind::Data { .. } => Ok(Received::Binary(payload)),
        Kind::Control(Control::Ping) => Ok(Received::Ping(payload)),
        Kind::Control(Control::Pong) => Ok(Received::Pong),
        Kind::Control(Control::Close) => close(payload),
        Kind::Control(Control::Reserved(_)) => Err(WebSocketError::Protocol("reserved opcode")),
    }
}

fn close<'a>(payload: &[u8]) -> Result<Received<'a>, WebSocketError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        // 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer".
        return match payload.is_empty() {
            true => Ok(Received::Close { code: None }),
            false => Err(WebSocketError::Protocol("close code cut short")),
        };
    };
    let code = u16::from_be_bytes(*code);
    // 7.4.1: 1005, 1006, 1015 are "MUST NOT be set [...] in a Close control frame", 7.4.2: below 1000 "are not used",
    // up to 2999 are reserved. 1014 was registered after the RFC.
    if !CloseCode::from(code).is_allowed() && code != 1014 {
        return Err(WebSocketError::Protocol("illegal close code"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Received::Close { code: Some(code) }),
        Err(_) => Err(WebSocketError::Utf8),
    }
}

/// 5.3: "octet i of the transformed data is the XOR of octet i of the original data with octet at index i modulo 4 of
/// the masking key"; 8 of them at a time.
fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
