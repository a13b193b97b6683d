//! Vectors of WebSocket streams, each whole, cut at every place, and with bytes behind it.

use super::WebSocketError::*;
use super::*;
use proptest::prelude::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A received message that outlives its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Error(WebSocketError),
}

fn own(received: Received<'_>) -> Got {
    match received {
        Received::Text(text) => Got::Text(text.into()),
        Received::Binary(data) => Got::Binary(data.into()),
        Received::Ping(data) => Got::Ping(data.into()),
        Received::Pong => Got::Pong,
        Received::Close { code } => Got::Close(code),
    }
}

/// Feeds pieces; checks that the memory stays within bounds, and that an error stays.
fn feed<'a>(receiver: &mut Receiver, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Got> {
    let mut got = Vec::new();
    for piece in pieces {
        let (mut input, mut at) = (piece.to_vec(), 0);
        loop {
            match receiver.next(&mut input, &mut at) {
                Ok(Some(received)) => got.push(own(received)),
                Ok(None) => {
                    assert_eq!(at, input.len(), "all of the input is used");
                    break;
                }
                Err(error) => {
                    assert_eq!(receiver.next(&mut [], &mut 0), Err(error), "errors are final");
                    assert_eq!(receiver.buffer.capacity(), 0);
                    got.push(Got::Error(error));
                    return got;
                }
            }
        }
        assert!(receiver.buffer.len() <= receiver.max_message + 125);
        assert!(receiver.buffer.capacity() <= 2 * (receiver.buffer.len() + 125), "grows with what has arrived");
    }
    got
}

fn check(name: &str, stream: &[u8], want: &[Got]) {
    let new = || Receiver::new(1000, 5);
    assert_eq!(feed(&mut new(), [stream].into_iter()), want, "{name}");
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(feed(&mut new(), stream.chunks(size)), want, "{name}, {size} at a time");
    }
    for cut in 0..stream.len().min(300) {
        let pieces = [&stream[..cut], &[], &stream[cut..]];
        assert_eq!(feed(&mut new(), pieces.into_iter()), want, "{name}, cut at {cut}");
    }
    // With a frame behind it, which comes through unless the stream is over.
    let mut receiver = new();
    let mut got = feed(&mut receiver, [&[stream, &frame(0x8a, b"")].concat()[..]].into_iter());
    if !matches!(want.last(), Some(Got::Error(_) | Got::Close(_))) && receiver.message.is_none() {
        assert_eq!(got.pop(), Some(Got::Pong), "{name}");
    }
    if receiver.message.is_none() {
        assert_eq!(got, want, "{name}, with trailing bytes");
        assert_eq!(receiver.buffer.capacity(), 0, "a quiet receiver owns no memory");
    }
}

/// A client's frame. `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=65535 => bytes.extend([&[0x80 | 126], &(len as u16).to_be_bytes()[..]].concat()),
        len => bytes.extend([&[0x80 | 127], &(len as u64).to_be_bytes()[..]].concat()),
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn text(text: &str) -> Got {
    Got::Text(text.into())
}

/// The masked example of section 5.7, the others in their masked form.
#[test]
fn examples_of_the_specification() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(frame(0x81, b"Hello"), hello);
    check("a text message", &hello, &[text("Hello")]);
    check("a fragmented text message", &[frame(0x01, b"Hel"), frame(0x80, b"lo")].concat(), &[text("Hello")]);
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    check("a pong", &pong, &[Got::Pong]);
    check("a ping", &frame(0x89, b"Hello"), &[Got::Ping(b"Hello".into())]);
    check("256 bytes", &frame(0x82, &[7; 256]), &[Got::Binary(vec![7; 256])]);
    let mut receiver = Receiver::new(65_536, 1);
    assert_eq!(feed(&mut receiver, frame(0x82, &[7; 65_536]).chunks(4096)), [Got::Binary(vec![7; 65_536])]);
}

