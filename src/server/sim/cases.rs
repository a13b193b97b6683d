//! Schedules of three servers that once went wrong, each written out.

use super::cluster::{Cluster, Kind};
use super::peer::Line;
use crate::id::{Nsp, Offset, Pid, SocketId};
use crate::proto::handshake::Transport;
use crate::server::client::events::Events;
use crate::server::client::socket::EmitError;
use crate::server::lock;
use crate::server::log::entry::Entry;
use crate::server::log::streams::{Command, Key, Reply, StreamError};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A client's view of one connection.
struct Client(Line);

impl Client {
    fn new(cluster: &mut Cluster, k: usize, connect: &str) -> Client {
        let line = Line::new(cluster.open(k, Transport::WebSocket).unwrap(), false);
        line.send(cluster.now(), connect);
        Client(line)
    }

    fn got(&mut self, cluster: &Cluster) -> Vec<String> {
        self.0.pump(cluster.now());
        self.0.coming.drain(..).collect()
    }
}

/// A field of the answer to CONNECT.
fn field(packets: &[String], name: &str) -> String {
    let answer = packets.iter().find_map(|packet| packet.strip_prefix("40")).expect("an answer to CONNECT");
    let answer: Value = serde_json::from_str(answer).unwrap();
    answer[name].as_str().unwrap().to_owned()
}

/// The offset at the end of the last event.
fn last_offset(packets: &[String]) -> String {
    packets.last().unwrap().rsplit('"').nth(1).unwrap().to_owned()
}

fn is_kept(cluster: &Cluster, pid: &str) -> bool {
    let key = Key::Session(Pid::from_wire(pid).unwrap());
    let read = cluster.meddle(Command::XRead { key, after: Offset::ZERO, count: 9 });
    matches!(read, Reply::Entries(items) if !items.is_empty())
}

fn main_log() -> Key {
    Key::Log(Nsp::new("/"))
}

#[test]
fn a_session_that_ended_elsewhere_does_not_come_back() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    let mut first = Client::new(&mut cluster, 0, "40");
    cluster.calm();
    let answer = first.got(&cluster);
    let (pid, sid) = (field(&answer, "pid"), field(&answer, "sid"));
    cluster.let_pass(25_400);
    assert!(first.got(&cluster).contains(&"2".to_owned()));
    // It moves to server 1, while server 0 hears nothing, and leaves on purpose.
    let again = format!(r#"40{{"pid":"{pid}"}}"#);
    let mut second = Client::new(&mut cluster, 1, &again);
    cluster.write_all(1);
    assert_eq!(field(&second.got(&cluster), "sid"), sid);
    second.0.send(cluster.now(), "41");
    cluster.write_all(1);
    assert!(!is_kept(&cluster, &pid));
    // Its pong was still on the way to server 0.
    first.0.send(cluster.now(), "3");
    cluster.write_all(0);
    cluster.calm();
    cluster.let_pass(10_000);
    let mut third = Client::new(&mut cluster, 2, &again);
    cluster.calm();
    assert_ne!(field(&third.got(&cluster), "sid"), sid);
}

#[test]
fn a_late_reader_does_not_jump_over_a_hole() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    let mut first = Client::new(&mut cluster, 0, "40");
    cluster.calm();
    let sid = field(&first.got(&cluster), "sid");
    for n in 1..=10 {
        cluster.skip(1);
        cluster.server(1).of("/").emit_all("logged", json!(n)).unwrap();
        cluster.write_all(1);
    }
    // The length cap cuts the log before server 0 has read it.
    cluster.meddle(Command::XTrim { key: main_log(), min: Offset { ms: 1_000_006, seq: 0 } });
    cluster.read_all(0, true);
    assert_eq!(first.got(&cluster), Vec::<String>::new());
    cluster.calm();
    assert!(cluster.server(0).of("/").socket(&SocketId::from_record(&sid)).is_none());
}

#[test]
fn a_return_between_the_discovery_of_a_hole_and_the_new_marker_is_refused() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    let mut first = Client::new(&mut cluster, 1, "40");
    cluster.calm();
    cluster.server(1).of("/").emit_all("logged", json!(1)).unwrap();
    cluster.calm();
    let got = first.got(&cluster);
    let (pid, sid, offset) = (field(&got, "pid"), field(&got, "sid"), last_offset(&got));
    first.0.close(cluster.now());
    cluster.calm();
    cluster.skip(5_000);
    // Nobody reads this one before the log is gone.
    cluster.server(1).of("/").emit_all("logged", json!(2)).unwrap();
    cluster.write_all(1);
    cluster.meddle(Command::Expire { key: main_log(), ms: 0 });
    // Server 0 looks, and the client comes back before the answer.
    cluster.server(0).tend_cluster(cluster.now());
    let again = format!(r#"40{{"pid":"{pid}","offset":"{offset}"}}"#);
    let second = Client::new(&mut cluster, 0, &again);
    cluster.write_all(0);
    cluster.calm();
    cluster.let_pass(20_000);
    // Let in before the answer, it was cut when that came; it does not get its session then.
    assert!(cluster.server(0).of("/").socket(&SocketId::from_record(&sid)).is_none());
    drop(second);
    let mut third = Client::new(&mut cluster, 0, &again);
    cluster.calm();
    assert_ne!(field(&third.got(&cluster), "sid"), sid);
}

