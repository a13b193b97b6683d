//! The Engine.IO session in virtual time: a test for each rule, then random sequences.

use super::*;
use crate::codec::engine_packet::decode;
use proptest::prelude::*;

const SETTINGS: Settings =
    Settings { ping_interval: 300, ping_timeout: 200, upgrade: 10_000, unsent: 1_000, base64: false };

fn t(ms: u64) -> Time {
    Time(ms)
}

fn session(transport: Transport) -> Session {
    Session::new(t(0), transport, SETTINGS, "0{}")
}

/// A polling session whose open packet is fetched.
fn polling() -> Session {
    let mut s = session(Transport::Polling);
    assert_eq!(s.handle(t(0), Input::Get), Reaction::Handled);
    assert_eq!(answer(&mut s), "0{}");
    s
}

fn packet<'a>(via: Via, text: &'a str) -> Input<'a> {
    Input::Packet(via, decode(text).unwrap())
}

fn message(text: &str) -> Frames {
    Frames { first: Frame::text(text), rest: Vec::new() }
}

fn texts(frames: VecDeque<Frame>) -> String {
    let texts: Vec<_> = frames.iter().map(|frame| String::from_utf8_lossy(frame.packet()).into_owned()).collect();
    texts.join(" ")
}

/// The answer to the GET, as text; a refusal as its words, none as `-`.
fn answer(s: &mut Session) -> String {
    match s.poll_get() {
        Some(GetAnswer::Packets(frames)) => texts(frames),
        Some(GetAnswer::Refused(refusal)) => refusal.to_string(),
        None => "-".to_owned(),
    }
}

fn get(s: &mut Session, now: u64) -> String {
    match s.handle(t(now), Input::Get) {
        Reaction::Handled => answer(s),
        Reaction::Refused(refusal) => refusal.to_string(),
        other => format!("{other:?}"),
    }
}

/// A session that was probed at 10 ms.
fn probed() -> Session {
    let mut s = polling();
    assert_eq!(s.handle(t(10), Input::ProbeOpens), Reaction::Handled);
    assert_eq!(s.handle(t(10), packet(Via::Probe, "2probe")), Reaction::Reply("3probe"));
    s
}

#[test]
fn a_get_waits_until_there_is_something() {
    let mut s = polling();
    assert_eq!(get(&mut s, 1), "-");
    assert!(!s.get_ready());
    assert!(s.send(message("4a")) && s.send(message("4b")));
    assert!(s.get_ready());
    assert_eq!(answer(&mut s), "4a 4b");
    s.send(message("4c"));
    assert_eq!(get(&mut s, 2), "4c");
}

#[test]
fn two_gets_at_once_close_the_session() {
    let mut s = polling();
    assert_eq!(get(&mut s, 1), "-");
    assert_eq!(s.handle(t(2), Input::Get), Reaction::Refused(Refusal::BadRequest));
    assert_eq!(answer(&mut s), "1");
    assert_eq!(s.take_ended(), Some(Reason::TransportError));
    assert_eq!(get(&mut s, 3), "Session ID unknown");
}

#[test]
fn an_aborted_get_closes_the_session() {
    let mut s = polling();
    assert_eq!(get(&mut s, 1), "-");
    s.handle(t(2), Input::GetAborted);
    assert_eq!(s.take_ended(), Some(Reason::TransportError));
    assert_eq!(get(&mut s, 3), "Session ID unknown");
}

#[test]
fn two_posts_at_once_close_the_session() {
    let mut s = polling();
    assert_eq!(s.handle(t(1), Input::PostBegins), Reaction::Handled);
    s.handle(t(1), Input::PostEnds);
    assert_eq!(s.handle(t(1), Input::PostBegins), Reaction::Handled);
    assert_eq!(s.handle(t(2), Input::PostBegins), Reaction::Refused(Refusal::BadRequest));
    assert_eq!(s.take_ended(), Some(Reason::TransportError));
}

