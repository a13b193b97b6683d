//! What applications rely on, in virtual time: who gets a broadcast, acknowledgements, middlewares, limits, reasons, claims.

use crate::codec::args::Args;
use crate::id::{Offset, Pid, Room, SocketId};
use crate::limits::Limits;
use crate::server::client::socket::{EmitError, Socket};
use crate::server::cluster::requests::Gathered;
use crate::server::log::entry::{Entry, Posted, Record};
use crate::server::log::memory::MemoryStreams;
use crate::server::recovery::record::newest_record;
use crate::server::sim::peer::Line;
use crate::server::*;
use client::events::Events;
use handler::{AckError, ConnectError, Next};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Bench {
    pub(super) server: Server,
    clock: Arc<AtomicU64>,
}

impl Bench {
    pub(super) fn new(options: Options) -> Bench {
        let (clock, ids) = (Arc::new(AtomicU64::new(1_000)), AtomicU64::new(0));
        let ticking = clock.clone();
        let random = move |bytes: &mut [u8]| {
            bytes.fill(1);
            bytes[0] = ids.fetch_add(1, Ordering::Relaxed) as u8;
        };
        let streams = Arc::new(MemoryStreams::new(&options.limits));
        let now = Arc::new(move || Time(ticking.load(Ordering::Relaxed)));
        Bench { server: Server::new(options, streams, now, Arc::new(random)), clock }
    }

    pub(super) fn plain() -> Bench {
        let bench = Bench::new(Options { recovery: None, ..Options::default() });
        bench.server.of("/").handle(());
        bench
    }

    pub(super) fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
        self.server.handle_timeouts(self.server.now());
    }

    pub(super) fn line(&self, transport: Transport) -> Line {
        let headers = crate::codec::http::parse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 9).unwrap().headers;
        let handshake = Handshake { headers, url: "/socket.io/?EIO=4".into(), address: "::1".into() };
        let connection = self.server.open(self.server.now(), transport, false, handshake).unwrap();
        Line::new(connection, transport == Transport::Polling)
    }

    /// Sends packets over a new WebSocket; gives the line, and what came back but the open packet.
    pub(super) fn send(&self, packets: &[&str]) -> (Line, Vec<String>) {
        let mut line = self.line(Transport::WebSocket);
        packets.iter().for_each(|packet| line.send(self.server.now(), packet));
        let got = self.got(&mut line).split_off(1);
        (line, got)
    }

    pub(super) fn got(&self, line: &mut Line) -> Vec<String> {
        line.pump(self.server.now());
        line.coming.drain(..).collect()
    }

    /// A client in `/`.
    pub(super) fn join(&self) -> (Line, Socket) {
        let (line, _) = self.send(&["40"]);
        let socket = line.connection.sockets().remove(0);
        (line, socket)
    }
}

#[test]
fn who_gets_a_broadcast() {
    let bench = Bench::plain();
    let nsp = bench.server.of("/");
    let mut clients: Vec<_> = (0..3).map(|_| bench.join()).collect();
    for (i, rooms) in [&["a", "b"][..], &["b"], &[]].into_iter().enumerate() {
        rooms.iter().for_each(|room| clients[i].1.join(*room).unwrap());
    }
    let first = clients[0].1.clone();
    let third = clients[2].1.id().clone();
    let mut check = |want: [usize; 3], what: &str| {
        let got: Vec<usize> = clients.iter_mut().map(|(line, _)| bench.got(line).len()).collect();
        assert_eq!(got, want, "{what}");
    };
    nsp.emit_all("x", 1).unwrap();
    check([1, 1, 1], "everybody");
    nsp.to("a").to("b").emit("x", 1).unwrap();
    check([1, 1, 0], "several rooms, once each");
    nsp.to("b").except("a").emit("x", 1).unwrap();
    check([0, 1, 0], "a room without another");
    first.broadcast().emit("x", 1).unwrap();
    check([0, 1, 1], "all but the sender");
    first.to("b").local().emit("x", 1).unwrap();
    check([0, 1, 0], "a room without the sender, here");
    nsp.to(first.id()).emit("x", 1).unwrap();
    check([1, 0, 0], "one client by its id");
    first.emit("x", ()).unwrap();
    check([1, 0, 0], "one client");
    let fetched: Arc<Mutex<Gathered>> = Arc::default();
    let fetches = fetched.clone();
    nsp.except("b").fetch_sockets(move |found| *lock(&fetches) = found).unwrap();
    let ids: Vec<_> = lock(&fetched).sockets.iter().map(|socket| socket.id.clone()).collect();
    assert_eq!(ids, [third]);
    nsp.to("a").sockets_join("c").unwrap();
    nsp.to("b").sockets_leave(["b"]).unwrap();
    assert_eq!(nsp.rooms(), [("a".into(), 1), ("c".into(), 1)]);
    nsp.to("c").disconnect_sockets(false).unwrap();
    check([1, 0, 0], "DISCONNECT");
    assert_eq!((nsp.len(), nsp.room_count(), first.connected()), (2, 0, false));
    first.join("late").unwrap();
    assert_eq!(nsp.room_count(), 0, "a client that is gone joins nothing");
}

