//! What can happen: one random step after the other, each told to the server and to the model.

use super::model::{Aim, Session};
use super::peer::{Heard, Line, Peer};
use crate::id::{Offset, Room, SocketId, Time};
use crate::limits::Limits;
use crate::proto::handshake::Transport;
use crate::proto::reason::Reason;
use crate::server::client::handler::{Event, Handler};
use crate::server::client::handshake::Handshake;
use crate::server::client::socket::Socket;
use crate::server::log::streams::Streams;
use crate::server::namespace::Namespace;
use crate::server::recovery::record::Refused;
use crate::server::{Options, Recovery, Server, lock};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const WINDOW: u64 = 120_000;
const ROOMS: [&str; 3] = ["a", "b", "c"];

/// What is special about a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// The namespace is made by a rule, and goes with its last client.
    Dynamic,
    /// The log holds a few entries only: returns may be refused.
    ShortLog,
    /// Little may wait for a client: it is cut when it does not read, and returns may be refused.
    SmallOutbox,
}

impl Kind {
    pub fn limits(self) -> Limits {
        match self {
            Kind::Plain | Kind::Dynamic => Limits::default(),
            Kind::ShortLog => Limits { log_entries: 12, ..Limits::default() },
            Kind::SmallOutbox => Limits { unsent_bytes: 700, ..Limits::default() },
        }
    }

    fn may_refuse(self) -> bool {
        matches!(self, Kind::ShortLog | Kind::SmallOutbox)
    }
}

/// The application: tells who has left, and answers an echo with a logged event and then the acknowledgement.
struct App {
    left: Arc<Mutex<Vec<(String, Reason)>>>,
    echoed: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Handler for App {
    fn event(&self, socket: &Socket, event: Event<'_>) {
        let n = event.args.parse::<u64>(0).unwrap();
        lock(&self.echoed).push((socket.id().to_string(), n));
        socket.emit("logged", json!(n)).unwrap();
        event.ack.unwrap().send(());
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        lock(&self.left).push((socket.id().to_string(), reason));
    }
}

/// The server, the clients, and what must come of it.
pub struct World {
    kind: Kind,
    random: u64,
    clock: Arc<AtomicU64>,
    server: Server,
    nsp: String,
    peers: Vec<Peer>,
    /// Lines whose client is gone without the server's noticing.
    ghosts: Vec<Line>,
    sessions: HashMap<String, Session>,
    left: Arc<Mutex<Vec<(String, Reason)>>>,
    echoed: Arc<Mutex<Vec<(String, u64)>>>,
    number: u64,
    /// Volatile and local events: who was connected when they were sent.
    passing: HashMap<u64, Vec<String>>,
    loud: bool,
}

impl World {
    pub fn new(seed: u64, kind: Kind, streams: Arc<dyn Streams>) -> World {
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let (ticking, ids) = (clock.clone(), AtomicU64::new(seed << 20));
        let recovery = Some(Recovery { window_ms: WINDOW, ..Recovery::default() });
        let options = Options { recovery, limits: kind.limits(), log: None, ..Options::default() };
        let random = move |bytes: &mut [u8]| {
            bytes.fill(7);
            bytes[..8].copy_from_slice(&ids.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        };
        let server =
            Server::new(options, streams, Arc::new(move || Time(ticking.load(Ordering::Relaxed))), Arc::new(random));
        let (left, echoed) = (Arc::default(), Arc::default());
        let app = App { left: Arc::clone(&left), echoed: Arc::clone(&echoed) };
        let nsp = if kind == Kind::Dynamic { "/dynamic" } else { "/" }.to_owned();
        match kind {
            Kind::Dynamic => drop(server.of_rule(|name| name == "/dynamic", app)),
            _ => drop(server.of("/").handle(app)),
        }
        let peers = (0..4).map(|_| Peer { nsp: nsp.clone(), ..Peer::default() }).collect();
        World {
            kind,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            clock,
            server,
            nsp,
            peers,
            ghosts: Vec::new(),
            sessions: HashMap::new(),
            left,
            echoed,
            number: 0,
            passing: HashMap::new(),
            loud: std::env::var("RILL_SIM_SEED").is_ok(),
        }
    }

    /// A number below `n` (xorshift).
    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as usize % n
    }

