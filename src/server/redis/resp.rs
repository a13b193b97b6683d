//! What is said to Redis and what it answers.
//!
//! RESP2, the protocol that Redis speaks unless asked for another (redis.io, "Redis serialization protocol specification"):
//!
//! ```text
//! command = "*" count CRLF, count times: "$" size CRLF bytes CRLF
//! reply   = "+" text CRLF | "-" error CRLF | ":" integer CRLF | "$" size CRLF bytes CRLF | "*" count CRLF, count times: reply
//! ```
//!
//! A size or count of -1 is no value. A reply may arrive in any pieces: the [`Decoder`] keeps what is half read, and reads each byte once.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

use std::borrow::Cow;
use std::fmt;

/// A line is a status, an error or a number; none of Redis's comes near this.
const MAX_LINE: usize = 64 * 1024;

/// Bytes of text for which room stays when a reply was larger: as many as are read at once. There is a decoder for each connection, and
/// after one huge reply most are small again.
const KEPT_BYTES: usize = 64 * 1024;
/// Values for which room stays: about as many as that text has, if entries are short.
const KEPT_NODES: usize = 4_096;

/// Appends a command: an array of bulk strings.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    begin(out, args.len());
    args.iter().for_each(|arg| word(out, &[arg]));
}

/// Appends the beginning of a command that has so many words, which are to follow.
pub fn begin(out: &mut Vec<u8>, words: usize) {
    push_size(out, b'*', words);
}

/// Appends a word of a command, given in pieces.
pub fn word(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    push_size(out, b'$', pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(b"\r\n");
}

/// Appends a word that is a number.
pub fn number(out: &mut Vec<u8>, n: u64) {
    word(out, &[itoa::Buffer::new().format(n).as_bytes()]);
}

fn push_size(out: &mut Vec<u8>, kind: u8, size: usize) {
    match u8::try_from(size) {
        // Most words have a digit.
        Ok(digit @ 0..10) => out.extend_from_slice(&[kind, b'0'.wrapping_add(digit), b'\r', b'\n']),
        _ => {
            out.push(kind);
            out.extend_from_slice(itoa::Buffer::new().format(size).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A reply, or a part of one, as it stands in its [`Decoder`].
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A status, such as `OK`.
    Simple(&'a [u8]),
    /// What Redis refuses, in its words.
    Error(&'a [u8]),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(&'a [u8]),
    /// No value.
    Null,
    /// A list.
    Array(Items<'a>),
    /// In place of a string of so many bytes, more than are kept of one: it can be passed over like an entry that makes no sense.
    TooLarge(usize),
}

/// The elements of an array, one after the other.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    /// The nodes of those that are still to come, and of all that is inside them.
    nodes: &'a [Node],
    text: &'a [u8],
    len: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let (node, mut rest) = self.nodes.split_first()?;
        let text = |place: &Place| self.text.get(place.start..place.end).unwrap_or_default();
        let value = match node {
            Node::Simple(place) => Value::Simple(text(place)),
            Node::Error(place) => Value::Error(text(place)),
            Node::Integer(number) => Value::Integer(*number),
            Node::Bulk(place) => Value::Bulk(text(place)),
            Node::Null => Value::Null,
            Node::TooLarge(size) => Value::TooLarge(*size),
            Node::Array { len, inside } => {
                let (nodes, after) = rest.split_at_checked(*inside).unwrap_or_default();
                rest = after;
                Value::Array(Items { nodes, text: self.text, len: *len })
            }
        };
        self.nodes = rest;
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// A value of a reply. They are kept in the order in which they came: those inside an array follow it.
#[derive(Clone, Copy, Debug)]
enum Node {
    Simple(Place),
    Error(Place),
    Integer(i64),
    Bulk(Place),
    Null,
    /// So many elements, which make so many nodes with all that is inside them.
    Array {
        len: usize,
        inside: usize,
    },
    TooLarge(usize),
}

/// Where a string stands in the text of its reply.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
}

/// What a reply may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one string. A longer one is read, not kept, and does not count as bytes of the reply.
    pub bulk: usize,
    /// Bytes of all strings and lines of one reply.
    pub reply: usize,
    /// Arrays in one another.
    pub depth: usize,
    /// Elements of all arrays of one reply.
    pub elements: usize,
}

/// Why what Redis sends can't be read further: one variant per rule. There is no way on but a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// A value begins with something else than `+`, `-`, `:`, `$` or `*`: this is no Redis, or it speaks RESP3 or TLS.
    UnknownType(u8),
    /// A line does not end with CRLF, or a string does not end where it was to.
    LineEnd,
    /// What should be a number is none.
    Number,
    /// A line is over 64 KiB.
    LineTooLong,
    /// A reply is larger than [`Bounds::reply`].
    TooLarge,
    /// A reply is deeper than [`Bounds::depth`].
    TooDeep,
    /// A reply has more elements than [`Bounds::elements`].
    TooMany,
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RespError::UnknownType(byte) => {
                return write!(
                    f,
                    "not a Redis reply: it begins with byte 0x{byte:02x}; is it Redis, without TLS, on this port?"
                );
            }
            RespError::LineEnd => "malformed Redis reply: no line end where one must be",
            RespError::Number => "malformed Redis reply: not a number",
            RespError::LineTooLong => "malformed Redis reply: a line of over 64 KiB",
            RespError::TooLarge => "Redis reply too large",
            RespError::TooDeep => "Redis reply nested too deeply",
            RespError::TooMany => "Redis reply with too many elements",
        })
    }
}

