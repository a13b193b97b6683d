//! A namespace: its clients and rooms, and its log. One lock, the hub, orders everything that a client of it can observe.
//!
//! With recovery on, an event is appended to the log, read back, and delivered while the hub is held: the order of delivery is the order of
//! the log also when two threads emit at once, and a client joins or leaves a room at an exact position. Handlers run with the hub released.

use super::broadcast::Broadcast;
use super::connection::{Connection, Sent};
use super::entry::{Entry, Record, Target};
use super::handler::{Handler, Middleware, Next};
use super::hub::Hub;
use super::recovery::{self, Refused, Replay};
use super::socket::{EmitError, Position, Socket};
use super::streams::{Command, Key, Reply, StreamError};
use super::{Core, lock};
use crate::codec::args::Args;
use crate::codec::socket_packet::{self, Frames};
use crate::id::{Nsp, Offset, Room, SocketId, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

/// Entries per XREAD: DESIGN.md section 6.
const PAGE: usize = 1_000;
/// Milliseconds until a log in use would die: ten years.
const FOREVER: u64 = 10 * 365 * 86_400_000;
/// Names that belong to the protocol's own events.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A namespace.
pub struct Namespace {
    name: Nsp,
    core: Arc<Core>,
    handler: OnceLock<Arc<dyn Handler>>,
    middlewares: RwLock<Vec<Arc<Middleware>>>,
    hub: Mutex<Hub>,
    acks: AtomicU64,
    /// Sockets that point here; a namespace made by a rule goes with the last.
    pub(super) users: AtomicUsize,
    pub(super) dynamic: AtomicBool,
}

/// A session that this server has claimed and may restore.
pub(super) struct Claimed {
    pub(super) record: Record,
    claim: Offset,
    offset: Option<Offset>,
}

/// What a delivered entry asks for once the hub is released.
enum Deferred {
    Disconnect(Socket, bool),
    ServerEvent(Box<str>, Args),
}

impl Namespace {
    pub(super) fn new(name: Nsp, core: Arc<Core>, dynamic: bool) -> Namespace {
        let namespace = Namespace {
            name,
            core,
            handler: OnceLock::new(),
            middlewares: RwLock::default(),
            hub: Mutex::default(),
            acks: AtomicU64::new(0),
            users: AtomicUsize::new(0),
            dynamic: AtomicBool::new(dynamic),
        };
        if namespace.recovery_ms().is_some()
            && let Ok(Some(marker)) = namespace.append(namespace.key(), Entry::Marker, true)
        {
            lock(&namespace.hub).position = marker;
            // It may have been retired before.
            namespace.submit(Command::Expire { key: namespace.key(), ms: FOREVER });
        }
        namespace
    }

    /// Its name, with the leading `/`.
    #[must_use]
    pub fn name(&self) -> &Nsp {
        &self.name
    }

    /// Sets the application's side, once; a second handler is ignored.
    pub fn handle(self: &Arc<Self>, handler: impl Handler) -> Arc<Namespace> {
        self.set_handler(Arc::new(handler));
        self.clone()
    }

    pub(super) fn set_handler(&self, handler: Arc<dyn Handler>) {
        let _ = self.handler.set(handler);
    }

    pub(super) fn handler(&self) -> &dyn Handler {
        self.handler.get().map_or(&(), |handler| &**handler)
    }

    /// Adds a middleware: it sees each client before it joins, and lets it in or refuses it. They run in the order in which they were added;
    /// clients that recover their session pass without, unless [`Recovery::skip_middlewares`](super::Recovery) is off.
    pub fn use_middleware(&self, middleware: impl Fn(&Socket, Next) + Send + Sync + 'static) {
        let mut middlewares = self.middlewares.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        middlewares.push(Arc::new(Box::new(middleware)));
    }

    pub(super) fn middleware(&self, index: usize) -> Option<Arc<Middleware>> {
        self.middlewares.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(index).cloned()
    }

    // ---- what the application calls

    /// Sends an event to everybody.
    pub fn emit_all(self: &Arc<Self>, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        self.all().emit(name, args)
    }

    /// Everybody in the namespace.
    #[must_use]
    pub fn all(self: &Arc<Self>) -> Broadcast {
        Broadcast::new(self, Target::default())
    }

    /// Everybody in `room`.
    #[must_use]
    pub fn to(self: &Arc<Self>, room: impl Into<Room>) -> Broadcast {
        self.all().to(room)
    }

    /// Everybody who is not in `room`.
    #[must_use]
    pub fn except(self: &Arc<Self>, room: impl Into<Room>) -> Broadcast {
        self.all().except(room)
    }

    /// The client of this id, on this server.
    #[must_use]
    pub fn socket(&self, id: &SocketId) -> Option<Socket> {
        lock(&self.hub).sockets.get(id).cloned()
    }

    /// How many clients are in it, on this server.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.hub).sockets.len()
    }

    /// Whether nobody is in it, on this server.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rooms have a client, without the clients' own rooms, on this server.
    #[must_use]
    pub fn room_count(&self) -> usize {
        lock(&self.hub).rooms.len()
    }

    /// Its rooms with their number of clients, without the clients' own rooms, on this server.
    #[must_use]
    pub fn rooms(&self) -> Vec<(Room, usize)> {
        let mut rooms: Vec<_> =
            lock(&self.hub).rooms.iter().map(|(room, members)| (room.clone(), members.len())).collect();
        rooms.sort();
        rooms
    }

    /// The present moment on the server's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.core.clock)()
    }

    /// Sends an event to the other servers' handlers ([`Handler::server_event`]).
    pub fn server_side_emit(&self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        let args = args.into();
        self.check(name, &args)?;
        self.publish(Entry::ServerSide { uid: self.core.uid.clone(), name: name.into(), args })
    }

    // ---- emitting

    /// Refuses what clients would not accept.
    pub(super) fn check(&self, name: &str, args: &Args) -> Result<(), EmitError> {
        if RESERVED.contains(&name) {
            return Err(EmitError::ReservedName);
        }
        match args.attachments().len() > self.core.options.limits.attachments {
            true => Err(EmitError::TooManyAttachments),
            false => Ok(()),
        }
    }

    /// Sends an event that clients who are away get later; `only` is the receiver, where it is known to be a single one.
    pub(super) fn emit(&self, to: Target, name: &str, args: Args, only: Option<&Socket>) -> Result<(), EmitError> {
        self.check(name, &args)?;
        match (self.recovery_ms(), only) {
            (None, Some(socket)) => {
                if socket.connected() {
                    let frames = socket_packet::event(self.name.as_str(), None, name, &args, None);
                    self.count_out(usize::from(socket.connection().send(&frames, false) == Sent::Queued));
                }
                Ok(())
            }
            // A client that has left for good gets nothing.
            (Some(_), Some(socket)) if !socket.may_return() => Ok(()),
            (None, None) => self.emit_direct(&to, name, &args, false),
            (Some(_), _) => self.publish(Entry::Broadcast { to, name: name.into(), args }),
        }
    }

    /// Sends an event to the clients that are here, and keeps nothing. With recovery on it ends with the position of the last entry that was
    /// delivered, because the official client takes any trailing string for an offset.
    pub(super) fn emit_direct(&self, to: &Target, name: &str, args: &Args, volatile: bool) -> Result<(), EmitError> {
        self.check(name, args)?;
        let hub = lock(&self.hub);
        let offset = self.recovery_ms().map(|_| hub.position);
        let frames = socket_packet::event(self.name.as_str(), None, name, args, offset);
        self.send(&hub, to, &frames, volatile);
        Ok(())
    }

    /// Sends one packet, encoded once, to all that are meant.
    fn send(&self, hub: &Hub, to: &Target, frames: &Frames, volatile: bool) {
        let (mut queued, mut dropped) = (0, 0);
        hub.each(to, |socket| match socket.connection().send(frames, volatile) {
            Sent::Queued => queued += 1,
            Sent::Dropped => dropped += 1,
            Sent::Closed => {}
        });
        self.count_out(queued);
        self.core.metrics.volatile_dropped.add(dropped);
    }

    /// Appends an entry and delivers it when it is read back; without recovery there is no log, and it is delivered right away.
    pub(super) fn publish(&self, entry: Entry) -> Result<(), EmitError> {
        let mut hub = lock(&self.hub);
        let mut deferred = Vec::new();
        match self.recovery_ms() {
            Some(_) => {
                self.append(self.key(), entry, true).map_err(EmitError::Log)?;
                self.pump(&mut hub, &mut deferred);
            }
            None => self.deliver(&mut hub, &entry, None, &mut deferred),
        }
        drop(hub);
        self.run(deferred);
        Ok(())
    }

    /// Carries out a room command for the clients of this server alone.
    pub(super) fn apply_local(&self, entry: &Entry) {
        let mut hub = lock(&self.hub);
        let mut deferred = Vec::new();
        self.deliver(&mut hub, entry, None, &mut deferred);
        drop(hub);
        self.run(deferred);
    }

    /// Delivers what the log has after the position.
    fn pump(&self, hub: &mut Hub, deferred: &mut Vec<Deferred>) {
        loop {
            let entries = self.read(self.key(), hub.position, PAGE).unwrap_or_default();
            let more = entries.len() == PAGE;
            for (id, entry) in entries {
                // The position moves first, so that no entry can hold the reader up.
                hub.position = id;
                self.deliver(hub, &entry, Some(id), deferred);
            }
            if !more {
                return;
            }
        }
    }

    fn deliver(&self, hub: &mut Hub, entry: &Entry, id: Option<Offset>, deferred: &mut Vec<Deferred>) {
        match entry {
            Entry::Broadcast { to, name, args } => {
                let frames = socket_packet::event(self.name.as_str(), None, name, args, id);
                self.send(hub, to, &frames, false);
            }
            Entry::Join { to, rooms } => {
                for socket in hub.matching(to) {
                    rooms.iter().for_each(|room| hub.join(&socket, room));
                    self.write_record(hub, &socket);
                }
            }
            Entry::Leave { to, rooms } => {
                for socket in hub.matching(to) {
                    rooms.iter().for_each(|room| hub.leave(&socket, room));
                    self.write_record(hub, &socket);
                }
            }
            Entry::Disconnect { to, close } => {
                for socket in hub.matching(to) {
                    // Ended here, in the order of the log: a cut that comes before the farewell must not keep the session.
                    self.expel(hub, &socket, Reason::ServerNamespaceDisconnect);
                    deferred.push(Deferred::Disconnect(socket, *close));
                }
            }
            Entry::ServerSide { uid, name, args } if *uid != self.core.uid => {
                deferred.push(Deferred::ServerEvent(name.clone(), args.clone()));
            }
            Entry::ServerSide { .. } | Entry::Marker | Entry::Record(_) | Entry::Claim => {}
        }
    }

    fn run(&self, deferred: Vec<Deferred>) {
        for action in deferred {
            match action {
                Deferred::Disconnect(socket, close) => socket.disconnect(close),
                Deferred::ServerEvent(name, args) => self.handler().server_event(&name, &args),
            }
        }
    }

    // ---- clients and rooms

    pub(super) fn matching(&self, to: &Target) -> Vec<Socket> {
        lock(&self.hub).matching(to)
    }

    pub(super) fn join(&self, socket: &Socket, room: Room) -> Result<(), EmitError> {
        let limits = &self.core.options.limits;
        if room.as_str().len() > limits.name_bytes {
            return Err(EmitError::NameTooLong);
        }
        let mut hub = lock(&self.hub);
        if socket.room_count() >= limits.rooms_per_client {
            return Err(EmitError::TooManyRooms);
        }
        if hub.has(socket) {
            hub.join(socket, &room);
            self.write_record(&hub, socket);
            return Ok(());
        }
        drop(hub);
        // A client that is cut off joins when it returns. One that is gone joins nothing: the room would never be empty again.
        match socket.may_return() {
            true => self.publish(Entry::Join { to: socket.only(), rooms: vec![room] }),
            false => Ok(()),
        }
    }

    pub(super) fn leave(&self, socket: &Socket, room: &Room) {
        let mut hub = lock(&self.hub);
        if hub.has(socket) {
            hub.leave(socket, room);
            self.write_record(&hub, socket);
            return;
        }
        drop(hub);
        if socket.may_return() {
            let _ = self.publish(Entry::Leave { to: socket.only(), rooms: vec![room.clone()] });
        }
    }

    /// The socket's data has changed.
    pub(super) fn save(&self, socket: &Socket) {
        let hub = lock(&self.hub);
        if hub.has(socket) {
            self.write_record(&hub, socket);
        }
    }

    /// Takes the client out; its session stays for the window if neither side meant it to end. A socket whose session was taken over is
    /// not in the hub any more, and touches neither rooms nor record.
    pub(super) fn remove(&self, socket: &Socket, reason: Reason) {
        let mut hub = lock(&self.hub);
        if hub.has(socket) {
            self.expel(&mut hub, socket, reason);
        }
    }

    fn expel(&self, hub: &mut Hub, socket: &Socket, reason: Reason) {
        hub.remove(socket);
        if let (Some(window), Some(pid)) = (self.recovery_ms(), socket.pid()) {
            let ms = if reason.recoverable() { window } else { 0 };
            if ms > 0 {
                self.write_record(hub, socket);
            }
            self.submit(Command::Expire { key: Key::Session(pid.clone()), ms });
        }
    }

    // ---- the log and the sessions

    fn recovery_ms(&self) -> Option<u64> {
        self.core.options.recovery.as_ref().map(|recovery| recovery.window_ms)
    }

    fn key(&self) -> Key {
        Key::Log(self.name.clone())
    }

    fn submit(&self, command: Command) -> Reply {
        self.core.streams.submit(self.now(), command)
    }

    fn append(&self, key: Key, entry: Entry, create: bool) -> Result<Option<Offset>, StreamError> {
        match self.submit(Command::XAdd { key, entry: Arc::new(entry), create }) {
            Reply::Added(id) => {
                self.core.metrics.log_appends.one();
                Ok(id)
            }
            Reply::Failed(error) => {
                self.core.metrics.log_failures.one();
                Err(error)
            }
            Reply::Entries(_) | Reply::Trimmed(_) | Reply::Existed(_) => Ok(None),
        }
    }

    fn read(&self, key: Key, after: Offset, count: usize) -> Result<Vec<(Offset, Arc<Entry>)>, Refused> {
        match self.submit(Command::XRead { key, after, count }) {
            Reply::Entries(entries) => Ok(entries),
            Reply::Failed(_) => Err(Refused::LogUnavailable),
            Reply::Added(_) | Reply::Trimmed(_) | Reply::Existed(_) => Ok(Vec::new()),
        }
    }

    /// The last entry that was delivered to the clients of this server.
    #[must_use]
    pub fn position(&self) -> Offset {
        lock(&self.hub).position
    }

    /// Puts a client's session into its stream; the newest record replaces what was there, claims included, because it names its claim.
    fn write_record(&self, hub: &Hub, socket: &Socket) {
        if let (Some(_), Some(pid)) = (self.recovery_ms(), socket.pid())
            && let Some(record) = socket.record(hub.position)
            && let Ok(Some(id)) = self.append(Key::Session(pid.clone()), record, true)
        {
            self.submit(Command::XTrim { key: Key::Session(pid.clone()), min: id });
        }
    }

    /// A pong has come: the session's position may have moved, and its record outlives this server by a full window.
    pub(super) fn keep_alive(&self, socket: &Socket) {
        let hub = lock(&self.hub);
        if hub.has(socket) {
            if socket.has_moved() {
                self.write_record(&hub, socket);
            }
            self.refresh(socket);
        }
    }

    fn refresh(&self, socket: &Socket) {
        if let (Some(window), Some(pid)) = (self.recovery_ms(), socket.pid()) {
            let ms = window.saturating_add(self.core.options.heartbeat_ms());
            self.submit(Command::Expire { key: Key::Session(pid.clone()), ms });
        }
    }

    /// Claims the session that a client asks for, and takes it from a connection that still looks alive; that one is returned, to be dropped.
    pub(super) fn claim(&self, request: &recovery::Request) -> Result<(Claimed, Option<Socket>), Refused> {
        let key = Key::Session(request.pid.clone());
        let mut hub = lock(&self.hub);
        // Whose session it is is looked at before the claim: a claim from another namespace would take it from its owner.
        let entries = self.read(key.clone(), Offset::ZERO, usize::MAX)?;
        match recovery::newest_record(&entries, Offset { ms: u64::MAX, seq: u64::MAX }) {
            Some(record) if record.nsp == self.name => {}
            Some(_) | None => return Err(Refused::UnknownSession),
        }
        let claim = self.append(key.clone(), Entry::Claim, false).map_err(|_| Refused::LogUnavailable)?;
        let claim = claim.ok_or(Refused::UnknownSession)?;
        let entries = self.read(key, Offset::ZERO, usize::MAX)?;
        let record = recovery::newest_record(&entries, claim).ok_or(Refused::UnknownSession)?.clone();
        let evicted = hub.sockets.get(&record.sid).cloned();
        if let Some(old) = &evicted {
            hub.remove(old);
        }
        Ok((Claimed { record, claim, offset: request.offset }, evicted))
    }

    /// Lets a client in: the answer to its CONNECT, what it missed, and everything from then on, with no entry in both or in neither.
    /// `Ok(false)`: the client is gone.
    pub(super) fn admit(&self, socket: &Socket, claimed: Option<&Claimed>) -> Result<bool, Refused> {
        let mut replay = match claimed {
            Some(claimed) => Some(self.begin_replay(claimed)?),
            None => None,
        };
        // Most of a long replay is read while others go on; the rest, under the lock, is what came meanwhile.
        if let Some((replay, _)) = &mut replay {
            self.catch_up(replay, self.position())?;
        }
        let mut hub = lock(&self.hub);
        if let Some(claimed) = claimed {
            self.check_owner(claimed)?;
        }
        let (position, stays, missed) = match replay {
            Some((mut replay, position)) => {
                self.catch_up(&mut replay, hub.position)?;
                let (missed, stays) = replay.finish();
                (position, stays, missed)
            }
            None => {
                let position = Position { since: hub.position, confirmed: hub.position, ..Position::default() };
                (position, Vec::new(), Vec::new())
            }
        };
        let answer =
            socket_packet::connect(self.name.as_str(), socket.id().as_str(), socket.pid().map(|pid| pid.as_str()));
        if !socket.connection().admit(socket, &missed, answer) {
            return Ok(false);
        }
        socket.admitted(position, stays);
        hub.insert(socket);
        self.write_record(&hub, socket);
        self.refresh(socket);
        self.count_out(missed.len());
        Ok(true)
    }

    /// The claim is still the last one: another connection may have claimed the session since, or ended it.
    fn check_owner(&self, claimed: &Claimed) -> Result<(), Refused> {
        let entries = self.read(Key::Session(claimed.record.pid.clone()), Offset::ZERO, usize::MAX)?;
        let last = entries.iter().rev().find(|(_, entry)| **entry == Entry::Claim);
        match last.is_some_and(|(id, _)| *id == claimed.claim) {
            true => Ok(()),
            false => Err(Refused::UnknownSession),
        }
    }

    fn begin_replay(&self, claimed: &Claimed) -> Result<(Replay, Position), Refused> {
        let Claimed { record, claim, offset } = claimed;
        let options = &self.core.options;
        let needs_offset = options.recovery.as_ref().is_some_and(|recovery| !recovery.without_offset);
        let start = recovery::start(record, *offset, self.position(), needs_offset)?;
        let position = Position {
            since: record.since,
            confirmed: start,
            floor: record.floor,
            claim: *claim,
            ..Position::default()
        };
        // Half of what may wait for a client: binary grows by a third on a client that takes base64 only.
        let replay = Replay::new(record, start, options.limits.unsent_bytes / 2);
        self.prove_complete(replay.cursor())?;
        Ok((replay, position))
    }

    /// Replays up to `end`, page by page.
    fn catch_up(&self, replay: &mut Replay, end: Offset) -> Result<(), Refused> {
        while replay.cursor() < end {
            let from = replay.cursor();
            let page = self.read(self.key(), from, PAGE)?;
            if page.is_empty() {
                return Err(Refused::Gap);
            }
            for (id, entry) in &page {
                replay.entry(*id, entry)?;
            }
            // Asked after the read: nothing between `from` and the page had been forgotten by then.
            self.prove_complete(from)?;
        }
        Ok(())
    }

    /// The log holds all after `from` if it still holds `from` or something older.
    fn prove_complete(&self, from: Offset) -> Result<(), Refused> {
        match self.read(self.key(), Offset::ZERO, 1)?.first() {
            Some((oldest, _)) if *oldest <= from => Ok(()),
            Some(_) | None => Err(Refused::Gap),
        }
    }

    /// Forgets log entries that no session can need: those before the position of `retention_ms` ago. The entry at that position stays, so
    /// that a quiet log can still prove that it is complete.
    pub(super) fn trim(&self, now: Time, retention_ms: u64) {
        let mut hub = lock(&self.hub);
        let position = hub.position;
        hub.samples.push_back((now, position));
        let mut min = None;
        while hub.samples.front().is_some_and(|(at, _)| now.since(*at) >= retention_ms) {
            min = hub.samples.pop_front().map(|(_, position)| position);
        }
        if let Some(min) = min {
            self.submit(Command::XTrim { key: self.key(), min });
        }
    }

    /// A namespace made by a rule goes: its log dies when no session can need it any more.
    pub(super) fn retire(&self, retention_ms: u64) {
        if self.recovery_ms().is_some() {
            self.submit(Command::Expire { key: self.key(), ms: retention_ms });
        }
    }

    pub(super) fn next_ack(&self) -> u64 {
        self.acks.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn count_out(&self, packets: usize) {
        self.core.metrics.messages_out.add(packets);
    }
}

/// Drops a connection whose session was taken over: at once, and without a word to its client.
pub(super) fn drop_evicted(evicted: Option<Socket>, taker: &Arc<Connection>, now: Time) {
    if let Some(old) = evicted
        && !Arc::ptr_eq(old.connection(), taker)
    {
        old.connection().handle(now, Input::Abort(Reason::TransportClose));
    }
}
