//! A text that decodes is encoded and decoded again to the same packet; JSON that serde_json makes a tree of is never refused as JSON.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rill::internals::codec::args::Args;
use rill::internals::codec::frame::Frame;
use rill::internals::codec::socket_packet::{self, SocketError, SocketPacket, decode};
use serde_json::value::{RawValue, Value};

fuzz_target!(|text: &str| {
    let packet = decode(text, 10);
    let json = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if serde_json::from_str::<Value>(json).is_ok() {
        assert_ne!(packet, Err(SocketError::Json));
    }
    match packet {
        Ok(SocketPacket::Event { nsp, id, ref name, args, attachments }) => {
            let args = list(args, attachments);
            same(&socket_packet::event(nsp, id, name, &args, None).first, &packet);
        }
        Ok(SocketPacket::Ack { nsp, id, args, attachments }) => {
            same(&socket_packet::ack(nsp, id, &list(args, attachments)).first, &packet);
        }
        Ok(SocketPacket::Disconnect { nsp }) => same(&socket_packet::disconnect(nsp), &packet),
        Ok(SocketPacket::Connect { auth: Some(auth), .. }) => {
            serde_json::from_str::<&RawValue>(&auth).expect("JSON");
        }
        Ok(SocketPacket::Connect { auth: None, .. }) | Err(_) => {}
    }
});

fn same(frame: &Frame, packet: &Result<SocketPacket<'_>, SocketError>) {
    let text = std::str::from_utf8(frame.packet()).expect("UTF-8").strip_prefix('4').expect("a message");
    assert_eq!(&decode(text, 10), packet);
}

/// Arguments, of which every getter agrees with serde_json.
fn list(text: &str, attachments: usize) -> Args {
    let data = (0..attachments).map(|i| Bytes::from(i.to_string())).collect();
    let args = Args::from_wire(text.to_owned(), data);
    let array = format!("[{text}]");
    let values: Vec<&RawValue> = serde_json::from_str(&array).expect("JSON");
    assert_eq!(args.len(), values.len());
    for (i, value) in values.iter().enumerate() {
        assert_eq!(args.get(i).map(RawValue::get), Some(value.get()));
        let one = args.select(i).expect("an argument");
        assert_eq!(one.len(), 1);
        assert_eq!(one.binary(0), args.binary(i));
        assert_eq!(one.select(0).as_ref(), Some(&one));
        if attachments == 0 {
            assert_eq!(one.text(), value.get());
        }
    }
    args
}
