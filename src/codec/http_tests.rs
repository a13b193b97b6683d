//! Vectors of request heads and responses.

use super::HeadError::*;
use super::*;
use proptest::prelude::*;
use std::time::Instant;

/// Finds the head whole, byte by byte, and with bytes of the next request behind it, and reads it.
fn read(request: &[u8]) -> Result<Head, HeadError> {
    let end = find_end(request, 0).expect("an end");
    let mut seen = 0;
    while find_end(&request[..seen], seen.saturating_sub(1)).is_none() {
        seen += 1;
    }
    assert_eq!(seen, end, "byte by byte");
    assert_eq!(find_end(&[request, b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"].concat(), 0), Some(end), "with trailing bytes");
    parse(&request[..end], 100)
}

#[test]
fn a_poll() {
    let head = read(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a:1\r\nX-Empty:\r\nCookie: a=b:c\r\nx-two: 1\r\nX-TWO:  2 \r\n\r\n");
    let head = head.unwrap();
    assert_eq!((head.method, head.path(), head.query()), (Method::Get, "/socket.io/", "EIO=4&transport=polling"));
    assert_eq!((head.body, head.keep_alive), (Body::Length(0), true));
    assert_eq!(head.headers.get("host"), Some("a:1"));
    assert_eq!(head.headers.get("x-empty"), Some(""));
    assert_eq!(head.headers.get("cookie"), Some("a=b:c"));
    assert_eq!(head.headers.get("absent"), None);
    assert_eq!(head.headers.all("x-two").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(
        head.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        ["host", "x-empty", "cookie", "x-two", "x-two"]
    );
}

#[test]
fn a_post() {
    let head =
        read(b"POST /engine.io/?sid=x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n")
            .unwrap();
    assert_eq!((head.method, head.body), (Method::Post, Body::Length(12)));
    assert_eq!(head.headers.get("expect"), Some("100-continue"));
}

/// The client's part of the example in RFC 6455 section 1.2.
#[test]
fn an_upgrade() {
    let head = read(b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\nSec-WebSocket-Version: 13\r\n\r\n").unwrap();
    assert!(head.headers.has_token("connection", "upgrade") && head.headers.has_token("upgrade", "WebSocket"));
    assert!(!head.headers.has_token("connection", "up") && !head.headers.has_token("absent", "upgrade"));
}

#[test]
fn targets() {
    for (target, path, query) in [
        ("/", "/", ""),
        ("/a?b=c?d", "/a", "b=c?d"),
        ("/a?", "/a", ""),
        ("/a%2fb/../c", "/a%2fb/../c", ""),
        ("http://example.com/a?b", "/a", "b"),
        ("http://example.com", "/", ""),
        ("https://example.com?b", "/", "b"),
        ("/a?url=http://x/y?z", "/a", "url=http://x/y?z"),
        ("HTTPS://example.com/", "/", ""),
        ("/a://b", "/a://b", ""),
        ("://a/b", "://a/b", ""),
        ("*", "*", ""),
        ("?a", "/", "a"),
    ] {
        let head = read(format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        assert_eq!((&*head.target, head.path(), head.query()), (target, path, query));
    }
}

#[test]
fn methods_and_connections() {
    for (line, headers, method, keep_alive) in [
        ("HEAD / HTTP/1.1", "Host: a\r\n", Method::Head, true),
        ("PUT / HTTP/1.1", "Host: a\r\nConnection: close\r\n", Method::Other, false),
        ("get / HTTP/1.1", "Host: a\r\nConnection: x, Close\r\n", Method::Other, false),
        ("GET / HTTP/1.1", "Host: a\r\nConnection: x\r\nConnection: close\r\n", Method::Get, false),
        ("GET / HTTP/1.0", "", Method::Get, false),
        ("GET / HTTP/1.0", "Host: a\r\nConnection: Keep-Alive\r\n", Method::Get, true),
        ("\r\nGET / HTTP/1.1", "Host: a\r\n", Method::Get, true),
    ] {
        let head = read(format!("{line}\r\n{headers}\r\n").as_bytes()).unwrap();
        assert_eq!((head.method, head.keep_alive), (method, keep_alive), "{line} {headers}");
    }
}

#[test]
fn values() {
    let head = read(b"GET / HTTP/1.1\r\nHost: a\r\nUtf: \xe2\x82\xac\r\nLatin: \xe4\r\nTab: a\tb\r\n\r\n").unwrap();
    assert_eq!(head.headers.get("utf"), Some("€"));
    assert_eq!(head.headers.get("latin"), Some("\u{fffd}"));
    assert_eq!(head.headers.get("tab"), Some("a\tb"));
}

/// A body's end that two readers could see at different places is refused: the table of request smuggling.
#[test]
fn bodies() {
    use Body::{Chunked, Length};
    let long = "9".repeat(100);
    for (name, headers, want) in [
        ("none", "", Ok(Length(0))),
        ("nothing", "Content-Length: 0", Ok(Length(0))),
        ("a body", "content-length: 007", Ok(Length(7))),
        ("beyond measure", &format!("Content-Length: {long}"), Ok(Length(usize::MAX))),
        ("a length between spaces", "Content-Length: \t7 ", Ok(Length(7))),
        ("twice the same", "Content-Length: 1\r\nContent-Length: 1", Err(Malformed)),
        ("twice", "Content-Length: 1\r\nContent-Length: 2", Err(Malformed)),
        ("a list", "Content-Length: 1, 1", Err(Malformed)),
        ("a list that differs", "Content-Length: 1,2", Err(Malformed)),
        ("empty", "Content-Length:", Err(Malformed)),
        ("signed", "Content-Length: +1", Err(Malformed)),
        ("negative", "Content-Length: -1", Err(Malformed)),
        ("minus nothing", "Content-Length: -0", Err(Malformed)),
        ("hexadecimal", "Content-Length: 0x1", Err(Malformed)),
        ("a fraction", "Content-Length: 1.0", Err(Malformed)),
        ("an exponent", "Content-Length: 1e1", Err(Malformed)),
        ("quoted", "Content-Length: \"1\"", Err(Malformed)),
        ("two numbers", "Content-Length: 1 1", Err(Malformed)),
        ("digits of another script", "Content-Length: ١", Err(Malformed)),
        ("a parameter", "Content-Length: 1;a=b", Err(Malformed)),
        ("chunks", "Transfer-Encoding: chunked", Ok(Chunked)),
        ("chunks in capitals", "TRANSFER-ENCODING: CHUNKED", Ok(Chunked)),
        ("chunks between spaces", "Transfer-Encoding:\t chunked \t", Ok(Chunked)),
        ("identity", "Transfer-Encoding: identity", Err(Malformed)),
        ("compressed, not in chunks", "Transfer-Encoding: gzip", Err(Malformed)),
        ("compressed, in chunks", "Transfer-Encoding: gzip, chunked", Err(TransferCoding)),
        ("the same in two lines", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", Err(TransferCoding)),
        ("identity, then chunks", "Transfer-Encoding: identity, chunked", Err(TransferCoding)),
        ("chunks, then something else", "Transfer-Encoding: chunked, identity", Err(Malformed)),
        ("chunks twice", "Transfer-Encoding: chunked, chunked", Err(Malformed)),
        ("chunks in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(Malformed)),
        ("chunks, then another line", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", Err(Malformed)),
        ("an empty coding", "Transfer-Encoding:", Err(Malformed)),
        ("an empty element before", "Transfer-Encoding: , chunked", Err(TransferCoding)),
        ("an empty element behind", "Transfer-Encoding: chunked,", Err(Malformed)),
        ("a word that ends like it", "Transfer-Encoding: xchunked", Err(Malformed)),
        ("a word that begins like it", "Transfer-Encoding: chunkedx", Err(Malformed)),
        ("a parameter of chunks", "Transfer-Encoding: chunked;q=1", Err(Malformed)),
        ("quoted chunks", "Transfer-Encoding: \"chunked\"", Err(Malformed)),
        ("two words", "Transfer-Encoding: x chunked", Err(Malformed)),
        ("a vertical tab before it", "Transfer-Encoding: \u{b}chunked", Err(Malformed)),
        ("a vertical tab behind it", "Transfer-Encoding: chunked\u{b}", Err(Malformed)),
        ("a NUL behind it", "Transfer-Encoding: chunked\0", Err(Malformed)),
        ("a no-break space behind it", "Transfer-Encoding: chunked\u{a0}", Err(Malformed)),
        ("a letter that lower case makes one", "Transfer-Encoding: chun\u{212a}ed", Err(Malformed)),
        ("both", "Content-Length: 1\r\nTransfer-Encoding: chunked", Err(Malformed)),
        ("both, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 1", Err(Malformed)),
        ("no length and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked", Err(Malformed)),
        ("a length and another coding", "Content-Length: 1\r\nTransfer-Encoding: x", Err(Malformed)),
        ("another name with an underscore", "Transfer_Encoding: chunked", Ok(Length(0))),
        ("space before the colon", "Content-Length : 1", Err(Malformed)),
        ("space before the other colon", "Transfer-Encoding : chunked", Err(Malformed)),
        ("a tab before it", "Transfer-Encoding\t: chunked", Err(Malformed)),
        ("a NUL before it", "Transfer-Encoding\0: chunked", Err(Malformed)),
        ("a line that begins with a space", " Transfer-Encoding: chunked", Err(Malformed)),
        ("continued line", "Content-Length: 1\r\n 2", Err(Malformed)),
        ("continued coding", "Transfer-Encoding:\r\n chunked", Err(Malformed)),
        ("a coding behind a carriage return", "X: y\rTransfer-Encoding: chunked", Err(Malformed)),
        ("a coding behind a line feed", "X: y\nTransfer-Encoding: chunked", Err(Malformed)),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n");
        assert_eq!(read(request.as_bytes()).map(|head| head.body), want, "{name}");
        let old = request.replacen("HTTP/1.1", "HTTP/1.0", 1);
        let want = if matches!(want, Ok(Chunked) | Err(TransferCoding)) { Err(Malformed) } else { want };
        assert_eq!(read(old.as_bytes()).map(|head| head.body), want, "{name}, HTTP/1.0");
    }
}

/// What only HTTP/1.1 may ask for.
#[test]
fn what_http_1_0_can_not_ask_for() {
    for (version, may) in [("1.1", true), ("1.0", false)] {
        let head = |more: &str| read(format!("GET / HTTP/{version}\r\nHost: a\r\n{more}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(head("Upgrade: websocket\r\nConnection: Upgrade").asks_for_websocket(), may);
        assert_eq!(head("Expect: 100-Continue\r\nContent-Length: 1").expects_continue(), may);
        assert!(!head("Expect: 100-continue").expects_continue(), "without a body");
        assert!(!head("Expect: 200-ok\r\nContent-Length: 1").expects_continue());
        assert_eq!((head("X: y").http11, head("Content-Length: 0").has_body()), (may, false));
    }
}

#[test]
fn refused() {
    for (name, request, want) in [
        ("no host", &b"GET / HTTP/1.1\r\n\r\n"[..], Malformed),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Malformed),
        ("two hosts in 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Malformed),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\n", Version),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version),
        ("no version", b"GET /\r\n\r\n", Malformed),
        ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", Malformed),
        ("nothing but empty lines", b"\r\n\r\n\r\n", Malformed),
        ("bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n", Malformed),
        ("one bare line feed", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Malformed),
        ("bare carriage return", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Malformed),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", Malformed),
        ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Malformed),
        ("space in a name", b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", Malformed),
        ("no colon", b"GET / HTTP/1.1\r\nHost\r\n\r\n", Malformed),
        ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Malformed),
        ("binary", b"\x16\x03\x01\x02\n\r\n", Malformed),
        ("a WebSocket frame", b"\x81\x85\x01\x02\r\n\r\n", Malformed),
    ] {
        assert_eq!(read(request).unwrap_err(), want, "{name}");
    }
    let statuses: Vec<_> = [TooLarge, Malformed, TransferCoding, Version].iter().map(HeadError::status).collect();
    assert_eq!(statuses, [431, 400, 501, 505]);
    assert_eq!(TransferCoding.to_string(), "Not Implemented");
}

/// CVE-2024-37890: the limit of headers, one over it, and far over it.
#[test]
fn number_of_headers() {
    for (count, want) in [(100, Ok(())), (101, Err(TooLarge)), (2000, Err(TooLarge))] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
        assert_eq!(read(request.as_bytes()).map(|_| ()), want, "{count}");
    }
}

/// The end is found wherever it lies.
#[test]
fn an_end_anywhere() {
    for length in [0, 1, 30, 31, 32, 33] {
        for (end, more) in ["\n\n", "\n\r\n"].iter().flat_map(|end| [(end, 0), (end, 1), (end, 32)]) {
            let head = format!("{}{end}", "a".repeat(length + 1));
            let buffer = format!("{head}{}", "b".repeat(more));
            assert_eq!(find_end(buffer.as_bytes(), 0), Some(head.len()), "{buffer:?}");
            let without = format!("{}\n\rx\nx\n{}", "a".repeat(length + 1), "b".repeat(more));
            assert_eq!(find_end(without.as_bytes(), 0), None, "{without:?}");
        }
    }
}

/// A bare line feed is found wherever it lies.
#[test]
fn a_bare_line_feed_anywhere() {
    for length in [0, 1, 30, 31, 32, 33] {
        for (line_feed, after, want) in
            [("\r\n", "", Ok(())), ("\n", "", Err(Malformed)), ("\n", "Y: b\r\n", Err(Malformed))]
        {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}{line_feed}{after}\r\n", "x".repeat(length));
            assert_eq!(parse(head.as_bytes(), 9).map(|_| ()), want, "{head:?}");
        }
    }
}

/// CVE-2023-43669, CVE-2021-32640: a head without end that arrives byte by byte, or of spaces, takes linear time.
#[test]
fn no_end() {
    let start = Instant::now();
    for byte in [b"a", b"\n" as &[u8], b"\r", b" "] {
        let buffer = [b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: ", &byte.repeat(16 * 1024)[..]].concat();
        let ends = (0..buffer.len()).filter_map(|seen| find_end(&buffer[..seen], seen.saturating_sub(1)));
        assert_eq!(ends.count() > 0, byte == b"\n");
        assert!(parse(&buffer, 100).is_err());
    }
    assert!(start.elapsed().as_millis() < 1_000);
    assert_eq!(find_end(b"", 0), None);
    assert_eq!(find_end(b"abc", 9), None);
}

fn written(response: &Response, keep_alive: bool) -> String {
    let mut out = Vec::new();
    response.write_head(&mut out, keep_alive, "Sat, 31 Jan 2026 12:00:00 GMT");
    out.extend_from_slice(&response.body);
    String::from_utf8(out).unwrap()
}

#[test]
fn responses() {
    let ok = Response::new(200).header("Content-Type", "text/html").body("ok");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\nContent-Length: 2\r\nConnection:";
    assert_eq!(written(&ok, true), format!("{head} keep-alive\r\n\r\nok"));
    assert_eq!(written(&ok, false), format!("{head} close\r\n\r\nok"));
    assert_eq!(
        written(&Response::new(204), true),
        "HTTP/1.1 204 No Content\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        written(&Response::new(304), true),
        "HTTP/1.1 304 Not Modified\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        written(&Response::new(413), false),
        "HTTP/1.1 413 Payload Too Large\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let upgrade = Response::new(101).header("Upgrade", "websocket").header("Connection", "Upgrade");
    assert_eq!(
        written(&upgrade, true),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    );
}

#[test]
fn a_header_can_not_end_its_line() {
    let response = Response::new(200).header("X", "a\r\nSet-Cookie: b\r\n\r\n\0c".to_owned());
    assert_eq!(response.headers, [("X", Cow::from("aSet-Cookie: bc"))]);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(prop_oneof![
        Just(b"\r\n".to_vec()), Just(b"GET / HTTP/1.1\r\n".to_vec()), Just(b"Host:".to_vec()), any::<u8>().prop_map(|b| vec![b]),
    ], 0..40)) {
        let bytes = bytes.concat();
        let line_feeds = (0..bytes.len()).filter(|at| bytes[*at] == b'\n');
        let empty_lines = line_feeds.filter(|at| bytes[at + 1..].starts_with(b"\n") || bytes[at + 1..].starts_with(b"\r\n"));
        if !bytes.starts_with(b"\n") && !bytes.starts_with(b"\r\n") {
            prop_assert_eq!(find_end(&bytes, 0).is_some(), empty_lines.count() > 0);
        }
        if let Some(end) = find_end(&bytes, 0) {
            prop_assert!((2..=bytes.len()).contains(&end));
            let _ = parse(&bytes[..end], 100);
        }
        let _ = parse(&bytes, 1);
    }
}
