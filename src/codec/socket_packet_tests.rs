//! Vectors and properties of Socket.IO packets.

use super::SocketError::*;
use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use serde_core::de::IgnoredAny;
use serde_json::Value;
use std::time::Instant;

fn connect_packet<'a>(nsp: &'a str, auth: Option<&'a str>) -> SocketPacket<'a> {
    SocketPacket::Connect { nsp, auth: auth.map(Into::into) }
}

fn event_packet<'a>(nsp: &'a str, id: Option<u64>, name: &'a str, args: &'a str, n: usize) -> SocketPacket<'a> {
    SocketPacket::Event { nsp, id, name: name.into(), args, attachments: n }
}

fn ack_packet<'a>(nsp: &'a str, id: u64, args: &'a str, attachments: usize) -> SocketPacket<'a> {
    SocketPacket::Ack { nsp, id, args, attachments }
}

#[test]
fn packets_of_the_specification() {
    let hole = r#"{"_placeholder":true,"num":0}"#;
    for (text, want) in [
        ("0", connect_packet("/", None)),
        ("0/admin,", connect_packet("/admin", None)),
        ("0/custom", connect_packet("/custom", None)),
        (r#"0{"token":"123"}"#, connect_packet("/", Some(r#"{"token":"123"}"#))),
        (r#"0/admin,{"a":[1]}"#, connect_packet("/admin", Some(r#"{"a":[1]}"#))),
        (r#"0{"\udc00a":"\ud83d"}"#, connect_packet("/", Some(r#"{"\ufffda":"\ufffd"}"#))),
        ("1", SocketPacket::Disconnect { nsp: "/" }),
        ("1/admin,", SocketPacket::Disconnect { nsp: "/admin" }),
        ("1/custom", SocketPacket::Disconnect { nsp: "/custom" }),
        (r#"2["foo"]"#, event_packet("/", None, "foo", "", 0)),
        (r#"2/admin,["bar"]"#, event_packet("/admin", None, "bar", "", 0)),
        (r#"2/,["bar"]"#, event_packet("/", None, "bar", "", 0)),
        (r#"212["foo"]"#, event_packet("/", Some(12), "foo", "", 0)),
        (r#"2/admin,0["a","b",{"c":1}]"#, event_packet("/admin", Some(0), "a", r#""b",{"c":1}"#, 0)),
        (r#"3/admin,13["bar"]"#, ack_packet("/admin", 13, r#""bar""#, 0)),
        ("312[]", ack_packet("/", 12, "", 0)),
        (&format!(r#"51-["baz",{hole}]"#), event_packet("/", None, "baz", hole, 1)),
        (&format!(r#"52-/admin,7["baz",1,{hole}]"#), event_packet("/admin", Some(7), "baz", &format!("1,{hole}"), 2)),
        (&format!("61-15[{hole}]"), ack_packet("/", 15, hole, 1)),
        (&format!("61-/admin,1[{hole}]"), ack_packet("/admin", 1, hole, 1)),
    ] {
        assert_eq!(decode(text, 10), Ok(want), "{text}");
        // With trailing bytes none of them is a packet, or another one.
        assert_ne!(decode(&format!("{text}]"), 10), decode(text, 10), "{text}");
    }
}

/// Every prefix of a packet gives an error or a packet, never a panic.
#[test]
fn packets_cut_at_every_byte() {
    let text = r#"52-/admin,7["b€z",1,{"_placeholder":true,"num":1},"\ud83d\ude00"]"#;
    for (end, _) in text.char_indices() {
        assert!(decode(&text[..end], 10).is_err(), "{end}");
    }
    assert!(decode(text, 10).is_ok());
}

#[test]
fn what_passes_unchanged() {
    let deep = format!("{}1{}", "[".repeat(126), "]".repeat(126));
    for (name, args) in [
        ("numbers", "1,1.0,-0,1e999,123456789012345678901234567890,0.10"),
        ("words", "true,false,null"),
        ("lone surrogates", r#""\ud800","\udc00x""#),
        ("duplicate keys", r#"{"a":1,"a":2}"#),
        ("space inside", "[ 1 , 2 ],{ \"a\" : 1 }"),
        ("NUL and DEL", "\"\\u0000\u{7f}\""),
        ("a placeholder in a plain packet", r#"{"_placeholder":true,"num":9}"#),
        ("brackets and commas in strings", r#""],[","\"]""#),
        ("127 levels", &deep),
    ] {
        let text = format!("2[\"x\",{args}]");
        assert_eq!(decode(&text, 10), Ok(event_packet("/", None, "x", args, 0)), "{name}");
        let text = format!("37[{args}]");
        assert_eq!(decode(&text, 10), Ok(ack_packet("/", 7, args, 0)), "{name}");
    }
    let text = " \n[ \"x\" \t, 1 , 2 ]\r\n";
    assert_eq!(decode(&format!("2{text}"), 10), Ok(event_packet("/", None, "x", "1 , 2", 0)), "space outside");
    assert_eq!(decode("21[ \"x\" ]", 10), Ok(event_packet("/", Some(1), "x", "", 0)));
    assert_eq!(decode("0 {} ", 10), Ok(connect_packet("/", Some(" {} "))));
}

#[test]
fn event_names() {
    for (json, want) in [
        (r#""message""#, Ok("message")),
        (r#""""#, Ok("")),
        (r#""a\n\u20ac""#, Ok("a\n€")),
        (r#""error""#, Ok("error")),
        (r#""__proto__""#, Ok("__proto__")),
        (r#""Connect""#, Ok("Connect")),
        ("1", Ok("1")),
        ("-1.5e3", Ok("-1.5e3")),
        (r#""connect""#, Err(EventName)),
        (r#""conn\u0065ct""#, Err(EventName)),
        (r#""connect_error""#, Err(EventName)),
        (r#""disconnect""#, Err(EventName)),
        (r#""disconnecting""#, Err(EventName)),
        (r#""newListener""#, Err(EventName)),
        (r#""removeListener""#, Err(EventName)),
        (r#""\ud83d""#, Ok("\u{fffd}")),
        (r#""a\ud83d\ude00\ude00""#, Ok("a\u{1f600}\u{fffd}")),
        ("{}", Err(EventName)),
        ("[]", Err(EventName)),
        ("null", Err(EventName)),
        ("true", Err(EventName)),
        ("", Err(EventName)),
        ("x", Err(Json)),
    ] {
        let text = format!("2[{json}]");
        let want = want.map(|name| event_packet("/", None, name, "", 0));
        assert_eq!(decode(&text, 10), want, "{json}");
    }
}

#[test]
fn errors() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (name, text, want) in [
        ("nothing", "", UnknownType),
        ("letter", "abc", UnknownType),
        ("CONNECT_ERROR", r#"4{"message":"x"}"#, UnknownType),
        ("digit", "7", UnknownType),
        ("not ASCII", "€", UnknownType),
        ("CONNECT with a list", "0[]", Payload),
        ("CONNECT with a string", r#"0"x""#, Payload),
        ("CONNECT with null", "0null", Payload),
        ("CONNECT with an id", "01{}", Payload),
        ("CONNECT broken", "0{", Json),
        ("CONNECT with trailing text", "0{}x", Json),
        ("CONNECT too deep", &format!("0{{\"a\":{}}}", deep(127)), Json),
        ("DISCONNECT with payload", r#"1["x"]"#, Payload),
        ("DISCONNECT with payload in a namespace", "1/a,{}", Payload),
        ("EVENT without payload", "2", Payload),
        ("EVENT in a namespace without payload", "2/a", Payload),
        ("EVENT without payload but an id", "21", Payload),
        ("EVENT with an object", "2{}", Payload),
        ("EVENT with a string", r#"2"x""#, Payload),
        ("EVENT with text before the list", r#"2abc["x"]"#, Payload),
        ("EVENT with a negative id", r#"2-1["x"]"#, Payload),
        ("EVENT with text after the list", r#"2["a"]x"#, Json),
        ("EVENT with a list after the list", r#"2["a"]["b"]"#, Json),
        ("EVENT not closed", r#"2["a""#, Json),
        ("EVENT not begun", r#"2["#, Json),
        ("EVENT with a comma too many", r#"2["a",]"#, Json),
        ("EVENT with a comma missing", r#"2["a" "b"]"#, Json),
        ("EVENT with a leading zero", r#"2["a",01]"#, Json),
        ("EVENT with a control character", "2[\"a\",\"\n\"]", Json),
        ("EVENT with a wrong escape", r#"2["a","\x"]"#, Json),
        ("EVENT with a word of JavaScript", r#"2["a",undefined]"#, Json),
        ("EVENT with no-break space", "2\u{a0}[\"a\"]", Payload),
        ("EVENT one level too deep", &format!("2[\"a\",{}]", deep(127)), Json),
        ("EVENT 100 000 levels deep", &format!("2[\"a\",{}]", deep(100_000)), Json),
        ("EVENT 100 000 levels deep, not closed", &format!("2[\"a\",{}", "[".repeat(100_000)), Json),
        ("EVENT 100 000 levels deep in its name", &format!("2[{}]", deep(100_000)), Json),
        ("EVENT: id of 2^53", r#"29007199254740992["a"]"#, Id),
        ("EVENT: id over 64 bits", r#"299999999999999999999999["a"]"#, Id),
        ("ACK without id", r#"3["a"]"#, Id),
        ("ACK without id and payload", "3", Id),
        ("ACK without payload", "31", Payload),
        ("ACK with an object", "31{}", Payload),
        ("ACK broken", "31[", Json),
        ("BINARY_EVENT: 0 attachments", r#"50-["x"]"#, Attachments),
        ("BINARY_EVENT: one over the limit", r#"511-["x"]"#, TooManyAttachments(10)),
        ("BINARY_EVENT: half an attachment", r#"51.5-["x"]"#, Attachments),
        ("BINARY_EVENT: signed", r#"5+1-["x"]"#, Attachments),
        ("BINARY_EVENT: no number", r#"5-["x"]"#, Attachments),
        ("BINARY_EVENT: no dash", r#"51["x"]"#, Attachments),
        ("BINARY_EVENT: nothing", "5", Attachments),
        ("BINARY_EVENT: number only", "51", Attachments),
        ("BINARY_EVENT: no payload", "51-", Payload),
        ("BINARY_EVENT: more than 64 bits", "5111111111111111111111111111111-", Attachments),
        ("BINARY_EVENT: many digits", "5111111111111-", TooManyAttachments(10)),
        ("BINARY_ACK: 0 attachments", "60-1[]", Attachments),
        ("BINARY_ACK: no id", "61-[]", Id),
    ] {
        assert_eq!(decode(text, 10), Err(want), "{name}");
    }
}

/// CVE-2022-2421, and the same at any depth.
#[test]
fn placeholders() {
    for (num, legal) in [
        (r#","num":0"#, true),
        (r#","num":1"#, true),
        (r#","num":2"#, false),
        (r#","num":-1"#, false),
        (r#","num":1.5"#, false),
        (r#","num":"0""#, false),
        (r#","num":1e9"#, false),
        (r#","num":null"#, false),
        (r#","num":18446744073709551616"#, false),
        ("", false),
    ] {
        for (before, after) in [("", ""), ("[1,{\"a\":[", "]}]")] {
            let text = format!("52-[\"x\",{before}{{\"_placeholder\":true{num}}}{after}]");
            assert_eq!(decode(&text, 10).err(), (!legal).then_some(Placeholder), "{text}");
            let text = format!("62-1[{before}{{\"_placeholder\":true{num}}}{after}]");
            assert_eq!(decode(&text, 10).err(), (!legal).then_some(Placeholder), "{text}");
        }
    }
    assert_eq!(decode(r#"51-[{"_placeholder":true,"num":0}]"#, 10), Err(EventName), "as the name");
}

#[test]
fn limits() {
    let ids = [9_007_199_254_740_991, 0];
    for id in ids {
        assert_eq!(decode(&format!("3{id}[]"), 10), Ok(ack_packet("/", id, "", 0)));
    }
    assert_eq!(decode("3007[]", 10), Ok(ack_packet("/", 7, "", 0)));
    assert!(decode(r#"510-["x"]"#, 10).is_ok());
    assert_eq!(decode(r#"51-["x"]"#, 0), Err(TooManyAttachments(0)));
    assert_eq!(TooManyAttachments(10).to_string(), "more than 10 attachments");
    assert!(decode("0/\0a\nb", 10).is_ok(), "any character but the comma is part of a namespace's name");
}

/// CVE-2020-36049: a megabyte of anything takes time linear in its size.
#[test]
fn a_megabyte_is_linear() {
    let mega = 1_000_000;
    for text in [
        format!("2{}[\"x\"]", "1".repeat(mega)),
        format!("5{}-[\"x\"]", "1".repeat(mega)),
        format!("2/{}", "a".repeat(mega)),
        format!("2[\"x\",\"{}\"]", "a".repeat(mega)),
        format!("2[\"x\",{}0]", "[0],".repeat(mega / 4)),
        format!("51-[\"x\",{}0]", "{\"_placeholder\":true,\"num\":0},".repeat(mega / 30)),
        format!("51-[\"x\",{}0{}]", "[".repeat(mega / 2), "]".repeat(mega / 2)),
        format!("2{}", "[".repeat(mega)),
    ] {
        let start = Instant::now();
        let _ = decode(&text, 10);
        assert!(start.elapsed().as_millis() < 2_000, "{}", &text[..20]);
    }
}

fn text(frame: &Frame) -> &str {
    std::str::from_utf8(frame.packet()).unwrap()
}

#[test]
fn encoded_packets() {
    let offset = Some(Offset { ms: 1_700_000_000_000, seq: 3 });
    let data = RawValue::from_string(r#"{"code":1}"#.into()).unwrap();
    for (frame, want) in [
        (connect("/", "abc", None), r#"40{"sid":"abc"}"#),
        (connect("/custom", "abc", Some("def")), r#"40/custom,{"sid":"abc","pid":"def"}"#),
        (connect_error("/x", "Invalid namespace", None), r#"44/x,{"message":"Invalid namespace"}"#),
        (connect_error("/", "a\"b", Some(&data)), r#"44{"message":"a\"b","data":{"code":1}}"#),
        (disconnect("/"), "41"),
        (disconnect("/admin"), "41/admin,"),
        (event("/", None, "foo", &().into(), None).first, r#"42["foo"]"#),
        (event("/admin", Some(7), "f\no\\", &"b€r".into(), None).first, r#"42/admin,7["f\no\\","b€r"]"#),
        (event("/", None, "foo", &().into(), offset).first, r#"42["foo","1700000000000-3"]"#),
        (event("/", None, "foo", &1.into(), offset).first, r#"42["foo",1,"1700000000000-3"]"#),
        (ack("/", 12, &().into()).first, "4312[]"),
        (ack("/admin", 13, &"bar".into()).first, r#"43/admin,13["bar"]"#),
    ] {
        assert_eq!(text(&frame), want);
    }
}

#[test]
fn encoded_binary_packets() {
    let args = Args::from("hi").with_binary(vec![1, 2]).with_binary(vec![3]);
    let holes = r#""hi",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    let offset = Some(Offset { ms: 1, seq: 0 });
    for (frames, want) in [
        (event("/", None, "baz", &args, None), format!(r#"452-["baz",{holes}]"#)),
        (event("/admin", Some(1), "baz", &args, offset), format!(r#"452-/admin,1["baz",{holes},"1-0"]"#)),
        (ack("/", 15, &args), format!("462-15[{holes}]")),
    ] {
        assert_eq!(text(&frames.first), want);
        let rest: Vec<_> = frames.rest.iter().map(|f| (f.is_binary(), f.packet())).collect();
        assert_eq!(rest, [(true, &[1, 2][..]), (true, &[3])]);
    }
}

fn argument() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        ".{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn events_round_trip(
        nsp in "/[^,]{0,9}", id in prop::option::of(0..=MAX_ID), name in "x.{0,9}",
        values in prop::collection::vec(argument(), 0..4), blobs in prop::collection::vec(".{0,9}", 0..4),
    ) {
        let mut args = Args::new();
        for value in &values {
            args = args.with(value).unwrap();
        }
        for blob in &blobs {
            args = args.with_binary(blob.clone());
        }
        let frames = event(&nsp, id, &name, &args, None);
        let packet = decode(&text(&frames.first)[1..], 10).unwrap();
        prop_assert_eq!(&packet, &event_packet(&nsp, id, &name, args.text(), blobs.len()));
        let received: Vec<Bytes> = frames.rest.iter().map(|f| Bytes::copy_from_slice(f.packet())).collect();
        let back = Args::from_wire(args.text().into(), received);
        prop_assert_eq!(&back, &args);
        prop_assert_eq!(back.len(), values.len() + blobs.len());
        for (i, value) in values.iter().enumerate() {
            prop_assert_eq!(back.value(i).map(|v| v.to_string()), Some(value.to_string()));
        }
        for (i, blob) in blobs.iter().enumerate() {
            prop_assert_eq!(back.binary(values.len() + i).map(|b| &b[..]), Some(blob.as_bytes()));
        }
    }

    #[test]
    fn any_text_is_survived(text in r#"[0-6][0-9]{0,2}-?(/a,)?[0-9]{0,2}([\[\]{},:"\\ 0-9a]|"num"|"_placeholder"|true){0,40}"#) {
        if let Ok(SocketPacket::Event { args, attachments, .. } | SocketPacket::Ack { args, attachments, .. }) = decode(&text, 10) {
            let array = format!("[{args}]");
            prop_assert!(serde_json::from_str::<Vec<IgnoredAny>>(&array).is_ok());
            let args = Args::from_wire(args.to_owned(), vec![Bytes::new(); attachments]);
            for i in 0..args.len() {
                prop_assert!(args.get(i).is_some() && args.select(i).is_some());
            }
        }
    }
}
