//! Vectors and properties of MessagePack.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

/// Written by the official adapter for `emit("bin", Buffer[1,2,3], new Date(0), undefined, 1.5, "é")`.
const CAPTURED: &str =
    "gqZwYWNrZXSCpHR5cGUCpGRhdGGWo2JpbsQDAQID1v8AAAAAwMs/+AAAAAAAAKLDqaRvcHRzg6Vyb29tc5CmZXhjZXB0kKVmbGFnc4A=";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn three() -> Vec<Bytes> {
    vec![Bytes::from_static(&[1, 2, 3]), Bytes::new(), Bytes::from(vec![9; 300])]
}

#[test]
fn captured_from_the_official_adapter() {
    let bytes = STANDARD.decode(CAPTURED).unwrap();
    let (text, attachments) = to_json(&bytes, 10).unwrap();
    let data = r#"["bin",{"_placeholder":true,"num":0},"1970-01-01T00:00:00.000Z",null,1.5,"é"]"#;
    assert_eq!(
        text,
        format!(r#"{{"packet":{{"type":2,"data":{data}}},"opts":{{"rooms":[],"except":[],"flags":{{}}}}}}"#)
    );
    assert_eq!(attachments, three()[..1]);
    // Back again it is the same but for the date, which is a string now.
    let again = from_json(&text, &attachments).unwrap();
    assert_eq!(to_json(&again, 1), Ok((text, attachments)));
    let date = bytes.windows(6).position(|window| window == hex("d6ff 00000000")).unwrap();
    assert_eq!(again[..date], bytes[..date]);
    assert_eq!(again[date + 25..], bytes[date + 6..]);
    for end in 0..bytes.len() {
        assert_eq!(to_json(&bytes[..end], 10), Err(MsgpackError::Truncated), "{end}");
        let _ = to_json(&bytes[end..], 10);
    }
}

/// Values of which each form is the one that the other makes.
#[test]
fn both_ways() {
    for (text, bytes) in [
        ("null", "c0"),
        ("false", "c2"),
        ("true", "c3"),
        ("0", "00"),
        ("127", "7f"),
        ("128", "cc80"),
        ("255", "ccff"),
        ("256", "cd0100"),
        ("65535", "cdffff"),
        ("65536", "ce00010000"),
        ("4294967295", "ceffffffff"),
        ("4294967296", "cf0000000100000000"),
        ("18446744073709551615", "cfffffffffffffffff"),
        ("-1", "ff"),
        ("-32", "e0"),
        ("-33", "d0df"),
        ("-128", "d080"),
        ("-129", "d1ff7f"),
        ("-32768", "d18000"),
        ("-32769", "d2ffff7fff"),
        ("-2147483648", "d280000000"),
        ("-2147483649", "d3ffffffff7fffffff"),
        ("-9223372036854775808", "d38000000000000000"),
        ("1.5", "cb3ff8000000000000"),
        ("1.0", "cb3ff0000000000000"),
        ("-0.1", "cbbfb999999999999a"),
        (r#""""#, "a0"),
        (r#""é""#, "a2c3a9"),
        (r#""a\"\\\n\u0001""#, "a561225c0a01"),
        ("[]", "90"),
        ("{}", "80"),
        (r#"[1,[2,{}],"a"]"#, "93 01 92 02 80 a161"),
        (r#"{"b":1,"a":[null],"b":2}"#, "83 a162 01 a161 91c0 a162 02"),
    ] {
        assert_eq!(from_json(text, &[]), Ok(hex(bytes)), "{text}");
        assert_eq!(to_json(&hex(bytes), 0), Ok((text.to_owned(), vec![])), "{bytes}");
        let mut longer = hex(bytes);
        longer.push(0xc0);
        assert_eq!(to_json(&longer, 0), Err(MsgpackError::Trailing), "{bytes}");
        for end in 0..longer.len() - 1 {
            assert_eq!(to_json(&longer[..end], 0), Err(MsgpackError::Truncated), "{bytes}");
        }
    }
}

/// Each size at which the head changes.
#[test]
fn sizes() {
    for (size, string, array, map, bin) in [
        (15, "af", "9f", "8f", "c40f"),
        (16, "b0", "dc0010", "de0010", "c410"),
        (31, "bf", "dc001f", "de001f", "c41f"),
        (32, "d920", "dc0020", "de0020", "c420"),
        (255, "d9ff", "dc00ff", "de00ff", "c4ff"),
        (256, "da0100", "dc0100", "de0100", "c50100"),
        (65535, "daffff", "dcffff", "deffff", "c5ffff"),
        (65536, "db00010000", "dd00010000", "df00010000", "c600010000"),
    ] {
        let list = |item: &str| vec![item; size].join(",");
        for (text, begin) in [
            (format!("\"{}\"", "a".repeat(size)), string),
            (format!("[{}]", list("1")), array),
            (format!("{{{}}}", list("\"a\":1")), map),
        ] {
            let bytes = from_json(&text, &[]).unwrap();
            assert!(bytes.starts_with(&hex(begin)), "{begin} {:?}", bytes.get(..5));
            assert_eq!(to_json(&bytes, 0), Ok((text, vec![])));
        }
        let attachments = vec![Bytes::from(vec![7; size])];
        let text = r#"{"_placeholder":true,"num":0}"#;
        let bytes = from_json(text, &attachments).unwrap();
        assert!(bytes.starts_with(&hex(bin)) && bytes.len() == hex(bin).len() + size);
        assert_eq!(to_json(&bytes, 1), Ok((text.to_owned(), attachments)));
    }
}

/// JSON that has no form of its own there.
#[test]
fn json_in_other_forms() {
    for (text, bytes) in [
        (" [ 1 ,\n2 ] ", "920102"),
        (r#""\u00e9\/""#, "a3c3a92f"),
        (r#""\ud83d\ude00 \b\f\r\t""#, "a9f09f9880 20 080c0d09"),
        // Lone surrogates.
        (r#""\ud800""#, "a3efbfbd"),
        (r#""x\ud800y\udc00\ud83d\ude00""#, "ac 78efbfbd79efbfbdf09f9880"),
        ("1e2", "cb4059000000000000"),
        ("1e999", "cb7ff0000000000000"),
        ("-0", "00"),
        ("18446744073709551616", "cb43f0000000000000"),
        (r#"{"\u0061":1}"#, "81a16101"),
        // A placeholder of nothing.
        (r#"{"_placeholder":true,"num":0}"#, "82 ac5f706c616365686f6c646572 c3 a36e756d 00"),
    ] {
        assert_eq!(from_json(text, &[]), Ok(hex(bytes)), "{text}");
    }
    for text in ["", "[", "[1,]", "{1:2}", "1 2", "tru", "\"\u{1}\"", "[}"] {
        assert_eq!(from_json(text, &[]), Err(MsgpackError::Json), "{text}");
    }
}

/// MessagePack that has no form of its own in JSON.
#[test]
fn msgpack_in_other_forms() {
    for (bytes, text) in [
        ("cc01", "1"),
        ("d37fffffffffffffff", "9223372036854775807"),
        ("d2ffffffff", "-1"),
        ("ca3fc00000", "1.5"),
        ("ca7fc00000", "null"),
        ("cb7ff0000000000000", "null"),
        ("cbfff0000000000000", "null"),
        ("cb7ff8000000000001", "null"),
        ("d90161", r#""a""#),
        ("da000161", r#""a""#),
        ("db0000000161", r#""a""#),
        ("dc000101", "[1]"),
        ("dd0000000101", "[1]"),
        ("de0001a16101", r#"{"a":1}"#),
        ("df00000001a16101", r#"{"a":1}"#),
        ("83 01 c0 ff c0 cfffffffffffffffff c0", r#"{"1":null,"-1":null,"18446744073709551615":null}"#),
        ("81 a3612209 01", r#"{"a\"\t":1}"#),
    ] {
        assert_eq!(to_json(&hex(bytes), 0), Ok((text.to_owned(), vec![])), "{bytes}");
    }
}

/// As `JSON.stringify(new Date(…))`.
#[test]
fn timestamps() {
    for (bytes, text) in [
        ("d6ff 00000000", "\"1970-01-01T00:00:00.000Z\""),
        ("d6ff ffffffff", "\"2106-02-07T06:28:15.000Z\""),
        ("d7ff 1d6d4ac0 65920080", "\"2024-01-01T00:00:00.123Z\""),
        ("d7ff 00000003 ffffffff", "\"2514-05-30T01:53:03.000Z\""),
        ("c704ff 00000001", "\"1970-01-01T00:00:01.000Z\""),
        ("c80008ff 0000000000000001", "\"1970-01-01T00:00:01.000Z\""),
        ("c70cff 3b9ac9ff ffffffffffffffff", "\"1969-12-31T23:59:59.999Z\""),
        ("c70cff 00000000 fffffff1868b8400", "\"0000-01-01T00:00:00.000Z\""),
        ("c70cff 00000000 fffffff1868b83ff", "\"-000001-12-31T23:59:59.000Z\""),
        ("c70cff 00000000 0000003afff44180", "\"+010000-01-01T00:00:00.000Z\""),
        ("c70cff 00000000 000007dba8218000", "\"+275760-09-13T00:00:00.000Z\""),
        ("c70cff 00000000 fffff82457de8000", "\"-271821-04-20T00:00:00.000Z\""),
        ("c70cff 00000000 000007dba8218001", "null"),
        ("c70cff 00000000 8000000000000000", "null"),
    ] {
        assert_eq!(to_json(&hex(bytes), 0), Ok((text.to_owned(), vec![])), "{bytes}");
    }
}

#[test]
fn attachments() {
    let text = r#"[{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":2}]"#;
    let bytes = from_json(text, &three()).unwrap();
    assert_eq!(to_json(&bytes, 3), Ok((text.to_owned(), three())));
    assert_eq!(to_json(&bytes, 2), Err(MsgpackError::TooManyAttachments));
    // They are numbered anew, in the order in which they stand, and those that stand nowhere are left out.
    let text = r#"[{"num":2,"_placeholder":true},[{"_placeholder":true,"x":[{}],"num":0}]]"#;
    let bytes = from_json(text, &three()).unwrap();
    let want = r#"[{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]"#;
    let [first, _, third] = &three()[..] else { panic!() };
    assert_eq!(to_json(&bytes, 3), Ok((want.to_owned(), vec![third.clone(), first.clone()])));
    for text in [
        r#"{"_placeholder":true,"num":3}"#,
        r#"{"_placeholder":true}"#,
        r#"[{"_placeholder":true,"num":-1}]"#,
        r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
    ] {
        assert_eq!(from_json(text, &three()), Err(MsgpackError::Placeholder), "{text}");
    }
}

/// A map can't pass for an attachment.
#[test]
fn lookalikes() {
    let map = "82 ac5f706c616365686f6c646572 c3 a36e756d 00";
    let text = r#"{"_placeholder":true,"num":0}"#;
    assert_eq!(to_json(&hex(map), 10), Ok((text.to_owned(), vec![])), "no binary beside it");
    for bytes in [format!("92 {map} c40101"), format!("92 c40101 {map}"), format!("81 a161 92 {map} c400")] {
        assert_eq!(to_json(&hex(&bytes), 10), Err(MsgpackError::Placeholder), "{bytes}");
    }
    let harmless = "92 81 ac5f706c616365686f6c646572 01 c400";
    assert_eq!(to_json(&hex(harmless), 1).unwrap().0, format!(r#"[{{"_placeholder":1}},{text}]"#));
}

#[test]
fn refused() {
    use MsgpackError::*;
    for (bytes, want) in [
        ("", Truncated),
        ("c1", UnknownType),
        ("91c1", UnknownType),
        ("a1ff", Utf8),
        ("a3eda080", Utf8),
        ("81a1ff01", Utf8),
        ("81c001", Key),
        ("81ca0000000001", Key),
        ("81c4016101", Key),
        ("819001", Key),
        ("d40000", Extension),
        ("d4ff00", Extension),
        ("d6fe00000000", Extension),
        ("c700ff", Extension),
        ("d8ff00000000000000000000000000000000", Extension),
        ("d7ffee6b280000000000", Extension),
        ("c70cff3b9aca000000000000000000", Extension),
        // Sizes that nothing follows.
        ("dbffffffff", Truncated),
        ("c6ffffffff61", Truncated),
        ("c9ffffffffff", Extension),
        ("ddffffffff01", Truncated),
        ("dfffffffffa161", Truncated),
        ("cf00000000000000", Truncated),
    ] {
        assert_eq!(to_json(&hex(bytes), 10), Err(want), "{bytes}");
    }
}

/// Exactly as deep as may be, and one over it.
#[test]
fn depth() {
    for (open, close, tag) in [("[", "]", &[0x91][..]), ("{\"a\":", "}", &[0x81, 0xa1, b'a'])] {
        for (levels, ok) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false), (100_000, false)] {
            let text = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let bytes = [tag.repeat(levels), vec![1]].concat();
            match ok {
                true => {
                    assert_eq!(from_json(&text, &[]), Ok(bytes.clone()));
                    assert_eq!(to_json(&bytes, 0), Ok((text, vec![])));
                }
                false => {
                    assert_eq!(from_json(&text, &[]), Err(MsgpackError::TooDeep));
                    assert_eq!(to_json(&bytes, 0), Err(MsgpackError::TooDeep));
                }
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,9}", inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_survives(value in any_json(), space in any::<bool>()) {
        let text = value.to_string();
        let written = if space { serde_json::to_string_pretty(&value).unwrap() } else { text.clone() };
        let bytes = from_json(&written, &[]).unwrap();
        prop_assert_eq!(to_json(&bytes, 0), Ok((text, vec![])));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xdfu8], 0..60)) {
        if let Ok((text, attachments)) = to_json(&bytes, 3) {
            let again = from_json(&text, &attachments).unwrap();
            prop_assert_eq!(to_json(&again, 3), Ok((text, attachments)));
        }
    }

    #[test]
    fn any_text_is_survived(text in r#"([\[\]{},:"\\ 0-9a]|"num"|"_placeholder"|true|\\u[0-9a-f]{4}|€){0,40}"#) {
        for attachments in [&[][..], &three()] {
            if let Ok(bytes) = from_json(&text, attachments) {
                prop_assert!(to_json(&bytes, 99).is_ok_and(|(text, _)| serde_json::from_str::<Value>(&text).is_ok()));
            }
        }
    }
}
