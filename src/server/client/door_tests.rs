//! What one address may take, and who makes room.

use super::{Door, Entrance, NoPlace, REMEMBERED, Site};
use crate::codec::http;
use crate::id::{Random, Sid, Time};
use crate::limits::Limits;
use crate::proto::handshake::Transport;
use crate::proto::session::{Input, Via};
use crate::server::client::connection::Connection;
use crate::server::client::events::Events;
use crate::server::client::handshake::Handshake;
use crate::server::log::memory::MemoryStreams;
use crate::server::{Options, Server};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn site(address: &str) -> Site {
    Site::of(address.parse().unwrap())
}

fn limits(sessions: usize, rate: usize) -> Limits {
    Limits { sessions_per_address: sessions, new_sessions_per_second: rate, ..Limits::default() }
}

#[test]
fn one_address_is_what_a_site_gets() {
    for (a, b, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
    ] {
        assert_eq!(site(a) == site(b), same, "{a} {b}");
    }
    for (address, local) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("10.1.2.3", true),
        ("172.16.0.1", true),
        ("172.32.0.1", false),
        ("192.168.1.1", true),
        ("100.64.0.1", true),
        ("100.128.0.1", false),
        ("169.254.1.1", true),
        ("fd00::1", true),
        ("fe80::1", true),
        ("2001:db8::1", false),
        ("203.0.113.7", false),
        ("::ffff:10.0.0.1", true),
    ] {
        assert_eq!(site(address).is_local(), local, "{address}");
    }
}

struct Bench(Door, Random);

impl Bench {
    fn enter(&self, now: u64, address: &str, limits: &Limits) -> Result<Entrance, NoPlace> {
        self.0.enter(Time(now), site(address), &Sid::new("", &self.1), limits)
    }
}

#[test]
fn so_many_at_once_of_each_address() {
    let (bench, limits) = (Bench(Door::default(), counting()), limits(3, 0));
    let three: Vec<Entrance> = (0..3).map(|_| bench.enter(0, "192.0.2.1", &limits).unwrap()).collect();
    assert_eq!(bench.enter(0, "192.0.2.1", &limits), Err(NoPlace::AddressFull));
    assert!(bench.enter(0, "192.0.2.2", &limits).is_ok());
    bench.0.joined(three[0]);
    assert_eq!(bench.enter(0, "192.0.2.1", &limits), Err(NoPlace::AddressFull));
    bench.0.left(Time(0), three[0]);
    assert!(bench.enter(0, "192.0.2.1", &limits).is_ok());
    // Connections have a bound of their own.
    let most = limits.streams_per_address();
    let here = site("192.0.2.1");
    assert!((0..most).all(|_| bench.0.connect(Time(0), here, &limits)));
    assert!(!bench.0.connect(Time(0), here, &limits));
    bench.0.disconnect(Time(0), here);
    assert!(bench.0.connect(Time(0), here, &limits));
}

#[test]
fn so_many_new_ones_a_second_a_minute_of_them_at_once() {
    let (bench, limits) = (Bench(Door::default(), counting()), limits(usize::MAX, 5));
    let opens = |now| (0..1_000).filter(|_| bench.enter(now, "2001:db8::1", &limits).is_ok()).count();
    assert_eq!([0, 1_000, 1_100, 3_000, 1_000_000].map(opens), [300, 5, 0, 10, 300]);
    // Addresses that may be a proxy's are spared where that is said.
    let spared = Limits { spare_local_addresses: true, ..limits.clone() };
    assert!((0..1_000).all(|_| bench.enter(2_000_000, "10.0.0.1", &spared).is_ok()));
    assert_eq!((0..1_000).filter(|_| bench.enter(2_000_000, "10.0.0.1", &limits).is_ok()).count(), 300);
}

#[test]
fn the_table_of_addresses_is_bounded() {
    let bench = Bench(Door::default(), counting());
    let limits = Limits { connections: 1_000, ..limits(10, 1) };
    let most = REMEMBERED + limits.connections + limits.tcp_connections();
    for n in 0..3 * most {
        let address = format!("2001:db8:{:x}:{:x}::1", n >> 16, n & 0xffff);
        // Who is not remembered comes in: the bound for all stands.
        let entrance = bench.enter(0, &address, &limits).unwrap();
        bench.0.left(Time(0), entrance);
        assert!(bench.0.known() <= most);
    }
    // They are forgotten when their buckets are full again.
    let entrance = bench.enter(70_000, "192.0.2.1", &limits).unwrap();
    assert_eq!(bench.0.known(), 1);
    bench.0.left(Time(140_000), entrance);
    assert_eq!(bench.0.known(), 0);
}

/// Each time other bytes.
fn counting() -> Random {
    let count = AtomicU64::new(1);
    Arc::new(move |bytes| {
        let number = count.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        bytes.iter_mut().zip(number.iter().rev().cycle()).for_each(|(byte, digit)| *byte = *digit);
    })
}

