//! A Socket.IO packet: connections to namespaces, events, acknowledgements.
//!
//! Socket.IO protocol 5, "Packet encoding". Without the `4` of the Engine.IO message that carries it:
//!
//! ```text
//! packet = type [attachments "-"] [namespace ","] [id] [payload]
//! type   = 0 CONNECT, 1 DISCONNECT, 2 EVENT, 3 ACK, 4 CONNECT_ERROR, 5 BINARY_EVENT, 6 BINARY_ACK
//! ```
//!
//! The comma may be missing when nothing follows; no namespace means `/`. A payload is checked to be JSON, at most
//! 127 levels deep, and passed on as the text it is.

use super::args::Args;
use super::frame::{Frame, FrameBuilder};
use super::json;
use super::validate;
use crate::id::Offset;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The largest id that every client can hold: JavaScript's greatest safe integer.
const MAX_ID: u64 = (1 << 53) - 1;

/// A packet as a client may send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketPacket<'a> {
    /// The client asks for a namespace.
    Connect {
        /// The namespace.
        nsp: &'a str,
        /// A JSON object, if any. It is read here and not passed on: halves of surrogate pairs are replaced.
        auth: Option<Cow<'a, str>>,
    },
    /// The client leaves a namespace.
    Disconnect {
        /// The namespace.
        nsp: &'a str,
    },
    /// An event, plain or binary.
    Event {
        /// The namespace.
        nsp: &'a str,
        /// If there, the client waits for an acknowledgement under this id.
        id: Option<u64>,
        /// The event's name; of a name that is a number, its text.
        name: Cow<'a, str>,
        /// The JSON text of what follows the name, without brackets.
        args: &'a str,
        /// How many binary messages follow and belong to the packet; 0 if it is plain.
        attachments: usize,
    },
    /// An acknowledgement, plain or binary.
    Ack {
        /// The namespace.
        nsp: &'a str,
        /// The id of the event.
        id: u64,
        /// The JSON text of the arguments, without brackets.
        args: &'a str,
        /// How many binary messages follow and belong to the packet; 0 if it is plain.
        attachments: usize,
    },
}

/// Why a text is no packet: one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketError {
    /// The type is not 0 to 3, 5 or 6. Only a server sends 4.
    UnknownType,
    /// The number of attachments is missing, not an integer, or 0.
    Attachments,
    /// There are more attachments than this.
    TooManyAttachments(usize),
    /// The id of an acknowledgement is missing, or an id is over 2^53 - 1.
    Id,
    /// The payload is missing, or of the wrong kind: an object for CONNECT, nothing for DISCONNECT, else an array.
    Payload,
    /// The payload is not JSON, or too deep.
    Json,
    /// The name is missing, neither string nor number, or reserved.
    EventName,
    /// The number of a placeholder is missing, not an integer, or that of no attachment.
    Placeholder,
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SocketError::UnknownType => "unknown packet type",
            SocketError::Attachments => "illegal number of attachments",
            SocketError::TooManyAttachments(most) => return write!(f, "more than {most} attachments"),
            SocketError::Id => "illegal acknowledgement id",
            SocketError::Payload => "invalid payload",
            SocketError::Json => "invalid JSON",
            SocketError::EventName => "illegal event name",
            SocketError::Placeholder => "illegal attachments",
        })
    }
}

impl std::error::Error for SocketError {}

/// Reads one packet: the text of an Engine.IO message, without its `4`. Takes time linear in the text.
///
/// # Errors
/// See [`SocketError`]; the official server closes the connection on each of them.
pub fn decode(text: &str, max_attachments: usize) -> Result<SocketPacket<'_>, SocketError> {
    match text.split_at_checked(1) {
        Some(("0", rest)) => decode_connect(rest),
        Some(("1", rest)) => match namespace(rest) {
            (nsp, "") => Ok(SocketPacket::Disconnect { nsp }),
            _ => Err(SocketError::Payload),
        },
        Some(("2", rest)) => decode_event(rest, 0),
        Some(("3", rest)) => decode_ack(rest, 0),
        Some(("5", rest)) => attachments(rest, max_attachments).and_then(|(count, rest)| decode_event(rest, count)),
        Some(("6", rest)) => attachments(rest, max_attachments).and_then(|(count, rest)| decode_ack(rest, count)),
        _ => Err(SocketError::UnknownType),
    }
}

