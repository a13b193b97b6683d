//! Any JSON text is accepted as an argument, an event's name and auth, and its strings read with U+FFFD for each half of a surrogate pair.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::codec::args::Args;
use rill::internals::codec::socket_packet::{SocketError, SocketPacket, decode};
use rill::internals::proto::auth;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|text: &str| {
    // A string of any characters and escapes, and a value around it.
    let quoted = format!("\"{text}\"");
    if serde_json::from_str::<&RawValue>(&quoted).is_ok() {
        let want = by_units(text);
        let event = format!("2[{quoted},{quoted},{{{quoted}:[{quoted}]}}]");
        match decode(&event, 10) {
            Ok(SocketPacket::Event { name, args, .. }) => {
                assert_eq!(name, want);
                let args = Args::from_wire(args.to_owned(), Vec::new());
                assert_eq!(args.string(0), Some(want.clone()));
                assert_eq!(args.value(1), Some(serde_json::json!({ &*want: [&*want] })));
                assert_eq!(args.get(0).map(RawValue::get), Some(&*quoted), "passed on as it is");
            }
            Err(SocketError::EventName) => assert!(rill_reserves(&want)),
            other => panic!("{other:?}"),
        }
        let connect = format!("0{{{quoted}:{quoted},\"pid\":\"abcdefghijklmnopqrst\",\"offset\":\"1-2\"}}");
        match decode(&connect, 10) {
            Ok(SocketPacket::Connect { auth: Some(auth), .. }) => {
                let Value::Object(object) = serde_json::from_str(&auth).expect("a tree") else { panic!("{auth}") };
                assert_eq!(object.get(&want).and_then(Value::as_str).map(str::len).is_some(), true);
                assert!(auth::session(&auth).0.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
    // Any value: what serde_json can check is decoded, and what it makes a tree of is read as that tree.
    if let (Ok(SocketPacket::Event { args, .. }), Ok(tree)) =
        (decode(&format!("2[\"x\",{text}]"), 10), serde_json::from_str::<Value>(text))
    {
        let args = Args::from_wire(args.to_owned(), Vec::new());
        if args.len() == 1 {
            assert_eq!(args.value(0), Some(tree));
        }
    }
});

fn rill_reserves(name: &str) -> bool {
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"].contains(&name)
}

/// What a string says, by its code units.
fn by_units(quoted: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        let said = match c {
            '\\' => match chars.next().expect("an escape") {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).expect("digits"));
                    continue;
                }
                other => other,
            },
            c => c,
        };
        units.extend_from_slice(said.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}
