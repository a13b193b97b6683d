//! One client's connection: the Engine.IO session, the Socket.IO client on it and its sockets, behind one lock.
//!
//! The io floor feeds `Connection::handle` and waits on `Connection::poll_get` and `Connection::take_frames`; everybody else
//! sends with `Connection::send`. Handlers run with the lock released. Order of locks: a namespace's hub, a socket's state, this one.

use crate::codec::frame::Frame;
use crate::codec::http::Headers;
use crate::codec::socket_packet::Frames;
use crate::id::{Sid, Time};
use crate::proto::client::{Action, Client, ClientError};
use crate::proto::handshake::{Refusal, Transport};
use crate::proto::reason::Reason;
use crate::proto::session::{GetAnswer, Input, Reaction, Session, Via};
use crate::server::changes::Change;
use crate::server::client::door::Entrance;
use crate::server::client::handshake::{self, Handshake};
use crate::server::client::pace::Pace;
use crate::server::client::repeats::{Repeats, Request, Verdict};
use crate::server::client::socket::Socket;
use crate::server::client::wakers::{Awaits, Wakers, wake};
use crate::server::notice::Notice;
use crate::server::rank::{Locked, Rank, lock_as};
use crate::server::timers::Timer;
use crate::server::{Message, Server};
use bytes::Bytes;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;

/// What the io floor has to do after an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Handled,
    /// Write this packet to the probing WebSocket.
    Reply(&'static str),
    /// The probing WebSocket carries the session now.
    Upgraded,
    /// Answer the request, or close the WebSocket, with this.
    Refused(Refusal),
}

/// What a WebSocket has to do.
#[derive(Debug)]
pub enum Write {
    /// Write these; with none, wait.
    Frames(VecDeque<Frame>),
    /// Write these, then a close frame, and hang up.
    Last(VecDeque<Frame>),
    /// Hang up.
    Closed,
}

/// Whether a packet was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It will be written.
    Queued,
    /// It was volatile, and the client is busy.
    Dropped,
    /// The client is gone.
    Closed,
}

struct State {
    session: Session,
    /// `None` on a server that speaks Engine.IO alone.
    client: Option<Client>,
    sockets: Vec<Socket>,
    wakers: Wakers,
    /// The soonest entry in the server's timers.
    scheduled: Time,
    forgotten: bool,
    /// The headers of the latest POST, where an engine handler may ask for them.
    post: Option<Box<Headers>>,
    /// What ended the session, where its client can be told.
    broken: Option<Box<ClientError>>,
    /// `None` once a WebSocket carries the session: what comes over that can't come twice.
    repeats: Option<Box<Repeats>>,
}

/// One client.
pub struct Connection {
    /// Its Engine.IO session id.
    pub sid: Sid,
    /// The request that opened the session.
    pub handshake: Handshake,
    pub(crate) entrance: Entrance,
    pub(super) server: Server,
    pub(super) me: Weak<Connection>,
    pub(super) pace: Pace,
    /// Sockets whose line of waiting events is full.
    pub(super) full: AtomicUsize,
    state: Mutex<State>,
}

