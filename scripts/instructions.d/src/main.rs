//! Each codec at its daily work, so many times; scripts/instructions counts the instructions of each function here.

use rill::internals::server::redis::resp::{self, Bounds, Decoder, Value};
use rill::internals::codec::{engine_packet, frame, http, payload, query, socket_packet};
use rill::internals::server::redis::msgpack;
use rill::internals::id::{Nsp, Offset};
use rill::internals::proto::websocket::Receiver;
use rill::internals::server::log::entry::{Entry, Posted, Target};
use rill::internals::server::redis::wire;
use rill::{Args, Limits};
use std::cell::RefCell;
use std::hint::black_box;

const OFFSET: Option<Offset> = Some(Offset { ms: 1_795_463_246_517, seq: 3 });
const HEAD: &[u8] = b"GET /socket.io/?EIO=4&transport=polling&t=Pab1cd2&sid=lv_VI97HAXpY6yYWAAAC HTTP/1.1\r\nHost: example.com\r\n\
    Connection: keep-alive\r\nAccept: */*\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.5\r\nReferer: https://example.com/chat\r\n\r\n";
const QUERY: &str = "EIO=4&transport=polling&t=Pab1cd2&sid=lv_VI97HAXpY6yYWAAAC&name=Ada%20Lovelace";
const OBJECT: &str = r#"{"active":true,"id":10000000,"name":"Ada Lovelace","nested":{"depth":2,"tags":["first","second","third"]},"price":12.5,"text":"a line of text"}"#;

/// What the cases work on.
struct Input {
    short: String,
    object: String,
    long: String,
    ack: String,
    args: Args,
    long_args: Args,
    binary: Args,
    frames: Vec<frame::Frame>,
    body: String,
    short_frame: Vec<u8>,
    long_frame: Vec<u8>,
    posted: Posted,
    posted_binary: Posted,
    nsp: Nsp,
    limits: Limits,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    binary_fields: Vec<(Vec<u8>, Vec<u8>)>,
    page: Vec<u8>,
    decoder: RefCell<Decoder>,
}

