//! Three servers over one log: what each client must get when connections to the log break, replies are lost, the log stalls or is flushed,
//! servers crash or stand still, and clients move between them.
//!
//! The truth is the log itself: the entries as they were first appended say what was sent, in which order, and who was meant.

mod applications;
mod clients;
mod losses;
mod truth;

use super::peer::{Heard, Line, Peer};
use crate::id::{Nsp, Offset, Pid, Room, SocketId, Time};
use crate::limits::Limits;
use crate::proto::handshake::Transport;
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::connection::Connection;
use crate::server::client::handler::{Event, Handler, ServerEvent};
use crate::server::client::handshake::Handshake;
use crate::server::client::socket::Socket;
use crate::server::log::entry::{Entry, Posted, Target};
use crate::server::log::memory::MemoryStreams;
use crate::server::log::streams::{Command, Done, Item, Key, Reply, StreamError, Streams};
use crate::server::namespace::broadcast::Broadcast;
use crate::server::notice::Notice;
use crate::server::recovery::record::Refused;
use crate::server::redis::pipeline::{Pipeline, Settled};
use crate::server::{Log, Options, Recovery, Server, lock};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const WINDOW: u64 = 120_000;
const ROOMS: [&str; 3] = ["a", "b", "c"];

/// What is special about a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections break, replies are lost, clients move.
    Moves,
    /// Servers crash too.
    Crashes,
    /// Servers stand still too, and the log stalls for long.
    Stalls,
    /// The log is flushed now and then: sessions may be refused, but nothing may be missing from one that goes on.
    Flushes,
    /// The log and all servers lose their last seconds together and begin anew; or another log takes its place, whose clock is behind.
    Losses,
    /// Losses, with a rule broken on purpose: an offset counts without being looked up.
    BelievesOffsets,
    /// Other programs cut the log off behind what all servers have read: nobody who is connected may notice.
    Cuts,
    /// The log refuses an event now and then: nobody gets it, and nothing waits for it.
    Refuses,
    /// Moves, with a rule broken on purpose: an own message is delivered when its append is answered.
    DeliversOwnAtOnce,
    /// Moves, with a rule broken on purpose: what was under way is repeated without a look, and without its number.
    RepeatsBlindly,
}

/// One server's way to the log.
struct Remote {
    pipeline: Mutex<Pipeline>,
}

impl Streams for Remote {
    fn submit(&self, now: Time, command: Command, done: Option<Done>) -> Result<(), StreamError> {
        let refused = lock(&self.pipeline).submit(now, command, done);
        refused.map_err(|done| {
            done.into_iter().for_each(|done| done(Reply::Failed(StreamError::Unavailable)));
            StreamError::Unavailable
        })
    }

    fn shared(&self) -> bool {
        true
    }
}

fn settle(settled: Settled) {
    settled.into_iter().for_each(|(done, reply)| done(reply));
}

type Joined = Arc<Mutex<Vec<(String, Offset, Arc<AtomicUsize>)>>>;

struct App {
    joined: Joined,
}

impl Handler for App {
    fn connect(&self, socket: &Socket) {
        let pending = Arc::new(AtomicUsize::new(1));
        let saved = pending.clone();
        socket.when_saved(move |result| {
            saved.fetch_sub(usize::from(result.is_ok()), Ordering::Relaxed);
        });
        lock(&self.joined).push((socket.id().to_string(), socket.namespace().position(), pending));
    }

    /// Sends the number back as a logged event, then acknowledges it.
    fn event(&self, socket: &Socket, event: Event<'_>) {
        socket.emit("logged", event.args).unwrap();
        if let Some(ack) = event.ack {
            ack.send(());
        }
    }

    fn server_event(&self, event: ServerEvent<'_>) {
        if let Some(ack) = event.ack {
            ack.send(event.name);
        }
    }
}

struct Node {
    server: Server,
    remote: Arc<Remote>,
    /// Under way to the log, and back.
    commands: VecDeque<Command>,
    replies: VecDeque<(Option<Command>, Reply)>,
    /// What the reader has read and not yet handed over.
    read: Option<Vec<(Key, Offset, Vec<Item>)>>,
    joined: Joined,
    /// Until when it stands still.
    frozen: u64,
}