#[test]
fn a_namespace_that_is_made_again_is_not_taken_for_a_repetition() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    (0..2).for_each(|k| drop(cluster.server(k).of("/x")));
    cluster.calm();
    let mut client = Client::new(&mut cluster, 1, "40/x,");
    cluster.calm();
    client.got(&cluster);
    cluster.skip(1);
    for n in 0..3 {
        cluster.server(0).of("/x").emit_all("logged", json!(n)).unwrap();
        cluster.calm();
        assert_eq!(client.got(&cluster).len(), 1);
        cluster.server(0).forget_namespaces();
        let _ = cluster.server(0).of("/x");
        cluster.calm();
    }
}

#[test]
fn what_waits_for_a_log_that_is_away_is_bounded() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    let events = Events::new().on("a", |socket, event| socket.emit("a", event.args).unwrap()).on("b", |_, event| {
        event.ack.into_iter().for_each(|ack| ack.send(()));
    });
    cluster.server(0).of("/h").handle(events);
    cluster.calm();
    let client = Client::new(&mut cluster, 0, "40/h,");
    cluster.calm();
    client.0.send(cluster.now(), r#"42/h,["a",1]"#);
    for n in 0..100_001 {
        client.0.send(cluster.now(), &format!(r#"42/h,{n}["b"]"#));
    }
    assert!(cluster.server(0).of("/h").is_empty());
}

#[test]
fn a_kept_handle_of_a_namespace_that_went_says_so() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    (0..2).for_each(|k| drop(cluster.server(k).of_rule(|name| name.starts_with("/d"), Events::new())));
    let first = Client::new(&mut cluster, 0, "40/d,");
    cluster.calm();
    let kept = cluster.server(0).namespaces().into_iter().find(|namespace| namespace.name().as_str() == "/d").unwrap();
    kept.emit_all("logged", json!(1)).unwrap();
    first.0.send(cluster.now(), "41/d,");
    cluster.calm();
    assert_eq!(kept.emit_all("logged", json!(2)), Err(EmitError::NamespaceGone));
}

/// Each answer comes, whether what the handler sent before it was taken or not; and the sender hears which.
#[test]
fn what_waits_for_a_refused_entry_goes_on() {
    let mut cluster = Cluster::new(1, Kind::Refuses);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let events = Events::new().on("a", move |socket, event| {
        socket.emit("a", event.args.clone()).unwrap();
        event.ack.unwrap().send(());
        let hears = hears.clone();
        socket.namespace().all().emit_then("b", event.args, move |taken| lock(&hears).push(taken));
    });
    cluster.server(0).of("/h").handle(events);
    cluster.calm();
    let mut client = Client::new(&mut cluster, 0, "40/h,");
    cluster.calm();
    client.got(&cluster);
    for n in 0..40 {
        client.0.send(cluster.now(), &format!(r#"42/h,{n}["a",1]"#));
    }
    cluster.calm();
    let got = client.got(&cluster);
    let count = |start: &str| got.iter().filter(|packet| packet.starts_with(start)).count();
    assert_eq!(count("43/h,"), 40, "{got:?}");
    let (taken, refused): (Vec<_>, Vec<_>) = lock(&heard).drain(..).partition(Result::is_ok);
    assert_eq!((taken.len() + refused.len(), taken.len()), (40, count(r#"42/h,["b""#)), "{got:?}");
    assert!(!refused.is_empty() && refused.iter().all(|error| *error == Err(EmitError::Log(StreamError::Refused))));
}

/// As MemoryStreams has it, the log deletes what has the last possible id; in Redis only that makes room for others.
#[test]
fn a_log_with_the_last_possible_id_begins_anew() {
    let mut cluster = Cluster::new(1, Kind::Moves);
    let mut client = Client::new(&mut cluster, 0, "40");
    cluster.calm();
    client.got(&cluster);
    let last = Offset { ms: u64::MAX, seq: u64::MAX };
    cluster.plant(&main_log(), last);
    let (key, posted) = (main_log(), cluster.server(0).core().post(9, Entry::Marker));
    cluster.server(0).refused(&Command::XAdd { key, posted, create: true }, StreamError::Exhausted);
    cluster.write_all(0);
    cluster.calm();
    cluster.let_pass(5_000);
    assert!(cluster.server(0).of("/").position() < last);
    assert!(cluster.server(0).is_ready());
}
