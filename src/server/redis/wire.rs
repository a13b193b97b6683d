//! How an [`Entry`] stands in a Redis stream: as the official adapter writes it, so that its servers and emitters can share the stream.
//!
//! @socket.io/redis-streams-adapter 0.2 and 0.3. An entry is a list of fields:
//!
//! | field | content |
//! |---|---|
//! | `uid` | who sent it; missing: an emitter |
//! | `nsp` | the namespace, with its leading `/` |
//! | `type` | a number |
//! | `data` | a JSON object, or base64 of MessagePack if there is binary in it; types without data have no such field |
//! | `seq` | ours: the sender's number for the entry; missing: 0 |
//!
//! Two more keys are ours: `more`, in answers with more than the one value that the official adapter carries, and the data of the types from
//! 20 on. Official readers ignore what they don't know, and so do we.
//!
//! What is read comes from any program that may write to the stream. An event goes through the same door as a client's: it is checked to be
//! JSON, at most 127 levels deep, under no reserved name, and its arguments are passed on byte for byte.

pub use crate::server::redis::wire_error::WireError;

use crate::codec::args::Args;
use crate::codec::json;
use crate::codec::socket_packet::{self, SocketError, SocketPacket};
use crate::codec::validate;
use crate::id::{Nsp, Offset, Pid, Room, SocketId};
use crate::limits::Limits;
use crate::server::log::entry::{Entry, Member, Posted, Record, RemoteSocket, RequestId, Rooms, Target};
use crate::server::redis::msgpack;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_core::de::DeserializeOwned;
use serde_json::value::{RawValue, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Attachments of one entry. A server may send more than a client; each costs more memory than the two bytes that announce an empty one.
const MAX_ATTACHMENTS: usize = 10_000;
/// Rooms in one target, for the same reason.
const MAX_ROOMS: usize = 100_000;
/// Milliseconds that clients may take to answer a question that does not say: as long as official servers wait for one another.
const DEFAULT_TIMEOUT: u64 = 5_000;

// ---- writing

/// The fields of an entry and their values, as they follow the id in XADD.
///
/// # Errors
/// [`WireError::Msgpack`], only if there are attachments: an argument that was never validated, too deep, or with a wrong placeholder. Nothing
/// may be written then: an entry of type 3 without data stops an official reader for good.
pub fn encode<'a>(nsp: &'a Nsp, posted: &'a Posted) -> Result<Vec<(&'static str, Cow<'a, str>)>, WireError> {
    let nsp = match &posted.entry {
        Entry::Claim(own) | Entry::Ended(own, _) | Entry::Withdrawn(own, _) | Entry::Taken { nsp: own, .. } => own,
        Entry::Record(record) => &record.nsp,
        _ => nsp,
    };
    let data = data(&posted.entry)?;
    let mut fields = Vec::with_capacity(5);
    fields.push(("uid", Cow::Borrowed(&*posted.uid)));
    fields.push(("nsp", Cow::Borrowed(nsp.as_str())));
    fields.push(("type", Cow::Borrowed(kind(&posted.entry))));
    fields.extend(data.map(|data| ("data", Cow::Owned(data))));
    if posted.seq != 0 {
        fields.push(("seq", Cow::Owned(posted.seq.to_string())));
    }
    Ok(fields)
}

fn kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Marker => "1",
        Entry::Present => "2",
        Entry::Broadcast { .. } | Entry::Passing { .. } | Entry::Ask { .. } => "3",
        Entry::Join { .. } => "4",
        Entry::Leave { .. } => "5",
        Entry::Disconnect { .. } => "6",
        Entry::Fetch { .. } => "7",
        Entry::Fetched { .. } => "8",
        Entry::ServerSide { .. } => "9",
        Entry::ServerAnswer { .. } => "10",
        Entry::Asked { .. } => "11",
        Entry::Answer { .. } => "12",
        Entry::Closed => "13",
        Entry::Record(_) => "20",
        Entry::Claim(_) => "21",
        Entry::Taken { .. } => "22",
        Entry::Member(_) => "23",
        Entry::Wake => "24",
        Entry::Ended(..) => "25",
        Entry::Withdrawn(..) => "26",
    }
}