/// What an input asks the layers above for, to be done with the lock released.
enum Step<'a> {
    Outcome(Outcome),
    Text(&'a str),
    Binary(Bytes),
    Action(Action<'a>, Option<Socket>),
    Pong(Vec<Socket>),
    Broken(ClientError),
}

/// What follows from an input once the lock is released.
struct After {
    ended: Option<(Reason, Vec<Socket>)>,
    wake: [Option<Waker>; 3],
}

impl Connection {
    pub(crate) fn new(
        server: Server,
        sid: Sid,
        handshake: Handshake,
        entrance: Entrance,
        session: Session,
        client: Option<Client>,
    ) -> Arc<Connection> {
        let state = State {
            session,
            client,
            sockets: Vec::new(),
            wakers: Wakers::default(),
            scheduled: Time(u64::MAX),
            forgotten: false,
            post: None,
            broken: None,
            repeats: None,
        };
        let connection = Arc::new_cyclic(|me| Connection {
            sid,
            handshake,
            entrance,
            server,
            pace: Pace::default(),
            me: me.clone(),
            full: AtomicUsize::new(0),
            state: Mutex::new(state),
        });
        connection.schedule(&mut lock_as(Rank::One, &connection.state));
        connection
    }

    /// The server that the client is connected to.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Takes one input and runs the handlers that it calls for.
    pub(crate) fn handle(self: &Arc<Self>, now: Time, input: Input<'_>) -> Outcome {
        let timeout = matches!(input, Input::Timeout);
        if timeout {
            self.note_positions(now);
        }
        let mut state = lock_as(Rank::One, &self.state);
        if self.is_full() {
            state.session.excuse(now);
        }
        // The WebSocket's task is running, and will look by itself: what the client's own events send to it needs to wake nobody.
        if let Input::Packet(Via::WebSocket, _) = input {
            state.wakers.awaits = Awaits::Nothing;
        }
        // An entry that fires before the soonest one is left over from an earlier deadline: it must not become a chain of its own.
        if timeout && state.scheduled <= now {
            state.scheduled = Time(u64::MAX);
        }
        let step = self.step(&mut state, now, input, timeout);
        if let Step::Broken(error) = &step {
            state.session.handle(now, Input::Close(Reason::ForcedClose));
            state.broken = Some(Box::new(error.clone()));
        }
        let after = self.settle(state);
        let outcome = self.run(step);
        self.finish(after);
        outcome
    }

    fn step<'a>(&self, state: &mut State, now: Time, input: Input<'a>, timeout: bool) -> Step<'a> {
        if let (Input::PostBegins | Input::PostGoesOn, Some(client)) = (&input, &mut state.client) {
            client.progress(now);
        }
        let reaction = state.session.handle(now, input);
        if timeout && let Some(client) = &mut state.client {
            return match client.timeout(now) {
                Err(error) if state.session.is_open() => Step::Broken(error),
                Err(_) | Ok(()) => Step::Outcome(Outcome::Handled),
            };
        }
        let limits = &self.server.options().limits;
        let action = match (reaction, &mut state.client) {
            (Reaction::Handled, _) => return Step::Outcome(Outcome::Handled),
            (Reaction::Reply(packet), _) => return Step::Outcome(Outcome::Reply(packet)),
            (Reaction::Upgraded, _) => {
                self.server.metrics().upgrades.one();
                state.repeats = None;
                return Step::Outcome(Outcome::Upgraded);
            }
            (Reaction::Refused(refusal), _) => return Step::Outcome(Outcome::Refused(refusal)),
            (Reaction::Pong, _) => return Step::Pong(state.sockets.clone()),
            (Reaction::Text(text), None) => return Step::Text(text),
            (Reaction::Binary(data), None) => return Step::Binary(data),
            (Reaction::Text(text), Some(client)) => client.text(now, text, limits),
            (Reaction::Binary(data), Some(client)) => client.binary(now, data, limits),
        };
        match action {
            Ok(action) => {
                let socket = state.socket_for(&action);
                Step::Action(action, socket)
            }
            Err(error) => Step::Broken(error),
        }
    }

    fn run(self: &Arc<Self>, step: Step<'_>) -> Outcome {
        let metrics = self.server.metrics();
        match step {
            Step::Outcome(outcome) => return outcome,
            Step::Text(_) | Step::Binary(_) if self.pace.is_first() => {
                self.server.joined(self.entrance);
                return self.run(step);
            }
            Step::Text(text) => self.server.engine_message(self, Message::Text(text)),
            Step::Binary(data) => self.server.engine_message(self, Message::Binary(&data)),
            Step::Pong(sockets) => sockets.iter().for_each(Socket::confirm_position),
            Step::Broken(error) => {
                metrics.protocol_errors.one();
                self.server
                    .log(&Notice::ClientClosed { session: format!("{:?}", self.sid), reason: error.to_string() });
            }
            Step::Action(action, socket) => match (action, socket) {
                (Action::Wait, _) => {}
                (Action::Connect { nsp, auth }, _) => {
                    self.server.joined(self.entrance);
                    self.server.connect(self, nsp, auth.as_deref());
                }
                (Action::Disconnect { .. }, Some(socket)) => socket.left(Reason::ClientNamespaceDisconnect),
                (Action::Event { name, args, id, .. }, Some(socket)) => {
                    metrics.messages_in.one();
                    self.keep_pace();
                    socket.event(&name, args, id);
                }
                (Action::Ack { id, args, .. }, Some(socket)) => {
                    metrics.messages_in.one();
                    socket.acked(id, Ok(args));
                }
                // The server has removed the client from the namespace; the packet was on its way.
                (Action::Disconnect { .. } | Action::Event { .. } | Action::Ack { .. }, None) => {}
            },
        }
        Outcome::Handled
    }

    /// Something has come of a message that is not whole yet.
    pub(crate) fn progress(self: &Arc<Self>, now: Time) {
        let mut state = lock_as(Rank::One, &self.state);
        state.session.progress(now);
        if let Some(client) = &mut state.client {
            client.progress(now);
        }
        let after = self.settle(state);
        self.finish(after);
    }

    /// Code and reason for the last close frame.
    pub(crate) fn last_words(&self) -> (u16, String) {
        match &lock_as(Rank::One, &self.state).broken {
            Some(error) => (error.close_code(), error.to_string()),
            None => (1000, String::new()),
        }
    }

    /// A ping is about to go out: its pong will prove that the client got everything delivered so far. Read before the ping is queued,
    /// so that nothing delivered later is counted.
    fn note_positions(&self, now: Time) {
        let state = lock_as(Rank::One, &self.state);
        if state.session.ping_due(now) {
            let sockets = state.sockets.clone();
            drop(state);
            sockets.iter().for_each(Socket::note_position);
        }
    }

    /// Sees to wakers and timers after any change, and releases the lock.
    fn settle(&self, mut state: Locked<'_, State>) -> After {
        let ended = state.session.take_ended().map(|reason| (reason, std::mem::take(&mut state.sockets)));
        if let Some((reason, _)) = &ended {
            self.count_end(*reason, state.session.overflowed());
            let change = || Change::Closed { address: self.handshake.address.clone(), reason: *reason };
            self.server.core().watchers.tell(change);
        }
        self.schedule(&mut state);
        let closed = state.session.is_closed() && !state.forgotten;
        state.forgotten |= closed;
        let ready = state.ready();
        let readers = ended.is_some().then(|| std::mem::take(&mut state.wakers.readers));
        drop(state);
        if let Some(readers) = readers {
            wake(readers);
        }
        if closed {
            self.server.forget(self);
        }
        After { ended, wake: ready }
    }

    fn finish(&self, after: After) {
        wake(after.wake);
        if let Some((reason, sockets)) = after.ended {
            for socket in sockets {
                socket.left(reason);
            }
        }
    }

    fn count_end(&self, reason: Reason, overflowed: bool) {
        let metrics = self.server.metrics();
        match reason {
            _ if overflowed => {
                metrics.overflows.one();
                let bound = self.server.options().limits.unsent_bytes;
                self.server.log(&Notice::ClientCut { session: format!("{:?}", self.sid), bytes: bound });
            }
            Reason::PingTimeout => metrics.ping_timeouts.one(),
            Reason::ParseError => metrics.protocol_errors.one(),
            _ => {}
        }
    }

    fn schedule(&self, state: &mut State) {
        let client = state.client.as_ref().filter(|_| state.session.is_open()).and_then(Client::next_timeout);
        let next = match (state.session.next_timeout(), client) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) => a,
            (None, _) => return,
        };
        if next < state.scheduled {
            state.scheduled = next;
            self.look_at(next);
        }
    }

    fn look_at(&self, at: Time) {
        self.server.timers().add(at, Timer::Connection(self.me.clone()));
    }

    /// Queues a packet; `volatile` ones only for a client that can take them now. Runs no handlers: a client that is cut by this is seen to
    /// by its timer, which is due at once.
    pub(crate) fn send(&self, frames: Frames, volatile: bool) -> Sent {
        let mut state = lock_as(Rank::One, &self.state);
        if volatile && !state.session.is_writable() {
            return if state.session.is_open() { Sent::Dropped } else { Sent::Closed };
        }
        let was_cut = state.session.overflowed();
        let sent = match state.session.send(frames) {
            true => Sent::Queued,
            false => Sent::Closed,
        };
        if state.session.overflowed() && !was_cut {
            self.look_at(Time(0));
        }
        let ready = state.ready();
        drop(state);
        wake(ready);
        sent
    }

    /// Whether the client may be read on; if not, `waker` is woken when it may, or when the session ends.
    pub(crate) fn poll_reading(&self, via: Via, waker: &Waker) -> bool {
        if !self.is_full() {
            return true;
        }
        let mut state = lock_as(Rank::One, &self.state);
        let [websocket, post] = &mut state.wakers.readers;
        *(if via == Via::Polling { post } else { websocket }) = Some(waker.clone());
        !self.is_full() || !state.session.is_open()
    }

    pub(crate) fn resume_reading(&self) {
        let mut state = lock_as(Rank::One, &self.state);
        state.session.excuse(self.server.now());
        let others = self.full.fetch_sub(1, Ordering::AcqRel).saturating_sub(1);
        let readers = if others == 0 { std::mem::take(&mut state.wakers.readers) } else { [None, None] };
        drop(state);
        wake(readers);
    }

    /// A POST arrives with these headers; kept on servers without Socket.IO alone.
    pub(crate) fn note_post(&self, headers: &Headers) {
        if self.server.options().engine.is_some() {
            lock_as(Rank::One, &self.state).post = Some(Box::new(headers.clone()));
        }
    }

    /// The headers of the latest POST, as the official server shows headers; on servers without Socket.IO.
    #[must_use]
    pub fn post_headers(&self) -> Value {
        lock_as(Rank::One, &self.state).post.as_ref().map_or(Value::Null, |headers| handshake::headers_value(headers))
    }

    /// Sends an Engine.IO text message; for servers without Socket.IO.
    pub fn send_text(&self, text: &str) {
        self.send(Frame::text(&format!("4{text}")).into(), false);
    }

    /// Sends an Engine.IO binary message; for servers without Socket.IO.
    pub fn send_binary(&self, data: &[u8]) {
        self.send(Frame::binary(data).into(), false);
    }

    /// A namespace has accepted the client: the answer to its CONNECT goes out, then what it missed. False if the client is gone or has
    /// changed its mind.
    ///
    /// The official server sends them the other way round. Its client keeps events that arrive before the CONNECT, also across a cut, and
    /// without moving its offset: a cut in the middle would make it handle them twice.
    pub(crate) fn admit(&self, socket: &Socket, missed: Vec<Frames>, answer: Frame) -> bool {
        let mut state = lock_as(Rank::One, &self.state);
        let nsp = socket.nsp_name();
        let State { session, client: Some(client), sockets, .. } = &mut *state else { return false };
        if !session.is_open() || !client.is_connecting(nsp.as_str()) {
            return false;
        }
        client.connected(nsp.as_str());
        sockets.push(socket.clone());
        session.send(answer.into());
        for frames in missed {
            session.send(frames);
        }
        if session.overflowed() {
            self.look_at(Time(0));
        }
        let ready = state.ready();
        drop(state);
        wake(ready);
        true
    }

    /// The client may not join a namespace.
    pub(crate) fn refuse(&self, nsp: &str, answer: Frame) {
        if let Some(client) = &mut lock_as(Rank::One, &self.state).client {
            client.left(nsp);
        }
        self.send(answer.into(), false);
    }

    /// The server has removed the client from a namespace. False: this socket was not there any more, and nothing is said.
    pub(crate) fn removed(&self, socket: &Socket, packet: Frame) -> bool {
        let mut state = lock_as(Rank::One, &self.state);
        let Some(index) = state.sockets.iter().position(|other| other == socket) else { return false };
        state.sockets.swap_remove(index);
        if let Some(client) = &mut state.client {
            client.removed(socket.nsp_name().as_str());
        }
        drop(state);
        self.send(packet.into(), false);
        true
    }

    /// The client's sockets, one for each namespace.
    #[must_use]
    pub fn sockets(&self) -> Vec<Socket> {
        lock_as(Rank::One, &self.state).sockets.clone()
    }

    /// How many namespaces the client is in or joins.
    pub(crate) fn namespaces(&self) -> usize {
        lock_as(Rank::One, &self.state).client.as_ref().map_or(0, Client::namespaces)
    }

    /// The answer to the GET that was put in, or `None`: `waker` is woken when there is one.
    pub(crate) fn poll_get(&self, waker: &Waker) -> Option<GetAnswer> {
        let mut state = lock_as(Rank::One, &self.state);
        let answer = state.session.poll_get();
        if answer.is_none() {
            state.wakers.get = Some(waker.clone());
        }
        let after = self.settle(state);
        self.finish(after);
        answer
    }

    /// What the WebSocket has to do; its socket took `sent` bytes since it last asked. `waker` is woken when there is something to do, if there
    /// is nothing now; without one the WebSocket's task will ask again by itself.
    pub(crate) fn take_frames(&self, sent: usize, waker: Option<&Waker>) -> Write {
        self.count_sent(sent);
        let mut state = lock_as(Rank::One, &self.state);
        state.session.sent(sent);
        match waker {
            Some(waker) if !state.session.websocket_ready() => state.wakers.wait(waker, Awaits::Frames),
            Some(_) | None => state.wakers.awaits = Awaits::Nothing,
        }
        let frames = state.session.take_frames();
        match (state.session.is_closed(), state.session.is_open()) {
            (true, _) => Write::Closed,
            (false, false) => Write::Last(frames),
            (false, true) => Write::Frames(frames),
        }
    }

    /// Whether the session has ended, asked by a WebSocket whose socket takes no more, and took `sent` bytes since it last asked; `waker` is
    /// woken when it does.
    pub(crate) fn poll_blocked(&self, sent: usize, waker: &Waker) -> bool {
        self.count_sent(sent);
        let mut state = lock_as(Rank::One, &self.state);
        state.session.sent(sent);
        state.wakers.wait(waker, Awaits::End);
        state.session.is_closed()
    }

    /// Whether the probe goes on; `waker` is woken when it ends.
    pub(crate) fn poll_probe(&self, waker: &Waker) -> bool {
        let mut state = lock_as(Rank::One, &self.state);
        state.wakers.probe = Some(waker.clone());
        state.session.is_probing()
    }

    /// The client's socket took `bytes`.
    pub(crate) fn sent(&self, bytes: usize) {
        lock_as(Rank::One, &self.state).session.sent(bytes);
        self.count_sent(bytes);
    }

    fn count_sent(&self, bytes: usize) {
        if bytes > 0 {
            self.server.metrics().bytes_out.add(bytes);
        }
    }

    /// Whether a POST is new. One that is not is counted, and told to people.
    pub(crate) fn judge_post(&self, now: Time, request: Request<'_>) -> Verdict {
        let verdict =
            lock_as(Rank::One, &self.state).repeats.get_or_insert_default().post(now, self.server.prints(), request);
        match verdict {
            Verdict::New => {}
            Verdict::Handled => self.note_repeated("a POST came again whose answer was lost: not handled twice"),
            Verdict::Doubtful => self.note_repeated("a POST came again whose answer may have been lost: refused"),
        }
        verdict
    }

    /// Whether a GET is sent for the one before it, whose answer may be lost.
    pub(crate) fn is_get_repeated(&self, now: Time, request: Request<'_>) -> bool {
        let opening = || self.handshake.query().get("t").map(ToOwned::to_owned);
        let again = lock_as(Rank::One, &self.state).repeats.get_or_insert_default().get(
            now,
            self.server.prints(),
            request,
            opening,
        );
        if again {
            self.note_repeated("a GET came again whose answer may have been lost: closed, for its client to recover");
        }
        again
    }

    fn note_repeated(&self, what: &'static str) {
        self.server.metrics().requests_repeated.one();
        self.server.log(&Notice::RequestRepeated { session: format!("{:?}", self.sid), what });
    }

    /// The transport that carries the session.
    #[must_use]
    pub fn transport(&self) -> Transport {
        lock_as(Rank::One, &self.state).session.transport()
    }

    /// Bytes that wait for the client.
    #[must_use]
    pub fn unsent(&self) -> usize {
        lock_as(Rank::One, &self.state).session.unsent()
    }

    /// Half of the time for a pong has passed without it.
    #[must_use]
    pub fn pong_overdue(&self, now: Time) -> bool {
        lock_as(Rank::One, &self.state).session.pong_overdue(now)
    }
}

impl State {
    /// The socket that an action is for; one that leaves is taken out.
    fn socket_for(&mut self, action: &Action<'_>) -> Option<Socket> {
        let (nsp, leaves) = match action {
            Action::Wait | Action::Connect { .. } => return None,
            Action::Disconnect { nsp } => (*nsp, true),
            Action::Event { nsp, .. } | Action::Ack { nsp, .. } => (&**nsp, false),
        };
        let index = self.sockets.iter().position(|socket| socket.nsp_name().as_str() == nsp)?;
        match leaves {
            true => Some(self.sockets.swap_remove(index)),
            false => self.sockets.get(index).cloned(),
        }
    }

    /// Takes out the wakers that have something to do.
    fn ready(&mut self) -> [Option<Waker>; 3] {
        let State { session, wakers, .. } = self;
        let news = match wakers.awaits {
            Awaits::Nothing => false,
            Awaits::Frames => session.websocket_ready(),
            Awaits::End => session.is_closed(),
        };
        [
            if session.get_ready() { wakers.get.take() } else { None },
            if news { wakers.websocket.take() } else { None },
            if session.is_probing() { None } else { wakers.probe.take() },
        ]
    }
}
