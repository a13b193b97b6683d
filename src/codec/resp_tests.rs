//! Vectors and properties of RESP.

use super::*;
use proptest::prelude::*;
use std::io::Write as _;

const BOUNDS: Bounds = Bounds { bulk: 10, reply: 60, depth: 3, elements: 8 };

fn bulk(text: &'static str) -> Value {
    Value::Bulk(Bytes::from_static(text.as_bytes()))
}

/// All replies in a stream that arrives in these pieces, and the error that ends it.
fn replies<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Value>, Option<RespError>) {
    let mut decoder = Decoder::new(BOUNDS);
    let mut got = Vec::new();
    for piece in pieces.map(Bytes::copy_from_slice) {
        let mut at = 0;
        loop {
            match decoder.next(&piece, &mut at) {
                Ok(Some(value)) => got.push(value),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(&Bytes::from_static(b"+OK\r\n"), &mut 0), Err(error), "an error is final");
                    return (got, Some(error));
                }
            }
        }
        assert_eq!(at, piece.len());
    }
    (got, None)
}

/// Reads a stream whole, byte by byte and cut in two at every place: always the same.
fn check(name: &str, stream: &[u8], want: &(Vec<Value>, Option<RespError>)) {
    assert_eq!(&replies([stream].into_iter()), want, "{name}");
    assert_eq!(&replies(stream.chunks(1)), want, "{name}, byte by byte");
    for cut in 0..stream.len().min(200) {
        let (a, b) = stream.split_at(cut);
        assert_eq!(&replies([a, b].into_iter()), want, "{name}, cut at {cut}");
    }
}

#[test]
fn replies_of_the_specification() {
    use Value::{Array, Integer, Null};
    let mut all = (Vec::new(), Vec::new());
    for (text, want) in [
        ("+OK\r\n", Value::Simple("OK".into())),
        ("+\r\n", Value::Simple(String::new())),
        ("-Error message\r\n", Value::Error("Error message".into())),
        ("-ERR unknown command 'asdf'\r\n", Value::Error("ERR unknown command 'asdf'".into())),
        (":0\r\n", Integer(0)),
        (":1000\r\n", Integer(1000)),
        (":-9223372036854775808\r\n", Integer(i64::MIN)),
        (":+5\r\n", Integer(5)),
        ("$5\r\nhello\r\n", bulk("hello")),
        ("$0\r\n\r\n", bulk("")),
        ("$4\r\n\r\n$1\r\n", bulk("\r\n$1")),
        ("$-1\r\n", Null),
        ("*-1\r\n", Null),
        ("*0\r\n", Array(vec![])),
        ("*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n", Array(vec![bulk("hello"), bulk("world")])),
        ("*3\r\n:1\r\n:2\r\n:3\r\n", Array(vec![Integer(1), Integer(2), Integer(3)])),
        ("*3\r\n$5\r\nhello\r\n$-1\r\n$5\r\nworld\r\n", Array(vec![bulk("hello"), Null, bulk("world")])),
        (
            "*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Hello\r\n-World\r\n",
            Array(vec![
                Array(vec![Integer(1), Integer(2), Integer(3)]),
                Array(vec![Value::Simple("Hello".into()), Value::Error("World".into())]),
            ]),
        ),
        ("*1\r\n*1\r\n*0\r\n", Array(vec![Array(vec![Array(vec![])])])),
    ] {
        check(text, text.as_bytes(), &(vec![want.clone()], None));
        all.0.extend_from_slice(text.as_bytes());
        all.1.push(want);
    }
    // The reader begins anew after each.
    assert_eq!(replies([&all.0[..]].into_iter()), (all.1.clone(), None));
    assert_eq!(replies(all.0.chunks(1)), (all.1, None));
}

#[test]
fn commands() {
    let mut out = Vec::new();
    command(&mut out, &[b"XADD", b"a b", b"", "é\r\n".as_bytes()]);
    assert_eq!(out, "*4\r\n$4\r\nXADD\r\n$3\r\na b\r\n$0\r\n\r\n$4\r\né\r\n\r\n".as_bytes());
    let want = ["XADD", "a b", "", "é\r\n"].map(bulk).to_vec();
    check("a command", &out, &(vec![Value::Array(want)], None));
    command(&mut out, &[]);
    assert!(out.ends_with(b"*0\r\n"));
}

#[test]
fn malformed() {
    use RespError::{LineEnd, Number, UnknownType};
    for (text, want) in [
        ("HTTP/1.1 400 Bad Request\r\n", UnknownType(b'H')),
        ("%1\r\n", UnknownType(b'%')),
        ("_\r\n", UnknownType(b'_')),
        ("\r\n", LineEnd),
        ("\n", LineEnd),
        ("+OK\n", LineEnd),
        ("+O\rK\r\n", LineEnd),
        ("+OK\r\r\n", LineEnd),
        ("$1\r\nab\r\n", LineEnd),
        ("$1\r\na\n", LineEnd),
        ("$0\r\n$0\r\n", LineEnd),
        (":\r\n", Number),
        (":1.5\r\n", Number),
        (":9223372036854775808\r\n", Number),
        ("$\r\n", Number),
        ("$-2\r\n", Number),
        ("$+1\r\n", Number),
        ("*-0\r\n", Number),
        ("*1 \r\n", Number),
        ("*\u{e9}\r\n", Number),
        ("$99999999999999999999\r\n", Number),
    ] {
        check(text, text.as_bytes(), &(vec![], Some(want)));
        let after = format!("+OK\r\n{text}");
        check(text, after.as_bytes(), &(vec![Value::Simple("OK".into())], Some(want)));
    }
}