/// Servers, connections and waiting commands hold each other: a million schedules must not stay in memory.
impl Drop for Node {
    fn drop(&mut self) {
        for connection in self.server.connections() {
            connection.handle(self.server.now(), Input::Abort(Reason::TransportClose));
        }
        *lock(&self.remote.pipeline) = Pipeline::new(0, 0);
        lock(&self.joined).clear();
        self.server.forget_namespaces();
    }
}

struct Session {
    since: Offset,
    /// Facts before this one had been flushed when it began.
    first: usize,
    /// It stood in the log once; and did when its client came for it last.
    kept: bool,
    was_kept: bool,
    got: Vec<u64>,
    proved: u64,
    over: bool,
    /// A flush has taken something from it: it must not go on.
    gap: bool,
    /// The client's offset from before it.
    stale: Option<String>,
    /// What its last server had not written when it went: rooms may differ, or the session may be unknown.
    unsure: bool,
    pending: Arc<AtomicUsize>,
}

enum Fact {
    Event(u64, Target),
    Join(Target, Vec<Room>, bool),
    Kick(Target),
}

pub struct Cluster {
    kind: Kind,
    random: u64,
    clock: Arc<AtomicU64>,
    store: Arc<MemoryStreams>,
    nodes: Vec<Node>,
    peers: Vec<(Peer, usize, Option<String>)>,
    ghosts: Vec<Line>,
    facts: Vec<(Offset, Fact)>,
    known: HashSet<(Arc<str>, u64)>,
    /// As `known`, before a flush; and the events that came again after it, which clients may or may not get.
    before: HashSet<(Arc<str>, u64)>,
    again: HashSet<u64>,
    /// Events that the log refused, once at least.
    refused: HashSet<u64>,
    sessions: HashMap<String, Session>,
    sids: HashMap<String, String>,
    flushed: usize,
    cuts: usize,
    number: u64,
    born: u64,
    paused: bool,
    loud: bool,
}

impl Cluster {
    pub fn new(seed: u64, kind: Kind) -> Cluster {
        let mut cluster = Cluster {
            kind,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            clock: Arc::new(AtomicU64::new(1_000_000)),
            store: Arc::new(MemoryStreams::new(&Limits::default())),
            nodes: Vec::new(),
            peers: (0..3).map(|_| (Peer { nsp: "/".into(), ..Peer::default() }, 0, None)).collect(),
            ghosts: Vec::new(),
            facts: Vec::new(),
            known: HashSet::new(),
            before: HashSet::new(),
            again: HashSet::new(),
            refused: HashSet::new(),
            sessions: HashMap::new(),
            sids: HashMap::new(),
            flushed: 0,
            cuts: 0,
            number: 0,
            born: seed << 20,
            paused: false,
            loud: std::env::var("RILL_SIM_SEED").is_ok(),
        };
        for _ in 0..3 {
            let node = cluster.node();
            cluster.nodes.push(node);
        }
        cluster.calm();
        cluster
    }

