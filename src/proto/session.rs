//! One Engine.IO session: both transports, probe and upgrade, heartbeat, close. Engine.IO protocol 4; timings as in the official server.
//!
//! ```text
//!                 Close(reason)                 GET fetched "1" / flushed / 30 s
//!   Polling ───────────────────────▶ Closing ─────────────────────────────────▶ Closed
//!   │  probe: None ─▶ Open ─▶ Probed      ▲                                        ▲
//!   │                 │ "5"    │ "5"      │                                        │
//!   └─────────────────┴────────┴──▶ WebSocket ──── error, time-out, client close ──┘
//! ```
//!
//! Every input first compares the clock with the heartbeat's deadline, so that a session whose time is over is gone for each request,
//! whether or not a timer has fired yet. After every input the caller looks at [`Session::take_ended`], [`Session::poll_get`] and
//! [`Session::next_timeout`].

use super::handshake::{Refusal, Transport};
use super::outbox::Outbox;
use super::reason::Reason;
use crate::codec::engine_packet::EnginePacket;
use crate::codec::frame::Frame;
use crate::codec::socket_packet::Frames;
use crate::id::Time;
use bytes::Bytes;
use std::collections::VecDeque;

/// Milliseconds between the noops that release a parked GET during an upgrade; the first must not come sooner after the probe.
const NOOP_EVERY: u64 = 100;
/// Milliseconds that a closed session waits for its client to fetch or take the rest.
const CLOSING: u64 = 30_000;
/// A WebSocket with more unsent bytes than this is busy: volatile packets are dropped.
const BUSY: usize = 64 * 1024;

/// Timings and bounds of a session, in milliseconds and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From the pong to the next ping.
    pub ping_interval: u64,
    /// From the ping to the deadline of its pong.
    pub ping_timeout: u64,
    /// For a probing WebSocket to take over.
    pub upgrade: u64,
    /// Bound of the outbox.
    pub unsent: usize,
    /// The client asked for base64 in place of binary frames.
    pub base64: bool,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The body of a POST.
    Polling,
    /// The WebSocket that carries the session.
    WebSocket,
    /// A WebSocket that wants to take the session over.
    Probe,
}

/// What can happen to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A GET wants what waits; [`Session::poll_get`] says when and with what it is answered.
    Get,
    /// The connection of the parked GET is gone.
    GetAborted,
    /// The head of a POST is here.
    PostBegins,
    /// More of its body is here, after a while.
    PostGoesOn,
    /// All packets of the POST have been handled.
    PostEnds,
    /// The connection of the POST is gone, or its body is too slow.
    PostAborted,
    /// A WebSocket was opened for this session.
    ProbeOpens,
    /// A packet.
    Packet(Via, EnginePacket<'a>),
    /// Bytes that are no packet.
    Garbage(Via),
    /// A WebSocket is gone.
    SocketClosed(Via),
    /// A deadline of [`Session::next_timeout`] has come.
    Timeout,
    /// The server closes the session: what waits still goes out, then a close packet or frame.
    Close(Reason),
    /// The server drops the session at once: its client is elsewhere.
    Abort(Reason),
}

/// What an input led to.
#[derive(Debug, PartialEq)]
pub enum Reaction<'a> {
    /// Nothing for the caller to do.
    Handled,
    /// A text message for the layer above.
    Text(&'a str),
    /// A binary message for the layer above.
    Binary(Bytes),
    /// The awaited pong: the client got everything that was sent before the ping.
    Pong,
    /// Write this packet to the probing WebSocket.
    Reply(&'static str),
    /// The probing WebSocket carries the session now.
    Upgraded,
    /// Answer the request, or close the WebSocket, with this.
    Refused(Refusal),
}

/// What a parked GET is answered with.
#[derive(Debug)]
pub enum GetAnswer {
    /// 200 with these packets.
    Packets(VecDeque<Frame>),
    /// 400.
    Refused(Refusal),
}

#[derive(Debug)]
enum State {
    Polling {
        posting: bool,
        probe: Probe,
    },
    /// `posting`: a POST that began before the upgrade is still on its way.
    WebSocket {
        posting: bool,
    },
    /// `alone`: the close packet has a payload of its own.
    Closing {
        transport: Transport,
        until: Time,
        alone: bool,
    },
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    None,
    Open { until: Time },
    Probed { until: Time, noop_at: Time },
}

#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    Quiet { ping_at: Time },
    Pinged { pong_by: Time, prolonged: bool },
}