impl std::error::Error for RespError {}

/// Reads replies from bytes that arrive in any pieces.
///
/// A reply is kept flat: one text of all its strings, and one list of what it consists of. So neither a string nor an array needs memory of
/// its own, and the next reply takes the place of the one before.
#[derive(Debug)]
pub struct Decoder {
    bounds: Bounds,
    state: State,
    /// The strings of this reply so far, one behind the other.
    text: Vec<u8>,
    nodes: Vec<Node>,
    /// Bytes of its strings and lines that were read or announced, and elements that were announced.
    bytes: usize,
    elements: usize,
    /// The arrays that are not complete, the outermost first.
    open: Vec<Open>,
    /// The string that is not complete.
    bulk: Option<Bulk>,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next reply is not complete.
    Reading,
    /// It is, and can be looked at.
    Whole,
    Failed(RespError),
}

/// An array that still lacks elements. Its size was announced, so space is taken only as they come.
#[derive(Debug)]
struct Open {
    /// Which node it is.
    node: usize,
    missing: usize,
}

/// A string that is not complete: bytes of it are missing, or only its line end.
#[derive(Debug)]
struct Bulk {
    size: usize,
    missing: usize,
    /// False: too large to be kept.
    kept: bool,
}

impl Decoder {
    /// A decoder for a new connection.
    #[must_use]
    pub fn new(bounds: Bounds) -> Decoder {
        Decoder {
            bounds,
            state: State::Reading,
            text: Vec::new(),
            nodes: Vec::new(),
            bytes: 0,
            elements: 0,
            open: Vec::new(),
            bulk: None,
            line: Vec::new(),
        }
    }

    /// Reads on in `bytes` from `at`, which moves on. True: a [`reply`](Decoder::reply) is there, until the next call. False: all is read,
    /// and the next reply is not complete.
    ///
    /// # Errors
    /// See [`RespError`]; every later call gives the same.
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, RespError> {
        match self.state {
            State::Failed(error) => return Err(error),
            State::Whole => self.forget(),
            State::Reading => {}
        }
        let read = self.read(bytes, at);
        self.state = match read {
            Ok(true) => State::Whole,
            Ok(false) => State::Reading,
            Err(error) => State::Failed(error),
        };
        read
    }