    fn node(&mut self) -> Node {
        self.born += 1 << 14;
        let (ticking, ids) = (self.clock.clone(), AtomicU64::new(self.born));
        let random = move |bytes: &mut [u8]| {
            bytes.fill(7);
            let id = ids.fetch_add(1, Ordering::Relaxed);
            bytes[..8].copy_from_slice(&id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        };
        let recovery = Some(Recovery { window_ms: WINDOW, ..Recovery::default() });
        let name = format!("node-{}", self.nodes.len());
        let who = name.clone();
        let log: Option<Log> =
            self.loud.then(|| Arc::new(move |notice: &Notice| println!("         {who}: {notice}")) as _);
        let options = Options { name, recovery, log, ..Options::default() };
        let remote = Arc::new(Remote { pipeline: Mutex::new(Pipeline::new(10_000, 1 << 26)) });
        let clock = Arc::new(move || Time(ticking.load(Ordering::Relaxed)));
        let server = Server::new(options, remote.clone(), clock, Arc::new(random));
        if self.kind == Kind::BelievesOffsets {
            server.believe_offsets();
        }
        let joined = Joined::default();
        server.of("/").handle(App { joined: joined.clone() });
        Node { server, remote, commands: VecDeque::new(), replies: VecDeque::new(), read: None, joined, frozen: 0 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as usize % n
    }

    pub fn server(&self, k: usize) -> &Server {
        &self.nodes[k].server
    }

    /// Server `k` stands still for so many milliseconds.
    pub fn freeze(&mut self, k: usize, ms: u64) {
        self.nodes[k].frozen = self.now().0 + ms;
    }

    /// Time passes for the servers, and all that is under way arrives.
    pub fn let_pass(&mut self, ms: u64) {
        for _ in 0..ms / 200 {
            self.clock.fetch_add(200, Ordering::Relaxed);
            for k in (0..3).filter(|k| !self.is_frozen(*k)).collect::<Vec<_>>() {
                self.nodes[k].server.handle_timeouts(self.now());
                self.nodes[k].server.tend_cluster(self.now());
                self.write(k, 20);
                self.read(k);
            }
        }
    }

    /// Time passes, and nobody looks at it.
    pub fn skip(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// All that node `k` has to say to the log goes out and is answered; it reads nothing.
    pub fn write_all(&mut self, k: usize) {
        for _ in 0..300 {
            let next = lock(&self.nodes[k].remote.pipeline).next_command();
            self.nodes[k].commands.extend(next);
            self.carry_out(k);
            self.reply(k);
        }
    }

    /// Node `k` reads all that there is; a reader that is `late` knows it.
    pub fn read_all(&mut self, k: usize, late: bool) {
        for n in 0..60 {
            self.read_some(k, 5, late && n == 0);
            self.hand_over(k);
        }
    }

    /// What somebody else does to the log.
    pub fn meddle(&self, command: Command) -> Reply {
        self.store.carry_out(self.now(), command)
    }

    /// An entry of nobody's with this id.
    pub fn plant(&self, key: &Key, id: Offset) {
        self.store.plant(key, id);
    }

    pub fn now(&self) -> Time {
        Time(self.clock.load(Ordering::Relaxed))
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            println!("{:>8} {}", self.now().0 - 1_000_000, what());
        }
    }

    /// The whole log, for whoever looks for a fault.
    fn say_log(&self) {
        let read =
            |key| match self.store.carry_out(self.now(), Command::XRead { key, after: Offset::ZERO, count: 9_999 }) {
                Reply::Entries(items) => items,
                _ => Vec::new(),
            };
        let mut keys = vec![Key::Log(Nsp::new("/"))];
        keys.extend(self.sids.keys().filter_map(|pid| Pid::from_wire(pid)).map(Key::Session));
        for key in keys {
            for (id, posted) in read(key.clone()) {
                self.say(|| format!("{key:?} {id} {} {} {:?}", posted.uid, posted.seq, posted.entry));
            }
        }
    }

    fn is_frozen(&self, k: usize) -> bool {
        self.nodes[k].frozen > self.now().0
    }

    pub fn step(&mut self) -> Result<(), String> {
        let (i, k) = (self.below(3), self.below(3));
        match self.below(100) {
            0..=9 => self.connect(i, k)?,
            10..=29 => self.emit(k, i),
            30..=35 => self.join_or_leave(i),
            36..=39 => self.command(k, i),
            40..=43 => self.echo(i),
            44..=55 => self.deliver(i, 5)?,
            56..=61 => self.cut(i)?,
            62 => self.leave(i),
            63..=64 => self.volatile(k),
            65..=70 => self.break_writer(k),
            71..=73 => self.nodes[k].read = None,
            74 if self.kind == Kind::Stalls => self.paused = !self.paused,
            75 if self.kind == Kind::Crashes => self.crash(k)?,
            75 if self.kind == Kind::Stalls => {
                let still = 20_000 + self.below(100_000) as u64;
                self.say(|| format!("node {k} stands still for {still}"));
                self.nodes[k].frozen = self.now().0 + still;
            }
            75 if self.kind == Kind::Flushes => {
                self.say(|| "flush".to_owned());
                self.store.flush();
                self.flushed = self.facts.len();
                // What was lost with its answer comes again; servers that had read it don't give it a second time.
                self.before.extend(std::mem::take(&mut self.known));
                // Else new entries could have the very ids of lost ones.
                self.clock.fetch_add(1, Ordering::Relaxed);
            }
            75 if matches!(self.kind, Kind::Losses | Kind::BelievesOffsets) => self.lose_power()?,
            75 if self.kind == Kind::Cuts => self.cut_log(),
            76 => self.pass(40_000)?,
            77..=79 => self.pass(5_000)?,
            80..=89 => self.write(k, 6),
            90..=97 => self.read(k),
            _ => self.pass(500)?,
        }
        self.notice();
        Ok(())
    }

    // ---- the log

    /// Some commands of node `k` go out, some are carried out, some replies come.
    fn write(&mut self, k: usize, most: usize) {
        if self.is_frozen(k) {
            return;
        }
        for _ in 0..=self.below(most) {
            let next = lock(&self.nodes[k].remote.pipeline).next_command();
            self.nodes[k].commands.extend(next);
        }
        for _ in 0..=self.below(most) {
            self.carry_out(k);
        }
        for _ in 0..=self.below(most) {
            self.reply(k);
        }
    }

    fn carry_out(&mut self, k: usize) {
        if self.paused {
            return;
        }
        let Some(command) = self.nodes[k].commands.pop_front() else { return };
        if let (Kind::Refuses, Command::XAdd { posted, .. }) = (self.kind, &command)
            && let Entry::Broadcast { args, .. } = &posted.entry
            && self.below(4) == 0
        {
            self.refused.insert(args.parse(0).unwrap());
            let refused = Reply::Failed(StreamError::Refused);
            return self.nodes[k].replies.push_back((Some(command), refused));
        }
        // The log's clock moves, so that ids differ.
        let reply = self.store.carry_out(self.now(), command.clone());
        let own = matches!(&command, Command::XAdd { key: Key::Log(_), .. });
        if let (Command::XAdd { key: Key::Log(_), posted, .. }, Reply::Added(Some(id))) = (&command, &reply) {
            self.learn(*id, posted);
        }
        if let (Command::XAdd { posted, .. }, Reply::Added(Some(_))) = (&command, &reply)
            && let Entry::Record(record) = &posted.entry
            && let Some(session) = self.sessions.get_mut(record.sid.as_str())
        {
            session.kept = true;
        }
        self.nodes[k].replies.push_back((own.then_some(command), reply));
    }

    /// An entry stands in the log.
    fn learn(&mut self, id: Offset, posted: &Posted) {
        if posted.seq > 0 && !self.known.insert((posted.uid.clone(), posted.seq)) {
            return;
        }
        let fact = match &posted.entry {
            Entry::Broadcast { to, args, .. } => Fact::Event(args.parse(0).unwrap(), to.clone()),
            Entry::Join { to, rooms } => Fact::Join(to.clone(), rooms.clone(), true),
            Entry::Leave { to, rooms } => Fact::Join(to.clone(), rooms.clone(), false),
            Entry::Disconnect { to, .. } => Fact::Kick(to.clone()),
            _ => return,
        };
        if let (Fact::Event(n, _), true) = (&fact, self.before.contains(&(posted.uid.clone(), posted.seq))) {
            self.again.insert(*n);
        }
        self.facts.push((id, fact));
    }

    fn reply(&mut self, k: usize) {
        let now = self.now();
        let Some((command, reply)) = self.nodes[k].replies.pop_front() else { return };
        if let (Kind::DeliversOwnAtOnce, Some(Command::XAdd { key, posted, .. }), Reply::Added(Some(id))) =
            (self.kind, command.clone(), &reply)
        {
            let at = self.nodes[k].server.cursors(false).into_iter().find(|(other, _)| *other == key);
            if let Some((_, after)) = at.filter(|(_, after)| after < id) {
                self.nodes[k].server.feed(now, &key, after, vec![(*id, posted)]);
            }
        }
        let refused = if let Reply::Failed(error) = &reply { command.zip(Some(*error)) } else { None };
        let settled = lock(&self.nodes[k].remote.pipeline).answered(reply);
        settle(settled);
        if let Some((command, error)) = refused {
            self.nodes[k].server.refused(&command, error);
        }
    }

    /// The connection to the log breaks: some of what was under way is carried out, no reply comes.
    fn break_writer(&mut self, k: usize) {
        if self.is_frozen(k) {
            return;
        }
        for _ in 0..self.below(8) {
            self.carry_out(k);
        }
        self.say(|| format!("node {k} loses its connection"));
        self.nodes[k].commands.clear();
        self.nodes[k].replies.clear();
        let remote = self.nodes[k].remote.clone();
        let mut pipeline = lock(&remote.pipeline);
        match self.kind {
            Kind::RepeatsBlindly => pipeline.repeat_blindly(),
            _ => pipeline.broken(),
        }
    }

    /// The reader of node `k` reads, or hands over what it has read.
    fn read(&mut self, k: usize) {
        if self.is_frozen(k) {
            return;
        }
        if self.nodes[k].read.is_some() {
            self.hand_over(k);
        } else if !self.paused {
            let (count, again) = (2 + self.below(6), self.below(4) == 0);
            self.read_some(k, count, again);
        }
    }

    fn read_some(&mut self, k: usize, count: usize, again: bool) {
        let read = |(key, after): (Key, Offset)| {
            let command = Command::XRead { key: key.clone(), after, count };
            match self.store.carry_out(self.now(), command) {
                Reply::Entries(items) if !items.is_empty() => Some((key, after, items)),
                _ => None,
            }
        };
        self.nodes[k].read = Some(self.nodes[k].server.cursors(again).into_iter().filter_map(read).collect());
    }

    fn hand_over(&mut self, k: usize) {
        for (key, after, items) in self.nodes[k].read.take().into_iter().flatten() {
            self.nodes[k].server.feed(self.now(), &key, after, items);
        }
    }

    /// Everything under way arrives.
    pub fn calm(&mut self) {
        for _ in 0..40 {
            for k in 0..3 {
                if !self.is_frozen(k) {
                    self.nodes[k].server.tend_cluster(self.now());
                }
                self.write(k, 20);
                self.read(k);
                self.read(k);
            }
            self.notice();
        }
    }

    // ---- servers

    fn crash(&mut self, k: usize) -> Result<(), String> {
        self.say(|| format!("node {k} crashes"));
        self.notice();
        let unwritten = !lock(&self.nodes[k].remote.pipeline).is_empty() || !self.nodes[k].commands.is_empty();
        for socket in self.nodes[k].server.of("/").all().sockets() {
            if let Some(session) = self.sessions.get_mut(socket.id().as_str()) {
                session.unsure |= unwritten;
            }
        }
        for i in 0..3 {
            if self.peers[i].1 == k {
                // What arrived before is read.
                let arrives = self.below(6);
                self.deliver(i, arrives)?;
                self.peers[i].0.line = None;
                self.peers[i].0.connected = false;
            }
        }
        self.ghosts.retain(|ghost| ghost.connection.server().uid() != self.nodes[k].server.uid());
        self.nodes[k] = self.node();
        Ok(())
    }

    fn pass(&mut self, most: usize) -> Result<(), String> {
        let end = self.now().0 + self.below(most) as u64;
        while self.now().0 < end {
            self.clock.store((self.now().0 + 2_000).min(end), Ordering::Relaxed);
            let now = self.now();
            for k in 0..3 {
                if !self.is_frozen(k) {
                    self.nodes[k].server.handle_timeouts(now);
                    self.nodes[k].server.tend_cluster(now);
                    let given_up = lock(&self.nodes[k].remote.pipeline).give_up(now);
                    settle(given_up);
                    self.write(k, 40);
                    self.read(k);
                }
            }
            self.notice();
            for i in 0..3 {
                if self.below(4) > 0 {
                    self.deliver(i, 30)?;
                }
            }
            self.ghosts.retain_mut(|ghost| ghost.pump(now));
        }
        Ok(())
    }
}