/// A masked text frame as clients send it.
fn masked(text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(length @ ..126) => out.push(0x80 | length as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
        Err(_) => return out,
    }
    out.extend(mask);
    out.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn posted(args: Args) -> Posted {
    let to = Target { rooms: vec![rill::Room::from("lobby")].into(), except: Vec::new() };
    Posted { uid: "3f2a1b4c5d6e7f80".into(), seq: 1 << 40, entry: Entry::Broadcast { to, name: "echo".into(), args } }
}

fn fields(nsp: &Nsp, posted: &Posted) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = wire::encode(nsp, posted).unwrap_or_default();
    fields.into_iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// The reply to an XREAD with 100 entries.
fn page(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"*1\r\n*2\r\n$12\r\nsocket.io#/#\r\n*100\r\n".to_vec();
    for n in 0..100 {
        out.extend(format!("*2\r\n$16\r\n1795463246517-{}\r\n", 10 + n % 90).bytes());
        let words: Vec<&[u8]> = fields.iter().flat_map(|(field, value)| [&field[..], &value[..]]).collect();
        resp::command(&mut out, &words);
    }
    out
}

impl Input {
    fn new() -> Input {
        let text = |size: usize| -> String { ('a'..='z').cycle().take(size).collect() };
        let json = |text: &str| Args::from_wire(text.to_owned(), Vec::new());
        let short = format!("2[\"echo\",\"{}\"]", text(64));
        let args = json(&format!("\"{}\"", text(64)));
        let binary = Args::new().with_binary(vec![7; 64]);
        let nsp = Nsp::new("/");
        let (posted, posted_binary) = (posted(args.clone()), posted(binary.clone()));
        let frames: Vec<_> = (0..10).map(|_| frame::Frame::text(&format!("4{short}"))).collect();
        let fields_of_text = fields(&nsp, &posted);
        Input {
            object: format!("2[\"echo\",{OBJECT}]"),
            long: format!("2[\"echo\",\"{}\"]", text(16_384)),
            ack: format!("212[\"echo\",\"{}\"]", text(64)),
            long_args: json(&format!("\"{}\"", text(16_384))),
            body: String::from_utf8_lossy(&payload::encode(&frames)).into_owned(),
            short_frame: masked(&format!("4{short}")),
            long_frame: masked(&format!("42[\"echo\",\"{}\"]", text(16_384))),
            binary_fields: fields(&nsp, &posted_binary),
            page: page(&fields_of_text),
            decoder: RefCell::new(Decoder::new(BOUNDS)),
            fields: fields_of_text,
            limits: Limits::default(),
            short,
            args,
            binary,
            frames,
            posted,
            posted_binary,
            nsp,
        }
    }
}

/// A function of this name for each case: what it does is done once for each call.
macro_rules! cases {
    ($($name:ident($input:ident) $body:block)*) => {
        $(#[inline(never)]
        fn $name($input: &Input) {
            black_box($body);
        })*

        const CASES: &[fn(&Input)] = &[$($name),*];
    };
}

cases! {
    engine_packets_read(input) { payload::packets(black_box(&input.body)).map(engine_packet::decode).filter(Result::is_ok).count() }
    engine_packets_write(input) { payload::encode(black_box(&input.frames)) }
    event_64_bytes_read(input) { socket_packet::decode(black_box(&input.short), 10).is_ok() }
    event_object_read(input) { socket_packet::decode(black_box(&input.object), 10).is_ok() }
    event_16_kib_read(input) { socket_packet::decode(black_box(&input.long), 10).is_ok() }
    event_with_ack_read(input) { socket_packet::decode(black_box(&input.ack), 10).is_ok() }
    event_64_bytes_write(input) { socket_packet::event("/", None, "echo", black_box(&input.args), None) }
    event_with_offset_write(input) { socket_packet::event("/", None, "echo", black_box(&input.args), OFFSET) }
    event_16_kib_write(input) { socket_packet::event("/", None, "echo", black_box(&input.long_args), None) }
    event_binary_write(input) { socket_packet::event("/", None, "echo", black_box(&input.binary), None) }
    ack_write(input) { socket_packet::ack("/", 12, black_box(&input.args)) }
    websocket_64_bytes_read(input) { receive(&input.short_frame) }
    websocket_16_kib_read(input) { receive(&input.long_frame) }
    http_head_read(input) { (http::find_end(black_box(HEAD), 0), http::parse(black_box(HEAD), 100).is_ok(), &input.nsp) }
    query_read(input) { (query::Query::parse(black_box(QUERY)), &input.nsp) }
    entry_write(input) { xadd(&input.nsp, &input.posted) }
    entry_read(input) { entry(&input.fields, &input.limits) }
    entry_binary_write(input) { xadd(&input.nsp, &input.posted_binary) }
    entry_binary_read(input) { entry(&input.binary_fields, &input.limits) }
    msgpack_write(input) { msgpack::from_json(black_box(OBJECT), input.binary.attachments()).is_ok() }
    redis_100_entries_read(input) { redis_reply(&mut input.decoder.borrow_mut(), black_box(&input.page)) }
}

const BOUNDS: Bounds = Bounds { bulk: 1 << 20, reply: 1 << 29, depth: 8, elements: 1_000_000 };

/// The receiver unmasks in place, so the frame is copied first, as a read does.
fn receive(frame: &[u8]) -> bool {
    let (mut receiver, mut bytes) = (Receiver::new(1_000_000, 1_000), frame.to_vec());
    receiver.next(black_box(&mut bytes), &mut 0).is_ok()
}

fn xadd(nsp: &Nsp, posted: &Posted) -> Vec<u8> {
    // There is room: the buffer of a connection is used again.
    let mut out = Vec::with_capacity(1_024);
    let fields = wire::encode(nsp, black_box(posted)).unwrap_or_default();
    let words: Vec<&[u8]> = fields.iter().flat_map(|(field, value)| [field.as_bytes(), value.as_bytes()]).collect();
    resp::command(&mut out, &words);
    out
}

/// Reads a reply and looks at each string in it, as its connection does with one after the other.
fn redis_reply(decoder: &mut Decoder, bytes: &[u8]) -> Option<usize> {
    decoder.next(bytes, &mut 0).is_ok_and(|whole| whole).then(|| size(decoder.reply()))
}

fn size(value: Value<'_>) -> usize {
    match value {
        Value::Array(items) => {
            items.map(|item| if let Value::Bulk(text) = item { text.len() } else { size(item) }).sum()
        }
        _ => 0,
    }
}

fn entry(fields: &[(Vec<u8>, Vec<u8>)], limits: &Limits) -> bool {
    wire::decode(black_box(fields).iter().map(|(field, value)| (&field[..], &value[..])), limits).is_ok()
}

fn main() {
    let input = Input::new();
    // Not seen through: the compiler would make one function of two.
    for case in black_box(CASES) {
        for _ in 0..100 {
            case(&input);
        }
    }
}
