//! MessagePack, the form in which the official adapter writes entries that have binary in them.
//!
//! The MessagePack specification (github.com/msgpack/msgpack, spec.md), with the timestamp extension. What is one value there is here what it
//! is everywhere in Rill: JSON text, attachments beside it, and `{"_placeholder":true,"num":N}` in the text for attachment N.
//!
//! | MessagePack | JSON |
//! |---|---|
//! | nil, bool, str, array, map | the same; a map's keys are strings, an integer key becomes its digits |
//! | integer | its digits; back in the smallest form |
//! | float 32, float 64 | a number, `null` if it is not finite; back as float 64, as are integers of more than 64 bits |
//! | bin | placeholder and attachment |
//! | timestamp | a string, as JavaScript's `toISOString` writes it; not turned back |
//!
//! The order of keys and repeated keys stay. Both ways take linear time, nothing recurses, and no announced size takes space.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

use crate::codec::json;
use crate::id::Time;
use bytes::Bytes;
use serde_core::de::IgnoredAny;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// Levels of nesting: the 127 of a packet's payload, and the two objects around it in an entry.
const MAX_DEPTH: usize = 129;

/// Days after which the Gregorian calendar repeats itself, and their years.
const CYCLE_MS: i64 = 146_097 * 86_400_000;
const CYCLE_YEARS: i64 = 400;

/// Why something can't be converted: one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsgpackError {
    /// The text is not JSON.
    Json,
    /// More than 129 levels.
    TooDeep,
    /// The number of a placeholder is missing, not an integer, that of no attachment or that of an earlier placeholder; or a map beside
    /// binary looks like a placeholder.
    Placeholder,
    /// A string, binary, array or map of over 2^32 - 1.
    TooLarge,
    /// The value ends too soon.
    Truncated,
    /// Something stands behind the value.
    Trailing,
    /// A byte that begins no value.
    UnknownType,
    /// A string is not UTF-8.
    Utf8,
    /// A map's key is neither string nor integer.
    Key,
    /// More attachments than there may be.
    TooManyAttachments,
    /// An extension that is no timestamp, or a timestamp that is none.
    Extension,
}

impl fmt::Display for MsgpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MsgpackError::Json => "invalid JSON",
            MsgpackError::TooDeep => "nested too deeply",
            MsgpackError::Placeholder => "illegal placeholder of an attachment",
            MsgpackError::TooLarge => "too large",
            MsgpackError::Truncated => "MessagePack ends too soon",
            MsgpackError::Trailing => "bytes behind the MessagePack value",
            MsgpackError::UnknownType => "unknown MessagePack type",
            MsgpackError::Utf8 => "MessagePack string is not UTF-8",
            MsgpackError::Key => "MessagePack key is neither string nor integer",
            MsgpackError::TooManyAttachments => "too many attachments",
            MsgpackError::Extension => "unknown MessagePack extension",
        })
    }
}

impl std::error::Error for MsgpackError {}

// ---- from JSON

/// Converts one JSON value. Without attachments, what looks like a placeholder is an object like any other.
///
/// # Errors
/// [`MsgpackError::Json`], [`TooDeep`](MsgpackError::TooDeep), [`Placeholder`](MsgpackError::Placeholder),
/// [`TooLarge`](MsgpackError::TooLarge).
pub fn from_json(text: &str, attachments: &[Bytes]) -> Result<Vec<u8>, MsgpackError> {
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| MsgpackError::Json)?;
    let holes = match attachments.is_empty() {
        true => Vec::new(),
        false => json::placeholders(text, attachments.len()).ok_or(MsgpackError::Placeholder)?,
    };
    let mut holes = holes.iter().peekable();
    // Each stands once: a short text that names a large attachment again and again would become gigabytes.
    let mut unused: Vec<Option<&Bytes>> = attachments.iter().map(Some).collect();
    let mut writer = Writer { body: Vec::with_capacity(text.len()), heads: Vec::new(), open: Vec::new() };
    let mut hole_ends = 0;
    for (at, token) in json::tokens(text) {
        if at < hole_ends {
            continue;
        }
        if let Some(hole) = holes.next_if(|hole| hole.start == at) {
            hole_ends = hole.end;
            let data = unused.get_mut(hole.num).and_then(Option::take);
            writer.binary(data.ok_or(MsgpackError::Placeholder)?)?;
            continue;
        }
        match token {
            "{" | "[" => writer.open(token == "{")?,
            "}" | "]" => drop(writer.open.pop()),
            "," | ":" => {}
            _ => writer.scalar(token)?,
        }
    }
    writer.finish()
}