    fn now(&self) -> Time {
        Time(self.clock.load(Ordering::Relaxed))
    }

    fn say(&self, what: &str) {
        if self.loud {
            println!("{:>8} {what}", self.now().0 - 1_000_000);
        }
    }

    fn namespace(&self) -> Option<Arc<Namespace>> {
        self.server.namespaces().into_iter().find(|namespace| namespace.name().as_str() == self.nsp)
    }

    /// The server's socket of peer `i`, if both sides think that it is connected.
    fn socket(&self, i: usize) -> Option<Socket> {
        let session = self.sessions.get(self.peers[i].pid.as_ref()?)?;
        let id = SocketId::from_record(&session.sid);
        (session.away.is_none() && !session.over).then(|| self.namespace()?.socket(&id))?
    }

    pub fn step(&mut self) -> Result<(), String> {
        let i = self.below(self.peers.len());
        match self.below(100) {
            0..=11 => self.connect(i)?,
            12..=17 => self.join_or_leave(i),
            18..=23 => self.command(i)?,
            24..=43 => self.emit(i)?,
            44..=49 => self.emit_passing(i),
            50..=51 => self.ask(i),
            52..=56 => self.echo(i),
            57..=58 => self.set_data(i),
            59..=72 => {
                let most = self.below(6) + 1;
                self.deliver(i, most)?;
            }
            73..=80 => self.cut(i)?,
            81..=83 => self.leave(i),
            84 => self.restart()?,
            85..=86 => {
                self.peers[i].asleep = !self.peers[i].asleep;
            }
            87 => self.pass(150_000)?,
            88..=91 => self.pass(30_000)?,
            _ => self.pass(3_000)?,
        }
        self.notice();
        Ok(())
    }

    // ---- connections

    /// Opens a line and asks for the session, now and then with a pid or an offset that is none of it.
    fn connect(&mut self, i: usize) -> Result<(), String> {
        if let Some(line) = self.peers[i].line.take() {
            // The client has moved on; its old connection still looks alive to the server.
            self.say(&format!("{i} leaves a ghost"));
            self.ghosts.push(line);
            self.peers[i].connected = false;
        }
        let polling = self.below(3) == 0;
        let transport = if polling { Transport::Polling } else { Transport::WebSocket };
        let line = Line::new(self.open(transport)?, polling);
        let forged = self.below(12);
        let peer = &self.peers[i];
        let (offset, pid) = match forged {
            0 => (Some("hello"), peer.pid.as_deref()),
            1 => (Some("1-1"), peer.pid.as_deref()),
            2 => (Some("99999999999999-0"), peer.pid.as_deref()),
            3 => (peer.offset.as_deref(), Some("AAAAAAAAAAAAAAAAAAAA")),
            _ => (peer.offset.as_deref(), peer.pid.as_deref()),
        };
        let packet = peer.connect_packet(offset, pid);
        let wanted = peer.pid.clone().filter(|_| forged != 3);
        self.say(&format!("{i} connects over {} with {packet}", transport.name()));
        line.send(self.now(), &packet);
        self.peers[i].line = Some(line);
        self.notice();
        self.judge_answer(i, wanted, forged <= 2)?;
        if forged <= 2 {
            // The model was rewound to what comes now: all of it must come.
            return self.deliver(i, 1_000);
        }
        if self.below(5) == 0 {
            self.say(&format!("{i} is cut in the middle of it"));
            self.cut(i)?;
        }
        Ok(())
    }

