//! What is sent and what must come back for it, byte for byte. Every message has a number, so that none can be lost, doubled or mixed up
//! with another.

use crate::Failure;
use crate::wire::{Frame, Wire};

/// The first number: all have the same length, also where they stand in JSON as a number.
const FIRST: u64 = 10_000_000;
const DIGITS: usize = 8;
const PLACEHOLDER: &[u8] = br#"451-["echo",{"_placeholder":true,"num":0}]"#;
/// Shows that a cluster is connected; not counted.
pub const PROBE: &[u8] = br#"42["room","probe""#;

/// Whether an event ends with an offset, as it does when clients can recover.
#[derive(Clone, Copy, PartialEq)]
pub enum Offset {
    Never,
    Always,
    Either,
}

/// Text or binary around the number, there and back.
#[derive(Clone)]
pub struct Message {
    out: (String, String),
    back: (String, String),
    binary: bool,
    offset: Offset,
}

impl Message {
    /// `echo` with a string of so many bytes.
    pub fn echo(bytes: usize, offset: Offset) -> Message {
        let text = ("42[\"echo\",\"".to_owned(), format!("{}\"]", padding(bytes)));
        Message { out: text.clone(), back: text, binary: false, offset }
    }

    /// The same, acknowledged: the number is the acknowledgement's id, and the padding stands for it in the string.
    pub fn ack(bytes: usize) -> Message {
        let text = format!("{}{}", "a".repeat(DIGITS.min(bytes)), padding(bytes));
        let (out, back) =
            (("42".to_owned(), format!("[\"echo\",\"{text}\"]")), ("43".to_owned(), format!("[\"{text}\"]")));
        Message { out, back, binary: false, offset: Offset::Never }
    }

    /// `echo` with an object. Its keys are in order, as a server that keeps objects in a sorted map would have them.
    pub fn object(offset: Offset) -> Message {
        let tail = r#","name":"Ada Lovelace","nested":{"depth":2,"tags":["first","second","third"]},"price":12.5,"text":"a line of text"}]"#;
        let text = (r#"42["echo",{"active":true,"id":"#.to_owned(), tail.to_owned());
        Message { out: text.clone(), back: text, binary: false, offset }
    }

    /// `echo` with one attachment of so many bytes.
    pub fn binary(bytes: usize) -> Message {
        let text = (String::new(), padding(bytes));
        Message { out: text.clone(), back: text, binary: true, offset: Offset::Never }
    }

    /// `broadcast` with a string.
    pub fn broadcast(bytes: usize, offset: Offset) -> Message {
        let text = ("42[\"broadcast\",\"".to_owned(), format!("{}\"]", padding(bytes)));
        Message { out: text.clone(), back: text, binary: false, offset }
    }

    /// `room` with the room's name and a string; the room gets the string.
    pub fn room(name: &str, bytes: usize, offset: Offset) -> Message {
        let tail = format!("{}\"]", padding(bytes));
        let (out, back) = (format!("42[\"room\",\"{name}\",\""), "42[\"room\",\"".to_owned());
        Message { out: (out, tail.clone()), back: (back, tail), binary: false, offset }
    }

    /// The same in another namespace than the main one.
    pub fn of(mut self, nsp: &str) -> Message {
        for text in [&mut self.out.0, &mut self.back.0] {
            *text = text.replacen("42[", &format!("42{nsp},["), 1);
        }
        self
    }

    /// The message with this number, counted from 0, as an Engine.IO text.
    pub fn text(&self, number: u64) -> String {
        let (head, tail) = &self.out;
        format!("{head}{}{tail}", FIRST + number)
    }

    pub fn send(&self, wire: &mut Wire, number: u64) {
        if self.binary {
            wire.text(PLACEHOLDER);
            wire.binary(self.text(number).as_bytes());
        } else {
            wire.text(self.text(number).as_bytes());
        }
    }

    /// The number of the next message that has come back; nothing if none is there. Anything else is a failure.
    pub fn receive(&self, wire: &mut Wire) -> Result<Option<u64>, Failure> {
        loop {
            let got = match wire.next()? {
                None => return Ok(None),
                Some(Frame::Text(b"2")) => {
                    wire.text(b"3");
                    continue;
                }
                Some(Frame::Text(PLACEHOLDER)) if self.binary => continue,
                Some(Frame::Text(text)) if text.starts_with(PROBE) => continue,
                Some(Frame::Text(text)) if !self.binary => text,
                Some(Frame::Binary(data)) if self.binary => data,
                Some(Frame::Text(other) | Frame::Binary(other)) => other,
            };
            return match self.number(got) {
                Some(number) => Ok(Some(number)),
                None => {
                    let (got, sent) = (String::from_utf8_lossy(got), self.text(0));
                    let offset = if self.offset == Offset::Always { ", with an offset at its end" } else { "" };
                    Err(format!("got {got:.200}\nfor a message like {sent:.200}{offset}").into())
                }
            };
        }
    }

    /// The number of what came back, if nothing else is different.
    pub fn number(&self, got: &[u8]) -> Option<u64> {
        let rest = got.strip_prefix(self.back.0.as_bytes())?;
        let (digits, rest) = rest.split_at_checked(DIGITS)?;
        let tail = self.back.1.as_bytes();
        let matches = match self.offset {
            Offset::Never => rest == tail,
            Offset::Always => self.with_offset(rest),
            Offset::Either => rest == tail || self.with_offset(rest),
        };
        let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        number.checked_sub(FIRST).filter(|_| matches)
    }

    /// The tail with one string more before its bracket.
    fn with_offset(&self, rest: &[u8]) -> bool {
        let tail = self.back.1.as_bytes();
        let Some((_, before)) = tail.split_last() else { return false };
        let offset = rest.strip_prefix(before).and_then(|rest| rest.strip_prefix(b",\"")?.strip_suffix(b"\"]"));
        offset.is_some_and(|offset| !offset.is_empty() && !offset.contains(&b'"'))
    }
}

/// What a string of so many bytes has after its number.
fn padding(bytes: usize) -> String {
    ('a'..='z').cycle().take(bytes.saturating_sub(DIGITS)).collect()
}

/// The numbers that one client has received: each once.
#[derive(Default)]
pub struct Received {
    next: u64,
    ahead: Vec<u64>,
}

impl Received {
    /// Whether it came in its turn; a failure if it has come before.
    pub fn take(&mut self, number: u64) -> Result<bool, Failure> {
        if number < self.next || self.ahead.contains(&number) {
            return Err(format!("message {number} came twice").into());
        }
        if number > self.next {
            self.ahead.push(number);
            return Ok(false);
        }
        self.next += 1;
        while let Some(at) = self.ahead.iter().position(|ahead| *ahead == self.next) {
            self.ahead.swap_remove(at);
            self.next += 1;
        }
        Ok(true)
    }
}