/// Arrays and maps begin with their size, which is known at their end only: their heads are put in last, so that nothing is moved twice.
struct Writer {
    body: Vec<u8>,
    heads: Vec<Head>,
    /// The arrays and maps that are open, by their place in `heads`.
    open: Vec<usize>,
}

struct Head {
    /// Where in the body it belongs.
    at: usize,
    is_map: bool,
    /// Elements; of a map keys and values.
    size: usize,
}

impl Writer {
    fn open(&mut self, is_map: bool) -> Result<(), MsgpackError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(MsgpackError::TooDeep);
        }
        self.count();
        self.open.push(self.heads.len());
        self.heads.push(Head { at: self.body.len(), is_map, size: 0 });
        Ok(())
    }

    /// One more element of what is open.
    fn count(&mut self) {
        if let Some(head) = self.open.last().and_then(|open| self.heads.get_mut(*open)) {
            head.size = head.size.saturating_add(1);
        }
    }

    fn scalar(&mut self, token: &str) -> Result<(), MsgpackError> {
        self.count();
        match token {
            "null" => self.body.push(0xc0),
            "false" => self.body.push(0xc2),
            "true" => self.body.push(0xc3),
            _ => match token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(plain) => self.string(&unescape(plain))?,
                None => self.number(token),
            },
        }
        Ok(())
    }

    fn number(&mut self, token: &str) {
        if let Ok(number) = token.parse::<u64>() {
            match (u8::try_from(number), u16::try_from(number), u32::try_from(number)) {
                (Ok(number), ..) if number < 0x80 => self.body.push(number),
                (Ok(number), ..) => self.body.extend_from_slice(&[0xcc, number]),
                (_, Ok(number), _) => self.tagged(0xcd, &number.to_be_bytes()),
                (.., Ok(number)) => self.tagged(0xce, &number.to_be_bytes()),
                _ => self.tagged(0xcf, &number.to_be_bytes()),
            }
        } else if let Ok(number) = token.parse::<i64>() {
            match (i8::try_from(number), i16::try_from(number), i32::try_from(number)) {
                (Ok(number), ..) if number >= -32 => self.body.extend_from_slice(&number.to_be_bytes()),
                (Ok(number), ..) => self.tagged(0xd0, &number.to_be_bytes()),
                (_, Ok(number), _) => self.tagged(0xd1, &number.to_be_bytes()),
                (.., Ok(number)) => self.tagged(0xd2, &number.to_be_bytes()),
                _ => self.tagged(0xd3, &number.to_be_bytes()),
            }
        } else {
            // As in JavaScript, 1e999 is infinite. Every JSON number parses here.
            self.tagged(0xcb, &token.parse::<f64>().unwrap_or(f64::NAN).to_be_bytes());
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.body.push(tag);
        self.body.extend_from_slice(bytes);
    }

    fn string(&mut self, text: &str) -> Result<(), MsgpackError> {
        head(&mut self.body, Kind::Str, text.len())?;
        self.body.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn binary(&mut self, data: &[u8]) -> Result<(), MsgpackError> {
        self.count();
        head(&mut self.body, Kind::Bin, data.len())?;
        self.body.extend_from_slice(data);
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, MsgpackError> {
        // One byte for most heads; the vector grows for the others.
        let mut out = Vec::with_capacity(self.body.len().saturating_add(self.heads.len()));
        let mut copied = 0;
        for Head { at, is_map, size } in self.heads {
            out.extend_from_slice(self.body.get(copied..at).unwrap_or_default());
            copied = at;
            match is_map {
                true => head(&mut out, Kind::Map, size / 2)?,
                false => head(&mut out, Kind::Array, size)?,
            }
        }
        out.extend_from_slice(self.body.get(copied..).unwrap_or_default());
        Ok(out)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Str,
    Bin,
    Array,
    Map,
}

/// The smallest head for a size.
fn head(out: &mut Vec<u8>, kind: Kind, size: usize) -> Result<(), MsgpackError> {
    let size = u32::try_from(size).map_err(|_| MsgpackError::TooLarge)?;
    let (tag_16, tag_32) = match kind {
        Kind::Str => (0xda, 0xdb),
        Kind::Bin => (0xc5, 0xc6),
        Kind::Array => (0xdc, 0xdd),
        Kind::Map => (0xde, 0xdf),
    };
    match (kind, u8::try_from(size), u16::try_from(size)) {
        (Kind::Map, Ok(size), _) if size < 16 => out.push(0x80 | size),
        (Kind::Array, Ok(size), _) if size < 16 => out.push(0x90 | size),
        (Kind::Str, Ok(size), _) if size < 32 => out.push(0xa0 | size),
        (Kind::Str, Ok(size), _) => out.extend_from_slice(&[0xd9, size]),
        (Kind::Bin, Ok(size), _) => out.extend_from_slice(&[0xc4, size]),
        (_, _, Ok(size)) => {
            out.push(tag_16);
            out.extend_from_slice(&size.to_be_bytes());
        }
        _ => {
            out.push(tag_32);
            out.extend_from_slice(&size.to_be_bytes());
        }
    }
    Ok(())
}

/// What a JSON string without its quotes means. A lone surrogate, which JavaScript lets pass, has no UTF-8 form and becomes U+FFFD;
/// `serde_json` would refuse the text that a client could send.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let meant = match c {
            '\\' => match chars.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let digits = chars.as_str().get(..4).unwrap_or_default();
                    units.push(u16::from_str_radix(digits, 16).unwrap_or(0xfffd));
                    chars = chars.as_str().get(4..).unwrap_or_default().chars();
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            plain => plain,
        };
        units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    Cow::Owned(String::from_utf16_lossy(&units))
}

// ---- to JSON

/// Converts one value, which must be all of `bytes`. Its binary becomes attachments, numbered as they come.
///
/// A map that looks like a placeholder without being one is refused when there is binary beside it, for receivers would take it for one: a
/// client's object, passed on by a careless application, could then stand for another attachment than its own. Without binary it is a map.
///
/// # Errors
/// See [`MsgpackError`].
pub fn to_json(bytes: &[u8], max_attachments: usize) -> Result<(String, Vec<Bytes>), MsgpackError> {
    let mut reader = Reader {
        rest: bytes,
        out: String::new(),
        open: Vec::new(),
        attachments: Vec::new(),
        max_attachments,
        lookalike: false,
    };
    reader.value()?;
    while let Some(mut level) = reader.open.pop() {
        if level.missing == 0 {
            reader.out.push(if level.is_map { '}' } else { ']' });
            continue;
        }
        if level.begun {
            reader.out.push(',');
        }
        level.begun = true;
        level.missing = level.missing.saturating_sub(1);
        let is_map = level.is_map;
        reader.open.push(level);
        if is_map {
            reader.key()?;
        }
        reader.value()?;
    }
    match (reader.rest.is_empty(), reader.lookalike && !reader.attachments.is_empty()) {
        (false, _) => Err(MsgpackError::Trailing),
        (_, true) => Err(MsgpackError::Placeholder),
        _ => Ok((reader.out, reader.attachments)),
    }
}

/// A cursor over the bytes that are left, and what has become of the others.
struct Reader<'a> {
    rest: &'a [u8],
    out: String,
    open: Vec<Level>,
    attachments: Vec<Bytes>,
    max_attachments: usize,
    /// A map has said `_placeholder: true`.
    lookalike: bool,
}