fn decode_connect(text: &str) -> Result<SocketPacket<'_>, SocketError> {
    let (nsp, payload) = namespace(text);
    if payload.is_empty() {
        return Ok(SocketPacket::Connect { nsp, auth: None });
    }
    if !payload.trim_start_matches(json::SPACE).starts_with('{') {
        return Err(SocketError::Payload);
    }
    match validate::is_json(payload) {
        true => Ok(SocketPacket::Connect { nsp, auth: Some(json::well_formed(payload)) }),
        false => Err(SocketError::Json),
    }
}

/// An event without its type and number of attachments: what follows them.
///
/// # Errors
/// As [`decode`].
pub fn decode_event(text: &str, attachments: usize) -> Result<SocketPacket<'_>, SocketError> {
    let (nsp, text) = namespace(text);
    let (id, payload) = id(text)?;
    let (first, args) = validate::first_and_others(payload).ok_or_else(|| not_an_array(payload))?;
    let name = event_name(first.ok_or(SocketError::EventName)?)?;
    check_placeholders(args, attachments)?;
    Ok(SocketPacket::Event { nsp, id, name, args, attachments })
}

fn decode_ack(text: &str, attachments: usize) -> Result<SocketPacket<'_>, SocketError> {
    let (nsp, text) = namespace(text);
    let (id, payload) = id(text)?;
    let id = id.ok_or(SocketError::Id)?;
    let args = validate::array(payload).ok_or_else(|| not_an_array(payload))?;
    check_placeholders(args, attachments)?;
    Ok(SocketPacket::Ack { nsp, id, args, attachments })
}

/// `<count>-`: 1 to `max`. A count of 0 would leave the packet waiting for ever (CVE-2026-69185).
fn attachments(text: &str, max: usize) -> Result<(usize, &str), SocketError> {
    let (count, rest) = text.split_once('-').ok_or(SocketError::Attachments)?;
    match number(count).and_then(|count| usize::try_from(count).ok()) {
        Some(0) | None => Err(SocketError::Attachments),
        Some(count) if count > max => Err(SocketError::TooManyAttachments(max)),
        Some(count) => Ok((count, rest)),
    }
}

/// `/<name>,` or `/<name>` at the end; without it the main namespace.
fn namespace(text: &str) -> (&str, &str) {
    match text.starts_with('/') {
        true => text.split_once(',').unwrap_or((text, "")),
        false => ("/", text),
    }
}

/// The digits of an acknowledgement id, if any.
fn id(text: &str) -> Result<(Option<u64>, &str), SocketError> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(id) if id <= MAX_ID => Ok((Some(id), rest)),
        _ => Err(SocketError::Id),
    }
}

/// Decimal digits and nothing else.
fn number(digits: &str) -> Option<u64> {
    match digits.bytes().all(|b| b.is_ascii_digit()) {
        true => digits.parse().ok(),
        false => None,
    }
}

/// Why a payload is no JSON array.
fn not_an_array(payload: &str) -> SocketError {
    match payload.trim_start_matches(json::SPACE).starts_with('[') {
        true => SocketError::Json,
        false => SocketError::Payload,
    }
}

/// A string, or a number; the official parser refuses its own events' names.
fn event_name(text: &str) -> Result<Cow<'_, str>, SocketError> {
    let name = match json::read_string(text) {
        Some(name) => name,
        None if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => Cow::Borrowed(text),
        None => return Err(SocketError::EventName),
    };
    match is_reserved(&name) {
        true => Err(SocketError::EventName),
        false => Ok(name),
    }
}

/// Whether an event's name belongs to the protocol's own events, and so neither side may send it.
pub(crate) fn is_reserved(name: &str) -> bool {
    matches!(name, "connect" | "connect_error" | "disconnect" | "disconnecting" | "newListener" | "removeListener")
}

/// In a plain packet what looks like a placeholder is an object like any other.
fn check_placeholders(args: &str, attachments: usize) -> Result<(), SocketError> {
    match attachments == 0 || json::placeholders(args, attachments).is_some() {
        true => Ok(()),
        false => Err(SocketError::Placeholder),
    }
}

/// A packet on its way out: a text frame and its attachments, in the order in which they must go.
#[derive(Clone, Debug)]
pub struct Frames {
    /// The packet itself.
    pub first: Frame,
    /// Its attachments.
    pub rest: Vec<Frame>,
}

