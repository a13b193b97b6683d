//! Testing an application in memory: a server without ports, clients without sockets, time that passes when the test says so.
//!
//! The clients speak the protocol of the real ones, through everything but the network.

use super::client::connection::{Connection, Write};
use super::client::handshake::Handshake;
use super::log::memory::MemoryStreams;
use super::{Options, Server, lock};
use crate::codec::args::Args;
use crate::codec::engine_packet;
use crate::codec::frame::Frame;
use crate::codec::http;
use crate::codec::socket_packet::{self, Frames, SocketPacket};
use crate::id::{SocketId, Task, Time};
use crate::proto::handshake::Transport;
use crate::proto::session::{Input, Via};
use bytes::Bytes;
use serde_core::ser::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

/// How often tasks are polled until they are taken for waiting.
const ROUNDS: usize = 100;

/// A server in memory, its clock, and what runs its handlers' futures: all of it stands still until the test does something.
///
/// ```
/// use rill::testing::{Heard, Stage};
/// use rill::{Args, Events, Options};
///
/// let stage = Stage::new(Options::default());
/// stage.server().of("/").handle(Events::new().on_async("add", |_, event| async move {
///     let sum = event.args.parse_all::<(u32, u32)>().map(|(a, b)| a + b).ok();
///     event.ack.into_iter().for_each(|ack| ack.send(sum));
/// }));
///
/// let mut ada = stage.client("/", ());
/// assert!(matches!(ada.heard(), Some(Heard::Connected { .. })));
/// let question = ada.ask("add", (2, 3));
/// assert_eq!(ada.heard(), Some(Heard::Ack { id: question, args: Args::from(5) }));
/// assert_eq!(ada.heard(), None);
/// ```
pub struct Stage {
    server: Server,
    clock: Arc<AtomicU64>,
    tasks: Tasks,
}

type Tasks = Arc<Mutex<Vec<Task>>>;

impl Stage {
    /// An empty stage. Ids are made from a counter: the same test gives the same ids.
    #[must_use]
    pub fn new(options: Options) -> Stage {
        let (clock, ids) = (Arc::new(AtomicU64::new(1_000)), AtomicU64::new(1));
        let ticking = clock.clone();
        let random = move |bytes: &mut [u8]| {
            let id = ids.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            bytes
                .iter_mut()
                .rev()
                .zip(id.into_iter().rev().chain(std::iter::repeat(0)))
                .for_each(|(to, from)| *to = from);
        };
        let streams = Arc::new(MemoryStreams::new(&options.limits));
        let now = Arc::new(move || Time(ticking.load(Ordering::Relaxed)));
        let (server, tasks) = (Server::new(options, streams, now, Arc::new(random)), Tasks::default());
        let spawned = tasks.clone();
        server.set_spawner(Arc::new(move |task| lock(&spawned).push(task)));
        Stage { server, clock, tasks }
    }

    /// The server, to be given handlers.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Lets time pass: what is due happens, acknowledgements that don't come, clients that don't answer pings.
    pub fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.clock.fetch_add(ms, Ordering::Relaxed);
        self.server.handle_timeouts(self.server.now());
        self.settle();
    }

    /// Runs the futures of handlers as far as they come. Those that wait for something outside of the stage, a database for example, need this
    /// again when it is there; or the runtime that they expect, see [`Stage::on_runtime`].
    pub fn settle(&self) {
        settle(&self.tasks);
    }

    /// Gives the handlers' futures to the runtime of a test that has one, and not to the stage; then [`Client::hear`] waits for what they do.
    #[must_use]
    pub fn on_runtime(self, spawn: impl Fn(Task) + Send + Sync + 'static) -> Stage {
        self.server.set_spawner(Arc::new(spawn));
        self
    }

    /// A client that asks for a namespace, with this `auth`, `()` for none; what it hears first is whether it may join.
    #[must_use]
    pub fn client(&self, nsp: &str, auth: impl Serialize) -> Client {
        let mut client = self.closed(nsp);
        client.connect(auth);
        client
    }

    fn closed(&self, nsp: &str) -> Client {
        let nsp = crate::id::Nsp::new(nsp).as_str().to_owned();
        Client {
            stage: Stage { server: self.server.clone(), clock: self.clock.clone(), tasks: self.tasks.clone() },
            nsp,
            line: None,
            arrived: VecDeque::new(),
            partial: None,
            asked: 0,
            pid: None,
            offset: None,
        }
    }
}