/// A server with so few places, and time that stands still.
fn server(limits: Limits) -> (Server, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(1_000_000));
    let clock = time.clone();
    let options = Options { recovery: None, limits, ..Options::default() };
    let streams = Arc::new(MemoryStreams::new(&options.limits));
    let clock = Arc::new(move || Time(clock.load(Ordering::SeqCst)));
    (Server::new(options, streams, clock, counting()), time)
}

fn open(server: &Server, address: &str) -> Result<Arc<Connection>, NoPlace> {
    let head = http::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 9).unwrap();
    let handshake = Handshake { headers: head.headers, url: "/".into(), address: address.into() };
    server.open(server.now(), Transport::WebSocket, false, handshake)
}

fn says(connection: &Arc<Connection>, text: &str) {
    let packet = crate::codec::engine_packet::decode(text).unwrap();
    connection.handle(connection.server().now(), Input::Packet(Via::WebSocket, packet));
}

#[test]
fn who_opens_sessions_and_does_nothing_more_takes_places_from_themselves() {
    let (server, time) = server(Limits { connections: 100, ..Limits::default() });
    let _ = server.of("/");
    let guest = open(&server, "203.0.113.7").unwrap();
    says(&guest, "40");
    let fresh = open(&server, "203.0.113.8").unwrap();
    let crowd: Vec<_> = (0..1_000).map(|_| open(&server, "192.0.2.1").unwrap()).collect();
    assert_eq!(server.connection_count(), 100);
    assert_eq!(server.metrics().evicted.get(), 902);
    for kept in [&guest, &fresh, &crowd[999]] {
        assert!(server.find(kept.sid.as_str()).is_some());
    }
    // An honest client comes in at once, at the expense of the crowd: first of whoever waits longest.
    time.fetch_add(2_000, Ordering::SeqCst);
    says(&fresh, "40");
    let honest = open(&server, "203.0.113.9").unwrap();
    assert!(server.find(crowd[902].sid.as_str()).is_none() && server.find(honest.sid.as_str()).is_some());
    // Those who have joined stay.
    for session in crowd[903..].iter().chain([&honest]) {
        says(session, "40");
    }
    assert_eq!(open(&server, "203.0.113.9").map(|_| ()), Err(NoPlace::Full));
    assert_eq!(server.connection_count(), 100);
}

#[test]
fn a_session_is_trusted_for_a_second() {
    let (server, time) = server(Limits { connections: 10, ..Limits::default() });
    let all: Vec<_> = (0..10).map(|n| open(&server, &format!("192.0.2.{n}")).unwrap()).collect();
    assert_eq!(open(&server, "203.0.113.9").map(|_| ()), Err(NoPlace::Full));
    time.fetch_add(1_000, Ordering::SeqCst);
    assert!(open(&server, "203.0.113.9").is_ok());
    assert!(server.find(all[0].sid.as_str()).is_none() && server.find(all[1].sid.as_str()).is_some());
}

#[test]
fn who_sends_too_much_is_read_slowly_and_loses_nothing() {
    let (server, time) = server(Limits { events_per_second: 100, ..Limits::default() });
    let handled = Arc::new(Mutex::new(Vec::new()));
    let handles = handled.clone();
    server.of("/").handle(Events::new().on("n", move |_, event| {
        handles.lock().unwrap().push(event.args.value(0).and_then(|n| n.as_u64()).unwrap());
    }));
    let client = open(&server, "192.0.2.1").unwrap();
    says(&client, "40");
    let (mut sent, mut rests) = (0, 0);
    // As the reader does: not while the connection is full.
    for ms in 0..60_000 {
        time.fetch_add(1, Ordering::SeqCst);
        server.handle_timeouts(server.now());
        if ms % 20_000 == 19_999 {
            says(&client, "3");
        }
        if client.is_full() {
            rests += 1;
            continue;
        }
        while !client.is_full() && sent < 100_000 {
            says(&client, &format!("42[\"n\",{sent}]"));
            sent += 1;
        }
    }
    assert!((6_900..=7_100).contains(&sent), "10 s at once and 60 s: {sent}");
    assert!(rests > 50_000 && server.metrics().slowed.get() > 100);
    assert_eq!(*handled.lock().unwrap(), (0..sent).collect::<Vec<u64>>());
    assert_eq!(server.connection_count(), 1, "it was not cut");
}

#[test]
fn auth_is_bounded() {
    let (server, _) = server(Limits::default());
    let names = ["/a", "/b", "/c"];
    for name in names {
        let _ = server.of(name);
    }
    let client = open(&server, "192.0.2.1").unwrap();
    for (name, size, joins) in [("/a", 16 * 1024 - 8, true), ("/b", 16 * 1024 - 7, false), ("/c", 900_000, false)] {
        says(&client, &format!("40{name},{{\"t\":\"{}\"}}", "x".repeat(size)));
        assert_eq!(server.of(name).len(), usize::from(joins), "{name}");
    }
}
