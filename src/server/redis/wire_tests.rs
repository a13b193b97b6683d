//! Vectors and properties of entries in Redis.

use super::*;
use crate::id::Random;
use crate::server::redis::msgpack::MsgpackError;
use proptest::prelude::*;
use serde_json::json;

const OPTS: &str = r#""opts":{"rooms":[],"except":[],"flags":{}}"#;

fn limits() -> Limits {
    Limits { max_payload: 1000, name_bytes: 20, rooms_per_client: 3, ..Limits::default() }
}

fn rooms(names: &[&str]) -> Vec<Room> {
    names.iter().map(|name| Room::from(*name)).collect()
}

fn to(names: &[&str], except: &[&str]) -> Target {
    Target { rooms: rooms(names).into(), except: rooms(except) }
}

fn plain(text: &str) -> Args {
    Args::from_wire(text.to_owned(), vec![])
}

fn at(ms: u64, seq: u64) -> Offset {
    Offset { ms, seq }
}

/// Reads fields as they come from Redis.
fn read(fields: &[(&str, &str)]) -> Result<(Nsp, Posted), WireError> {
    decode(fields.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes())), &limits())
}

fn read_data(kind: &str, data: &str) -> Result<Entry, WireError> {
    let (nsp, posted) = read(&[("uid", "6f1c2d3e4f5a6b7c"), ("nsp", "/"), ("type", kind), ("data", data)])?;
    assert_eq!((nsp.as_str(), &*posted.uid, posted.seq), ("/", "6f1c2d3e4f5a6b7c", 0));
    Ok(posted.entry)
}

fn write(entry: &Entry) -> Vec<(&'static str, String)> {
    let posted = Posted { uid: "me".into(), seq: 7, entry: entry.clone() };
    let nsp = Nsp::new("/");
    let fields = encode(&nsp, &posted).unwrap();
    fields.into_iter().map(|(field, value)| (field, value.into_owned())).collect()
}

/// Written and read again, an entry is the same.
fn check(entry: &Entry) -> Result<(), TestCaseError> {
    let fields = write(entry);
    let borrowed: Vec<(&str, &str)> = fields.iter().map(|(field, value)| (*field, value.as_str())).collect();
    let nsp = Nsp::new(borrowed[1].1);
    prop_assert_eq!(read(&borrowed), Ok((nsp, Posted { uid: "me".into(), seq: 7, entry: entry.clone() })));
    Ok(())
}

