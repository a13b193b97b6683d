//! A stream gives the same replies and the same error however it is cut, no error is taken back, and no reply is beyond its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::server::redis::resp::{Bounds, Decoder, RespError, Value, command};

const BOUNDS: Bounds = Bounds { bulk: 16, reply: 200, depth: 4, elements: 30 };

// The first 4 bytes say how the stream is cut.
fuzz_target!(|data: &[u8]| {
    let Some((cuts, stream)) = data.split_first_chunk::<4>() else { return };
    let whole = replies([stream].into_iter());
    assert_eq!(replies(stream.chunks(1)), whole);
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(replies(pieces.into_iter()), whole);
    for value in &whole.0 {
        let (bytes, elements, depth) = cost(value);
        assert!(bytes <= BOUNDS.reply && elements <= BOUNDS.elements && depth <= BOUNDS.depth);
    }

    // Any bytes pass through a command unchanged.
    let args: Vec<&[u8]> = stream.chunks(BOUNDS.bulk).take(10).collect();
    let mut out = Vec::new();
    command(&mut out, &args);
    let want = Tree::Array(args.iter().map(|arg| Tree::Bulk(arg.to_vec())).collect());
    assert_eq!(replies([&out[..]].into_iter()), (vec![want], None));
});

/// A reply that stands for itself.
#[derive(Debug, PartialEq)]
enum Tree {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Tree>),
    TooLarge(usize),
}

fn tree(value: Value<'_>) -> Tree {
    match value {
        Value::Simple(words) => Tree::Simple(words.to_vec()),
        Value::Error(words) => Tree::Error(words.to_vec()),
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
                    assert_eq!(decoder.next(b"+OK\r\n", &mut 0), Err(error));
                    return (got, Some(error));
                }
            }
        }
        assert_eq!(at, piece.len());
    }
    (got, None)
}

/// Bytes of strings, elements of arrays and arrays in one another.
fn cost(value: &Tree) -> (usize, usize, usize) {
    match value {
        Tree::Bulk(bytes) => {
            assert!(bytes.len() <= BOUNDS.bulk);
            (bytes.len(), 0, 0)
        }
        Tree::TooLarge(size) => {
            assert!(*size > BOUNDS.bulk);
            (0, 0, 0)
        }
        Tree::Array(items) => items
            .iter()
            .map(cost)
            .fold((0, items.len(), 1), |sum, item| (sum.0 + item.0, sum.1 + item.1, sum.2.max(item.2 + 1))),
        Tree::Simple(_) | Tree::Error(_) | Tree::Integer(_) | Tree::Null => (0, 0, 0),
    }
}