fn settle(tasks: &Tasks) {
    for _ in 0..ROUNDS {
        let polled = std::mem::take(&mut *lock(tasks));
        let before = polled.len();
        for mut task in polled {
            if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                lock(tasks).push(task);
            }
        }
        // Nothing has ended, and nothing has begun.
        if lock(tasks).len() == before {
            return;
        }
    }
}

/// What a [`Client`] hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// It has joined.
    Connected {
        /// Its id.
        id: SocketId,
    },
    /// It may not join: `connect_error`.
    Refused {
        /// The error's `message`.
        message: String,
        /// The error's `data`, or `null`.
        data: Value,
    },
    /// An event. With recovery on its last argument is the offset, as on real clients; `args` is without it.
    Event {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Args,
        /// With this number the server waits for an answer: [`Client::answer`].
        ack: Option<u64>,
    },
    /// The answer to [`Client::ask`].
    Ack {
        /// What `ask` gave.
        id: u64,
        /// The answer.
        args: Args,
    },
    /// The server has removed it from the namespace.
    Disconnected,
    /// The connection was closed.
    Closed,
}

/// A binary packet of which attachments are missing.
struct Partial {
    packet: String,
    attachments: Vec<Bytes>,
    due: usize,
}

/// A client in one namespace, over a WebSocket that is none. It answers pings whenever it is asked what it hears.
pub struct Client {
    stage: Stage,
    nsp: String,
    line: Option<Arc<Connection>>,
    arrived: VecDeque<Heard>,
    partial: Option<Partial>,
    asked: u64,
    pid: Option<String>,
    offset: Option<String>,
}