#[test]
fn an_aborted_post_closes_the_session() {
    let mut s = polling();
    s.handle(t(1), Input::PostBegins);
    s.handle(t(2), Input::PostAborted);
    assert_eq!(s.take_ended(), Some(Reason::TransportError));
}

#[test]
fn a_client_close_releases_the_get_with_a_noop() {
    let mut s = polling();
    assert_eq!(get(&mut s, 1), "-");
    s.handle(t(2), packet(Via::Polling, "1"));
    assert_eq!((answer(&mut s).as_str(), s.take_ended()), ("6", Some(Reason::TransportClose)));
    assert_eq!(get(&mut s, 3), "Session ID unknown");
}

#[test]
fn a_server_close_goes_to_the_get_that_waits_or_to_the_next() {
    for waits in [true, false] {
        let mut s = polling();
        if waits {
            assert_eq!(get(&mut s, 1), "-");
        }
        s.handle(t(2), Input::Close(Reason::ServerShuttingDown));
        assert_eq!(s.take_ended(), Some(Reason::ServerShuttingDown));
        let got = if waits { answer(&mut s) } else { get(&mut s, 3) };
        assert_eq!(got, "1");
        assert!(s.is_closed());
    }
}

#[test]
fn the_close_packet_travels_alone_unless_the_client_broke_the_protocol() {
    for (reason, answers) in
        [(Reason::ServerShuttingDown, ["4a", "1"]), (Reason::ForcedClose, ["4a 1", "Session ID unknown"])]
    {
        let mut s = polling();
        s.send(message("4a"));
        s.handle(t(2), Input::Close(reason));
        assert!(!s.send(message("4late")));
        assert_eq!([get(&mut s, 3), get(&mut s, 4)], answers);
    }
}

#[test]
fn closing_lasts_thirty_seconds_at_most() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let mut s = session(transport);
        s.handle(t(5), Input::Close(Reason::ForcedServerClose));
        assert_eq!(s.next_timeout(), Some(t(30_005)));
        s.handle(t(30_005), Input::Timeout);
        assert!(s.is_closed());
        assert_eq!(s.next_timeout(), None);
    }
}

#[test]
fn garbage_closes() {
    for via in [Via::Polling, Via::WebSocket] {
        let mut s = session(if via == Via::Polling { Transport::Polling } else { Transport::WebSocket });
        s.handle(t(1), Input::Garbage(via));
        assert_eq!(s.take_ended(), Some(Reason::ParseError));
        assert!(s.is_closed());
    }
}

#[test]
fn heartbeat() {
    let mut s = session(Transport::WebSocket);
    assert_eq!(texts(s.take_frames()), "0{}");
    assert_eq!(s.next_timeout(), Some(t(300)));
    assert!(!s.ping_due(t(299)) && s.ping_due(t(300)));
    s.handle(t(301), Input::Timeout);
    assert_eq!(texts(s.take_frames()), "2");
    // Late timers don't add up: the deadline counts from when the ping was due.
    assert_eq!(s.next_timeout(), Some(t(500)));
    assert_eq!(s.handle(t(400), packet(Via::WebSocket, "3")), Reaction::Pong);
    // The next ping comes an interval after the pong.
    assert_eq!(s.next_timeout(), Some(t(700)));
    s.handle(t(700), Input::Timeout);
    s.handle(t(900), Input::Timeout);
    assert_eq!(s.take_ended(), Some(Reason::PingTimeout));
}

#[test]
fn the_clock_decides_although_no_timer_fired() {
    let mut s = polling();
    s.handle(t(300), Input::Timeout);
    assert_eq!(get(&mut s, 500), "Session ID unknown");
    // Neither did the timer of the ping.
    let mut s = polling();
    assert_eq!(get(&mut s, 700), "Session ID unknown");
}

#[test]
fn a_client_that_pings_breaks_the_protocol() {
    let mut s = session(Transport::WebSocket);
    s.handle(t(1), packet(Via::WebSocket, "2"));
    assert_eq!(s.take_ended(), Some(Reason::TransportError));
}