    /// Looks at the server's answer on its way: was the session that the client `wanted` given back whole, or refused with good reason?
    fn judge_answer(&mut self, i: usize, wanted: Option<String>, forged: bool) -> Result<(), String> {
        let now = self.now();
        let Some(line) = &mut self.peers[i].line else { return Ok(()) };
        line.pump(now);
        let json = |packet: &String, start: &str| {
            let at = packet.find(start)?;
            serde_json::from_str::<serde_json::Value>(&packet[at..]).ok()
        };
        let answer = line.coming.iter().filter(|packet| packet.starts_with("40")).find_map(|packet| json(packet, "{"));
        let first = line.coming.iter().find_map(|packet| json(packet, "[\"logged\"")?[1].as_u64());
        // Nothing: the client was cut at once, because even this was too much for its bound.
        let Some(answer) = answer else { return Ok(()) };
        let (sid, pid) = (answer["sid"].as_str().unwrap_or(""), answer["pid"].as_str().unwrap_or("").to_owned());
        let recovered = wanted.as_ref() == Some(&pid);
        // A client that comes back and is cut before its first pong, again and again, is known to have got only what its offset says; the log
        // remembers the window, a heartbeat and 15 s.
        let offset = self.peers[i]
            .offset
            .as_deref()
            .filter(|_| !forged)
            .and_then(Offset::from_wire)
            .map_or(0, |offset| offset.ms);
        let proved = wanted.as_ref().and_then(|pid| self.sessions.get(pid)).map_or(0, |session| session.proved);
        // What is no entry of the log may be a sign that it has lost some; and who takes a session again and again from one that looks alive
        // is new.
        let refused = self.server.metrics().last_refused();
        let shared = refused.first().is_some_and(|refused| refused.reason == Refused::Shared && refused.at == now);
        // Where its rooms must be told from the position that its last pong proved, the log may not go back so far.
        let forgotten = now.0 - proved > WINDOW + 2 * 45_000 + 15_000;
        let may_refuse = forged || shared || forgotten || self.kind.may_refuse() || now.0 - proved.max(offset) > WINDOW;
        if let Some(session) = wanted.and_then(|wanted| self.sessions.get_mut(&wanted)) {
            match (recovered, session.lives(now.0, WINDOW) || session.away.is_none() && !session.over) {
                (true, false) => return Err(format!("{} came back to life", session.sid)),
                (false, true) if !may_refuse => return Err(format!("{} was refused without reason", session.sid)),
                _ => {}
            }
        }
        if !recovered {
            self.sessions.insert(pid, Session::new(sid, now.0));
            return Ok(());
        }
        // A client that lies about its offset gets again what its pongs have not confirmed.
        let session = self.sessions.get_mut(&pid).ok_or("unknown session")?;
        if let Some(at) = session.expected.iter().position(|n| forged && Some(*n) == first) {
            session.handled = session.handled.min(at);
        }
        self.check_state(&pid, sid)
    }

    /// Id, rooms and data are what they were.
    fn check_state(&self, pid: &str, sid: &str) -> Result<(), String> {
        let session = &self.sessions[pid];
        let socket = self.namespace().and_then(|nsp| nsp.socket(&SocketId::from_record(sid)));
        let socket = socket.ok_or(format!("{sid} is not there"))?;
        let rooms: std::collections::BTreeSet<_> =
            socket.rooms().iter().skip(1).map(|room| room.as_str().to_owned()).collect();
        let data = socket.data().as_u64().unwrap_or(0);
        match session.sid == sid && rooms == session.rooms && data == session.data {
            true => Ok(()),
            false => Err(format!("{session:?} came back as {sid} in {rooms:?} with {data}")),
        }
    }

    fn end_session(&mut self, i: usize) {
        let pid = self.peers[i].pid.clone().unwrap_or_default();
        if let Some(session) = self.sessions.get_mut(&pid) {
            session.over = true;
        }
    }

    /// Some of what the server wrote arrives.
    fn deliver(&mut self, i: usize, most: usize) -> Result<(), String> {
        let now = self.now();
        let Some(line) = &mut self.peers[i].line else { return Ok(()) };
        let open = line.pump(now);
        for _ in 0..most {
            for heard in self.peers[i].arrive(now)? {
                self.hear(i, heard)?;
            }
        }
        let drained = self.peers[i].line.as_ref().is_some_and(|line| line.coming.is_empty());
        if !open && drained {
            self.say(&format!("{i} sees its transport close"));
            self.peers[i].line = None;
            self.peers[i].connected = false;
        }
        Ok(())
    }