/// An array or map that is not complete.
struct Level {
    is_map: bool,
    begun: bool,
    /// Elements or pairs that were announced and have not come. It counts down only; the bytes end before a number that is a lie does.
    missing: u32,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<(), MsgpackError> {
        let [tag] = self.array()?;
        if let Some(number) = self.integer(tag)? {
            self.out.push_str(&number.to_string());
            return Ok(());
        }
        if let Some(text) = self.string(tag)? {
            json::write_string(text, |piece| self.out.push_str(piece));
            return Ok(());
        }
        match tag {
            0x80..=0x8f => self.begin(true, u32::from(tag & 15)),
            0x90..=0x9f => self.begin(false, u32::from(tag & 15)),
            0xc0 => self.push("null"),
            0xc2 => self.push("false"),
            0xc3 => self.push("true"),
            0xc4..=0xc6 => {
                let size = self.size(tag, 0xc4)?;
                self.binary(size)
            }
            0xc7..=0xc9 => {
                let size = self.size(tag, 0xc7)?;
                self.extension(size)
            }
            0xca => {
                let number = f64::from(f32::from_be_bytes(self.array()?));
                self.float(number)
            }
            0xcb => {
                let number = f64::from_be_bytes(self.array()?);
                self.float(number)
            }
            0xd4..=0xd8 => self.extension(1 << (tag & 15).saturating_sub(4)),
            0xdc | 0xdd => {
                let size = self.size(tag, 0xdb)?;
                self.begin(false, size)
            }
            0xde | 0xdf => {
                let size = self.size(tag, 0xdd)?;
                self.begin(true, size)
            }
            _ => Err(MsgpackError::UnknownType),
        }
    }