#[test]
fn a_pong_that_nobody_asked_for_proves_nothing() {
    let mut s = session(Transport::WebSocket);
    assert_eq!(s.handle(t(1), packet(Via::WebSocket, "3")), Reaction::Handled);
    assert_eq!(s.next_timeout(), Some(t(300)));
}

#[test]
fn a_packet_prolongs_the_wait_for_the_pong_once() {
    let mut s = session(Transport::WebSocket);
    s.handle(t(300), Input::Timeout);
    assert_eq!(s.handle(t(450), packet(Via::WebSocket, "4big")), Reaction::Text("big"));
    assert_eq!(s.next_timeout(), Some(t(650)));
    s.handle(t(600), packet(Via::WebSocket, "4more"));
    s.handle(t(650), Input::Timeout);
    assert_eq!(s.take_ended(), Some(Reason::PingTimeout));
}

#[test]
fn upgrade() {
    let mut s = probed();
    assert_eq!(get(&mut s, 20), "-");
    // The first noop must not come sooner than 100 ms after the probe.
    assert_eq!(s.next_timeout(), Some(t(110)));
    s.handle(t(109), Input::Timeout);
    assert_eq!(answer(&mut s), "-");
    s.handle(t(110), Input::Timeout);
    assert_eq!(answer(&mut s), "6");
    s.send(message("4buffered"));
    assert_eq!(s.handle(t(120), packet(Via::Probe, "5")), Reaction::Upgraded);
    s.send(message("4after"));
    assert_eq!(texts(s.take_frames()), "4buffered 4after");
    assert_eq!(get(&mut s, 130), "Bad request");
    assert_eq!(s.handle(t(131), Input::PostBegins), Reaction::Refused(Refusal::BadRequest));
    assert_eq!(s.handle(t(132), packet(Via::WebSocket, "4hi")), Reaction::Text("hi"));
}

#[test]
fn a_get_gets_a_noop_every_hundred_milliseconds() {
    let mut s = probed();
    for now in [110, 210, 310] {
        assert_eq!(get(&mut s, now - 5), "-");
        s.handle(t(now), Input::Timeout);
        // A ping that is due goes out instead.
        assert_eq!(answer(&mut s), if now == 310 { "2" } else { "6" });
    }
}

#[test]
fn polling_goes_on_while_a_websocket_probes() {
    let mut s = probed();
    s.send(message("4a"));
    assert_eq!(get(&mut s, 20), "4a");
    assert_eq!(texts(s.take_frames()), "");
    s.handle(t(20), Input::PostBegins);
    assert_eq!(s.handle(t(21), packet(Via::Polling, "4b")), Reaction::Text("b"));
}

#[test]
fn an_upgrade_with_a_get_or_a_post_under_way() {
    let mut s = probed();
    assert_eq!(get(&mut s, 20), "-");
    assert_eq!(s.handle(t(21), packet(Via::Probe, "5")), Reaction::Upgraded);
    assert_eq!(answer(&mut s), "Bad request");
    // The official client waits for its POST; others don't, and the official server takes it.
    for end in [Input::PostEnds, Input::PostAborted] {
        let mut s = probed();
        s.handle(t(20), Input::PostBegins);
        assert_eq!(s.handle(t(21), packet(Via::Probe, "5")), Reaction::Upgraded);
        assert_eq!(s.handle(t(22), packet(Via::WebSocket, "4new")), Reaction::Text("new"));
        assert_eq!(s.handle(t(23), packet(Via::Polling, "4old")), Reaction::Text("old"), "it will be answered `ok`");
        assert_eq!(s.handle(t(24), Input::PostBegins), Reaction::Refused(Refusal::BadRequest));
        s.handle(t(25), end);
        assert!(s.is_open());
        assert_eq!(s.handle(t(26), packet(Via::Polling, "4late")), Reaction::Handled);
        assert_eq!(s.handle(t(27), packet(Via::WebSocket, "4on")), Reaction::Text("on"));
    }
}