/// The one GET that may be parked.
#[derive(Clone, Copy, Debug)]
enum Get {
    Idle,
    Parked,
    /// To be answered with this packet although nothing waits.
    Release(&'static str),
    Refuse(Refusal),
}

/// One Engine.IO session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    get: Get,
    heartbeat: Heartbeat,
    outbox: Outbox,
    ended: Option<Reason>,
    overflowed: bool,
}

impl Session {
    /// A session whose handshake request is handled at `now`; `open_packet` is the first that its client gets.
    #[must_use]
    pub fn new(now: Time, transport: Transport, settings: Settings, open_packet: &str) -> Session {
        let mut outbox = Outbox::new(settings.unsent, settings.base64);
        // An empty outbox takes any packet.
        let _ = outbox.push(Frame::text(open_packet));
        let state = match transport {
            Transport::Polling => State::Polling { posting: false, probe: Probe::None },
            Transport::WebSocket => State::WebSocket { posting: false },
        };
        let heartbeat = Heartbeat::Quiet { ping_at: now.plus(settings.ping_interval) };
        Session { settings, state, get: Get::Idle, heartbeat, outbox, ended: None, overflowed: false }
    }

    /// Takes one input.
    pub fn handle<'a>(&mut self, now: Time, input: Input<'a>) -> Reaction<'a> {
        self.expire(now);
        match input {
            Input::Get => self.get(),
            Input::GetAborted => self.get_aborted(),
            Input::PostBegins => self.post_begins(),
            Input::PostGoesOn => self.post_goes_on(now),
            Input::PostEnds => self.post_ends(),
            Input::PostAborted => self.post_aborted(),
            Input::ProbeOpens => self.probe_opens(now),
            Input::Packet(Via::Probe, packet) => self.probe_packet(now, &packet),
            Input::Packet(via, packet) => self.packet(now, via, packet),
            Input::Garbage(Via::Probe) => self.probe_fails(),
            Input::Garbage(Via::Polling | Via::WebSocket) => {
                self.end(Reason::ParseError, "1");
                Reaction::Handled
            }
            Input::SocketClosed(via) => self.socket_closed(via),
            Input::Timeout => {
                self.timeout(now);
                Reaction::Handled
            }
            Input::Close(reason) => {
                self.close(now, reason);
                Reaction::Handled
            }
            Input::Abort(reason) => {
                self.end(reason, "1");
                Reaction::Handled
            }
        }
    }

    fn get(&mut self) -> Reaction<'static> {
        match (&self.state, self.get) {
            (State::Closed, _) => Reaction::Refused(Refusal::UnknownSid),
            (State::WebSocket { .. }, _) | (State::Closing { transport: Transport::WebSocket, .. }, _) => {
                Reaction::Refused(Refusal::BadRequest)
            }
            (State::Polling { .. } | State::Closing { .. }, Get::Idle) => {
                self.get = Get::Parked;
                Reaction::Handled
            }
            (State::Polling { .. } | State::Closing { .. }, Get::Parked | Get::Release(_) | Get::Refuse(_)) => {
                self.end(Reason::TransportError, "1");
                Reaction::Refused(Refusal::BadRequest)
            }
        }
    }

    fn get_aborted(&mut self) -> Reaction<'static> {
        self.get = Get::Idle;
        match self.state {
            State::Polling { .. } | State::Closing { .. } => self.end(Reason::TransportError, "1"),
            State::WebSocket { .. } | State::Closed => {}
        }
        Reaction::Handled
    }

    fn post_begins(&mut self) -> Reaction<'static> {
        match &mut self.state {
            State::Closed => Reaction::Refused(Refusal::UnknownSid),
            State::WebSocket { .. } => Reaction::Refused(Refusal::BadRequest),
            State::Closing { .. } => Reaction::Handled,
            State::Polling { posting: true, .. } => {
                self.end(Reason::TransportError, "1");
                Reaction::Refused(Refusal::BadRequest)
            }
            State::Polling { posting, .. } => {
                *posting = true;
                Reaction::Handled
            }
        }
    }

    fn post_ends(&mut self) -> Reaction<'static> {
        match &mut self.state {
            State::Polling { posting, .. } | State::WebSocket { posting } => *posting = false,
            State::Closing { .. } | State::Closed => {}
        }
        Reaction::Handled
    }

    /// A client that sends something large over a slow line can't answer a ping meanwhile. It is there: the body has its own minimum rate.
    fn post_goes_on(&mut self, now: Time) -> Reaction<'static> {
        if let State::Polling { posting: true, .. } = self.state {
            self.progress(now);
        }
        Reaction::Handled
    }

    /// Nobody was told that its packets arrived, and polling can't say so later. A WebSocket goes on.
    fn post_aborted(&mut self) -> Reaction<'static> {
        match &mut self.state {
            State::WebSocket { posting } => *posting = false,
            State::Polling { .. } | State::Closing { .. } | State::Closed => self.end(Reason::TransportError, "1"),
        }
        Reaction::Handled
    }

    fn probe_opens(&mut self, now: Time) -> Reaction<'static> {
        match &mut self.state {
            State::Closed | State::Closing { .. } => Reaction::Refused(Refusal::UnknownSid),
            State::Polling { probe: probe @ Probe::None, .. } => {
                *probe = Probe::Open { until: now.plus(self.settings.upgrade) };
                Reaction::Handled
            }
            // One probe at a time, and an upgraded session is not upgraded again: the newcomer is closed.
            State::Polling { .. } | State::WebSocket { .. } => Reaction::Refused(Refusal::BadRequest),
        }
    }

    fn probe_packet(&mut self, now: Time, packet: &EnginePacket<'_>) -> Reaction<'static> {
        match (&mut self.state, packet) {
            (State::Polling { probe, .. }, EnginePacket::Ping("probe")) => match *probe {
                Probe::Open { until } => {
                    *probe = Probe::Probed { until, noop_at: now.plus(NOOP_EVERY) };
                    Reaction::Reply("3probe")
                }
                Probe::None | Probe::Probed { .. } => self.probe_fails(),
            },
            // Also without a probe before it, as the official server takes it and Elephant.io sends it. A POST that is on its way is still
            // heard: it will be answered `ok`.
            (State::Polling { posting, probe: Probe::Open { .. } | Probe::Probed { .. } }, EnginePacket::Upgrade) => {
                self.state = State::WebSocket { posting: *posting };
                if let Get::Parked = self.get {
                    self.get = Get::Refuse(Refusal::BadRequest);
                }
                Reaction::Upgraded
            }
            (State::Polling { .. } | State::WebSocket { .. } | State::Closing { .. } | State::Closed, _) => {
                self.probe_fails()
            }
        }
    }

    /// The probing WebSocket is no use; polling goes on.
    fn probe_fails(&mut self) -> Reaction<'static> {
        if let State::Polling { probe, .. } = &mut self.state {
            *probe = Probe::None;
        }
        Reaction::Refused(Refusal::BadRequest)
    }

    fn packet<'a>(&mut self, now: Time, via: Via, packet: EnginePacket<'a>) -> Reaction<'a> {
        match (&self.state, via) {
            (State::Polling { .. } | State::WebSocket { posting: true }, Via::Polling)
            | (State::WebSocket { .. }, Via::WebSocket) => {}
            // What arrives after the close, or over a transport that lost the session, is not heard.
            (State::Polling { .. } | State::WebSocket { .. } | State::Closing { .. } | State::Closed, _) => {
                return Reaction::Handled;
            }
        }
        match packet {
            EnginePacket::Pong(_) => return self.pong(now),
            EnginePacket::Close => self.end(Reason::TransportClose, "6"),
            // "The server sends pings, the client pongs" since protocol 4.
            EnginePacket::Ping(_) => self.end(Reason::TransportError, "1"),
            EnginePacket::Text(text) => {
                self.prolong(now);
                return Reaction::Text(text);
            }
            EnginePacket::Binary(data) => {
                self.prolong(now);
                return Reaction::Binary(data);
            }
            EnginePacket::Open | EnginePacket::Upgrade | EnginePacket::Noop => {}
        }
        Reaction::Handled
    }

    fn pong(&mut self, now: Time) -> Reaction<'static> {
        match self.heartbeat {
            Heartbeat::Pinged { .. } => {
                self.heartbeat = Heartbeat::Quiet { ping_at: now.plus(self.settings.ping_interval) };
                Reaction::Pong
            }
            // A pong that nobody asked for proves nothing.
            Heartbeat::Quiet { .. } => Reaction::Handled,
        }
    }

    /// A packet while the pong is awaited shows life once: the pong may be stuck behind a large upload.
    fn prolong(&mut self, now: Time) {
        if let Heartbeat::Pinged { pong_by, prolonged: prolonged @ false } = &mut self.heartbeat {
            *pong_by = now.plus(self.settings.ping_timeout);
            *prolonged = true;
        }
    }

    /// Something of a message has come that is not whole yet: as long as more comes, the pong may be stuck behind it.
    pub fn progress(&mut self, now: Time) {
        self.expire(now);
        if let Heartbeat::Pinged { pong_by, .. } = &mut self.heartbeat {
            *pong_by = (*pong_by).max(now.plus(self.settings.ping_timeout));
        }
    }

    fn socket_closed(&mut self, via: Via) -> Reaction<'static> {
        match (&self.state, via) {
            (_, Via::Probe) => {
                self.probe_fails();
            }
            (State::WebSocket { .. } | State::Closing { .. }, Via::WebSocket) => self.end(Reason::TransportClose, "1"),
            (State::Polling { .. } | State::Closed, Via::WebSocket) | (_, Via::Polling) => {}
        }
        Reaction::Handled
    }

    /// The server reads the client no further for now: its pong gets its full time once it can be heard.
    pub fn excuse(&mut self, now: Time) {
        if let Heartbeat::Pinged { pong_by, .. } = &mut self.heartbeat {
            *pong_by = (*pong_by).max(now.plus(self.settings.ping_timeout));
        }
    }

    /// Ends the session whose pong is overdue.
    fn expire(&mut self, now: Time) {
        if let Heartbeat::Pinged { pong_by, .. } = self.heartbeat
            && now >= pong_by
        {
            self.end(Reason::PingTimeout, "1");
        }
        // A ping that is due but was never sent can't be answered in time either: its deadline is as absolute.
        if let Heartbeat::Quiet { ping_at } = self.heartbeat
            && now >= ping_at.plus(self.settings.ping_timeout.saturating_mul(2))
        {
            self.end(Reason::PingTimeout, "1");
        }
    }

    fn timeout(&mut self, now: Time) {
        if self.ping_due(now) {
            self.ping(now);
        }
        match &mut self.state {
            State::Polling { probe, .. } => match *probe {
                Probe::Open { until } | Probe::Probed { until, .. } if now >= until => *probe = Probe::None,
                Probe::Probed { until, noop_at } if now >= noop_at => {
                    *probe = Probe::Probed { until, noop_at: now.plus(NOOP_EVERY) };
                    if let Get::Parked = self.get
                        && self.outbox.is_empty()
                    {
                        self.get = Get::Release("6");
                    }
                }
                Probe::None | Probe::Open { .. } | Probe::Probed { .. } => {}
            },
            State::Closing { until, .. } if now >= *until => self.state = State::Closed,
            State::WebSocket { .. } | State::Closing { .. } | State::Closed => {}
        }
    }

    /// A timeout at `now` sends a ping: the caller notes first how far its client has been served.
    #[must_use]
    pub fn ping_due(&self, now: Time) -> bool {
        match self.heartbeat {
            Heartbeat::Quiet { ping_at } => self.is_open() && now >= ping_at,
            Heartbeat::Pinged { .. } => false,
        }
    }

    fn ping(&mut self, now: Time) {
        let Heartbeat::Quiet { ping_at } = self.heartbeat else { return };
        // One absolute deadline, not two timers in a row; a late timer still leaves the client half of its time.
        let half = self.settings.ping_timeout.checked_div(2).unwrap_or(0);
        let pong_by = ping_at.plus(self.settings.ping_timeout).max(now.plus(half));
        self.heartbeat = Heartbeat::Pinged { pong_by, prolonged: false };
        if self.outbox.push(Frame::text("2")).is_err() {
            self.overflow();
        }
    }

    /// The next moment at which [`Input::Timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let heartbeat = match self.heartbeat {
            Heartbeat::Quiet { ping_at } => ping_at,
            Heartbeat::Pinged { pong_by, .. } => pong_by,
        };
        match &self.state {
            State::Closed => None,
            State::Closing { until, .. } => Some(*until),
            State::WebSocket { .. } | State::Polling { probe: Probe::None, .. } => Some(heartbeat),
            State::Polling { probe: Probe::Open { until }, .. } => Some(heartbeat.min(*until)),
            State::Polling { probe: Probe::Probed { until, noop_at }, .. } => Some(heartbeat.min(*until).min(*noop_at)),
        }
    }

    /// Queues a packet for the client. False: the session is closed, or is now because the client's bound is reached.
    pub fn send(&mut self, frames: Frames) -> bool {
        let open = self.is_open();
        if open && self.outbox.push_all(frames).is_err() {
            self.overflow();
        }
        open && self.is_open()
    }

    fn overflow(&mut self) {
        self.overflowed = true;
        let _ = self.outbox.take();
        self.end(Reason::TransportError, "1");
    }

    /// The client was cut because it did not read what waited for it.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Closes politely: what waits goes out first, then `1` or a close frame.
    fn close(&mut self, now: Time, reason: Reason) {
        let transport = match self.state {
            State::Polling { .. } => Transport::Polling,
            State::WebSocket { .. } => Transport::WebSocket,
            State::Closing { .. } | State::Closed => return,
        };
        // The official client handles events a moment after it decodes them, and finds itself disconnected already if the close came in the
        // same payload: what it got then is lost on it. A client that broke the protocol gets all at once.
        let alone = reason != Reason::ForcedClose;
        self.state = State::Closing { transport, until: now.plus(CLOSING), alone };
        self.ended = Some(reason);
    }

    /// Closes at once; a parked GET is released with `last`.
    fn end(&mut self, reason: Reason, last: &'static str) {
        match self.state {
            State::Polling { .. } | State::WebSocket { .. } => self.ended = Some(reason),
            State::Closing { .. } => {}
            State::Closed => return,
        }
        self.state = State::Closed;
        if let Get::Parked = self.get {
            self.get = Get::Release(last);
        }
    }

    /// The reason, once, after the session has ended: the layer above is told then.
    pub fn take_ended(&mut self) -> Option<Reason> {
        self.ended.take()
    }

    /// The answer to the GET that was put in, when there is one.
    pub fn poll_get(&mut self) -> Option<GetAnswer> {
        match (self.get, &self.state) {
            (Get::Idle, _) => None,
            (Get::Refuse(refusal), _) => {
                self.get = Get::Idle;
                Some(GetAnswer::Refused(refusal))
            }
            (Get::Release(packet), _) => {
                self.get = Get::Idle;
                Some(GetAnswer::Packets(VecDeque::from([Frame::text(packet)])))
            }
            (Get::Parked, State::Closing { alone, .. }) if self.outbox.is_empty() || !alone => {
                self.get = Get::Idle;
                self.state = State::Closed;
                let mut frames = self.outbox.take();
                frames.push_back(Frame::text("1"));
                Some(GetAnswer::Packets(frames))
            }
            (Get::Parked, State::Polling { .. } | State::Closing { .. }) if !self.outbox.is_empty() => {
                self.get = Get::Idle;
                Some(GetAnswer::Packets(self.outbox.take()))
            }
            (Get::Parked, State::Polling { .. } | State::Closing { .. } | State::WebSocket { .. } | State::Closed) => {
                None
            }
        }
    }

    /// [`Session::poll_get`] would give an answer.
    #[must_use]
    pub fn get_ready(&self) -> bool {
        match (self.get, &self.state) {
            (Get::Idle, _) => false,
            (Get::Release(_) | Get::Refuse(_), _) | (Get::Parked, State::Closing { .. }) => true,
            (Get::Parked, State::Polling { .. }) => !self.outbox.is_empty(),
            (Get::Parked, State::WebSocket { .. } | State::Closed) => false,
        }
    }

    /// All that waits for the WebSocket; report what was written with [`Session::sent`].
    #[must_use]
    pub fn take_frames(&mut self) -> VecDeque<Frame> {
        match self.state {
            State::WebSocket { .. } | State::Closing { transport: Transport::WebSocket, .. } => self.outbox.take(),
            State::Polling { .. } | State::Closing { .. } | State::Closed => VecDeque::new(),
        }
    }

    /// The WebSocket has frames to write or its end to see.
    #[must_use]
    pub fn websocket_ready(&self) -> bool {
        match self.state {
            State::WebSocket { .. } => !self.outbox.is_empty(),
            State::Polling { .. } => false,
            State::Closing { .. } | State::Closed => true,
        }
    }

    /// The client's socket took `bytes`.
    pub fn sent(&mut self, bytes: usize) {
        self.outbox.sent(bytes);
    }

    /// Bytes that wait for the client.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.outbox.unsent()
    }

    /// Neither closing nor closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Polling { .. } | State::WebSocket { .. })
    }

    /// Over: nothing more will be sent or heard.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// A WebSocket is probing.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::Polling { probe: Probe::Open { .. } | Probe::Probed { .. }, .. })
    }

    /// The transport that carries the session, or carried it last.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.state {
            State::WebSocket { .. } => Transport::WebSocket,
            State::Closing { transport, .. } => transport,
            State::Polling { .. } | State::Closed => Transport::Polling,
        }
    }

    /// A volatile packet sent now would leave at once.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        match (&self.state, self.get) {
            (State::WebSocket { .. }, _) => self.outbox.unsent() < BUSY,
            (State::Polling { .. }, Get::Parked) => true,
            (State::Polling { .. } | State::Closing { .. } | State::Closed, _) => false,
        }
    }

    /// Half of the time for the pong has passed without it; operators see it as a client that may be gone.
    #[must_use]
    pub fn pong_overdue(&self, now: Time) -> bool {
        match self.heartbeat {
            Heartbeat::Pinged { pong_by, .. } => {
                pong_by.since(now) < self.settings.ping_timeout.checked_div(2).unwrap_or(0)
            }
            Heartbeat::Quiet { .. } => false,
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
