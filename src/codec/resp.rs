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

use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// A line is a status, an error or a number; none of Redis's comes near this.
const MAX_LINE: usize = 64 * 1024;

/// Elements of an array that room is made for before they have come: the fields of an entry.
const SOME: usize = 10;

/// Bytes around a word, about.
pub const AROUND: usize = 12;

/// Appends a command: an array of bulk strings.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.reserve(args.iter().map(|arg| arg.len().saturating_add(AROUND)).sum());
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

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A status, such as `OK`.
    Simple(String),
    /// What Redis refuses, in its words.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Bytes),
    /// No value.
    Null,
    /// A list.
    Array(Vec<Value>),
    /// In place of a string of so many bytes, more than are kept of one: it can be passed over like an entry that makes no sense.
    TooLarge(usize),
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
#[derive(Debug)]
pub struct Decoder {
    bounds: Bounds,
    /// The arrays that are not complete, the outermost first.
    open: Vec<Open>,
    /// The string that is not complete.
    bulk: Option<Bulk>,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    /// Bytes and elements of this reply so far.
    bytes: usize,
    elements: usize,
    failed: Option<RespError>,
}

/// An array that still lacks elements. Its size was announced, so space is taken only as they come.
#[derive(Debug)]
struct Open {
    items: Vec<Value>,
    missing: usize,
}

/// A string that is not complete: bytes of it are missing, or only its line end.
#[derive(Debug)]
struct Bulk {
    size: usize,
    missing: usize,
    /// `None`: too large to be kept.
    kept: Option<Vec<u8>>,
    /// All of it, where it has arrived in one piece.
    whole: Option<Bytes>,
}

impl Decoder {
    /// A decoder for a new connection.
    #[must_use]
    pub fn new(bounds: Bounds) -> Decoder {
        Decoder { bounds, open: Vec::new(), bulk: None, line: Vec::new(), bytes: 0, elements: 0, failed: None }
    }