    /// The reply that is there; while none is, no value.
    #[must_use]
    pub fn reply(&self) -> Value<'_> {
        let mut whole = Items { nodes: &self.nodes, text: &self.text, len: 1 };
        match self.state {
            State::Whole => whole.next().unwrap_or(Value::Null),
            State::Reading | State::Failed(_) => Value::Null,
        }
    }

    /// Bytes of all strings and lines of the reply that is there.
    #[must_use]
    pub fn reply_bytes(&self) -> usize {
        self.bytes
    }

    fn forget(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.nodes.clear();
        self.nodes.shrink_to(KEPT_NODES);
        (self.bytes, self.elements) = (0, 0);
    }

    fn read(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, RespError> {
        loop {
            if self.short(bytes, at)? || self.long(bytes, at)? {
                return Ok(true);
            }
            if *at >= bytes.len() {
                return Ok(false);
            }
        }
    }

    /// Strings of less than 1,000 bytes that are here with both their line ends, as nearly all are, each in one step; and on the way to them,
    /// arrays of less than 1,000 elements. Whatever else is there is read line by line. True: that was the rest of the reply.
    fn short(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, RespError> {
        if self.bulk.is_some() || !self.line.is_empty() {
            return Ok(false);
        }
        let (mut rest, mut whole) = (bytes.get(*at..).unwrap_or_default(), false);
        while !whole && let Some((kind, size, after)) = short_head(rest) {
            match (kind, after.split_at_checked(size)) {
                (b'*', _) if size > 0 => {
                    self.begin_array(size)?;
                    rest = after;
                }
                (b'$', Some((text, [b'\r', b'\n', behind @ ..]))) if size <= self.bounds.bulk => {
                    whole = self.keep(text, Node::Bulk)?;
                    rest = behind;
                }
                _ => break,
            }
        }
        *at = bytes.len().saturating_sub(rest.len());
        Ok(whole)
    }

    /// The next line and what it completes, or a part of it; and before it, what is missing of a string. True: that was the rest of the reply.
    fn long(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, RespError> {
        if let Some(bulk) = &mut self.bulk {
            bulk.take(bytes, at, &mut self.text);
            if bulk.missing > 0 {
                return Ok(false);
            }
        }
        let Some(line) = self.line(bytes, at)? else { return Ok(false) };
        match self.bulk.take() {
            // What stands between a string and its line end must be nothing.
            Some(bulk) if line.is_empty() => Ok(self.place(bulk.node(self.text.len()))),
            Some(_) => Err(RespError::LineEnd),
            None => self.begin(&line),
        }
    }

    /// The next line without its CRLF. A piece without a line end is kept, and not searched again.
    fn line<'a>(&mut self, bytes: &'a [u8], at: &mut usize) -> Result<Option<Cow<'a, [u8]>>, RespError> {
        let rest = bytes.get(*at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (piece, _) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
        if self.line.len().saturating_add(piece.len()) > MAX_LINE {
            return Err(RespError::LineTooLong);
        }
        *at = at.saturating_add(piece.len());
        if end.is_none() {
            self.line.extend_from_slice(piece);
            return Ok(None);
        }
        *at = at.saturating_add(1);
        let mut line = Cow::Borrowed(piece);
        if !self.line.is_empty() {
            self.line.extend_from_slice(piece);
            line = Cow::Owned(std::mem::take(&mut self.line));
        }
        // A carriage return ends the line or stands nowhere.
        if !line.ends_with(b"\r") || line.iter().filter(|byte| **byte == b'\r').count() != 1 {
            return Err(RespError::LineEnd);
        }
        match &mut line {
            Cow::Borrowed(line) => *line = line.strip_suffix(b"\r").unwrap_or(line),
            Cow::Owned(line) => line.truncate(line.len().saturating_sub(1)),
        }
        Ok(Some(line))
    }

    /// What a line begins. True: it was the rest of the reply. False: more is to come, of a string, of an array or after it.
    fn begin(&mut self, line: &[u8]) -> Result<bool, RespError> {
        let (kind, rest) = line.split_first().ok_or(RespError::LineEnd)?;
        match kind {
            b'+' => self.keep(rest, Node::Simple),
            b'-' => self.keep(rest, Node::Error),
            b':' => {
                let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok());
                Ok(self.place(Node::Integer(number.ok_or(RespError::Number)?)))
            }
            b'$' => match size(rest)? {
                None => Ok(self.place(Node::Null)),
                Some(size) => {
                    let kept = size <= self.bounds.bulk;
                    self.count(if kept { size } else { 0 })?;
                    self.bulk = Some(Bulk { size, missing: size, kept });
                    Ok(false)
                }
            },
            b'*' => match size(rest)? {
                None => Ok(self.place(Node::Null)),
                Some(size) => self.begin_array(size),
            },
            other => Err(RespError::UnknownType(*other)),
        }
    }

    fn begin_array(&mut self, len: usize) -> Result<bool, RespError> {
        self.elements = self.elements.saturating_add(len);
        if self.elements > self.bounds.elements {
            return Err(RespError::TooMany);
        }
        if self.open.len() >= self.bounds.depth {
            return Err(RespError::TooDeep);
        }
        let array = Node::Array { len, inside: 0 };
        if len == 0 {
            return Ok(self.place(array));
        }
        self.open.push(Open { node: self.nodes.len(), missing: len });
        self.nodes.push(array);
        Ok(false)
    }

    fn count(&mut self, bytes: usize) -> Result<(), RespError> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > self.bounds.reply {
            true => Err(RespError::TooLarge),
            false => Ok(()),
        }
    }

    /// Keeps a line that is a value.
    fn keep(&mut self, line: &[u8], node: fn(Place) -> Node) -> Result<bool, RespError> {
        self.count(line.len())?;
        let start = self.text.len();
        self.text.extend_from_slice(line);
        Ok(self.place(node(Place { start, end: self.text.len() })))
    }

    /// Takes a value that is complete, which may complete the arrays around it. True: the reply is whole.
    fn place(&mut self, node: Node) -> bool {
        self.nodes.push(node);
        while let Some(open) = self.open.last_mut() {
            open.missing = open.missing.saturating_sub(1);
            if open.missing > 0 {
                return false;
            }
            if let Some((Node::Array { inside, .. }, items)) =
                self.nodes.get_mut(open.node..).and_then(<[_]>::split_first_mut)
            {
                *inside = items.len();
            }
            self.open.pop();
        }
        true
    }
}