#[test]
fn messages() {
    let ping = || Got::Ping(b"p".into());
    for (name, frames, want) in [
        ("nothing", vec![], vec![]),
        ("empty text", vec![frame(0x81, b"")], vec![text("")]),
        ("empty binary", vec![frame(0x82, b"")], vec![Got::Binary(vec![])]),
        ("two", vec![frame(0x81, b"a"), frame(0x82, b"b")], vec![text("a"), Got::Binary(b"b".into())]),
        ("125 bytes", vec![frame(0x81, &[b'x'; 125])], vec![text(&"x".repeat(125))]),
        ("126 bytes", vec![frame(0x81, &[b'x'; 126])], vec![text(&"x".repeat(126))]),
        ("as many as allowed", vec![frame(0x81, &[b'x'; 1000])], vec![text(&"x".repeat(1000))]),
        (
            "three fragments, a character cut",
            vec![frame(0x01, b"a\xe2"), frame(0x00, b"\x82"), frame(0x80, b"\xac")],
            vec![text("a€")],
        ),
        ("empty fragments", vec![frame(0x02, b""), frame(0x00, b""), frame(0x80, b"")], vec![Got::Binary(vec![])]),
        ("the last fragment alone has bytes", vec![frame(0x01, b""), frame(0x80, b"x")], vec![text("x")]),
        (
            "control frames between fragments",
            vec![frame(0x01, b"a"), frame(0x89, b"p"), frame(0x00, b"b"), frame(0x8a, b"q"), frame(0x80, b"c")],
            vec![ping(), Got::Pong, text("abc")],
        ),
        (
            "a ping before anything of the message",
            vec![frame(0x01, b""), frame(0x89, b"p"), frame(0x80, b"c")],
            vec![ping(), text("c")],
        ),
        ("a message not ended", vec![frame(0x01, b"a"), frame(0x89, b"p")], vec![ping()]),
        ("a long ping", vec![frame(0x89, &[1; 125])], vec![Got::Ping(vec![1; 125])]),
        ("close", vec![frame(0x88, b"")], vec![Got::Close(None)]),
        ("close with a code", vec![frame(0x88, &[3, 0xe8])], vec![Got::Close(Some(1000))]),
        ("close with a reason", vec![frame(0x88, b"\x03\xe9bye \xe2\x82\xac")], vec![Got::Close(Some(1001))]),
        ("close inside a message", vec![frame(0x01, b"abc"), frame(0x88, b"")], vec![Got::Close(None)]),
        ("frames after close", vec![frame(0x88, b""), frame(0x81, b"a"), vec![0xff; 9]], vec![Got::Close(None)]),
    ] {
        check(name, &frames.concat(), &want);
    }
}