    /// Reads on in `bytes` from `at`, which moves on. `None`: all is read, and the next reply is not complete. Strings that are whole in
    /// `bytes` share them: who keeps one keeps all.
    ///
    /// # Errors
    /// See [`RespError`]; every later call gives the same.
    pub fn next(&mut self, bytes: &Bytes, at: &mut usize) -> Result<Option<Value>, RespError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.read(bytes, at).inspect_err(|error| self.failed = Some(*error))
    }

    fn read(&mut self, bytes: &Bytes, at: &mut usize) -> Result<Option<Value>, RespError> {
        loop {
            if let Some(string) = self.short(bytes, at)? {
                match self.place(string) {
                    Some(reply) => return Ok(Some(self.complete(reply))),
                    None => continue,
                }
            }
            if let Some(bulk) = &mut self.bulk {
                bulk.take(bytes, at);
                if bulk.missing > 0 {
                    return Ok(None);
                }
            }
            let Some(line) = self.line(bytes, at)? else { return Ok(None) };
            let value = match self.bulk.take() {
                // What stands between a string and its line end must be nothing.
                Some(bulk) if line.is_empty() => Some(bulk.value()),
                Some(_) => return Err(RespError::LineEnd),
                None => self.begin(&line)?,
            };
            if let Some(reply) = value.and_then(|value| self.place(value)) {
                return Ok(Some(self.complete(reply)));
            }
        }
    }

    fn complete(&mut self, reply: Value) -> Value {
        (self.bytes, self.elements) = (0, 0);
        reply
    }

    /// A string of less than 1,000 bytes that is here with both its line ends, as nearly all are, in one step; on the way to it, arrays of
    /// less than 1,000 elements are opened. Whatever else is there is read line by line.
    fn short(&mut self, bytes: &Bytes, at: &mut usize) -> Result<Option<Value>, RespError> {
        if self.bulk.is_some() || !self.line.is_empty() {
            return Ok(None);
        }
        loop {
            let here = bytes.get(*at..).unwrap_or_default();
            let Some((kind, size, head)) = short_head(here) else { return Ok(None) };
            if kind == b'*' && size > 0 {
                self.begin_array(size)?;
                *at = at.saturating_add(head);
                continue;
            }
            let (_, rest) = here.split_at_checked(head).unwrap_or_default();
            let Some((string, [b'\r', b'\n', ..])) = rest.split_at_checked(size) else { return Ok(None) };
            if kind != b'$' || size > self.bounds.bulk {
                return Ok(None);
            }
            self.count_bytes(size)?;
            *at = at.saturating_add(head).saturating_add(size).saturating_add(2);
            return Ok(Some(Value::Bulk(bytes.slice_ref(string))));
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

    /// What a line begins. `None`: a string or an array, of which all or more is to come.
    fn begin(&mut self, line: &[u8]) -> Result<Option<Value>, RespError> {
        let (kind, rest) = line.split_first().ok_or(RespError::LineEnd)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        match kind {
            b'+' | b'-' => {
                self.count_bytes(rest.len())?;
                Ok(Some(if *kind == b'+' { Value::Simple(text()) } else { Value::Error(text()) }))
            }
            b':' => Ok(Some(Value::Integer(text().parse().map_err(|_| RespError::Number)?))),
            b'$' => match size(rest)? {
                None => Ok(Some(Value::Null)),
                Some(size) => {
                    let keep = size <= self.bounds.bulk;
                    self.count_bytes(if keep { size } else { 0 })?;
                    self.bulk = Some(Bulk { size, missing: size, kept: keep.then(Vec::new), whole: None });
                    Ok(None)
                }
            },
            b'*' => match size(rest)? {
                None => Ok(Some(Value::Null)),
                Some(size) => self.begin_array(size),
            },
            other => Err(RespError::UnknownType(*other)),
        }
    }

    fn begin_array(&mut self, size: usize) -> Result<Option<Value>, RespError> {
        self.elements = self.elements.saturating_add(size);
        if self.elements > self.bounds.elements {
            return Err(RespError::TooMany);
        }
        if self.open.len() >= self.bounds.depth {
            return Err(RespError::TooDeep);
        }
        if size == 0 {
            return Ok(Some(Value::Array(Vec::new())));
        }
        self.open.push(Open { items: Vec::with_capacity(size.min(SOME)), missing: size });
        Ok(None)
    }

    fn count_bytes(&mut self, size: usize) -> Result<(), RespError> {
        self.bytes = self.bytes.saturating_add(size);
        match self.bytes > self.bounds.reply {
            true => Err(RespError::TooLarge),
            false => Ok(()),
        }
    }

    /// Puts a value into the innermost open array, and an array that it completes into the next one. Gives what is in no array.
    fn place(&mut self, mut value: Value) -> Option<Value> {
        while let Some(open) = self.open.last_mut() {
            open.items.push(value);
            open.missing = open.missing.saturating_sub(1);
            if open.missing > 0 {
                return None;
            }
            value = Value::Array(std::mem::take(&mut open.items));
            self.open.pop();
        }
        Some(value)
    }
}

impl Bulk {
    fn take(&mut self, bytes: &Bytes, at: &mut usize) {
        let rest = bytes.get(*at..).unwrap_or_default();
        let (piece, _) = rest.split_at_checked(self.missing).unwrap_or((rest, &[]));
        match &mut self.kept {
            // Nothing of it came before, and nothing of it will.
            Some(_) if piece.len() == self.size => self.whole = Some(bytes.slice_ref(piece)),
            Some(kept) => kept.extend_from_slice(piece),
            None => {}
        }
        self.missing = self.missing.saturating_sub(piece.len());
        *at = at.saturating_add(piece.len());
    }

    fn value(self) -> Value {
        match (self.whole, self.kept) {
            (Some(whole), _) => Value::Bulk(whole),
            (None, Some(kept)) => Value::Bulk(kept.into()),
            (None, None) => Value::TooLarge(self.size),
        }
    }
}

/// A line of one to three digits after its type: the type, the number, and how long the line is with its end.
fn short_head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (kind, digits) = bytes.split_first()?;
    let mut size = 0_usize;
    for (count, byte) in digits.iter().take(4).enumerate() {
        match byte {
            b'0'..=b'9' if count < 3 => size = size.saturating_mul(10).saturating_add(usize::from(byte & 15)),
            b'\r' if count > 0 && digits.get(count.saturating_add(1)) == Some(&b'\n') => {
                return Some((*kind, size, count.saturating_add(3)));
            }
            _ => return None,
        }
    }
    None
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