    fn hear(&mut self, i: usize, heard: Heard) -> Result<(), String> {
        self.say(&format!("{i} hears {heard:?}"));
        match heard {
            Heard::Connected { pid, before, .. } => {
                // A new session: what the old one still had to get will never come, and the client knows.
                if let Some(before) = before.filter(|before| *before != pid)
                    && let Some(old) = self.sessions.get_mut(&before)
                {
                    old.over = true;
                }
            }
            Heard::Removed => self.end_session(i),
            Heard::Logged(n) => {
                let pid = self.peers[i].pid.clone().unwrap_or_default();
                return self.sessions.get_mut(&pid).ok_or("event without session")?.handle(n);
            }
            Heard::Passing(n) => {
                let pid = self.peers[i].pid.clone().unwrap_or_default();
                let meant = self.passing.get_mut(&n).ok_or("unknown passing event")?;
                let at =
                    meant.iter().position(|other| *other == pid).ok_or(format!("{i} got passing event {n} again"))?;
                meant.remove(at);
            }
            Heard::Asked(_) => {}
            Heard::Pinged => {
                let now = self.now().0;
                let pid = self.peers[i].pid.clone().unwrap_or_default();
                // A pong on a line that the server has given up proves nothing.
                let hears = self.socket(i).is_some();
                if let Some(session) = self.sessions.get_mut(&pid).filter(|_| hears) {
                    session.proved = now;
                }
            }
            Heard::Acked(n) => {
                let pid = self.peers[i].pid.clone().unwrap_or_default();
                let session = self.sessions.get(&pid).ok_or("ack without session")?;
                if !session.expected[..session.handled].contains(&n) {
                    return Err(format!("the ack of {n} overtook what its handler emitted"));
                }
            }
        }
        Ok(())
    }

    /// What the server did on its own: sessions made and given back, clients gone.
    fn notice(&mut self) {
        let now = self.now().0;
        for (sid, n) in std::mem::take(&mut *lock(&self.echoed)) {
            if let Some(session) = self.sessions.values_mut().find(|session| session.sid == sid) {
                session.expected.push(n);
            }
        }
        for (sid, reason) in std::mem::take(&mut *lock(&self.left)) {
            if let Some(session) = self.sessions.values_mut().find(|session| session.sid == sid) {
                session.over |= !reason.recoverable();
            }
        }
        let namespace = self.namespace();
        for session in self.sessions.values_mut() {
            let here = namespace.as_ref().is_some_and(|nsp| nsp.socket(&SocketId::from_record(&session.sid)).is_some());
            session.away = if here { None } else { session.away.or(Some(now)) };
        }
    }

    /// The client's connection breaks: a part of what was under way is lost. The server notices, or does not.
    fn cut(&mut self, i: usize) -> Result<(), String> {
        if self.peers[i].line.is_none() {
            return Ok(());
        }
        let arrives = self.below(8);
        self.deliver(i, arrives)?;
        let Some(mut line) = self.peers[i].line.take() else { return Ok(()) };
        line.coming.clear();
        self.peers[i].connected = false;
        let noticed = self.below(3) > 0;
        self.say(&format!("{i} is cut, noticed: {noticed}"));
        match noticed {
            true => line.close(self.now()),
            false => self.ghosts.push(line),
        }
        Ok(())
    }

    /// The client leaves on purpose.
    fn leave(&mut self, i: usize) {
        if let (true, Some(line)) = (self.peers[i].connected, &self.peers[i].line) {
            let nsp = if self.nsp == "/" { String::new() } else { format!("{},", self.nsp) };
            self.say(&format!("{i} leaves on purpose"));
            // A server that has given the client up already does not hear it: then the session stays.
            let hears = self.socket(i).is_some();
            line.send(self.now(), &format!("41{nsp}"));
            if hears {
                self.end_session(i);
            }
            self.peers[i].connected = false;
            self.peers[i].line = None;
        }
    }

    /// `stop` and `start`.
    fn restart(&mut self) -> Result<(), String> {
        self.say("the server stops and starts");
        self.server.close();
        self.notice();
        for i in 0..self.peers.len() {
            self.deliver(i, 1_000)?;
        }
        self.server.open_again();
        Ok(())
    }

