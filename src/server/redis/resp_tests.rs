//! Vectors and properties of RESP.

use super::*;
use proptest::prelude::*;
use std::io::Write as _;

const BOUNDS: Bounds = Bounds { bulk: 10, reply: 60, depth: 3, elements: 8 };

/// A reply that stands for itself.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Tree>),
    TooLarge(usize),
}

fn tree(value: Value<'_>) -> Tree {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match value {
        Value::Simple(words) => Tree::Simple(text(words)),
        Value::Error(words) => Tree::Error(text(words)),
        Value::Integer(number) => Tree::Integer(number),
        Value::Bulk(bytes) => Tree::Bulk(bytes.to_vec()),
        Value::Null => Tree::Null,
        Value::TooLarge(size) => Tree::TooLarge(size),
        Value::Array(items) => {
            let len = items.len();
            let items: Vec<_> = items.map(tree).collect();
            assert_eq!(items.len(), len);
            Tree::Array(items)
        }
    }
}

fn bulk(text: &str) -> Tree {
    Tree::Bulk(text.into())
}

/// All replies in a stream that arrives in these pieces, and the error that ends it.
fn replies<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Tree>, Option<RespError>) {
    let mut decoder = Decoder::new(BOUNDS);
    let mut got = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            match decoder.next(piece, &mut at) {
                Ok(true) => got.push(tree(decoder.reply())),
                Ok(false) => break,
                Err(error) => {
                    assert_eq!(decoder.next(b"+OK\r\n", &mut 0), Err(error), "an error is final");
                    assert_eq!(tree(decoder.reply()), Tree::Null);
                    return (got, Some(error));
                }
            }
        }
        assert_eq!(at, piece.len());
        assert_eq!(tree(decoder.reply()), Tree::Null, "half a reply is none");
    }
    (got, None)
}

/// Reads a stream whole, byte by byte and cut in two at every place: always the same.
fn check(name: &str, stream: &[u8], want: &(Vec<Tree>, Option<RespError>)) {
    assert_eq!(&replies([stream].into_iter()), want, "{name}");
    assert_eq!(&replies(stream.chunks(1)), want, "{name}, byte by byte");
    for cut in 0..stream.len().min(200) {
        let (a, b) = stream.split_at(cut);
        assert_eq!(&replies([a, b].into_iter()), want, "{name}, cut at {cut}");
    }
}