    /// A key with its colon.
    fn key(&mut self) -> Result<(), MsgpackError> {
        let [tag] = self.array()?;
        if let Some(number) = self.integer(tag)? {
            self.out.push_str(&format!("\"{number}\":"));
            return Ok(());
        }
        let key = self.string(tag)?.ok_or(MsgpackError::Key)?;
        json::write_string(key, |piece| self.out.push_str(piece));
        self.out.push(':');
        self.lookalike |= key == "_placeholder" && self.rest.first() == Some(&0xc3);
        Ok(())
    }

    fn push(&mut self, json: &str) -> Result<(), MsgpackError> {
        self.out.push_str(json);
        Ok(())
    }

    /// An integer of any size, if the tag is one's.
    fn integer(&mut self, tag: u8) -> Result<Option<i128>, MsgpackError> {
        Ok(Some(match tag {
            0x00..=0x7f => i128::from(tag),
            0xe0..=0xff => i128::from(i8::from_be_bytes([tag])),
            0xcc => i128::from(u8::from_be_bytes(self.array()?)),
            0xcd => i128::from(u16::from_be_bytes(self.array()?)),
            0xce => i128::from(u32::from_be_bytes(self.array()?)),
            0xcf => i128::from(u64::from_be_bytes(self.array()?)),
            0xd0 => i128::from(i8::from_be_bytes(self.array()?)),
            0xd1 => i128::from(i16::from_be_bytes(self.array()?)),
            0xd2 => i128::from(i32::from_be_bytes(self.array()?)),
            0xd3 => i128::from(i64::from_be_bytes(self.array()?)),
            _ => return Ok(None),
        }))
    }