#[test]
fn a_body_that_comes_slowly_stands_for_the_pong() {
    let mut s = polling();
    s.handle(t(10), Input::PostGoesOn);
    s.handle(t(290), Input::PostBegins);
    s.handle(t(300), Input::Timeout);
    assert_eq!(s.next_timeout(), Some(t(500)));
    for now in [400, 550, 700] {
        s.handle(t(now), Input::PostGoesOn);
        assert_eq!(s.next_timeout(), Some(t(now + 200)));
    }
    s.handle(t(800), Input::PostEnds);
    s.handle(t(800), Input::PostGoesOn);
    s.handle(t(900), Input::Timeout);
    assert_eq!(s.take_ended(), Some(Reason::PingTimeout));
}

#[test]
fn a_second_websocket_disturbs_nobody() {
    let mut s = probed();
    assert_eq!(s.handle(t(11), Input::ProbeOpens), Reaction::Refused(Refusal::BadRequest));
    assert_eq!(s.handle(t(12), packet(Via::Probe, "5")), Reaction::Upgraded);
    assert_eq!(s.handle(t(13), Input::ProbeOpens), Reaction::Refused(Refusal::BadRequest));
    assert_eq!(s.handle(t(14), packet(Via::WebSocket, "4hi")), Reaction::Text("hi"));
}

#[test]
fn an_upgrade_needs_no_probe_but_a_websocket_to_come_over() {
    let mut s = polling();
    assert_eq!(s.handle(t(1), packet(Via::Probe, "5")), Reaction::Refused(Refusal::BadRequest));
    s.handle(t(2), Input::ProbeOpens);
    assert_eq!(s.handle(t(3), packet(Via::Probe, "5")), Reaction::Upgraded);
    assert_eq!(s.handle(t(4), packet(Via::WebSocket, "4hi")), Reaction::Text("hi"));
}

#[test]
fn a_probe_that_goes_wrong_leaves_polling_alone() {
    for wrong in ["4hi", "2", "3probe", "1"] {
        let mut s = polling();
        s.handle(t(1), Input::ProbeOpens);
        assert_eq!(s.handle(t(2), packet(Via::Probe, wrong)), Reaction::Refused(Refusal::BadRequest), "{wrong}");
        assert!(s.is_open() && !s.is_probing(), "{wrong}");
    }
    let mut s = probed();
    assert_eq!(s.handle(t(11), Input::Garbage(Via::Probe)), Reaction::Refused(Refusal::BadRequest));
    let mut gone = probed();
    gone.handle(t(11), Input::SocketClosed(Via::Probe));
    for s in [&mut s, &mut gone] {
        assert_eq!(s.handle(t(12), Input::ProbeOpens), Reaction::Handled);
    }
}