#[test]
fn replies_of_the_specification() {
    use Tree::{Array, Integer, Null};
    let mut all = (Vec::new(), Vec::new());
    for (text, want) in [
        ("+OK\r\n", Tree::Simple("OK".into())),
        ("+\r\n", Tree::Simple(String::new())),
        ("-Error message\r\n", Tree::Error("Error message".into())),
        ("-ERR unknown command 'asdf'\r\n", Tree::Error("ERR unknown command 'asdf'".into())),
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
                Array(vec![Tree::Simple("Hello".into()), Tree::Error("World".into())]),
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
    check("a command", &out, &(vec![Tree::Array(want)], None));
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
        check(text, after.as_bytes(), &(vec![Tree::Simple("OK".into())], Some(want)));
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
    let inner = Tree::Array(vec![bulk("0123456789"), Tree::TooLarge(11)]);
    let want = vec![Tree::Array(vec![inner, Tree::TooLarge(1000)]), Tree::Simple("OK".into()), bulk("a")];
    check("oversized", stream.as_bytes(), &(want, None));
    // Nothing of it is kept, however large it is.
    let mut decoder = Decoder::new(BOUNDS);
    assert_eq!(decoder.next(b"$9223372036854775807\r\n", &mut 0), Ok(false));
    for _ in 0..1000 {
        assert_eq!(decoder.next(&[b'x'; 1000], &mut 0), Ok(false));
    }
    assert!(decoder.text.capacity() == 0 && decoder.line.capacity() == 0);
}

const WIDE: Bounds = Bounds { bulk: usize::MAX, reply: usize::MAX, depth: 8, elements: usize::MAX };

/// No space is taken for what is only announced.
#[test]
fn announced_sizes() {
    let mut decoder = Decoder::new(WIDE);
    let stream = b"*9223372036854775807\r\n$9223372036854775807\r\nabc";
    assert_eq!(decoder.next(stream, &mut 0), Ok(false));
    assert!(decoder.text.capacity() < 64 && decoder.nodes.capacity() < 64 && decoder.open.capacity() < 64);
}

/// A reply leaves room for the next one, but not more than that much.
#[test]
fn the_room_of_a_reply_is_used_again() {
    let of = |decoder: &Decoder| (decoder.text.capacity(), decoder.nodes.capacity());
    let mut decoder = Decoder::new(WIDE);
    let page = |count: usize, text: usize| {
        let mut out = Vec::new();
        command(&mut out, &vec!["x".repeat(text).as_bytes(); count]);
        (out, Tree::Array(vec![bulk(&"x".repeat(text)); count]))
    };
    let mut read = |(page, want): &(Vec<u8>, Tree)| {
        assert_eq!(decoder.next(page, &mut 0), Ok(true));
        assert_eq!(&tree(decoder.reply()), want);
        let full = of(&decoder);
        assert_eq!(decoder.next(b"", &mut 0), Ok(false));
        assert_eq!(tree(decoder.reply()), Tree::Null, "it is looked at before the next is asked for");
        (full, of(&decoder))
    };
    let small = page(100, 20);
    let (full, kept) = read(&small);
    assert_eq!(full, kept);
    for _ in 0..3 {
        assert_eq!(read(&small), (full, full));
    }
    for (large, strings) in [(page(10, 100_000), 10), (page(100_000, 1), 100_000)] {
        let (full, kept) = read(&large);
        assert!(full.0 >= 100_000 && full.1 > strings);
        assert!(kept.0 <= KEPT_BYTES && kept.1 <= KEPT_NODES);
    }
    let kept = read(&small).1;
    assert!(kept.0 <= KEPT_BYTES && kept.1 <= KEPT_NODES);
}

/// What is passed over takes all that is in it along.
#[test]
fn an_array_can_be_passed_over() {
    let mut decoder = Decoder::new(WIDE);
    let stream = b"*3\r\n*2\r\n*2\r\n:1\r\n$1\r\na\r\n*0\r\n$1\r\nb\r\n*1\r\n+c\r\n";
    assert_eq!(decoder.next(stream, &mut 0), Ok(true));
    let Value::Array(mut items) = decoder.reply() else { panic!() };
    let Some(Value::Array(mut first)) = items.next() else { panic!() };
    let Some(Value::Array(mut inner)) = first.next() else { panic!() };
    assert!(matches!((inner.next(), inner.len()), (Some(Value::Integer(1)), 1)));
    assert!(matches!((items.next(), items.len()), (Some(Value::Bulk(b"b")), 1)));
    assert!(matches!(items.next(), Some(Value::Array(last)) if last.len() == 1));
    assert!(items.next().is_none());
}

#[test]
fn errors_speak_to_the_operator() {
    assert!(RespError::UnknownType(b'H').to_string().contains("0x48"));
    for error in [RespError::LineEnd, RespError::Number, RespError::LineTooLong, RespError::TooLarge] {
        assert!(error.to_string().contains("Redis reply"), "{error:?}");
    }
}

fn any_value() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        "[a-z €]{0,5}".prop_map(Tree::Simple),
        "[A-Z]{0,5}".prop_map(Tree::Error),
        any::<i64>().prop_map(Tree::Integer),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| match bytes.len() > BOUNDS.bulk {
            true => Tree::TooLarge(bytes.len()),
            false => Tree::Bulk(bytes),
        }),
        Just(Tree::Null),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| proptest::collection::vec(inner, 0..3).prop_map(Tree::Array))
}

fn encode(out: &mut Vec<u8>, value: &Tree) {
    let _ = match value {
        Tree::Simple(text) => write!(out, "+{text}\r\n"),
        Tree::Error(text) => write!(out, "-{text}\r\n"),
        Tree::Integer(number) => write!(out, ":{number}\r\n"),
        Tree::Null => write!(out, "$-1\r\n"),
        Tree::TooLarge(size) => write!(out, "${size}\r\n{}\r\n", "\n".repeat(*size)),
        Tree::Bulk(bytes) => {
            let _ = write!(out, "${}\r\n", bytes.len());
            out.extend_from_slice(bytes);
            out.write_all(b"\r\n")
        }
        Tree::Array(items) => {
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