/// A packet without attachments.
impl From<Frame> for Frames {
    fn from(first: Frame) -> Frames {
        Frames { first, rest: Vec::new() }
    }
}

/// An event: `42["name",args…]`. The offset, for a client that may recover, is one more argument at the end.
#[must_use]
pub fn event(nsp: &str, id: Option<u64>, name: &str, args: &Args, offset: Option<Offset>) -> Frames {
    begin_event(nsp, id, name, args).finish(offset)
}

/// An event up to its end: the offset may be known later than the rest.
#[must_use]
pub fn begin_event<'a>(nsp: &str, id: Option<u64>, name: &str, args: &'a Args) -> EventBuilder<'a> {
    let mut packet = start("42", "45", nsp, id, args, name.len());
    packet.push("[");
    json::write_string(name, |piece| packet.push(piece));
    if !args.is_empty() {
        packet.push(",");
        packet.push(args.text());
    }
    EventBuilder { packet, args }
}

/// An event that has no end yet.
#[derive(Debug)]
pub struct EventBuilder<'a> {
    packet: FrameBuilder,
    args: &'a Args,
}

impl EventBuilder<'_> {
    /// Adds the offset, if there is one, and the end.
    #[must_use]
    pub fn finish(mut self, offset: Option<Offset>) -> Frames {
        if let Some(offset) = offset {
            self.packet.push(",\"");
            self.packet.push_number(offset.ms);
            self.packet.push("-");
            self.packet.push_number(offset.seq);
            self.packet.push("\"");
        }
        finish(self.packet, self.args)
    }
}

/// An acknowledgement: `43<id>[args…]`.
#[must_use]
pub fn ack(nsp: &str, id: u64, args: &Args) -> Frames {
    let mut packet = start("43", "46", nsp, Some(id), args, 0);
    packet.push("[");
    packet.push(args.text());
    finish(packet, args)
}

/// The client is in the namespace: `40{"sid":"…"}`, with its private id if it may recover.
#[must_use]
pub fn connect(nsp: &str, sid: &str, pid: Option<&str>) -> Frame {
    let mut packet = start("40", "40", nsp, None, &Args::new(), sid.len());
    packet.push("{\"sid\":");
    json::write_string(sid, |piece| packet.push(piece));
    if let Some(pid) = pid {
        packet.push(",\"pid\":");
        json::write_string(pid, |piece| packet.push(piece));
    }
    packet.push("}");
    packet.finish()
}

/// The client is not let into the namespace: `44{"message":"…"}`, with data if there is any.
#[must_use]
pub fn connect_error(nsp: &str, message: &str, data: Option<&RawValue>) -> Frame {
    let mut packet = start("44", "44", nsp, None, &Args::new(), message.len());
    packet.push("{\"message\":");
    json::write_string(message, |piece| packet.push(piece));
    if let Some(data) = data {
        packet.push(",\"data\":");
        packet.push(data.get());
    }
    packet.push("}");
    packet.finish()
}

/// The server ends the client's connection to the namespace: `41`.
#[must_use]
pub fn disconnect(nsp: &str) -> Frame {
    start("41", "41", nsp, None, &Args::new(), 0).finish()
}

/// Everything before the payload, with room for all of the packet: `extra` is what comes beside the arguments.
fn start(plain: &str, binary: &str, nsp: &str, id: Option<u64>, args: &Args, extra: usize) -> FrameBuilder {
    // Type, id, brackets, quotes and an offset.
    const AROUND: usize = 64;
    let size = args.text().len().saturating_add(nsp.len()).saturating_add(extra).saturating_add(AROUND);
    let mut packet = FrameBuilder::with_capacity(size);
    match args.attachments().len() {
        0 => packet.push(plain),
        count => {
            packet.push(binary);
            packet.push_number(u64::try_from(count).unwrap_or(u64::MAX));
            packet.push("-");
        }
    }
    if nsp != "/" {
        packet.push(nsp);
        packet.push(",");
    }
    if let Some(id) = id {
        packet.push_number(id);
    }
    packet
}

/// The end of the payload, and what must follow.
fn finish(mut packet: FrameBuilder, args: &Args) -> Frames {
    packet.push("]");
    let first = packet.finish();
    match args.attachments() {
        [] => first.into(),
        some => Frames { first, rest: some.iter().map(|data| Frame::binary(data)).collect() },
    }
}

#[cfg(test)]
#[path = "socket_packet_tests.rs"]
mod tests;
