//! Any inputs in any order: messages leave once and in order, each GET is answered at most once, an ended session stays ended and gives its
//! reason once, and serving a timeout moves it on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::internals::codec::engine_packet::{EnginePacket, decode};
use rill::internals::codec::frame::Frame;
use rill::internals::codec::socket_packet::Frames;
use rill::internals::id::Time;
use rill::internals::proto::handshake::Transport;
use rill::internals::proto::reason::Reason;
use rill::internals::proto::session::{GetAnswer, Input, Reaction, Session, Settings, Via};

const PACKETS: [&str; 8] = ["1", "2", "3", "4a", "5", "6", "2probe", "bAQ=="];

fn packet(choice: u8) -> EnginePacket<'static> {
    decode(PACKETS[usize::from(choice) % PACKETS.len()]).unwrap()
}

fuzz_target!(|data: &[u8]| {
    let settings = Settings { ping_interval: 300, ping_timeout: 200, upgrade: 1_000, unsent: 400, base64: false };
    let transport = if data.len() % 2 == 0 { Transport::Polling } else { Transport::WebSocket };
    let mut s = Session::new(Time(0), transport, settings, "0{}");
    let (mut now, mut parked, mut ends, mut sent, mut last) = (0u64, 0, 0, 0u32, 0u32);
    for pair in data.chunks_exact(2) {
        let (op, choice) = (pair[0] % 14, pair[1]);
        let was_closed = s.is_closed();
        let mut frames = std::collections::VecDeque::new();
        let input = match op {
            0 => Input::Get,
            1 if parked > 0 => Input::GetAborted,
            2 => Input::PostBegins,
            3 => Input::PostEnds,
            4 => Input::PostAborted,
            5 => Input::ProbeOpens,
            6 => Input::Packet(Via::Polling, packet(choice)),
            7 => Input::Packet(Via::Probe, packet(choice)),
            8 => Input::Packet(Via::WebSocket, packet(choice)),
            9 => Input::SocketClosed(if choice % 2 == 0 { Via::Probe } else { Via::WebSocket }),
            13 => Input::PostGoesOn,
            10 if choice < 16 => Input::Close(Reason::ServerShuttingDown),
            11 => {
                sent += 1;
                s.send(Frames { first: Frame::text(&format!("4{sent}")), rest: Vec::new() });
                frames = s.take_frames();
                Input::Timeout
            }
            _ => {
                let until = now + u64::from(choice);
                let mut served = 0;
                while let Some(next) = s.next_timeout().filter(|next| next.0 <= until) {
                    now = now.max(next.0);
                    s.handle(Time(now), Input::Timeout);
                    served += 1;
                    assert!(served < 20, "a timeout that does not move on");
                }
                now = until;
                Input::Timeout
            }
        };
        let (get, aborted) = (matches!(input, Input::Get), matches!(input, Input::GetAborted));
        let handled = s.handle(Time(now), input) == Reaction::Handled;
        parked += i32::from(get && handled);
        if aborted {
            parked = 0;
        }
        if let Some(answer) = s.poll_get() {
            parked -= 1;
            assert!(parked >= 0, "a GET answered twice");
            if let GetAnswer::Packets(packets) = answer {
                frames.extend(packets);
            }
        }
        s.sent(frames.iter().map(|frame| frame.websocket().len()).sum());
        for frame in &frames {
            let text = std::str::from_utf8(frame.packet()).unwrap();
            if let Some(n) = text.strip_prefix('4').and_then(|n| n.parse::<u32>().ok()) {
                assert_eq!(n, last + 1, "lost, doubled or out of order");
                last = n;
            }
        }
        ends += i32::from(s.take_ended().is_some());
        assert!(ends <= 1 && s.is_open() == (ends == 0));
        assert!(!was_closed || s.is_closed(), "a closed session came back");
        assert!(!s.is_closed() || s.next_timeout().is_none());
        assert!(s.unsent() <= 400 + 16);
    }
});