/// The shapes of the official adapter, both ways.
#[test]
fn official_entries() {
    let args = |text: &str| (Box::from("ev"), plain(text));
    let handshake = json!({"headers": {"host": "a"}, "time": "x", "secure": false, "query": {"EIO": "4"}, "auth": {}});
    for (kind, data, entry) in [
        ("3", format!(r#"{{"packet":{{"type":2,"data":["ev",1]}},{OPTS}}}"#), {
            let (name, args) = args("1");
            Entry::Broadcast { to: to(&[], &[]), name, args }
        }),
        (
            "3",
            r#"{"packet":{"type":2,"data":["ev"]},"opts":{"rooms":["a","b"],"except":["c"],"flags":{}}}"#.to_owned(),
            Entry::Broadcast { to: to(&["a", "b"], &["c"]), name: "ev".into(), args: Args::new() },
        ),
        (
            "3",
            r#"{"packet":{"type":2,"data":["ev",{"b":1.0,"a":"é\n"}]},"requestId":"00c0ffee12345678","opts":{"rooms":[],"except":[],"flags":{"timeout":1000}}}"#
                .to_owned(),
            {
                let (name, args) = args(r#"{"b":1.0,"a":"é\n"}"#);
                Entry::Ask { to: to(&[], &[]), name, args, request: 0x00c0_ffee_1234_5678, timeout_ms: 1000 }
            },
        ),
        ("4", format!(r#"{{{OPTS},"rooms":["n1","n2"]}}"#), Entry::Join { to: to(&[], &[]), rooms: rooms(&["n1", "n2"]) }),
        ("5", format!(r#"{{{OPTS},"rooms":["n2"]}}"#), Entry::Leave { to: to(&[], &[]), rooms: rooms(&["n2"]) }),
        ("6", format!(r#"{{{OPTS},"close":true}}"#), Entry::Disconnect { to: to(&[], &[]), close: true }),
        ("6", format!(r#"{{{OPTS},"close":false}}"#), Entry::Disconnect { to: to(&[], &[]), close: false }),
        ("7", format!(r#"{{{OPTS},"requestId":"ffffffffffffffff"}}"#), Entry::Fetch { to: to(&[], &[]), request: u64::MAX }),
        ("8", r#"{"requestId":"0000000000000001","sockets":[]}"#.to_owned(), Entry::Fetched { request: 1, sockets: vec![], more: false }),
        (
            "8",
            format!(r#"{{"requestId":"0000000000000001","sockets":[{{"id":"s1","handshake":{handshake},"rooms":["s1","r"],"data":{{}}}}]}}"#),
            Entry::Fetched {
                request: 1,
                sockets: vec![RemoteSocket {
                    id: SocketId::from_record("s1"),
                    handshake,
                    rooms: rooms(&["s1", "r"]),
                    data: json!({}),
                }],
                more: false,
            },
        ),
        ("8", r#"{"requestId":"0000000000000001","sockets":[],"more":true}"#.to_owned(), Entry::Fetched {
            request: 1,
            sockets: vec![],
            more: true,
        }),
        ("9", r#"{"packet":["ev",1,{"b":2}]}"#.to_owned(), {
            let (name, args) = args(r#"1,{"b":2}"#);
            Entry::ServerSide { name, args, request: None }
        }),
        (
            "9",
            r#"{"requestId":"0000000000000002","packet":["ev"]}"#.to_owned(),
            Entry::ServerSide { name: "ev".into(), args: Args::new(), request: Some(2) },
        ),
        (
            "10",
            r#"{"requestId":"0000000000000003","packet":[1,2]}"#.to_owned(),
            Entry::ServerAnswer { request: 3, args: plain("[1,2]") },
        ),
        ("11", r#"{"requestId":"0000000000000004","clientCount":1}"#.to_owned(), Entry::Asked { request: 4, clients: 1 }),
        ("12", r#"{"requestId":"0000000000000005","packet":null}"#.to_owned(), Entry::Answer { request: 5, args: plain("null") }),
        ("12", r#"{"requestId":"0000000000000005"}"#.to_owned(), Entry::Answer { request: 5, args: Args::new() }),
        (
            "12",
            r#"{"requestId":"0000000000000005","packet":"a,b","more":[2,[3]]}"#.to_owned(),
            Entry::Answer { request: 5, args: plain(r#""a,b",2,[3]"#) },
        ),
    ] {
        assert_eq!(read_data(kind, &data).as_ref(), Ok(&entry), "{data}");
        let fields = write(&entry);
        let names: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
        assert_eq!(names, ["uid", "nsp", "type", "data", "seq"]);
        assert_eq!((&*fields[2].1, &*fields[3].1), (kind, &*data));
        assert_eq!((&*fields[0].1, &*fields[1].1, &*fields[4].1), ("me", "/", "7"));
        check(&entry).unwrap();
    }
    for (kind, entry) in [("1", Entry::Marker), ("2", Entry::Present), ("13", Entry::Closed), ("24", Entry::Wake)] {
        assert_eq!(read(&[("type", kind), ("nsp", "/x")]).map(|(_, posted)| posted.entry), Ok(entry.clone()));
        assert!(write(&entry).iter().all(|(field, _)| *field != "data"), "{kind}");
        check(&entry).unwrap();
    }
}

/// Written by the official adapter for `emit("bin", Buffer[1,2,3], new Date(0), undefined, 1.5, "é")`.
#[test]
fn binary_from_the_official_adapter() {
    let data =
        "gqZwYWNrZXSCpHR5cGUCpGRhdGGWo2JpbsQDAQID1v8AAAAAwMs/+AAAAAAAAKLDqaRvcHRzg6Vyb29tc5CmZXhjZXB0kKVmbGFnc4A=";
    let text = r#"{"_placeholder":true,"num":0},"1970-01-01T00:00:00.000Z",null,1.5,"é""#;
    let args = Args::from_wire(text.to_owned(), vec![Bytes::from_static(&[1, 2, 3])]);
    let entry = Entry::Broadcast { to: Target::default(), name: "bin".into(), args };
    assert_eq!(read_data("3", data), Ok(entry.clone()));
    let written = write(&entry);
    assert!(written[3].1.starts_with(&data[..40]), "{written:?}");
    check(&entry).unwrap();
    // Cut anywhere it is refused.
    for end in 0..data.len() {
        assert!(matches!(read_data("3", &data[..end]), Err(WireError::Base64 | WireError::Msgpack(_))), "{end}");
    }
}

/// Entries of types that the official adapter does not know.
#[test]
fn our_own_entries() {
    let random: Random = Arc::new(|bytes: &mut [u8]| bytes.fill(1));
    let (sid, pid) = (SocketId::new(&random), Pid::new(&random));
    let record = Record {
        nsp: Nsp::new("/chat"),
        sid: sid.clone(),
        pid: pid.clone(),
        claim: Offset::ZERO,
        since: at(1, 0),
        position: at(5, 1),
        stale: Some(at(9, 9)),
        doubtful: Some(at(9, 8)),
        taken: 2,
        away: true,
        rooms: vec!["a\"b".into(), "é".into()],
        rooms_since: at(6, 0),
        rooms_until: at(7, 0),
        base: Some(vec!["b".into()]),
        data: Arc::new(json!({"name": "anna", "n": [1, null]})),
    };
    let entry = Entry::Record(Box::new(record));
    let data = format!(
        r#"{{"sid":"{sid}","pid":"{}","claim":"0-0","since":"1-0","position":"5-1",{}}}"#,
        pid.as_str(),
        r#""stale":"9-9","doubtful":"9-8","taken":2,"away":true,"rooms":["a\"b","é"],"roomsSince":"6-0","roomsUntil":"7-0","base":["b"],"data":{"n":[1,null],"name":"anna"}"#
    );
    let fields = write(&entry);
    assert_eq!((&*fields[1].1, &*fields[2].1, &*fields[3].1), ("/chat", "20", &*data));
    check(&entry).unwrap();

    let taken = Entry::Taken { nsp: Nsp::new("/chat"), sid, claim: at(9, 9) };
    assert_eq!((&*write(&taken)[1].1, &*write(&taken)[2].1), ("/chat", "22"));
    check(&taken).unwrap();
    let member = Member {
        name: "web-1".into(),
        tag: "ab".into(),
        address: "10.0.0.1:3000".into(),
        clients: 12,
        proof: "1.ab".into(),
    };
    let fields = write(&Entry::Member(member.clone()));
    assert_eq!(fields[3].1, r#"{"name":"web-1","tag":"ab","address":"10.0.0.1:3000","clients":12,"proof":"1.ab"}"#);
    check(&Entry::Member(member)).unwrap();
    check(&Entry::Ended(Nsp::new("/chat"), Offset { ms: 5, seq: 6 })).unwrap();
    check(&Entry::Withdrawn(Nsp::new("/chat"), Offset { ms: 5, seq: 6 })).unwrap();
    let claim = Entry::Claim(Nsp::new("/chat"));
    assert_eq!(write(&claim).iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["uid", "nsp", "type", "seq"]);
    check(&claim).unwrap();
}

/// What emitters and people write, and official servers in corners.
#[test]
fn written_by_others() {
    let everybody = |text: &str| Ok(Entry::Broadcast { to: Target::default(), name: "hi".into(), args: plain(text) });
    for (name, data, want) in [
        ("no opts", r#"{"packet":{"data":["hi",1]}}"#, everybody("1")),
        ("empty opts", r#"{"packet":{"data":["hi",1]},"opts":{}}"#, everybody("1")),
        (
            "null",
            r#"{"packet":{"data":["hi"]},"opts":{"rooms":null,"except":null,"flags":null},"requestId":null}"#,
            everybody(""),
        ),
        (
            "emitter",
            r#"{"packet":{"type":2,"data":["hi"],"nsp":"/other"},"opts":{"rooms":[],"flags":{"volatile":true}}}"#,
            Ok(Entry::Passing { to: Target::default(), name: "hi".into(), args: plain("") }),
        ),
        (
            "private emit",
            r#"{"packet":{"type":2,"data":["hi",9],"id":0},"opts":{"rooms":[],"except":[],"flags":{}}}"#,
            everybody("9"),
        ),
        (
            "spaces, unknown keys",
            "{ \"x\" : [ {} ] , \"packet\" : { \"data\" : [ \"hi\" , 1 ,2 ] , \"y\":0 } }",
            everybody("1 ,2"),
        ),
        (
            "digits and order stay",
            r#"{"packet":{"data":["hi",{"b":1.00,"a":1e999},"\ud800\/"]}}"#,
            everybody(r#"{"b":1.00,"a":1e999},"\ud800\/""#),
        ),
        (
            "no attachment",
            r#"{"packet":{"data":["hi",{"_placeholder":true,"num":0}]}}"#,
            everybody(r#"{"_placeholder":true,"num":0}"#),
        ),
        ("repeated keys", r#"{"packet":1,"packet":{"data":7,"data":["hi"]}}"#, everybody("")),
        ("escaped keys", r#"{"\u0070acket":{"data":["\u0068i"]}}"#, everybody("")),
    ] {
        assert_eq!(read_data("3", data), want, "{name}");
    }
    let numbers = r#"{"opts":{"rooms":[1,-2.5,"1"]},"rooms":[7]}"#;
    assert_eq!(read_data("4", numbers), Ok(Entry::Join { to: to(&["1", "-2.5", "1"], &[]), rooms: rooms(&["7"]) }));
    assert_eq!(read_data("6", r#"{"opts":{}}"#), Ok(Entry::Disconnect { to: Target::default(), close: false }));
    let ask = read_data("3", r#"{"packet":{"data":["hi"]},"requestId":"00000000000000ff"}"#);
    let want = Entry::Ask {
        to: Target::default(),
        name: "hi".into(),
        args: Args::new(),
        request: 255,
        timeout_ms: DEFAULT_TIMEOUT,
    };
    assert_eq!(ask, Ok(want));

    let read = |fields: &[(&str, &str)]| {
        read(fields).map(|(nsp, posted)| (nsp.as_str().to_owned(), posted.uid.to_string(), posted.seq))
    };
    let want = |nsp: &str, uid: &str, seq| Ok((nsp.to_owned(), uid.to_owned(), seq));
    assert_eq!(read(&[("nsp", "/a"), ("type", "2")]), want("/a", "emitter", 0));
    assert_eq!(
        read(&[("seq", "5"), ("x", "y"), ("type", "2"), ("", ""), ("nsp", "/a"), ("uid", "u")]),
        want("/a", "u", 5)
    );
    assert_eq!(
        read(&[("nsp", "/a"), ("type", "99"), ("type", "2"), ("nsp", "/b"), ("data", "{")]),
        want("/b", "emitter", 0)
    );
}

#[test]
fn refused() {
    use WireError::{Base64, Event, Field, Json, Key, UnknownType};
    let read = |fields: &[(&str, &str)]| read(fields).map(|(_, posted)| posted.entry);
    for (fields, want) in [
        (&[][..], Field("nsp")),
        (&[("type", "1")], Field("nsp")),
        (&[("type", "1"), ("nsp", "")], Field("nsp")),
        (&[("nsp", "/")], Field("type")),
        (&[("nsp", "/"), ("type", "1"), ("seq", "-1")], Field("seq")),
        (&[("nsp", "/"), ("type", "3")], Field("data")),
        (&[("nsp", "/"), ("type", "0"), ("data", "{}")], UnknownType),
        (&[("nsp", "/"), ("type", "03"), ("data", "{}")], UnknownType),
        (&[("nsp", "/"), ("type", "3"), ("data", "")], WireError::Msgpack(MsgpackError::Truncated)),
        (&[("nsp", "/"), ("type", "3"), ("data", "[1]")], Base64),
        (&[("nsp", "/"), ("type", "3"), ("data", " {}")], Base64),
    ] {
        assert_eq!(read(fields), Err(want), "{fields:?}");
    }
    let not_text: [(&[u8], &[u8]); 2] = [(b"nsp", b"\xff"), (b"type", b"1")];
    assert_eq!(decode(not_text, &limits()), Err(Field("nsp")));

    for (kind, data, want) in [
        ("3", "{", Json),
        ("3", "{}x", Json),
        ("3", "{}", Key("packet")),
        ("3", r#"{"packet":[]}"#, Json),
        ("3", r#"{"packet":{}}"#, Key("packet.data")),
        ("3", r#"{"packet":{"data":"/x,[\"hi\"]"}}"#, Event(SocketError::EventName)),
        ("3", r#"{"packet":{"data":{"hi":1}}}"#, Event(SocketError::EventName)),
        ("3", r#"{"packet":{"data":[]}}"#, Event(SocketError::EventName)),
        ("3", r#"{"packet":{"data":[1]}}"#, Event(SocketError::EventName)),
        ("3", r#"{"packet":{"data":["connect"]}}"#, Event(SocketError::EventName)),
        ("3", r#"{"packet":{"data":["hi"]},"opts":[]}"#, Json),
        ("3", r#"{"packet":{"data":["hi"]},"opts":{"rooms":"a"}}"#, Key("rooms")),
        ("3", r#"{"packet":{"data":["hi"]},"opts":{"except":[true]}}"#, Key("except")),
        ("3", r#"{"packet":{"data":["hi"]},"requestId":"1"}"#, Key("requestId")),
        ("3", r#"{"packet":{"data":["hi"]},"requestId":"+00000000000000f"}"#, Key("requestId")),
        ("3", r#"{"packet":{"data":["hi"]},"requestId":"00000000000000FF"}"#, Key("requestId")),
        ("4", r#"{"rooms":["a"]}"#, Key("opts")),
        ("4", r#"{"opts":{}}"#, Key("rooms")),
        ("5", r#"{"opts":{},"rooms":[{}]}"#, Key("rooms")),
        ("6", "{}", Key("opts")),
        ("6", r#"{"opts":{},"close":1}"#, Key("close")),
        ("7", r#"{"opts":{}}"#, Key("requestId")),
        ("8", r#"{"requestId":"0000000000000001","sockets":[1]}"#, Json),
        ("9", r#"{"packet":"hi"}"#, Event(SocketError::EventName)),
        ("11", r#"{"requestId":"0000000000000001","clientCount":-1}"#, Key("clientCount")),
        ("12", r#"{"packet":1}"#, Key("requestId")),
        ("12", r#"{"requestId":"0000000000000001","packet":1,"more":{}}"#, Key("more")),
        ("12", r#"{"requestId":"0000000000000001","more":[2]}"#, Event(SocketError::Json)),
        ("20", "{}", Key("sid")),
        ("22", r#"{"sid":"s","claim":"1"}"#, Key("claim")),
        ("23", "{}", Key("name")),
    ] {
        assert_eq!(read_data(kind, data), Err(want), "{data}");
    }
}

/// Each limit, reached and one over it.
#[test]
fn limits_of_an_entry() {
    let pair = |n: usize, make: &dyn Fn(usize) -> String, kind: &str, want| {
        assert!(read_data(kind, &make(n)).is_ok(), "{n}: {want:?}");
        assert_eq!(read_data(kind, &make(n + 1)), Err(want));
    };
    let join = |n| format!(r#"{{"opts":{{}},"rooms":[{}]}}"#, vec!["\"a\""; n].join(","));
    pair(limits().rooms_per_client, &join, "4", WireError::TooManyRooms);
    let long = |n| format!(r#"{{"opts":{{"rooms":["{}"]}},"rooms":[]}}"#, "é".repeat(n / 2) + &"a".repeat(n % 2));
    pair(limits().name_bytes, &long, "5", WireError::NameTooLong);
    let empty = r#"{"packet":{"data":["hi",""]}}"#;
    let large = |n: usize| empty.replace("\"\"", &format!("\"{}\"", "a".repeat(n - empty.len())));
    pair(limits().entry_bytes(), &large, "3", WireError::TooLarge);
    // As deep as a client's packet may be; the objects around it don't count.
    let deep = |n: usize| format!(r#"{{"packet":{{"data":["hi",{}{}]}}}}"#, "[".repeat(n - 1), "]".repeat(n - 1));
    pair(127, &deep, "3", WireError::Json);
    for (field, of) in [("nsp", "/"), ("uid", "u")] {
        let name = of.repeat(limits().name_bytes);
        assert!(read(&[("nsp", "/"), ("type", "1"), (field, &name)]).is_ok());
        assert_eq!(read(&[("nsp", "/"), ("type", "1"), (field, &(name + "x"))]), Err(WireError::NameTooLong));
    }
    let wide = Limits { max_payload: 1_000_000, ..limits() };
    let many = |n: usize| format!(r#"{{"opts":{{"rooms":[{}]}},"rooms":[]}}"#, vec!["\"\""; n].join(","));
    for (n, ok) in [(MAX_ROOMS, true), (MAX_ROOMS + 1, false)] {
        let got = decode([(&b"nsp"[..], &b"/"[..]), (b"type", b"5"), (b"data", many(n).as_bytes())], &wide);
        assert_eq!(got.is_ok(), ok, "{n}");
    }
    for (n, ok) in [(MAX_ATTACHMENTS, true), (MAX_ATTACHMENTS + 1, false)] {
        let args = (0..n).fold(Args::new(), |args, _| args.with_binary(vec![]));
        let posted = Posted { uid: "u".into(), seq: 0, entry: Entry::Answer { request: 1, args } };
        let nsp = Nsp::new("/");
        let fields = encode(&nsp, &posted).unwrap();
        let got = decode(fields.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes())), &wide);
        assert_eq!(got, if ok { Ok((nsp.clone(), posted)) } else { Err(MsgpackError::TooManyAttachments.into()) });
    }
}

/// A client's binary event at its deepest can be passed on.
#[test]
fn deep_binary() {
    let text = format!("{}{}{}", "[".repeat(125), r#"{"_placeholder":true,"num":0}"#, "]".repeat(125));
    let packet = format!("51-[\"hi\",{text}]");
    assert!(socket_packet::decode(&packet, 1).is_ok());
    let args = Args::from_wire(text, vec![Bytes::from_static(b"x")]);
    check(&Entry::Broadcast { to: Target::default(), name: "hi".into(), args }).unwrap();
}

/// What can't be written is an error, never an entry without data.
#[test]
fn arguments_that_were_never_validated() {
    for text in ["]", "{", "\"", "1,", "[}"] {
        let args = Args::from_wire(text.into(), vec![Bytes::new()]);
        let broadcast = Entry::Broadcast { to: Target::default(), name: "hi".into(), args: args.clone() };
        let posted = Posted { uid: "u".into(), seq: 0, entry: broadcast };
        assert!(matches!(encode(&Nsp::new("/"), &posted), Err(WireError::Msgpack(_))), "{text}");
        // Without attachments nothing looks at it; the reader refuses it.
        let entry = Entry::Broadcast { to: Target::default(), name: "hi".into(), args: plain(text) };
        assert!(read_data("3", &write(&entry)[3].1).is_err(), "{text}");
    }
    let args = Args::from_wire(r#"{"_placeholder":true,"num":1}"#.into(), vec![Bytes::new()]);
    let posted = Posted { uid: "u".into(), seq: 0, entry: Entry::Answer { request: 1, args } };
    assert_eq!(encode(&Nsp::new("/"), &posted), Err(MsgpackError::Placeholder.into()));
}

#[test]
fn errors_name_what_is_wrong() {
    for (error, want) in [
        (WireError::Field("nsp"), "field nsp is missing or illegal"),
        (WireError::Key("rooms"), "data: rooms is missing or illegal"),
        (MsgpackError::Utf8.into(), "data: MessagePack string is not UTF-8"),
        (SocketError::Json.into(), "data: invalid JSON"),
    ] {
        assert_eq!(error.to_string(), want);
    }
}

fn any_args() -> impl Strategy<Value = Args> {
    let arg = prop_oneof![
        any::<i64>().prop_map(|number| Ok(Value::from(number))),
        any::<String>().prop_map(|text| Ok(Value::from(text))),
        "\\PC{0,5}".prop_map(|key| Ok(json!({"a": [1.5, null], key: {"_placeholder": 1}}))),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Err),
    ];
    let push = |args: Args, arg| match arg {
        Ok(value) => args.with::<Value>(&value).unwrap(),
        Err(data) => args.with_binary(data),
    };
    proptest::collection::vec(arg, 0..6).prop_map(move |list| list.into_iter().fold(Args::new(), push))
}

fn any_rooms() -> impl Strategy<Value = Vec<Room>> {
    proptest::collection::vec("\\PC{0,5}".prop_map(Room::from), 0..4)
}

/// What may stand in place of the arguments and of the rooms: lists that begin well, and what is none.
const EVENT: &str =
    r#"\["a"(,("b"|"\{"|":"|"\},\\"opts\\":\{"|7|\{"opts":\{"rooms":\[\]\}\})){0,2}\]|[\[\]{},:"]{0,5}"#;
const ROOMS: &str = r#"\["a"(,("b"|"\{"|":"|"\\"\},"|7)){0,2}\]|\[\]|[\[\]{},:"a]{0,5}"#;

#[test]
fn what_is_written_here_is_read_the_short_way() {
    for (names, except) in [(&[][..], &[][..]), (&["a:b"], &["c", "d"]), (&["\u{20ac}"], &[])] {
        let entry = Entry::Broadcast { to: to(names, except), name: "hi".into(), args: plain(r#"{"a":"}{"},1"#) };
        let fields = write(&entry);
        let (_, data) = fields.iter().find(|(field, _)| *field == "data").unwrap();
        assert_eq!(plain_broadcast(data, &limits()), Some(entry), "{data}");
    }
}

proptest! {
    #[test]
    fn events_survive(args in any_args(), name in "\\PC{0,9}", rooms in any_rooms(), except in any_rooms(), id in any::<u64>()) {
        let to = Target { rooms: rooms.into(), except };
        let name: Box<str> = name.into();
        check(&Entry::Broadcast { to: to.clone(), name: name.clone(), args: args.clone() })?;
        check(&Entry::ServerSide { name: name.clone(), args: args.clone(), request: Some(id).filter(|id| id % 2 == 0) })?;
        check(&Entry::Answer { request: id, args: args.clone() })?;
        check(&Entry::Ask { to, name, args, request: id, timeout_ms: id })?;
    }

    /// The short way reads what the long one reads, and nothing else.
    #[test]
    fn the_short_way_is_no_other_way(
        list in EVENT, rooms in ROOMS, except in ROOMS, before in r#"||||,"nsp":"/"|\},"opts":\{"#, flags in r#"||||"volatile":true|\{|\}"#,
    ) {
        let data = format!(r#"{{"packet":{{"type":2,"data":{list}{before}}},"opts":{{"rooms":{rooms},"except":{except},"flags":{{{flags}}}}}}}"#);
        if let Some(event) = plain_broadcast(&data, &limits()) {
            prop_assert_eq!(Ok(event), broadcast(&data, Vec::new(), &limits()));
        }
    }

    /// What needs no list says the same with one.
    #[test]
    fn one_room_is_a_list_of_one(list in "\\[\"([a€\"\\\\,\n\u{7f}\\[\\]]|\\PC){0,4}\"\\]") {
        if let Some(name) = one_room(&list) {
            let items = elements(&list, "rooms").unwrap();
            prop_assert_eq!(items.iter().map(|item| text_of(item, "rooms").unwrap()).collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn any_data_is_survived(kind in "[0-9]{1,2}", data in r#"\{([\[\]{},:"\\ 0-9a]|"(packet|data|opts|rooms|more|requestId|hi)":?|0000000000000001|null|\[|\{|\}|€){0,40}"#) {
        let _ = read_data(&kind, &data);
    }
}
