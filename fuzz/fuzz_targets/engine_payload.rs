//! Any body splits into packets without panic, and the messages in it survive being encoded and decoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::codec::engine_packet::{EnginePacket, decode};
use rill::internals::codec::frame::Frame;
use rill::internals::codec::payload;

fuzz_target!(|body: &str| {
    let messages = || payload::packets(body).filter_map(|packet| decode(packet).ok());
    let frames: Vec<Frame> = messages()
        .filter_map(|packet| match packet {
            EnginePacket::Text(text) => Some(Frame::text(&format!("4{text}"))),
            EnginePacket::Binary(data) => Some(Frame::binary(&data)),
            _ => None,
        })
        .collect();
    let encoded = payload::encode(&frames);
    assert_eq!(encoded.capacity(), encoded.len());
    let encoded = String::from_utf8(encoded).expect("a payload is text");
    let mut again = payload::packets(&encoded).filter_map(|packet| decode(packet).ok());
    for packet in messages() {
        if matches!(packet, EnginePacket::Text(_) | EnginePacket::Binary(_)) {
            assert_eq!(again.next(), Some(packet));
        }
    }
    assert_eq!(again.next(), None);
    for frame in &frames {
        assert!(frame.websocket().ends_with(frame.packet()));
        assert!(!frame.to_base64().is_binary());
    }
});