impl Bulk {
    fn take(&mut self, bytes: &[u8], at: &mut usize, text: &mut Vec<u8>) {
        let rest = bytes.get(*at..).unwrap_or_default();
        let (piece, _) = rest.split_at_checked(self.missing).unwrap_or((rest, &[]));
        if self.kept {
            text.extend_from_slice(piece);
        }
        self.missing = self.missing.saturating_sub(piece.len());
        *at = at.saturating_add(piece.len());
    }

    /// What it is in a text that ends with it.
    fn node(&self, end: usize) -> Node {
        match self.kept {
            true => Node::Bulk(Place { start: end.saturating_sub(self.size), end }),
            false => Node::TooLarge(self.size),
        }
    }
}

/// A line of one to three digits after its type: the type, the number, and what follows the line.
fn short_head(bytes: &[u8]) -> Option<(u8, usize, &[u8])> {
    let digit = |digit: &u8| usize::from(digit & 15);
    match bytes {
        [kind, a @ b'0'..=b'9', b'\r', b'\n', rest @ ..] => Some((*kind, digit(a), rest)),
        [kind, a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', rest @ ..] => {
            Some((*kind, digit(a).saturating_mul(10).saturating_add(digit(b)), rest))
        }
        [kind, a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', rest @ ..] => {
            let tens = digit(a).saturating_mul(10).saturating_add(digit(b));
            Some((*kind, tens.saturating_mul(10).saturating_add(digit(c)), rest))
        }
        _ => None,
    }
}

/// The size of a string or an array; `-1` is none.
fn size(digits: &[u8]) -> Result<Option<usize>, RespError> {
    let text = std::str::from_utf8(digits).map_err(|_| RespError::Number)?;
    match text {
        "-1" => Ok(None),
        _ if !text.bytes().all(|b| b.is_ascii_digit()) => Err(RespError::Number),
        _ => text.parse().map(Some).map_err(|_| RespError::Number),
    }
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