    /// Time passes; pings go out, clients that are awake answer.
    fn pass(&mut self, most: usize) -> Result<(), String> {
        let end = self.now().0 + self.below(most) as u64;
        while self.now().0 < end {
            self.clock.store((self.now().0 + 4_000).min(end), Ordering::Relaxed);
            self.server.handle_timeouts(self.now());
            self.notice();
            for i in 0..self.peers.len() {
                if self.below(4) > 0 {
                    self.deliver(i, 50)?;
                }
            }
            let now = self.now();
            self.ghosts.retain_mut(|ghost| ghost.pump(now));
        }
        Ok(())
    }

    // ---- what the application does

    fn aim(&mut self, i: usize) -> Aim {
        let room = |world: &mut World| ROOMS[world.below(3)].to_owned();
        let own = self.peers[i].pid.as_ref().and_then(|pid| self.sessions.get(pid)).map(|session| session.sid.clone());
        match self.below(6) {
            0 => Aim::default(),
            1 => Aim { rooms: vec![room(self), room(self)], except: vec![room(self)] },
            2 => Aim { rooms: Vec::new(), except: vec![room(self)] },
            3 => Aim { rooms: own.into_iter().collect(), except: Vec::new() },
            4 => Aim { rooms: vec![room(self)], except: own.into_iter().collect() },
            _ => Aim { rooms: vec![room(self)], except: Vec::new() },
        }
    }

    fn broadcast(&self, aim: &Aim) -> Option<crate::server::namespace::broadcast::Broadcast> {
        let all = self.namespace()?.all();
        let to = aim.rooms.iter().fold(all, |broadcast, room| broadcast.to(room.as_str()));
        Some(aim.except.iter().fold(to, |broadcast, room| broadcast.except(room.as_str())))
    }

    /// The sessions that are meant and still live.
    fn meant(&mut self, aim: &Aim) -> Vec<&mut Session> {
        let now = self.now().0;
        self.sessions.values_mut().filter(|session| session.lives(now, WINDOW) && session.is_meant(aim)).collect()
    }

    fn emit(&mut self, i: usize) -> Result<(), String> {
        for _ in 0..=self.below(3) {
            let aim = self.aim(i);
            let Some(broadcast) = self.broadcast(&aim) else { return Ok(()) };
            self.number += 1;
            let n = self.number;
            self.say(&format!("emit {n} to {aim:?}"));
            self.meant(&aim).into_iter().for_each(|session| session.expected.push(n));
            broadcast.emit("logged", json!(n)).map_err(|error| error.to_string())?;
            self.notice();
        }
        Ok(())
    }

    fn emit_passing(&mut self, i: usize) {
        let aim = self.aim(i);
        let local = self.below(2) == 0;
        self.number += 1;
        let n = self.number;
        if let Some(broadcast) = self.broadcast(&aim) {
            self.say(&format!("emit passing {n} to {aim:?}"));
            let now = self.now().0;
            let here =
                |session: &Session| session.lives(now, WINDOW) && session.away.is_none() && session.is_meant(&aim);
            let meant = self.sessions.iter().filter(|(_, session)| here(session)).map(|(pid, _)| pid.clone()).collect();
            self.passing.insert(n, meant);
            let broadcast = if local { broadcast.local() } else { broadcast.volatile() };
            broadcast.emit("passing", json!(n)).unwrap();
        }
    }

    fn ask(&mut self, i: usize) {
        self.number += 1;
        if let Some(socket) = self.socket(i) {
            socket.emit_with_ack("asked", json!(self.number), Some(std::time::Duration::from_secs(1)), |_| {}).unwrap();
        }
    }

    fn echo(&mut self, i: usize) {
        self.number += 1;
        if let (true, Some(line)) = (self.peers[i].connected, &self.peers[i].line) {
            let nsp = if self.nsp == "/" { String::new() } else { format!("{},", self.nsp) };
            self.say(&format!("{i} asks for echo {}", self.number));
            line.send(self.now(), &format!("42{nsp}{0}[\"echo\",{0}]", self.number));
        }
    }

