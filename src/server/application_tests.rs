//! What an application builds on, beside what [`tests`](super::tests) has: several handlers, listeners, futures, clients elsewhere.

use crate::codec::args::Args;
use crate::limits::Limits;
use crate::server::changes::Change;
use crate::server::client::events::Events;
use crate::server::client::handler::{AckError, ConnectError, Handler};
use crate::server::client::socket::{EmitError, Socket};
use crate::server::tests::Bench;
use crate::server::{Options, lock};
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: impl Into<String>) {
        lock(&self.0).push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0))
    }
}

fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn plain(events: impl Handler) -> Bench {
    let bench = Bench::new(Options { recovery: None, ..Options::default() });
    bench.server.of("/").handle(events);
    bench
}

/// In one handler and in several: all are called, in order, and the first that acknowledges answers.
#[test]
fn no_second_handler_is_silent() {
    let diary = Diary::default();
    let notes = |what: &'static str| {
        let diary = diary.clone();
        move |_: &Socket, event: crate::server::client::handler::Event<'_>| {
            diary.note(format!("{what} {}", event.args.text()));
            event.ack.into_iter().for_each(|ack| ack.send(what));
        }
    };
    let (first, second) = (diary.clone(), diary.clone());
    let bench = plain(
        Events::new()
            .on("x", notes("a"))
            .on("x", notes("b"))
            .on_connect(move |_| first.note("joined"))
            .on_connect(move |_| second.note("joined too")),
    );
    bench.server.of("/").handle(Events::new().on("x", notes("c")).fallback(notes("other")));
    let (mut line, _) = bench.join();
    assert_eq!(diary.take(), ["joined", "joined too"]);
    line.send(bench.server.now(), r#"427["x",1]"#);
    assert_eq!(diary.take(), ["a 1", "b 1", "c 1"]);
    assert_eq!(bench.got(&mut line), [r#"437["a"]"#]);
    line.send(bench.server.now(), r#"428["y",2]"#);
    assert_eq!((diary.take(), bench.got(&mut line)), (vec!["other 2".to_owned()], vec![r#"438["other"]"#.to_owned()]));
}

#[test]
fn listeners_and_middlewares_of_events() {
    let diary = Diary::default();
    let (any, x, other) = (diary.clone(), diary.clone(), diary.clone());
    let bench = plain(
        Events::new()
            .on_any(move |_, event| any.note(format!("any {}", event.name)))
            .before(|_, event| {
                let stops = event.name == "stop";
                if let (true, Some(ack)) = (stops, event.ack.take()) {
                    ack.send("stopped");
                }
                !stops
            })
            .before(|_, event| {
                event.args = Args::from((event.args.value(0), "seen"));
                true
            })
            .on("x", move |_, event| x.note(format!("x {}", event.args.text())))
            .on("stop", |_, _| panic!("it was stopped"))
            .fallback(move |_, event| other.note(format!("fallback {}", event.name))),
    );
    let (mut line, _) = bench.join();
    for packet in [r#"42["x",1]"#, r#"425["stop"]"#, r#"42["y"]"#] {
        line.send(bench.server.now(), packet);
    }
    assert_eq!(diary.take(), ["any x", r#"x 1,"seen""#, "any stop", "any y", "fallback y"]);
    assert_eq!(bench.got(&mut line), [r#"435["stopped"]"#]);
}

/// With recovery and without, to one and to many, volatile, local, and questions: one call for each receiver.
#[test]
fn every_event_that_goes_out_is_told() {
    for recovery in [None, Some(crate::server::Recovery::default())] {
        let diary = Diary::default();
        let hears = diary.clone();
        let bench = Bench::new(Options { recovery, ..Options::default() });
        let nsp = bench.server.of("/");
        nsp.handle(Events::new().on_any_outgoing(move |socket, name, args| {
            hears.note(format!("{} {name} {}", socket.rooms().len(), args.text()));
        }));
        let ((line, one), (_line, _two)) = (bench.join(), bench.join());
        one.join("a").unwrap();
        one.emit("one", 1).unwrap();
        nsp.emit_all("all", 2).unwrap();
        nsp.to("a").volatile().emit("volatile", 3).unwrap();
        nsp.to("a").local().emit("local", 4).unwrap();
        one.broadcast().emit("other", 5).unwrap();
        drop(one.ask("ask", 6, None));
        drop(nsp.to("a").ask("asks", 7));
        let mut told = diary.take();
        told[1..3].sort();
        assert_eq!(
            told,
            ["2 one 1", "1 all 2", "2 all 2", "2 volatile 3", "2 local 4", "1 other 5", "2 ask 6", "2 asks 7"]
        );
        line.close(bench.server.now());
        let _ = one.emit("gone", 8);
        assert_eq!(diary.take(), [""; 0]);
    }
}

#[test]
fn answers_can_be_awaited_and_given_up() {
    let limits = Limits { pending_acks: 1, ..Limits::default() };
    let bench = Bench::new(Options { recovery: None, limits, ..Options::default() });
    let nsp = bench.server.of("/");
    nsp.handle(());
    let (mut line, socket) = bench.join();
    let mut answer = pin!(socket.ask("q", (), Some(Duration::from_millis(100))));
    assert_eq!(poll(answer.as_mut()), Poll::Pending);
    assert_eq!(poll(socket.ask("q", (), None)), Poll::Ready(Err(AckError::NotSent(EmitError::TooManyAcks))));
    assert_eq!(poll(socket.ask("connect", (), None)), Poll::Ready(Err(AckError::NotSent(EmitError::ReservedName))));
    let asked = bench.got(&mut line).pop().unwrap();
    let id: u64 = asked.strip_prefix("42").and_then(|rest| rest.strip_suffix(r#"["q"]"#)).unwrap().parse().unwrap();
    line.send(bench.server.now(), &format!("43{id}[5]"));
    assert_eq!(poll(answer.as_mut()), Poll::Ready(Ok(5.into())));
    // Given up, its place is free again, and a late answer is nobody's.
    drop(socket.ask("q", (), None));
    let mut late = pin!(socket.ask("q", (), Some(Duration::from_millis(100))));
    line.send(bench.server.now(), &format!("43{}[6]", id + 1));
    bench.pass(100);
    assert_eq!(poll(late.as_mut()), Poll::Ready(Err(AckError::Timeout)));
    bench.got(&mut line);
    // All of them.
    let mut all = pin!(nsp.all().timeout(Duration::from_millis(100)).ask("all", ()));
    assert_eq!(poll(all.as_mut()), Poll::Pending);
    let packet = bench.got(&mut line).remove(0);
    line.send(bench.server.now(), &format!("43{}[7]", &packet[2..packet.find('[').unwrap()]));
    let Poll::Ready(Ok(gathered)) = poll(all.as_mut()) else { panic!("everybody has answered") };
    assert_eq!((gathered.answers, gathered.missing), (vec![7.into()], 0));
    drop(nsp.all().ask("all", ()));
    assert_eq!(bench.server.core().open_requests(), 0);
    assert!(
        matches!(poll(nsp.server_side_ask("x", (), Duration::from_secs(1))), Poll::Ready(Ok(none)) if none.answers.is_empty())
    );
}

#[test]
fn clients_that_were_found_can_be_spoken_to() {
    let bench = plain(());
    let nsp = bench.server.of("/");
    let ((mut line, socket), _other) = (bench.join(), bench.join());
    socket.join(["a", "b"]).unwrap();
    socket.set_data(json!({"name": "Ada"})).unwrap();
    let Poll::Ready(Ok(found)) = poll(nsp.to("a").fetch()) else { panic!("there is one server") };
    let [remote] = &found.sockets[..] else { panic!("{found:?}") };
    assert_eq!((&remote.id, &remote.data["name"]), (socket.id(), &json!("Ada")));
    remote.emit("hi", 1).unwrap();
    remote.join(vec!["c".to_owned()]).unwrap();
    remote.leave(["a", "b"]).unwrap();
    assert_eq!(nsp.rooms(), [("c".into(), 1)]);
    assert_eq!(bench.got(&mut line), [r#"42["hi",1]"#]);
    remote.disconnect(false).unwrap();
    assert_eq!((nsp.len(), bench.got(&mut line)), (1, vec!["41".to_owned()]));
}

#[test]
fn data_is_typed_and_changed_in_place() {
    let bench = plain(());
    let (_line, socket) = bench.join();
    assert_eq!(socket.data_as::<Option<u8>>().unwrap(), None);
    assert!(socket.data_as::<u8>().is_err());
    socket.set_data((1, "x")).unwrap();
    assert_eq!(socket.data_as::<(u8, String)>().unwrap(), (1, "x".to_owned()));
    socket.change_data(|data: &mut (u8, String)| data.0 += 1).unwrap();
    assert_eq!(*socket.data(), json!([2, "x"]));
    assert_eq!(socket.change_data(|_: &mut u8| ()), Err(EmitError::OtherData));
    let map = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert_eq!((socket.set_data(&map), socket.emit("x", map)), (Err(EmitError::NotJson), Err(EmitError::NotJson)));
    // Two that change it at once both count.
    socket.set_data(0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| socket.change_data(|n: &mut u64| *n += 1).unwrap()));
        }
    });
    assert_eq!(*socket.data(), json!(400));
    socket.change_data(|data: &mut Value| *data = json!({"a": 1})).unwrap();
    socket.extensions().insert(7_u8);
    assert_eq!(socket.extensions().get::<u8>().as_deref(), Some(&7));
}

#[test]
fn lists_of_rooms() {
    let bench = plain(());
    let nsp = bench.server.of("/");
    let mut clients: Vec<_> = (0..3).map(|_| bench.join()).collect();
    clients[0].1.join(["a", "b"]).unwrap();
    clients[1].1.join(vec!["b".to_owned(), "c".to_owned()]).unwrap();
    nsp.to(["a", "c"]).emit("x", ()).unwrap();
    nsp.except(["a", "c"]).emit("x", ()).unwrap();
    nsp.to("b").except(["a", "z"]).emit("x", ()).unwrap();
    let got: Vec<usize> = clients.iter_mut().map(|(line, _)| bench.got(line).len()).collect();
    assert_eq!(got, [1, 2, 1]);
    nsp.to("b").sockets_leave(["b", "c"]).unwrap();
    assert_eq!(nsp.rooms(), [("a".into(), 1)]);
}

#[test]
fn namespaces_made_by_a_rule_have_middlewares() {
    let bench = plain(());
    let rooms = bench.server.of_rule(|name| name.starts_with("/room-"), Events::new());
    rooms.use_middleware(|socket, next| match socket.auth().contains("token") {
        true => next.accept(),
        false => next.refuse(ConnectError::new(&format!("no token for {}", socket.namespace().name()))),
    });
    let (_, got) = bench.send(&["40/room-1,"]);
    assert_eq!(got, [r#"44/room-1,{"message":"no token for /room-1"}"#]);
    let (_, got) = bench.send(&[r#"40/room-1,{"token":1}"#]);
    assert!(got[0].starts_with("40/room-1,{"), "{got:?}");
}

#[test]
fn who_watches_sees_connections_clients_and_rooms() {
    let bench = plain(());
    let mut changes = bench.server.watch();
    let (line, socket) = bench.join();
    socket.join(["a", "b"]).unwrap();
    socket.join("a").unwrap();
    socket.leave("a").unwrap();
    line.close(bench.server.now());
    bench.server.request_refused(crate::proto::handshake::Refusal::Forbidden, "/x", || "::1".into());
    let id = socket.id().as_str();
    let told: Vec<String> = std::iter::from_fn(|| changes.take())
        .map(|change| match change {
            Change::Opened { address, .. } => format!("opened {address}"),
            Change::Closed { reason, .. } => format!("closed {reason}"),
            Change::Refused { url, refusal, .. } => format!("refused {url} {}", refusal.code()),
            Change::Joined { nsp, .. } => format!("joined {nsp}"),
            Change::Left { nsp, .. } => format!("left {nsp}"),
            Change::RoomCreated { room, .. } => format!("created {}", room.as_str()),
            Change::RoomDeleted { room, .. } => format!("deleted {}", room.as_str()),
            Change::RoomJoined { room, id: who, .. } => format!("{} in {}", who.as_str() == id, room.as_str()),
            Change::RoomLeft { room, .. } => format!("out of {}", room.as_str()),
        })
        .collect();
    assert_eq!(
        told,
        [
            "opened ::1",
            "joined /",
            "created a",
            "true in a",
            "created b",
            "true in b",
            "out of a",
            "deleted a",
            "closed transport close",
            "left /",
            "out of b",
            "deleted b",
            "refused /x 4"
        ]
    );
    // The oldest go, and are counted; who comes later sees what comes later.
    for n in 0..10_001 {
        bench.server.request_refused(crate::proto::handshake::Refusal::Forbidden, &n.to_string(), || "::1".into());
    }
    assert_eq!(changes.missed(), 1);
    assert!(matches!(changes.take(), Some(Change::Refused { url, .. }) if &*url == "1"));
    let mut later = bench.server.watch();
    assert_eq!(poll(later.next()), Poll::Pending);
    assert!(matches!(poll(changes.next()), Poll::Ready(Some(_))));
}