impl Client {
    /// Opens a connection and asks for the namespace; with the session that it had, if there was one.
    pub fn connect(&mut self, auth: impl Serialize) {
        let mut auth = serde_json::to_value(auth).unwrap_or_default();
        if let Some(pid) = &self.pid {
            auth = if auth.is_object() { auth } else { Value::Object(serde_json::Map::new()) };
            auth["pid"] = pid.as_str().into();
            auth["offset"] = self.offset.as_deref().into();
        }
        let head = http::parse(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: test\r\n\r\n", 9);
        let server = self.stage.server.clone();
        self.line = head.ok().and_then(|head| {
            let handshake = Handshake { headers: head.headers, url: head.target, address: "127.0.0.1".into() };
            server.open(server.now(), Transport::WebSocket, false, handshake).ok()
        });
        let auth = if auth.is_null() { String::new() } else { auth.to_string() };
        self.send(format!("40{}{auth}", self.prefix()).as_bytes(), false);
    }

    fn prefix(&self) -> String {
        if self.nsp == "/" { String::new() } else { format!("{},", self.nsp) }
    }

    fn send(&mut self, packet: &[u8], binary: bool) {
        let (Some(line), now) = (&self.line, self.stage.server.now()) else { return };
        let packet = match (binary, std::str::from_utf8(packet)) {
            (true, _) => Some(engine_packet::EnginePacket::Binary(Bytes::copy_from_slice(packet))),
            (false, text) => text.ok().and_then(|text| engine_packet::decode(text).ok()),
        };
        if let Some(packet) = packet {
            line.handle(now, Input::Packet(Via::WebSocket, packet));
        }
        self.stage.settle();
    }

    fn send_all(&mut self, frames: Frames) {
        for frame in std::iter::once(frames.first).chain(frames.rest) {
            self.send(frame.packet(), frame.is_binary());
        }
    }

    /// Sends an event.
    pub fn emit(&mut self, name: &str, args: impl Into<Args>) {
        self.send_all(socket_packet::event(&self.nsp, None, name, &args.into(), None));
    }

    /// Sends an event that asks for an acknowledgement, which comes with the number that this gives.
    pub fn ask(&mut self, name: &str, args: impl Into<Args>) -> u64 {
        let id = self.asked;
        self.asked += 1;
        self.send_all(socket_packet::event(&self.nsp, Some(id), name, &args.into(), None));
        id
    }

    /// Answers an event that had this number.
    pub fn answer(&mut self, ack: u64, args: impl Into<Args>) {
        self.send_all(socket_packet::ack(&self.nsp, ack, &args.into()));
    }

    /// Leaves the namespace on purpose; a session ends.
    pub fn disconnect(&mut self) {
        self.send(format!("41{}", self.prefix()).as_bytes(), false);
    }

    /// The network is gone. [`Client::connect`] comes back, and gets what it missed if recovery is on.
    pub fn cut(&mut self) {
        self.receive(None);
        if let Some(line) = self.line.take() {
            line.handle(self.stage.server.now(), Input::SocketClosed(Via::WebSocket));
        }
        self.partial = None;
        self.stage.settle();
    }

    /// What it hears next, if that is here already.
    pub fn heard(&mut self) -> Option<Heard> {
        self.stage.settle();
        self.receive(None);
        self.arrived.pop_front()
    }

    /// What it hears next; waits for it. For tests with a runtime, see [`Stage::on_runtime`]; put a time limit around it.
    pub async fn hear(&mut self) -> Heard {
        std::future::poll_fn(|cx| {
            self.stage.settle();
            self.receive(Some(cx.waker()));
            self.arrived.pop_front().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }

    /// All that it has heard, without what came before.
    pub fn take(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard()).collect()
    }

    fn receive(&mut self, waker: Option<&Waker>) {
        while let Some(line) = self.line.clone() {
            let (frames, open) = match line.take_frames(0, waker) {
                Write::Frames(frames) => (frames, true),
                Write::Last(frames) => (frames, false),
                Write::Closed => (VecDeque::new(), false),
            };
            let quiet = frames.is_empty();
            for frame in frames {
                line.sent(frame.websocket().len());
                self.frame(&frame);
            }
            if !open {
                line.handle(self.stage.server.now(), Input::SocketClosed(Via::WebSocket));
                self.line = None;
                self.arrived.push_back(Heard::Closed);
            }
            if quiet {
                return;
            }
        }
    }

    fn frame(&mut self, frame: &Frame) {
        if frame.is_binary() {
            let Some(partial) = &mut self.partial else { return };
            partial.attachments.push(Bytes::copy_from_slice(frame.packet()));
            if partial.attachments.len() >= partial.due
                && let Some(partial) = self.partial.take()
            {
                self.packet(&partial.packet, partial.attachments);
            }
            return;
        }
        let text = String::from_utf8_lossy(frame.packet()).into_owned();
        match text.split_at_checked(1) {
            Some(("2", _)) => self.send(b"3", false),
            Some(("4", packet)) => self.packet(packet, Vec::new()),
            Some(_) | None => {}
        }
    }

    fn packet(&mut self, packet: &str, attachments: Vec<Bytes>) {
        let about = |packet: &str| {
            let rest = packet.get(1..).unwrap_or_default();
            serde_json::from_str(rest.get(rest.find('{').unwrap_or(rest.len())..).unwrap_or_default())
                .unwrap_or(Value::Null)
        };
        let heard = match socket_packet::decode(packet, usize::MAX) {
            Ok(SocketPacket::Connect { .. }) => {
                let answer = about(packet);
                self.pid = answer["pid"].as_str().map(str::to_owned).or(self.pid.take());
                Heard::Connected { id: answer["sid"].as_str().unwrap_or_default().into() }
            }
            Ok(SocketPacket::Disconnect { .. }) => Heard::Disconnected,
            Ok(SocketPacket::Event { attachments: due, .. } | SocketPacket::Ack { attachments: due, .. })
                if due > attachments.len() =>
            {
                self.partial = Some(Partial { packet: packet.to_owned(), attachments, due });
                return;
            }
            Ok(SocketPacket::Event { id: ack, name, args, .. }) => {
                let args = self.without_offset(Args::from_wire(args.to_owned(), attachments), ack);
                Heard::Event { name: name.into_owned(), args, ack }
            }
            Ok(SocketPacket::Ack { id, args, .. }) => {
                Heard::Ack { id, args: Args::from_wire(args.to_owned(), attachments) }
            }
            // What servers alone send: a connect error.
            Err(_) => {
                let error = about(packet);
                let message = error["message"].as_str().unwrap_or_default().to_owned();
                Heard::Refused { message, data: error["data"].clone() }
            }
        };
        self.arrived.push_back(heard);
    }

    /// Takes the offset that an event ends with where recovery is on.
    fn without_offset(&mut self, args: Args, ack: Option<u64>) -> Args {
        let last = args.len().checked_sub(1).filter(|_| self.pid.is_some() && ack.is_none());
        let Some(offset) = last.and_then(|last| args.string(last)) else { return args };
        let text = args.text();
        let kept = text.len().saturating_sub(offset.len().saturating_add(2));
        let rest = text.get(..kept).unwrap_or_default();
        let rest = rest.strip_suffix(',').unwrap_or(rest).to_owned();
        self.offset = Some(offset);
        Args::from_wire(rest, args.attachments().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::to_args::Binary;
    use crate::server::client::events::Events;
    use crate::server::client::handler::ConnectError;
    use serde_json::json;

    #[test]
    fn an_application_is_tested_without_ports() {
        let stage = Stage::new(Options::default());
        let chat = stage.server().of("/chat");
        chat.handle(
            Events::new()
                .on("join", |socket, event| socket.join(event.args.string(0).unwrap()).unwrap())
                .on_async("say", |socket, event| async move {
                    socket
                        .namespace()
                        .to("tea")
                        .emit("said", (socket.id().as_str(), event.args.binary(0).is_some()))
                        .unwrap();
                    socket.emit("picture", Binary(vec![1].into())).unwrap();
                })
                .on_async("quiz", |socket, event| async move {
                    let answer = socket.ask("6 x 7", (), Some(Duration::from_secs(1))).await;
                    let right = answer.is_ok_and(|args| args == 42.into());
                    event.ack.into_iter().for_each(|ack| ack.send(right));
                }),
        );
        chat.use_middleware(|socket, next| match socket.auth().contains("bad") {
            true => next.refuse(ConnectError::new("no").with_data(json!({"why": 1}))),
            false => next.accept(),
        });
        let mut bad = stage.client("/chat", json!({"bad": true}));
        assert_eq!(bad.take(), [Heard::Refused { message: "no".into(), data: json!({"why": 1}) }]);
        let (mut ada, mut bob) = (stage.client("chat", ()), stage.client("/chat", ()));
        let Some(Heard::Connected { id }) = ada.heard() else { panic!("she may join") };
        ada.emit("join", "tea");
        ada.emit("say", Binary(vec![7].into()));
        let said = Heard::Event { name: "said".into(), args: (id.as_str(), true).into(), ack: None };
        let picture = Heard::Event { name: "picture".into(), args: Binary(vec![1].into()).into(), ack: None };
        assert_eq!(ada.take(), [said, picture]);
        assert_eq!(bob.take().len(), 1);
        // Questions both ways, in time and too late.
        for (answer, wait, right) in [(Some(42), 0, true), (Some(1), 0, false), (None, 1_000, false)] {
            let quiz = ada.ask("quiz", ());
            let Some(Heard::Event { ack: Some(ack), .. }) = ada.heard() else { panic!("a question") };
            answer.into_iter().for_each(|answer| ada.answer(ack, answer));
            stage.pass(Duration::from_millis(wait));
            assert_eq!(ada.take(), [Heard::Ack { id: quiz, args: right.into() }]);
        }
        // Away and back: nothing is missed, and pings are answered meanwhile.
        ada.cut();
        chat.to("tea").emit("said", "meanwhile").unwrap();
        stage.pass(Duration::from_secs(30));
        ada.connect(());
        let missed = Heard::Event { name: "said".into(), args: "meanwhile".into(), ack: None };
        assert_eq!(ada.take(), [Heard::Connected { id }, missed]);
        for _ in 0..5 {
            stage.pass(Duration::from_secs(25));
            assert_eq!(ada.take(), []);
        }
        chat.all().disconnect_sockets(true).unwrap();
        assert_eq!(ada.take(), [Heard::Disconnected, Heard::Closed]);
        stage.pass(Duration::from_secs(45));
        assert!(chat.is_empty());
    }
}