/// Each bound, reached and one over it.
#[test]
fn bounds() {
    let ok = |text: &str, name: &str| {
        let got = replies([text.as_bytes()].into_iter());
        assert!(got.0.len() == 1 && got.1.is_none(), "{name}: {got:?}");
    };
    let refused = |text: &str, want| check("a bound", text.as_bytes(), &(vec![], Some(want)));

    ok(&format!("+{}\r\n", "a".repeat(BOUNDS.reply)), "bytes of a line");
    refused(&format!("+{}\r\n", "a".repeat(BOUNDS.reply + 1)), RespError::TooLarge);
    let full = format!("*7\r\n{}", "$10\r\n0123456789\r\n".repeat(6));
    ok(&format!("{full}$0\r\n\r\n"), "bytes of a reply");
    refused(&format!("{full}$1\r\n"), RespError::TooLarge);

    ok("*1\r\n*1\r\n*1\r\n:1\r\n", "depth");
    refused("*1\r\n*1\r\n*1\r\n*0\r\n", RespError::TooDeep);
    refused(&"*1\r\n".repeat(100_000), RespError::TooDeep);

    ok("*2\r\n*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n", "elements");
    refused("*2\r\n*7\r\n", RespError::TooMany);
    refused("*9\r\n", RespError::TooMany);
    refused("*18446744073709551615\r\n", RespError::TooMany);

    let line = |size: usize| format!(":{}1\r\n", "0".repeat(size - 3));
    ok(&line(MAX_LINE), "line");
    for stream in [line(MAX_LINE + 1), "0".repeat(MAX_LINE + 1)] {
        assert_eq!(replies([stream.as_bytes()].into_iter()), (vec![], Some(RespError::LineTooLong)));
        assert_eq!(replies(stream.as_bytes().chunks(1)), (vec![], Some(RespError::LineTooLong)));
    }
}

#[test]
fn an_oversized_string_is_passed_over() {
    let big = "x".repeat(1000);
    let stream =
        format!("*2\r\n*2\r\n$10\r\n0123456789\r\n$11\r\n01\r\n34567$9\r\n$1000\r\n{big}\r\n+OK\r\n$1\r\na\r\n");
    let inner = Value::Array(vec![bulk("0123456789"), Value::TooLarge(11)]);
    let want = vec![Value::Array(vec![inner, Value::TooLarge(1000)]), Value::Simple("OK".into()), bulk("a")];
    check("oversized", stream.as_bytes(), &(want, None));
    // Nothing of it is kept, however large it is.
    let mut decoder = Decoder::new(BOUNDS);
    assert_eq!(decoder.next(&Bytes::from_static(b"$9223372036854775807\r\n"), &mut 0), Ok(None));
    for _ in 0..1000 {
        assert_eq!(decoder.next(&Bytes::from_static(&[b'x'; 1000]), &mut 0), Ok(None));
    }
    assert!(decoder.line.is_empty() && decoder.bulk.is_some_and(|bulk| bulk.kept.is_none()));
}

/// No space is taken for what is only announced.
#[test]
fn announced_sizes() {
    let mut decoder = Decoder::new(Bounds { bulk: usize::MAX, reply: usize::MAX, depth: 8, elements: usize::MAX });
    let stream = Bytes::from_static(b"*9223372036854775807\r\n$9223372036854775807\r\nabc");
    assert_eq!(decoder.next(&stream, &mut 0), Ok(None));
    assert!(decoder.open.first().is_some_and(|open| open.items.capacity() <= SOME));
    assert!(decoder.bulk.and_then(|bulk| bulk.kept).is_some_and(|kept| kept.capacity() < 64));
}

#[test]
fn errors_speak_to_the_operator() {
    assert!(RespError::UnknownType(b'H').to_string().contains("0x48"));
    for error in [RespError::LineEnd, RespError::Number, RespError::LineTooLong, RespError::TooLarge] {
        assert!(error.to_string().contains("Redis reply"), "{error:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[a-z €]{0,5}".prop_map(Value::Simple),
        "[A-Z]{0,5}".prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| match bytes.len() > BOUNDS.bulk {
            true => Value::TooLarge(bytes.len()),
            false => Value::Bulk(bytes.into()),
        }),
        Just(Value::Null),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| proptest::collection::vec(inner, 0..3).prop_map(Value::Array))
}

fn encode(out: &mut Vec<u8>, value: &Value) {
    let _ = match value {
        Value::Simple(text) => write!(out, "+{text}\r\n"),
        Value::Error(text) => write!(out, "-{text}\r\n"),
        Value::Integer(number) => write!(out, ":{number}\r\n"),
        Value::Null => write!(out, "$-1\r\n"),
        Value::TooLarge(size) => write!(out, "${size}\r\n{}\r\n", "\n".repeat(*size)),
        Value::Bulk(bytes) => {
            let _ = write!(out, "${}\r\n", bytes.len());
            out.extend_from_slice(bytes);
            out.write_all(b"\r\n")
        }
        Value::Array(items) => {
            let _ = write!(out, "*{}\r\n", items.len());
            items.iter().for_each(|item| encode(out, item));
            Ok(())
        }
    };
}

proptest! {
    #[test]
    fn replies_survive_any_cuts(values in proptest::collection::vec(any_value(), 0..5), step in 1..9usize) {
        let mut stream = Vec::new();
        values.iter().for_each(|value| encode(&mut stream, value));
        prop_assert_eq!(&replies(stream.chunks(step)), &(values.clone(), None));
        prop_assert_eq!(&replies([&stream[..]].into_iter()), &(values, None));
    }

    #[test]
    fn garbage_is_the_same_garbage_however_it_is_cut(stream in "([-+:$*]|[0-9]|\r\n|\n|a|€){0,60}", step in 1..9usize) {
        prop_assert_eq!(replies(stream.as_bytes().chunks(step)), replies([stream.as_bytes()].into_iter()));
    }
}