#[test]
fn a_probe_has_ten_seconds() {
    let settings = Settings { ping_interval: 60_000, ..SETTINGS };
    let mut s = Session::new(t(0), Transport::Polling, settings, "0{}");
    s.handle(t(5), Input::ProbeOpens);
    assert_eq!(s.next_timeout(), Some(t(10_005)));
    s.handle(t(10_005), Input::Timeout);
    assert!(s.is_open() && !s.is_probing());
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let mut s = session(Transport::WebSocket);
    while s.send(message("4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) {}
    assert!(s.overflowed() && s.is_closed());
    assert_eq!(s.take_ended(), Some(Reason::TransportError));
    assert_eq!(s.take_frames().len(), 0);
}

#[test]
fn who_can_take_a_volatile_packet() {
    let mut s = polling();
    assert!(!s.is_writable());
    get(&mut s, 1);
    assert!(s.is_writable());
    assert!(session(Transport::WebSocket).is_writable());
}

#[derive(Clone, Debug)]
enum Op {
    Get,
    Abort,
    Post(&'static str),
    Begin,
    GoesOn,
    Probe,
    OnProbe(&'static str),
    OnWebSocket(&'static str),
    Gone(Via),
    Send,
    Take,
    Close,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let packets = prop::sample::select(vec!["1", "2", "3", "4a", "5", "6", "2probe", "bAQ=="]);
    prop_oneof![
        4 => Just(Op::Get),
        1 => Just(Op::Abort),
        3 => packets.clone().prop_map(Op::Post),
        1 => Just(Op::Begin),
        1 => Just(Op::GoesOn),
        2 => Just(Op::Probe),
        2 => Just(Op::OnProbe("2probe")),
        2 => Just(Op::OnProbe("5")),
        1 => packets.clone().prop_map(Op::OnProbe),
        3 => packets.prop_map(Op::OnWebSocket),
        1 => prop::sample::select(vec![Via::WebSocket, Via::Probe]).prop_map(Op::Gone),
        8 => Just(Op::Send),
        4 => Just(Op::Take),
        1 => Just(Op::Close),
        6 => (0u64..150).prop_map(Op::Wait),
    ]
}

proptest! {
    /// Whatever happens: messages come out once and in order, each GET is answered at most once, an ended session stays ended and tells its
    /// reason once, and serving a timeout moves it on.
    #[test]
    fn random_sequences(ops in prop::collection::vec(op(), 1..80), websocket: bool) {
        let mut s = session(if websocket { Transport::WebSocket } else { Transport::Polling });
        let (mut now, mut parked, mut ends, mut sent, mut out) = (0, 0, 0, 0u32, Vec::new());
        for op in ops {
            let was_closed = s.is_closed();
            let mut frames = VecDeque::new();
            match op {
                Op::Get => parked += i32::from(s.handle(t(now), Input::Get) == Reaction::Handled),
                Op::Abort if parked > 0 => {
                    s.handle(t(now), Input::GetAborted);
                    parked = 0;
                }
                Op::Abort => {}
                Op::Post(text) => {
                    if s.handle(t(now), Input::PostBegins) == Reaction::Handled {
                        s.handle(t(now), packet(Via::Polling, text));
                        s.handle(t(now), Input::PostEnds);
                    }
                }
                Op::Begin => drop(s.handle(t(now), Input::PostBegins)),
                Op::GoesOn => drop(s.handle(t(now), Input::PostGoesOn)),
                Op::Probe => drop(s.handle(t(now), Input::ProbeOpens)),
                Op::OnProbe(text) => drop(s.handle(t(now), packet(Via::Probe, text))),
                Op::OnWebSocket(text) => drop(s.handle(t(now), packet(Via::WebSocket, text))),
                Op::Gone(via) => drop(s.handle(t(now), Input::SocketClosed(via))),
                Op::Send => {
                    sent += 1;
                    s.send(message(&format!("4{sent}")));
                }
                Op::Take => frames = s.take_frames(),
                Op::Close => drop(s.handle(t(now), Input::Close(Reason::ServerShuttingDown))),
                Op::Wait(ms) => {
                    let until = now + ms;
                    let mut served = 0;
                    while let Some(next) = s.next_timeout().filter(|next| next.0 <= until) {
                        now = now.max(next.0);
                        s.handle(t(now), Input::Timeout);
                        served += 1;
                        prop_assert!(served < 20, "a timeout that does not move on");
                    }
                    now = until;
                }
            }
            if let Some(got) = s.poll_get() {
                parked -= 1;
                prop_assert!(parked >= 0, "a GET answered twice");
                if let GetAnswer::Packets(packets) = got {
                    frames.extend(packets);
                }
            }
            s.sent(frames.iter().map(|frame| frame.websocket().len()).sum());
            out.extend(frames.iter().filter_map(|f| std::str::from_utf8(f.packet()).ok()?.strip_prefix('4')?.parse::<u32>().ok()));
            ends += i32::from(s.take_ended().is_some());
            prop_assert!(ends <= 1);
            prop_assert!(!was_closed || s.is_closed(), "a closed session came back");
            prop_assert!(s.is_open() == (ends == 0));
            prop_assert!(!s.is_closed() || s.next_timeout().is_none());
        }
        prop_assert!(out.is_sorted() && out.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{out:?}");
        prop_assert!(out.first().is_none_or(|first| *first == 1));
        if s.is_open() && s.unsent() == 0 {
            prop_assert_eq!(out.len() as u32, sent);
        }
    }
}
