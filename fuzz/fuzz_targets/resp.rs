//! A stream gives the same replies and the same error however it is cut, no error is taken back, and no reply is beyond its bounds.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rill::codec::resp::{Bounds, Decoder, RespError, Value, command};

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
    let want = Value::Array(args.iter().map(|arg| Value::Bulk(arg.to_vec().into())).collect());
    assert_eq!(replies([&out[..]].into_iter()), (vec![want], None));
});

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
                    assert_eq!(decoder.next(&Bytes::from_static(b"+OK\r\n"), &mut 0), Err(error));
                    return (got, Some(error));
                }
            }
        }
        assert_eq!(at, piece.len());
    }
    (got, None)
}

/// Bytes of strings, elements of arrays and arrays in one another.
fn cost(value: &Value) -> (usize, usize, usize) {
    match value {
        Value::Bulk(bytes) => {
            assert!(bytes.len() <= BOUNDS.bulk);
            (bytes.len(), 0, 0)
        }
        Value::TooLarge(size) => {
            assert!(*size > BOUNDS.bulk);
            (0, 0, 0)
        }
        Value::Array(items) => items
            .iter()
            .map(cost)
            .fold((0, items.len(), 1), |sum, item| (sum.0 + item.0, sum.1 + item.1, sum.2.max(item.2 + 1))),
        Value::Simple(_) | Value::Error(_) | Value::Integer(_) | Value::Null => (0, 0, 0),
    }
}
