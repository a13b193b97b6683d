//! A head ends at the same place however it is cut; what parses has clean headers; no header of a response ends its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::codec::http::{Body, Response, find_end, parse};

fuzz_target!(|data: &[u8]| {
    let end = find_end(data, 0);
    let step = data.first().map_or(1, |b| usize::from(*b % 7) + 1);
    let mut seen = 0;
    let mut found = None;
    while found.is_none() && seen < data.len() {
        let more = (seen + step).min(data.len());
        found = find_end(&data[..more], seen);
        seen = more;
    }
    assert_eq!(found, end);

    if let Some(end) = end {
        if let Ok(head) = parse(&data[..end], 20) {
            assert!(head.headers.iter().count() <= 20);
            for (name, value) in head.headers.iter() {
                assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
                assert!(!value.chars().any(|c| c == '\r' || c == '\n' || c == '\0'));
                assert!(head.headers.all(name).any(|other| other == value));
            }
            assert!(head.target.contains(head.query()));
            assert!(!head.path().is_empty() && !head.path().contains('?'));
            let (lengths, codings) = (head.headers.all("content-length"), head.headers.all("transfer-encoding"));
            match head.body {
                Body::Chunked => assert!(head.http11 && lengths.count() == 0 && codings.count() == 1),
                Body::Length(n) => assert!(codings.count() == 0 && (n == 0 || lengths.count() == 1)),
            }
        }
        // Another line feed would end the head elsewhere, so what is parsed is all of it.
        assert!(parse(&data[..end - 1], 20).is_err());
    }

    let mut out = Vec::new();
    Response::new(200).header("X", String::from_utf8_lossy(data).into_owned()).write_head(&mut out, true, "Sat, 31 Jan 2026 12:00:00 GMT");
    assert_eq!(find_end(&out, 0), Some(out.len()));
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 6);
});