fn data(entry: &Entry) -> Result<Option<String>, WireError> {
    let text = match entry {
        Entry::Marker | Entry::Present | Entry::Closed | Entry::Claim(_) | Entry::Wake => return Ok(None),
        Entry::Broadcast { to, name, args } => packet_text(name, args, "", to, ""),
        Entry::Passing { to, name, args } => packet_text(name, args, "", to, r#""volatile":true"#),
        Entry::Ask { to, name, args, request, timeout_ms } => {
            let request = format!(r#""requestId":"{request:016x}","#);
            packet_text(name, args, &request, to, &format!(r#""timeout":{timeout_ms}"#))
        }
        Entry::Join { to, rooms } | Entry::Leave { to, rooms } => {
            format!(r#"{{"opts":{},"rooms":{}}}"#, opts(to), names(rooms))
        }
        Entry::Disconnect { to, close } => format!(r#"{{"opts":{},"close":{close}}}"#, opts(to)),
        Entry::Fetch { to, request } => format!(r#"{{"opts":{},"requestId":"{request:016x}"}}"#, opts(to)),
        Entry::Fetched { request, sockets, more } => {
            let sockets: Vec<String> = sockets.iter().map(socket_text).collect();
            let more = if *more { r#","more":true"# } else { "" };
            format!(r#"{{"requestId":"{request:016x}","sockets":[{}]{more}}}"#, sockets.join(","))
        }
        Entry::ServerSide { name, args, request } => {
            let request = request.map(|request| format!(r#""requestId":"{request:016x}","#)).unwrap_or_default();
            let mut text = format!(r#"{{{request}"packet":"#);
            push_event(&mut text, name, args);
            text.push('}');
            text
        }
        Entry::ServerAnswer { request, args } | Entry::Answer { request, args } => {
            format!(r#"{{"requestId":"{request:016x}"{}}}"#, answer_text(args))
        }
        Entry::Asked { request, clients } => format!(r#"{{"requestId":"{request:016x}","clientCount":{clients}}}"#),
        Entry::Record(record) => record_text(record),
        Entry::Taken { sid, claim, .. } => format!(r#"{{"sid":{},"claim":"{claim}"}}"#, Value::from(sid.as_str())),
        Entry::Ended(_, claim) | Entry::Withdrawn(_, claim) => format!(r#"{{"claim":"{claim}"}}"#),
        Entry::Member(Member { name, tag, address, clients, proof }) => {
            let [name, tag, address] = [name, tag, address].map(|text| Value::from(&**text));
            let proof = if proof.is_empty() { String::new() } else { format!(r#","proof":{}"#, Value::from(&**proof)) };
            format!(r#"{{"name":{name},"tag":{tag},"address":{address},"clients":{clients}{proof}}}"#)
        }
    };
    match entry.attachments() {
        [] => Ok(Some(text)),
        attachments => Ok(Some(STANDARD.encode(msgpack::from_json(&text, attachments)?))),
    }
}

/// An event for clients; `request` is empty, or the key of an answer and a comma.
fn packet_text(name: &str, args: &Args, request: &str, to: &Target, flags: &str) -> String {
    // What stands around, and some names of rooms.
    let mut text = String::with_capacity(args.text().len() + name.len() + 192);
    text.push_str(r#"{"packet":{"type":2,"data":"#);
    push_event(&mut text, name, args);
    text.push_str("},");
    text.push_str(request);
    text.push_str(r#""opts":"#);
    push_opts(&mut text, to, flags);
    text.push('}');
    text
}

/// `["name",args…]`, the text of the arguments as it is.
fn push_event(text: &mut String, name: &str, args: &Args) {
    text.push('[');
    json::write_string(name, |piece| text.push_str(piece));
    if !args.is_empty() {
        text.push(',');
        text.push_str(args.text());
    }
    text.push(']');
}

fn opts(to: &Target) -> String {
    let mut text = String::new();
    push_opts(&mut text, to, "");
    text
}

/// Always with all three keys: an official server that recovers a session trips over a missing one.
fn push_opts(text: &mut String, to: &Target, flags: &str) {
    text.push_str(r#"{"rooms":"#);
    push_names(text, &to.rooms);
    text.push_str(r#","except":"#);
    push_names(text, &to.except);
    text.push_str(r#","flags":{"#);
    text.push_str(flags);
    text.push_str("}}");
}

fn names(rooms: &[Room]) -> String {
    let mut text = String::new();
    push_names(&mut text, rooms);
    text
}

fn push_names(text: &mut String, rooms: &[Room]) {
    text.push('[');
    for (i, room) in rooms.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        json::write_string(room.as_str(), |piece| text.push_str(piece));
    }
    text.push(']');
}

/// The first argument in the key of the official adapter, the others in ours.
fn answer_text(args: &Args) -> String {
    let Some(first) = args.get(0).map(RawValue::get) else { return String::new() };
    let after = args.text().trim_start().strip_prefix(first).unwrap_or_default().trim_start();
    match after.strip_prefix(',') {
        Some(more) => format!(r#","packet":{first},"more":[{more}]"#),
        None => format!(r#","packet":{first}"#),
    }
}

fn socket_text(socket: &RemoteSocket) -> String {
    let RemoteSocket { id, handshake, rooms, data } = socket;
    format!(r#"{{"id":{},"handshake":{handshake},"rooms":{},"data":{data}}}"#, Value::from(id.as_str()), names(rooms))
}

fn record_text(record: &Record) -> String {
    let Record {
        nsp: _,
        sid,
        pid,
        claim,
        since,
        position,
        stale,
        doubtful,
        taken,
        away,
        rooms,
        rooms_since,
        rooms_until,
        base,
        data,
    } = record;
    let (sid, pid) = (Value::from(sid.as_str()), Value::from(pid.as_str()));
    let stale = stale.map(|stale| format!(r#","stale":"{stale}""#)).unwrap_or_default();
    let doubtful = doubtful.map(|doubtful| format!(r#","doubtful":"{doubtful}""#)).unwrap_or_default();
    let places = format!(r#""claim":"{claim}","since":"{since}","position":"{position}"{stale}{doubtful}"#);
    let state = format!(r#""taken":{taken},"away":{away}"#);
    let base = base.as_ref().map(|base| format!(r#","base":{}"#, names(base))).unwrap_or_default();
    let rooms = format!(r#""rooms":{},"roomsSince":"{rooms_since}","roomsUntil":"{rooms_until}"{base}"#, names(rooms));
    format!(r#"{{"sid":{sid},"pid":{pid},{places},{state},{rooms},"data":{data}}}"#)
}

// ---- reading

/// Reads the fields of an entry, in any order; of a repeated one the last counts, as in the official adapter.
///
/// # Errors
/// See [`WireError`]. The reader must have moved past the entry already.
pub fn decode<'a>(
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    limits: &Limits,
) -> Result<(Nsp, Posted), WireError> {
    decode_next(fields, &Nsp::new("/"), &Arc::default(), limits).map(|(nsp, posted)| (nsp.into_owned(), posted))
}

/// As [`decode`]. The entry's namespace is probably `nsp`, and it comes from `sender` like the one before it: then it shares their names.
///
/// # Errors
/// As [`decode`].
pub fn decode_next<'a, 'n>(
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    nsp: &'n Nsp,
    sender: &Arc<str>,
    limits: &Limits,
) -> Result<(Cow<'n, Nsp>, Posted), WireError> {
    let (likely, mut uid, mut kind, mut data, mut seq) = (nsp, None, None, None, None);
    let mut nsp = None;
    for (field, value) in fields {
        match field {
            b"uid" => uid = Some(value),
            b"nsp" => nsp = Some(value),
            b"type" => kind = Some(value),
            b"data" => data = Some(value),
            b"seq" => seq = Some(value),
            _ => {}
        }
    }
    let nsp = match nsp {
        Some(name) if name == likely.as_str().as_bytes() => Cow::Borrowed(likely),
        name => match text(name, "nsp")? {
            "" => return Err(WireError::Field("nsp")),
            name => Cow::Owned(Nsp::new(short(name, limits)?)),
        },
    };
    let uid = match uid {
        None => "emitter".into(),
        Some(uid) if uid == sender.as_bytes() => sender.clone(),
        uid => short(text(uid, "uid")?, limits)?.into(),
    };
    let seq = match seq {
        None => 0,
        seq => text(seq, "seq")?.parse().map_err(|_| WireError::Field("seq"))?,
    };
    let entry = match text(kind, "type")? {
        "1" => Entry::Marker,
        "2" => Entry::Present,
        "13" => Entry::Closed,
        "21" => Entry::Claim(nsp.as_ref().clone()),
        "24" => Entry::Wake,
        kind => {
            let (text, attachments) = open(data.ok_or(WireError::Field("data"))?, limits)?;
            entry(kind, &nsp, &text, attachments, limits)?
        }
    };
    Ok((nsp, Posted { uid, seq, entry }))
}

fn text<'a>(field: Option<&'a [u8]>, name: &'static str) -> Result<&'a str, WireError> {
    field.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(WireError::Field(name))
}

fn short<'a>(name: &'a str, limits: &Limits) -> Result<&'a str, WireError> {
    match name.len() > limits.name_bytes {
        true => Err(WireError::NameTooLong),
        false => Ok(name),
    }
}

/// The data as JSON text and attachments: text that begins with `{` is JSON, anything else base64 of MessagePack.
fn open<'a>(data: &'a [u8], limits: &Limits) -> Result<(Cow<'a, str>, Vec<Bytes>), WireError> {
    if data.len() > limits.entry_bytes() {
        return Err(WireError::TooLarge);
    }
    if data.first() == Some(&b'{') {
        let text = std::str::from_utf8(data).map_err(|_| WireError::Json)?;
        return Ok((Cow::Borrowed(text), Vec::new()));
    }
    let bytes = STANDARD.decode(data).map_err(|_| WireError::Base64)?;
    let (text, attachments) = msgpack::to_json(&bytes, MAX_ATTACHMENTS)?;
    Ok((Cow::Owned(text), attachments))
}

fn entry(kind: &str, nsp: &Nsp, data: &str, attachments: Vec<Bytes>, limits: &Limits) -> Result<Entry, WireError> {
    match kind {
        "3" => match attachments.is_empty().then(|| plain_broadcast(data, limits)).flatten() {
            Some(event) => Ok(event),
            None => broadcast(data, attachments, limits),
        },
        "4" => room_command(data, limits, limits.rooms_per_client).map(|(to, rooms)| Entry::Join { to, rooms }),
        "5" => room_command(data, limits, MAX_ROOMS).map(|(to, rooms)| Entry::Leave { to, rooms }),
        "6" => {
            let [opts, close] = object(data, ["opts", "close"])?;
            let close = given(close).map_or(Ok(false), |close| parse(close, "close"))?;
            Ok(Entry::Disconnect { to: target(need(opts, "opts")?, limits)?, close })
        }
        "7" => {
            let [opts, request] = object(data, ["opts", "requestId"])?;
            Ok(Entry::Fetch { to: target(need(opts, "opts")?, limits)?, request: request_id(request)? })
        }
        "8" => {
            let [request, sockets, more] = object(data, ["requestId", "sockets", "more"])?;
            let more = given(more).map_or(Ok(false), |more| parse(more, "more"))?;
            let sockets = elements(need(sockets, "sockets")?, "sockets")?;
            let sockets = sockets.into_iter().map(|socket| remote_socket(socket, limits)).collect::<Result<_, _>>()?;
            Ok(Entry::Fetched { request: request_id(request)?, sockets, more })
        }
        "9" => {
            let [packet, request] = object(data, ["packet", "requestId"])?;
            let (name, args) = event(need(packet, "packet")?, attachments)?;
            let request = given(request).map(|request| request_id(Some(request))).transpose()?;
            Ok(Entry::ServerSide { name, args, request })
        }
        "10" => answer(data, attachments).map(|(request, args)| Entry::ServerAnswer { request, args }),
        "11" => {
            let [request, clients] = object(data, ["requestId", "clientCount"])?;
            let clients = parse(need(clients, "clientCount")?, "clientCount")?;
            Ok(Entry::Asked { request: request_id(request)?, clients })
        }
        "12" => answer(data, attachments).map(|(request, args)| Entry::Answer { request, args }),
        "20" => record(nsp, data, limits).map(|record| Entry::Record(Box::new(record))),
        "22" => {
            let [sid, claim] = object(data, ["sid", "claim"])?;
            Ok(Entry::Taken { nsp: nsp.clone(), sid: socket_id(sid, "sid", limits)?, claim: offset(claim, "claim")? })
        }
        "23" => {
            let [name, tag, address, clients, proof] = object(data, ["name", "tag", "address", "clients", "proof"])?;
            Ok(Entry::Member(Member {
                name: short(&string(name, "name")?, limits)?.into(),
                tag: short(&string(tag, "tag")?, limits)?.into(),
                address: short(&string(address, "address")?, limits)?.into(),
                clients: parse(need(clients, "clients")?, "clients")?,
                proof: match proof {
                    Some(proof) => short(&string(Some(proof), "proof")?, limits)?.into(),
                    None => Box::default(),
                },
            }))
        }
        "25" => {
            let [claim] = object(data, ["claim"])?;
            Ok(Entry::Ended(nsp.clone(), offset(claim, "claim")?))
        }
        "26" => {
            let [claim] = object(data, ["claim"])?;
            Ok(Entry::Withdrawn(nsp.clone(), offset(claim, "claim")?))
        }
        _ => Err(WireError::UnknownType),
    }
}

/// An event as [`packet_text`] writes it, which nearly all are, in one pass. `None`: it is left to [`broadcast`], because it was written in
/// another way, makes no sense, or goes to a room with a brace or a colon in its name.
fn plain_broadcast(data: &str, limits: &Limits) -> Option<Entry> {
    let inner = data.strip_prefix(r#"{"packet":{"type":2,"data":"#)?.strip_suffix(r#","flags":{}}}"#)?;
    let (list, opts) = split_at_last(inner, b'{')?;
    let (rooms, except) = split_at_last(opts.strip_prefix(r#"{"rooms":"#)?, b':')?;
    let (name, args) = event(list.strip_suffix(r#"},"opts":"#)?, Vec::new()).ok()?;
    let rooms = target_rooms(rooms.strip_suffix(r#","except""#)?, limits).ok()?;
    let except = rooms_in(except.strip_prefix(':')?, "except", limits, MAX_ROOMS).ok()?;
    Some(Entry::Broadcast { to: Target { rooms, except }, name, args })
}

/// Before the last of these bytes, and from it on. It is near: a search for far ones would take longer to begin.
fn split_at_last(text: &str, byte: u8) -> Option<(&str, &str)> {
    text.split_at_checked(text.bytes().rposition(|b| b == byte)?)
}

/// An event for clients, with or without a question. One that names nobody is for everybody; room commands must name whom they mean.
fn broadcast(data: &str, attachments: Vec<Bytes>, limits: &Limits) -> Result<Entry, WireError> {
    let [packet, request, opts] = object(data, ["packet", "requestId", "opts"])?;
    let [list] = object(need(packet, "packet")?, ["data"])?;
    let (name, args) = event(need(list, "packet.data")?, attachments)?;
    let (to, flags) = target_and_flags(given(opts).unwrap_or("{}"), limits)?;
    let [timeout, volatile] = object(given(flags).unwrap_or("{}"), ["timeout", "volatile"])?;
    let Some(request) = given(request) else {
        // For official servers, too, what counts is that the flag is there.
        return Ok(match volatile {
            Some(_) => Entry::Passing { to, name, args },
            None => Entry::Broadcast { to, name, args },
        });
    };
    let timeout_ms = given(timeout).map_or(Ok(DEFAULT_TIMEOUT), |timeout| parse(timeout, "flags.timeout"))?;
    Ok(Entry::Ask { to, name, args, request: request_id(Some(request))?, timeout_ms })
}

/// Who is to join or leave which rooms, `most` at once.
fn room_command(data: &str, limits: &Limits, most: usize) -> Result<(Target, Vec<Room>), WireError> {
    let [opts, rooms] = object(data, ["opts", "rooms"])?;
    let rooms = rooms_in(need(rooms, "rooms")?, "rooms", limits, most)?;
    Ok((target(need(opts, "opts")?, limits)?, rooms))
}

fn target(opts: &str, limits: &Limits) -> Result<Target, WireError> {
    target_and_flags(opts, limits).map(|(to, _)| to)
}

fn target_and_flags<'a>(opts: &'a str, limits: &Limits) -> Result<(Target, Option<&'a str>), WireError> {
    let [rooms, except, flags] = object(opts, ["rooms", "except", "flags"])?;
    let rooms = given(rooms).map_or(Ok(Rooms::None), |rooms| target_rooms(rooms, limits))?;
    let except = given(except).map_or(Ok(Vec::new()), |rooms| rooms_in(rooms, "except", limits, MAX_ROOMS))?;
    Ok((Target { rooms, except }, flags))
}

/// For the one room that nearly all events go to no list is made.
fn target_rooms(list: &str, limits: &Limits) -> Result<Rooms, WireError> {
    // Most go to one room.
    match one_room(list) {
        Some(name) => Ok(Rooms::One(short(name, limits)?.into())),
        None => rooms_in(list, "rooms", limits, MAX_ROOMS).map(Rooms::from),
    }
}

/// The room of a list with one, if it is written as [`push_names`] writes it and without escapes.
fn one_room(list: &str) -> Option<&str> {
    let name = list.strip_prefix("[\"")?.strip_suffix("\"]")?;
    let special = |b: u8| b < b' ' || b == b'"' || b == b'\\';
    (!name.bytes().any(special)).then_some(name)
}

/// A list of rooms. In JavaScript a room may be a number; ours is its text.
fn rooms_in(list: &str, key: &'static str, limits: &Limits, most: usize) -> Result<Vec<Room>, WireError> {
    if list == "[]" {
        return Ok(Vec::new());
    }
    let list = elements(list, key)?;
    if list.len() > most {
        return Err(WireError::TooManyRooms);
    }
    let room = |item: &&str| {
        let name = match item.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            true => Cow::Borrowed(*item),
            false => text_of(item, key)?,
        };
        Ok(Room::from(short(&name, limits)?))
    };
    list.iter().map(room).collect()
}

/// `["name",args…]`, read as a client's EVENT packet would be; here the name must be a string.
fn event(list: &str, attachments: Vec<Bytes>) -> Result<(Box<str>, Args), WireError> {
    if !list.strip_prefix('[').is_some_and(|first| first.trim_start().starts_with('"')) {
        return Err(WireError::Event(SocketError::EventName));
    }
    match socket_packet::decode_event(list, attachments.len())? {
        SocketPacket::Event { name, args, .. } => Ok((name.into(), Args::from_wire(args.to_owned(), attachments))),
        _ => Err(WireError::Event(SocketError::Payload)),
    }
}

/// An answer, its values read as a client's ACK packet would be.
fn answer(data: &str, attachments: Vec<Bytes>) -> Result<(RequestId, Args), WireError> {
    let [request, packet, more] = object(data, ["requestId", "packet", "more"])?;
    let more = match more.map(|more| more.strip_prefix('[').and_then(|more| more.strip_suffix(']'))) {
        None => "",
        Some(Some(more)) => more.trim(),
        Some(None) => return Err(WireError::Key("more")),
    };
    let (first, comma) = (packet.unwrap_or_default(), if more.is_empty() { "" } else { "," });
    let packet = match attachments.len() {
        0 => format!("30[{first}{comma}{more}]"),
        count => format!("6{count}-0[{first}{comma}{more}]"),
    };
    match socket_packet::decode(&packet, MAX_ATTACHMENTS)? {
        SocketPacket::Ack { args, .. } => Ok((request_id(request)?, Args::from_wire(args.to_owned(), attachments))),
        _ => Err(WireError::Event(SocketError::Payload)),
    }
}

fn remote_socket(json: &str, limits: &Limits) -> Result<RemoteSocket, WireError> {
    let [id, handshake, rooms, data] = object(json, ["id", "handshake", "rooms", "data"])?;
    Ok(RemoteSocket {
        id: socket_id(id, "id", limits)?,
        handshake: given(handshake).map_or(Ok(Value::Null), |value| parse(value, "handshake"))?,
        rooms: rooms_in(need(rooms, "rooms")?, "rooms", limits, MAX_ROOMS)?,
        data: given(data).map_or(Ok(Value::Null), |value| parse(value, "data"))?,
    })
}

fn record(nsp: &Nsp, json: &str, limits: &Limits) -> Result<Record, WireError> {
    let [sid, pid, claim, since, position] = object(json, ["sid", "pid", "claim", "since", "position"])?;
    let [stale, doubtful, taken, away] = object(json, ["stale", "doubtful", "taken", "away"])?;
    let [rooms, rooms_since, rooms_until, base, data] =
        object(json, ["rooms", "roomsSince", "roomsUntil", "base", "data"])?;
    let record = Record {
        nsp: nsp.clone(),
        sid: socket_id(sid, "sid", limits)?,
        pid: Pid::from_wire(&string(pid, "pid")?).ok_or(WireError::Key("pid"))?,
        claim: offset(claim, "claim")?,
        since: offset(since, "since")?,
        position: offset(position, "position")?,
        stale: stale.map(|stale| offset(Some(stale), "stale")).transpose()?,
        doubtful: doubtful.map(|doubtful| offset(Some(doubtful), "doubtful")).transpose()?,
        taken: parse(need(taken, "taken")?, "taken")?,
        away: parse(need(away, "away")?, "away")?,
        rooms: rooms_in(need(rooms, "rooms")?, "rooms", limits, MAX_ROOMS)?,
        rooms_since: offset(rooms_since, "roomsSince")?,
        rooms_until: offset(rooms_until, "roomsUntil")?,
        base: base.map(|base| rooms_in(base, "base", limits, MAX_ROOMS)).transpose()?,
        data: Arc::new(parse(need(data, "data")?, "data")?),
    };
    // The rest of the server relies on it.
    let known = record.base.is_some() || record.rooms_since <= record.position;
    match record.since <= record.position && record.rooms_since <= record.rooms_until && known {
        true => Ok(record),
        false => Err(WireError::Key("position")),
    }
}

// ---- one value

fn object<'a, const N: usize>(json: &'a str, keys: [&str; N]) -> Result<[Option<&'a str>; N], WireError> {
    validate::object(json, keys).ok_or(WireError::Json)
}

fn need<'a>(value: Option<&'a str>, key: &'static str) -> Result<&'a str, WireError> {
    value.ok_or(WireError::Key(key))
}

/// What is `undefined` in JavaScript is missing in JSON, and null in MessagePack.
fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| *value != "null")
}

fn parse<T: DeserializeOwned>(value: &str, key: &'static str) -> Result<T, WireError> {
    json::read(value).ok_or(WireError::Key(key))
}

/// The elements of an array, each as its text.
fn elements<'a>(value: &'a str, key: &'static str) -> Result<Vec<&'a str>, WireError> {
    validate::elements(value).ok_or(WireError::Key(key))
}

fn text_of<'a>(value: &'a str, key: &'static str) -> Result<Cow<'a, str>, WireError> {
    json::read_string(value).ok_or(WireError::Key(key))
}

fn string<'a>(value: Option<&'a str>, key: &'static str) -> Result<Cow<'a, str>, WireError> {
    text_of(need(value, key)?, key)
}

fn offset(value: Option<&str>, key: &'static str) -> Result<Offset, WireError> {
    Offset::from_wire(&string(value, key)?).ok_or(WireError::Key(key))
}

fn socket_id(value: Option<&str>, key: &'static str, limits: &Limits) -> Result<SocketId, WireError> {
    Ok(SocketId::from_record(short(&string(value, key)?, limits)?))
}

/// 16 hexadecimal digits, and only in the form in which our answer gives them back.
fn request_id(value: Option<&str>) -> Result<RequestId, WireError> {
    let text = string(value, "requestId")?;
    match RequestId::from_str_radix(&text, 16) {
        Ok(request) if format!("{request:016x}") == text => Ok(request),
        _ => Err(WireError::Key("requestId")),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