    /// A string, if the tag is one's.
    fn string(&mut self, tag: u8) -> Result<Option<&'a str>, MsgpackError> {
        let size = match tag {
            0xa0..=0xbf => u32::from(tag & 31),
            0xd9..=0xdb => self.size(tag, 0xd9)?,
            _ => return Ok(None),
        };
        let text = std::str::from_utf8(self.take(size)?).map_err(|_| MsgpackError::Utf8)?;
        Ok(Some(text))
    }

    fn float(&mut self, number: f64) -> Result<(), MsgpackError> {
        // Not a number and infinite are null, as with JSON.stringify.
        self.push(&Value::from(number).to_string())
    }

    fn binary(&mut self, size: u32) -> Result<(), MsgpackError> {
        let data = self.take(size)?;
        if self.attachments.len() >= self.max_attachments {
            return Err(MsgpackError::TooManyAttachments);
        }
        self.out.push_str(&format!("{{\"_placeholder\":true,\"num\":{}}}", self.attachments.len()));
        self.attachments.push(Bytes::copy_from_slice(data));
        Ok(())
    }

    fn begin(&mut self, is_map: bool, size: u32) -> Result<(), MsgpackError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(MsgpackError::TooDeep);
        }
        self.open.push(Level { is_map, begun: false, missing: size });
        self.push(if is_map { "{" } else { "[" })
    }

    /// Extension -1, a timestamp of 32, 64 or 96 bits; the others are nobody's.
    fn extension(&mut self, size: u32) -> Result<(), MsgpackError> {
        let kind = i8::from_be_bytes(self.array()?);
        let (seconds, nanos) = match (kind, size) {
            (-1, 4) => (i64::from(u32::from_be_bytes(self.array()?)), 0),
            (-1, 8) => {
                let both = u64::from_be_bytes(self.array()?);
                (i64::try_from(both & 0x3_ffff_ffff).unwrap_or(i64::MAX), both >> 34)
            }
            (-1, 12) => {
                let nanos = u32::from_be_bytes(self.array()?);
                (i64::from_be_bytes(self.array()?), u64::from(nanos))
            }
            _ => return Err(MsgpackError::Extension),
        };
        match i64::try_from(nanos / 1_000_000) {
            Ok(ms) if ms < 1000 => self.push(&date(seconds.saturating_mul(1000).saturating_add(ms))),
            _ => Err(MsgpackError::Extension),
        }
    }

    /// A size of 8, 16 or 32 bits; `tag_8` is the tag of the first.
    fn size(&mut self, tag: u8, tag_8: u8) -> Result<u32, MsgpackError> {
        match tag.saturating_sub(tag_8) {
            0 => Ok(u32::from(u8::from_be_bytes(self.array()?))),
            1 => Ok(u32::from(u16::from_be_bytes(self.array()?))),
            _ => Ok(u32::from_be_bytes(self.array()?)),
        }
    }

    fn take(&mut self, size: u32) -> Result<&'a [u8], MsgpackError> {
        let size = usize::try_from(size).map_err(|_| MsgpackError::TooLarge)?;
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(MsgpackError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(MsgpackError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// A moment as JavaScript's `JSON.stringify` writes a `Date`: years of four digits or of six with a sign, `null` outside of what it can hold.
fn date(ms: i64) -> String {
    if ms.unsigned_abs() > 8_640_000_000_000_000 {
        return "null".to_owned();
    }
    // The same day in the cycle that begins in 1970, so that the year has four digits there.
    let (cycles, within) = (ms.div_euclid(CYCLE_MS), ms.rem_euclid(CYCLE_MS));
    let iso = Time(u64::try_from(within).unwrap_or(0)).iso();
    let (year, rest) = iso.split_once('-').unwrap_or_default();
    let year = year.parse::<i64>().unwrap_or(0).saturating_add(cycles.saturating_mul(CYCLE_YEARS));
    match year {
        0..=9999 => format!("\"{year:04}-{rest}\""),
        _ => format!("\"{year:+07}-{rest}\""),
    }
}

#[cfg(test)]
#[path = "msgpack_tests.rs"]
mod tests;