    fn join_or_leave(&mut self, i: usize) {
        let room = ROOMS[self.below(3)];
        let join = self.below(3) > 0;
        let Some(socket) = self.socket(i) else { return };
        self.say(&format!("{i} joins ({join}) {room}"));
        let pid = self.peers[i].pid.clone().unwrap_or_default();
        let session = self.sessions.get_mut(&pid).unwrap();
        match join {
            true => {
                socket.join(room).unwrap();
                session.rooms.insert(room.to_owned());
            }
            false => {
                socket.leave(room).unwrap();
                session.rooms.remove(room);
            }
        }
    }

    /// A command for clients, those who are away included.
    fn command(&mut self, i: usize) -> Result<(), String> {
        let aim = self.aim(i);
        let room = ROOMS[self.below(3)];
        let which = self.below(10);
        let Some(broadcast) = self.broadcast(&aim) else { return Ok(()) };
        self.say(&format!("command {which} for {aim:?}: {room}"));
        for session in self.meant(&aim) {
            match which {
                0..=5 => drop(session.rooms.insert(room.to_owned())),
                6..=8 => drop(session.rooms.remove(room)),
                _ => session.over = true,
            }
        }
        let done = match which {
            0..=5 => broadcast.sockets_join(vec![Room::from(room)]),
            6..=8 => broadcast.sockets_leave(vec![Room::from(room)]),
            _ => broadcast.disconnect_sockets(false),
        };
        done.map_err(|error| error.to_string())
    }

    fn set_data(&mut self, i: usize) {
        self.number += 1;
        if let Some(socket) = self.socket(i) {
            socket.set_data(json!(self.number)).unwrap();
            let pid = self.peers[i].pid.clone().unwrap_or_default();
            self.sessions.get_mut(&pid).unwrap().data = self.number;
        }
    }

    /// Everybody comes back honestly and hears all: nothing may be missing. Then all leave, and nothing may remain.
    pub fn finish(mut self) -> Result<(), String> {
        for i in 0..self.peers.len() {
            self.peers[i].asleep = false;
            self.deliver(i, 1_000)?;
            for _ in 0..3 {
                if !self.peers[i].connected {
                    self.return_honestly(i)?;
                }
            }
            let pid = self.peers[i].pid.clone().unwrap_or_default();
            match self.sessions.get(&pid) {
                Some(session) if self.peers[i].connected && !session.over => session.check_complete()?,
                _ if self.kind == Kind::SmallOutbox => {}
                session => return Err(format!("{i} can't come back: {session:?}")),
            }
        }
        for peer in &mut self.peers {
            if let Some(line) = peer.line.take() {
                line.close(Time(self.clock.load(Ordering::Relaxed)));
            }
        }
        for _ in 0..100 {
            self.clock.fetch_add(10_000, Ordering::Relaxed);
            self.server.handle_timeouts(self.now());
            let now = self.now();
            self.ghosts.retain_mut(|ghost| ghost.pump(now));
        }
        let clients = self.namespace().map_or(0, |namespace| namespace.len());
        match (self.server.connection_count(), clients) {
            (0, 0) => Ok(()),
            counts => Err(format!("connections and clients remain: {counts:?}")),
        }
    }

    fn return_honestly(&mut self, i: usize) -> Result<(), String> {
        let line = Line::new(self.open(Transport::WebSocket)?, false);
        let peer = &self.peers[i];
        line.send(self.now(), &peer.connect_packet(peer.offset.as_deref(), peer.pid.as_deref()));
        let wanted = peer.pid.clone();
        self.peers[i].line = Some(line);
        self.notice();
        self.judge_answer(i, wanted, false)?;
        self.deliver(i, 1_000)
    }

    fn open(&self, transport: Transport) -> Result<Arc<crate::server::client::connection::Connection>, String> {
        let url = "/socket.io/?EIO=4".into();
        let headers = crate::codec::http::parse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 9).unwrap().headers;
        let handshake = Handshake { headers, url, address: "::1".into() };
        self.server.open(self.now(), transport, false, handshake).map_err(|_| "no connection".to_owned())
    }
}