#[test]
fn broadcasts_collect_acknowledgements() {
    let bench = Bench::plain();
    let mut clients: Vec<_> = (0..3).map(|_| bench.join()).collect();
    let heard: Arc<Mutex<Option<Gathered>>> = Arc::default();
    let hears = heard.clone();
    bench
        .server
        .of("/")
        .all()
        .timeout(Duration::from_millis(500))
        .emit_with_ack("q", 1, move |acks| *lock(&hears) = Some(acks))
        .unwrap();
    let asked = bench.got(&mut clients[0].0);
    let id = asked[0].strip_prefix("42").and_then(|rest| rest.strip_suffix(r#"["q",1]"#)).unwrap().to_owned();
    assert!(id.parse::<u64>().unwrap() > 0, "ids begin at random");
    clients[0].0.send(bench.server.now(), &format!(r#"43{id}["yes"]"#));
    clients[0].0.send(bench.server.now(), &format!(r#"43{id}["again"]"#));
    clients[1].0.close(bench.server.now());
    bench.pass(499);
    assert!(lock(&heard).is_none());
    bench.pass(1);
    assert_eq!(*lock(&heard), Some(Gathered { answers: vec![Args::from("yes")], missing: 2, ..Gathered::default() }));
}

#[test]
fn acknowledgements_of_one_client() {
    let bench = Bench::new(Options {
        recovery: None,
        limits: Limits { pending_acks: 2, ..Limits::default() },
        ..Options::default()
    });
    bench.server.of("/").handle(());
    let (line, socket) = bench.join();
    let heard: Arc<Mutex<Vec<Result<Args, AckError>>>> = Arc::default();
    let ask = |timeout: Option<u64>| {
        let hears = heard.clone();
        socket.emit_with_ack("q", (), timeout.map(Duration::from_millis), move |answer| lock(&hears).push(answer))
    };
    ask(Some(100)).unwrap();
    ask(None).unwrap();
    assert_eq!(ask(None), Err(EmitError::TooManyAcks));
    bench.pass(100);
    line.close(bench.server.now());
    ask(None).unwrap();
    assert_eq!(*lock(&heard), [Err(AckError::Timeout), Err(AckError::Disconnected), Err(AckError::Disconnected)]);
}

#[test]
fn volatile_packets_are_for_clients_that_can_take_them() {
    let bench = Bench::plain();
    let mut line = bench.line(Transport::Polling);
    line.send(bench.server.now(), "40");
    line.connection.sockets()[0].volatile().emit("x", 1).unwrap();
    let mut got = bench.got(&mut line);
    assert!(!got.iter().any(|packet| packet.contains("\"x\"")), "{got:?}");
    // Now a GET waits.
    line.connection.sockets()[0].volatile().emit("x", 2).unwrap();
    got = bench.got(&mut line);
    assert_eq!(got, [r#"42["x",2]"#]);
    assert_eq!(bench.server.metrics().volatile_dropped.get(), 1);
}

#[test]
fn middlewares_decide_now_or_later() {
    let bench = Bench::plain();
    let later: Arc<Mutex<Vec<Next>>> = Arc::default();
    let (keeps, nsp) = (later.clone(), bench.server.of("/door"));
    nsp.use_middleware(|socket, next| match socket.auth().contains("bad") {
        true => next.refuse(ConnectError::new("no").with_data(json!({"why": 1}))),
        false => next.accept(),
    });
    nsp.use_middleware(move |socket, next| match socket.auth().contains("drop") {
        true => drop(next),
        false => lock(&keeps).push(next),
    });
    let (_, got) = bench.send(&[r#"40/door,{"bad":1}"#]);
    assert_eq!(got, [r#"44/door,{"message":"no","data":{"why":1}}"#]);
    let (_, got) = bench.send(&[r#"40/door,{"drop":1}"#]);
    assert_eq!(got, [r#"44/door,{"message":"not accepted"}"#]);
    let (mut line, got) = bench.send(&["40/door,"]);
    assert_eq!((got.len(), nsp.len()), (0, 0));
    let next = lock(&later).pop().unwrap();
    next.accept();
    assert_eq!((bench.got(&mut line).len(), nsp.len()), (1, 1));
    let (_, got) = bench.send(&["40/nowhere"]);
    assert_eq!(got, [r#"44/nowhere,{"message":"Invalid namespace"}"#]);
}

#[test]
fn limits_are_errors_of_the_one_who_reaches_them() {
    let limits = Limits { rooms_per_client: 1, name_bytes: 5, namespaces_per_client: 1, ..Limits::default() };
    let bench = Bench::new(Options { limits, ..Options::default() });
    bench.server.of("/").handle(());
    bench.server.of_rule(|name| name.starts_with("/d"), Arc::new(()));
    let (mut line, socket) = bench.join();
    assert_eq!(socket.join("room"), Ok(()));
    assert_eq!(socket.join("more"), Err(EmitError::TooManyRooms));
    assert_eq!(socket.join("toolong"), Err(EmitError::NameTooLong));
    assert_eq!(socket.emit("connect", ()), Err(EmitError::ReservedName));
    let many = (0..11).fold(Args::new(), |args, _| args.with_binary(vec![0]));
    assert_eq!(socket.emit("x", many), Err(EmitError::TooManyAttachments));
    line.send(bench.server.now(), "40/d,");
    line.send(bench.server.now(), "40/dlong,");
    let got = bench.got(&mut line);
    assert!(got[0].contains("Too many namespaces") && got[1].contains("name too long"), "{got:?}");
}

#[test]
fn a_namespace_made_by_a_rule_goes_with_its_last_client() {
    let bench = Bench::plain();
    bench.server.of_rule(|name| name.starts_with("/game-"), Arc::new(()));
    let (one, _) = bench.send(&["40/game-1,"]);
    let (two, _) = bench.send(&["40/game-1,"]);
    assert_eq!(bench.server.namespaces().len(), 2);
    one.close(bench.server.now());
    assert_eq!(bench.server.namespaces().len(), 2);
    two.send(bench.server.now(), "41/game-1,");
    assert_eq!(bench.server.namespaces().len(), 1);
}

/// Also those that the application gives to the clients of this server alone: the log tells them, and so they survive it.
#[test]
fn rooms_are_entries_of_the_log() {
    let bench = Bench::new(Options::default());
    let nsp = bench.server.of("/");
    nsp.handle(());
    let (line, socket) = bench.join();
    let before = nsp.position();
    socket.join("a").unwrap();
    socket.join("a").unwrap();
    let after_join = nsp.position();
    assert!(after_join > before);
    nsp.all().local().sockets_join(vec![Room::from("b")]).unwrap();
    nsp.all().local().sockets_leave(vec![Room::from("a")]).unwrap();
    assert!(nsp.position() > after_join);
    let pid = socket.pid().unwrap().as_str().to_owned();
    line.close(bench.server.now());
    let (line, _) = bench.send(&[&format!(r#"40{{"pid":"{pid}"}}"#)]);
    let back = line.connection.sockets().remove(0);
    assert!(back.recovered());
    assert_eq!(back.rooms(), [back.id().room(), "b".into()]);
}

#[test]
fn reasons_in_the_official_words() {
    let bench = Bench::new(Options { recovery: None, ..Options::default() });
    let reasons: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let hears = reasons.clone();
    bench.server.of("/").handle(Events::new().on_disconnect(move |_, reason| lock(&hears).push(reason.as_str())));
    let now = bench.server.now();
    bench.join().0.send(now, "41");
    bench.join().1.disconnect(false);
    bench.join().1.disconnect(true);
    bench.join().0.close(now);
    bench.join().0.send(now, "4abc");
    bench.join().0.connection.handle(now, Input::Garbage(crate::proto::session::Via::WebSocket));
    let (mut last, _) = bench.join();
    bench.server.close();
    assert!(bench.got(&mut last).iter().all(|packet| !packet.starts_with("41")), "no DISCONNECT packet");
    bench.server.open_again();
    let _silent = bench.join();
    bench.pass(25_000);
    bench.pass(20_000);
    let want = [
        "client namespace disconnect",
        "server namespace disconnect",
        "server namespace disconnect",
        "transport close",
        "forced close",
        "parse error",
        "server shutting down",
        "ping timeout",
    ];
    assert_eq!(*lock(&reasons), want);
}

#[test]
fn the_last_claim_owns_the_session() {
    let record = |claim: u64, data: u64| {
        let at = Offset { ms: claim, seq: 0 };
        Entry::Record(Box::new(Record {
            nsp: Nsp::new("/"),
            sid: SocketId::from_record("sid"),
            pid: Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap(),
            claim: at,
            since: Offset::ZERO,
            position: Offset::ZERO,
            doubtful: None,
            stale: None,
            taken: 0,
            away: false,
            rooms: Vec::new(),
            rooms_since: Offset::ZERO,
            rooms_until: Offset::ZERO,
            base: None,
            data: Arc::new(json!(data)),
        }))
    };
    let claim = || Entry::Claim(Nsp::new("/"));
    for (what, entries, want) in [
        ("nothing", vec![], None),
        (
            "another namespace's claim",
            vec![(1, record(0, 1)), (2, Entry::Claim(Nsp::new("/x"))), (3, record(0, 2))],
            Some(2),
        ),
        ("a claim alone", vec![(1, claim())], None),
        ("the newest record", vec![(1, record(0, 1)), (2, record(0, 2))], Some(2)),
        (
            "a record written late by the former owner",
            vec![(1, record(0, 1)), (2, claim()), (3, record(0, 9))],
            Some(1),
        ),
        (
            "the new owner's record",
            vec![(1, record(0, 1)), (2, claim()), (3, record(2, 5)), (4, record(0, 9))],
            Some(5),
        ),
        ("a trimmed claim", vec![(3, record(2, 5)), (4, record(0, 9))], Some(5)),
        ("what comes after the restorer's claim", vec![(1, record(0, 1)), (11, record(0, 2))], Some(1)),
    ] {
        let item = |(ms, entry)| (Offset { ms, seq: 0 }, Arc::new(Posted { uid: "a".into(), seq: 0, entry }));
        let items: Vec<_> = entries.into_iter().map(item).collect();
        let newest = newest_record(&items, Offset { ms: 10, seq: 0 }, &Nsp::new("/"));
        let data = newest.map(|(_, record)| (*record.data).clone());
        assert_eq!(data, want.map(Value::from), "{what}");
    }
}

/// The task of a WebSocket that hands over its client's events looks by itself for what they led to.
#[test]
fn a_client_s_own_events_wake_nobody() {
    #[derive(Default)]
    struct Rings(AtomicU64);
    impl std::task::Wake for Rings {
        fn wake(self: Arc<Rings>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let bench = Bench::new(Options { recovery: None, ..Options::default() });
    bench.server.of("/").handle(Events::new().on("echo", |socket, event| socket.emit("echo", event.args).unwrap()));
    let (line, socket) = bench.join();
    let rings = Arc::<Rings>::default();
    let waker = rings.clone().into();
    assert!(
        matches!(line.connection.take_frames(0, Some(&waker)), client::connection::Write::Frames(frames) if frames.is_empty())
    );
    line.send(bench.server.now(), r#"42["echo",1]"#);
    assert_eq!(rings.0.load(Ordering::Relaxed), 0);
    assert!(
        matches!(line.connection.take_frames(0, Some(&waker)), client::connection::Write::Frames(frames) if frames.len() == 1)
    );
    // Nobody waits yet: there was something to take.
    socket.emit("more", ()).unwrap();
    assert_eq!(rings.0.load(Ordering::Relaxed), 0);
    let _ = line.connection.take_frames(0, Some(&waker));
    let _ = line.connection.take_frames(0, Some(&waker));
    socket.emit("more", ()).unwrap();
    assert_eq!(rings.0.load(Ordering::Relaxed), 1);
}

/// Whoever still holds the socket from before a return speaks to the client where it is now.
#[test]
fn a_socket_that_was_taken_over_reaches_its_client() {
    let bench = Bench::new(Options::default());
    bench.server.of("/").handle(());
    let (mut first, answer) = bench.send(&["40"]);
    let before = first.connection.sockets().remove(0);
    let pid = answer[0].split("\"pid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (mut second, answer) = bench.send(&[&format!(r#"40{{"pid":"{pid}"}}"#)]);
    assert!(answer[0].contains(before.id().as_str()), "{answer:?}");
    before.emit("still", 1).unwrap();
    assert_eq!(bench.got(&mut first).iter().filter(|packet| packet.contains("still")).count(), 0);
    let got = bench.got(&mut second);
    assert!(got.len() == 1 && got[0].starts_with(r#"42["still",1,""#), "{got:?}");
}