/// CVE-2022-21676 and the like: each rule broken, as the first thing on the connection and after a message.
#[test]
fn broken_rules() {
    let unmasked = |frame: Vec<u8>| [&[frame[0], frame[1] & 0x7f][..], &frame[6..]].concat();
    for (name, stream, want) in [
        ("RSV1", frame(0xc1, b"a"), Protocol("reserved bits")),
        ("RSV2", frame(0xa1, b"a"), Protocol("reserved bits")),
        ("RSV3", frame(0x91, b"a"), Protocol("reserved bits")),
        ("RSV1 in a ping", frame(0xc9, b"a"), Protocol("reserved bits")),
        ("opcode 3", frame(0x83, b"a"), Protocol("reserved opcode")),
        ("opcode 7", frame(0x87, b""), Protocol("reserved opcode")),
        ("opcode 11", frame(0x8b, b""), Protocol("reserved opcode")),
        ("opcode 15", frame(0x8f, b"a"), Protocol("reserved opcode")),
        ("not masked", unmasked(frame(0x81, b"a")), Protocol("frame not masked")),
        ("close not masked", unmasked(frame(0x88, b"")), Protocol("frame not masked")),
        ("ping of 126 bytes", frame(0x89, &[0; 126]), Protocol("control frame too long")),
        ("close of 126 bytes", frame(0x88, &[3; 126]), Protocol("control frame too long")),
        ("ping fragmented", frame(0x09, b"a"), Protocol("control frame fragmented")),
        ("continuation of nothing", frame(0x80, b"a"), Protocol("continuation of no message")),
        ("fragment of nothing", frame(0x00, b"a"), Protocol("continuation of no message")),
        (
            "text inside a message",
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            Protocol("new message inside a message"),
        ),
        (
            "binary begins inside a message",
            [frame(0x02, b""), frame(0x02, b"b")].concat(),
            Protocol("new message inside a message"),
        ),
        ("length of 5 in 2 bytes", b"\x81\xfe\0\x051234aaaaa".into(), Protocol("length not in its shortest form")),
        (
            "length of 5 in 8 bytes",
            b"\x81\xff\0\0\0\0\0\0\0\x051234aaaaa".into(),
            Protocol("length not in its shortest form"),
        ),
        (
            "length of 125 in 2 bytes",
            [&b"\x81\xfe\0\x7d1234"[..], &[0; 125]].concat(),
            Protocol("length not in its shortest form"),
        ),
        (
            "length of 65,535 in 8 bytes",
            b"\x81\xff\0\0\0\0\0\0\xff\xff1234".into(),
            Protocol("length not in its shortest form"),
        ),
        ("reserved bits and opcode", frame(0xf3, b"a"), Protocol("reserved opcode")),
        ("reserved bits and length", b"\xc1\xfe\0\x051234aaaaa".into(), Protocol("length not in its shortest form")),
        ("reserved bits and not masked", unmasked(frame(0xc1, b"a")), Protocol("reserved bits")),
        ("text not UTF-8", frame(0x81, b"a\xff"), Utf8),
        ("text cut in a character", frame(0x81, b"\xe2\x82"), Utf8),
        ("surrogate in text", frame(0x81, b"\xed\xa0\x80"), Utf8),
        ("fragmented text not UTF-8", [frame(0x01, b"\xe2"), frame(0x80, b"a")].concat(), Utf8),
        ("close of 1 byte", frame(0x88, b"a"), Protocol("close code cut short")),
        ("reason not UTF-8", frame(0x88, b"\x03\xe8\xff"), Utf8),
        ("1001 bytes", frame(0x82, &[0; 1001]), TooLarge(1000)),
        ("1001 bytes in fragments", [frame(0x02, &[0; 1000]), frame(0x80, b"a")].concat(), TooLarge(1000)),
        ("a gigabyte announced", b"\x82\xff\0\0\0\0\x40\0\0\x001234".into(), TooLarge(1000)),
        ("more than there is announced", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff1234".into(), TooLarge(1000)),
        ("six fragments", [frame(0x02, b""), frame(0x00, b"").repeat(5)].concat(), TooManyFragments(5)),
    ] {
        check(name, &stream, &[Got::Error(want)]);
        check(name, &[frame(0x81, b"before"), stream].concat(), &[text("before"), Got::Error(want)]);
    }
    let codes: Vec<_> =
        [Protocol("x"), TooLarge(1), TooManyFragments(1), Utf8].iter().map(WebSocketError::close_code).collect();
    assert_eq!(codes, [1002, 1009, 1009, 1007]);
    assert_eq!(TooLarge(1_000_000).to_string(), "message larger than 1000000 bytes");
    assert_eq!(TooManyFragments(1_000).to_string(), "message of more than 1000 fragments");
}

#[test]
fn close_codes() {
    for (codes, legal) in [
        (0..=999, false),
        (1000..=1003, true),
        (1004..=1006, false),
        (1007..=1014, true),
        (1015..=2999, false),
        (3000..=4999, true),
        (5000..=65_535, false),
    ] {
        for code in codes {
            let want = match legal {
                true => Got::Close(Some(code)),
                false => Got::Error(Protocol("illegal close code")),
            };
            let stream = frame(0x88, &code.to_be_bytes());
            assert_eq!(feed(&mut Receiver::new(0, 0), [&stream[..]].into_iter()), [want], "{code}");
        }
    }
}

/// What is too large is refused when it is announced: before its first byte, and nothing is allocated for it.
#[test]
fn announced_sizes() {
    let head = &frame(0x82, &[0; 1001])[..8];
    let mut receiver = Receiver::new(1000, 5);
    assert_eq!(feed(&mut receiver, head.chunks(1)), [Got::Error(TooLarge(1000))]);
    let head = &frame(0x82, &[0; 900_000])[..14];
    let mut receiver = Receiver::new(1_000_000, 5);
    assert_eq!(feed(&mut receiver, [head].into_iter()), []);
    assert_eq!(receiver.buffer.capacity(), 0);
}

/// CVE-2026-48779: a message of 1-byte fragments is refused at the limit, and costs about its bytes until then.
#[test]
fn tiny_fragments() {
    let stream = [frame(0x02, b"a"), frame(0x00, b"a").repeat(1_000_000)].concat();
    for size in [1, 4096] {
        let mut receiver = Receiver::new(1_000_000, 1000);
        assert_eq!(feed(&mut receiver, stream.chunks(size)), [Got::Error(TooManyFragments(1000))]);
    }
}

/// CVE-2026-48802: pongs that nobody asked for leave nothing behind.
#[test]
fn very_many_pongs() {
    let stream = frame(0x8a, b"x").repeat(100_000);
    let mut receiver = Receiver::new(1000, 5);
    assert_eq!(feed(&mut receiver, stream.chunks(1000)).len(), 100_000);
    assert_eq!(receiver.buffer.capacity(), 0);
}

#[test]
fn memory() {
    assert!(size_of::<Receiver>() <= 112, "{}", size_of::<Receiver>());
    let mut receiver = Receiver::new(1_000_000, 5);
    let stream = frame(0x82, &vec![1; 1_000_000]);
    assert_eq!(feed(&mut receiver, stream.chunks(16_384)).len(), 1);
    assert_eq!(receiver.buffer.capacity(), 0, "given back after a large message");
}

#[test]
fn whole_frames_are_not_copied() {
    let mut receiver = Receiver::new(1000, 5);
    let mut input = frame(0x81, b"hello");
    let place = input[6..].as_ptr();
    match receiver.next(&mut input, &mut 0) {
        Ok(Some(Received::Text(text))) => assert_eq!((text, text.as_ptr()), ("hello", place)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn masks() {
    for len in 0..300 {
        let plain: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        let mut data: Vec<u8> = plain.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        unmask(&mut data, MASK);
        assert_eq!(data, plain);
    }
}

/// Cut where the mask goes on with each of its bytes, and at each place in memory.
#[test]
fn masks_go_on() {
    let plain: Vec<u8> = (0..=u8::MAX).cycle().take(700).collect();
    let stream = [frame(0x82, &plain), frame(0x82, &plain)].concat();
    for cut in 0..300 {
        let mut receiver = Receiver::new(1000, 5);
        let got = feed(&mut receiver, [&stream[..cut], &stream[cut..]].into_iter());
        assert_eq!(got, [Got::Binary(plain.clone()), Got::Binary(plain.clone())], "cut at {cut}");
        let (before, frame) = (frame(0x89, &plain[..cut % 125]), &stream[..stream.len() / 2]);
        let got = feed(&mut receiver, [&[&before[..], frame].concat()[..]].into_iter());
        assert_eq!(got.last(), Some(&Got::Binary(plain.clone())), "behind a ping of {} bytes", cut % 125);
    }
}

/// Frames that mostly keep the rules.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(0x81),
        Just(0x82),
        Just(0x01),
        Just(0x02),
        Just(0x00),
        Just(0x00),
        Just(0x80),
        Just(0x80),
        Just(0x89),
        Just(0x8a),
        Just(0x88),
        any::<u8>(),
    ];
    let payload = prop_oneof![".{0,9}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..150)];
    let frames = prop::collection::vec((first, payload).prop_map(|(first, payload)| frame(first, &payload)), 0..9);
    frames.prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn the_cut_does_not_matter(stream in stream(), cuts in prop::collection::vec(0..400usize, 0..9)) {
        let want = feed(&mut Receiver::new(300, 4), [&stream[..]].into_iter());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]);
        prop_assert_eq!(feed(&mut Receiver::new(300, 4), pieces), want);
    }

    #[test]
    fn messages_round_trip(messages in prop::collection::vec((any::<bool>(), ".{0,99}"), 0..5), size in 1..99usize) {
        let mut stream = Vec::new();
        let mut want = Vec::new();
        for (fragmented, message) in &messages {
            let (a, b) = message.as_bytes().split_at(message.len() / 2);
            match fragmented {
                true => stream.extend([frame(0x01, a), frame(0x89, b"p"), frame(0x80, b)].concat()),
                false => stream.extend(frame(0x81, message.as_bytes())),
            }
            if *fragmented {
                want.push(Got::Ping(b"p".into()));
            }
            want.push(text(message));
        }
        prop_assert_eq!(feed(&mut Receiver::new(1000, 2), stream.chunks(size)), want);
    }
}
