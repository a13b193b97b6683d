//! A body in chunks ends at the same place, with the same content, however it is cut, and holds no more than its limit; what it takes is what a
//! plain reading of the grammar takes, and the same body in chunks of our own comes back whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::codec::chunked::{ChunkError, Chunked};

const MOST: usize = 300;

/// The body and the bytes that it took; `None`: more is needed.
type Read = Result<Option<(Vec<u8>, usize)>, ChunkError>;

fn by(step: usize, data: &[u8]) -> Read {
    let (mut chunked, mut at) = (Chunked::new(MOST), 0);
    for piece in data.chunks(step) {
        at += chunked.read(piece)?;
        if chunked.is_done() {
            return Ok(Some((chunked.into_body(), at)));
        }
    }
    assert_eq!(at, data.len());
    Ok(None)
}

/// The grammar, line by line.
fn plainly(data: &[u8]) -> Read {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &data[at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let mut size = 0u128;
        for (i, digit) in rest[..digits].iter().enumerate() {
            if i == 16 {
                return Err(ChunkError::Malformed);
            }
            size = size * 16 + u128::from(char::from(*digit).to_digit(16).unwrap());
            if size > (MOST - body.len()) as u128 {
                return Err(ChunkError::TooLarge);
            }
        }
        let size = size as usize;
        let wanted = [&b"\r\n"[..], if size == 0 { b"\r\n" } else { &[] }].concat();
        let line = &rest[digits..];
        if !line.iter().zip(&wanted).all(|(a, b)| a == b) || (digits == 0 && !line.is_empty()) {
            return Err(ChunkError::Malformed);
        }
        if line.len() < wanted.len() {
            return Ok(None);
        }
        at += digits + wanted.len();
        if size == 0 {
            return Ok(Some((body, at)));
        }
        let data = &data[at..];
        let Some(behind) = data.get(size..) else { return Ok(None) };
        if !behind.iter().zip(b"\r\n").all(|(a, b)| a == b) {
            return Err(ChunkError::Malformed);
        }
        if behind.len() < 2 {
            return Ok(None);
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = by(data.len().max(1), data);
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(by(step, data), whole);
    }
    assert_eq!(plainly(data), whole);
    if let Ok(Some((body, _))) = &whole {
        assert!(body.len() <= MOST);
    }

    let step = data.first().map_or(1, |byte| usize::from(*byte) % 40 + 1);
    let data = &data[..data.len().min(MOST)];
    let mut chunks = Vec::new();
    for chunk in data.chunks(step) {
        chunks.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\nnext");
    assert_eq!(by(step, &chunks), Ok(Some((data.to_vec(), chunks.len() - 4))));
});
