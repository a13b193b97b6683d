//! A namespace's log: how an entry gets into it, and what happens when it is read back.
//!
//! Everything that a cluster does is an entry. It is delivered when it is read back, by the server that sent it too, so
//! that all clients see the order of the log. From a log in this process it comes back in the same breath; a shared one is brought by `feed`.

pub(crate) mod budget;
pub mod entry;
pub(crate) mod fate;
pub(crate) mod held;
pub mod memory;
pub(crate) mod packed;
pub(crate) mod seen;
pub mod streams;

use crate::codec::args::Args;
use crate::codec::socket_packet::{self, Frames};
use crate::id::{Offset, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::connection::Sent;
use crate::server::client::handler::{ServerAck, ServerEvent};
use crate::server::client::socket::{EmitError, Socket};
use crate::server::lock;
use crate::server::log::entry::{Entry, EventRef, Posted, RequestId, Target};
use crate::server::log::fate::Fate;
use crate::server::log::held::{Held, HeldQueue};
use crate::server::log::seen::{Numbers, SENDERS, after_first};
use crate::server::log::streams::{Command, Done, Item, Key, PAGE, Reply, StreamError};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use crate::server::notice::Notice;
use crate::server::recovery::record::Refused;
use crate::server::recovery::restore::UNTIDY;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Milliseconds until a log in this process would die while it is in use: ten years.
const FOREVER: u64 = 10 * 365 * 86_400_000;
/// Entries of a shared log's end that are kept here, so that most replays need no XREAD.
const TAIL_ENTRIES: usize = 2_000;
/// Their bytes.
const TAIL_BYTES: usize = 2 * 1024 * 1024;
/// Clients that wait for the log to be opened or read; more are not let in, and come again.
const WAITING: usize = 100_000;
/// Milliseconds that a shared log outlives the last server that reads it, beyond what sessions need.
const IDLE: u64 = 3_600_000;
/// Repeated entries that are remembered, so that no replay gives them twice.
const DOUBLES: usize = 1_000;

/// Something to be done when the log has been read up to a position.
pub(crate) type Action = Box<dyn FnOnce() + Send>;

/// How far a log has been read, and what waits for that.
#[derive(Default)]
pub(crate) struct Reading {
    /// The marker is there: the position is known.
    pub(crate) ready: bool,
    opening: bool,
    /// The namespace has gone: another one may have its name by now, with higher numbers.
    pub(crate) retired: bool,
    /// The log is opened again because it had lost entries.
    lost: bool,
    /// The number of this server's last entry.
    pub(crate) sent: u64,
    /// One of this server's entries under way, by its number, and since when: its time tells how long entries take.
    pub(crate) timed: Option<(u64, Time)>,
    seen: Numbers,
    /// Entries that were in the log before, under an earlier id.
    pub(crate) doubles: BTreeSet<Offset>,
    /// What must not overtake this server's own entries, by their number.
    held: HeldQueue,
    /// What becomes of this server's entries, the bytes of a shared log, and Redis's clock.
    pub(crate) fate: Fate,
    waiting: Vec<(Offset, Action)>,
    /// The end of a shared log, after `tail_from`.
    tail: VecDeque<Item>,
    tail_from: Offset,
    tail_bytes: usize,
    /// What comes before is not whole: sessions that began there can't be given back.
    pub(crate) whole_from: Offset,
    /// Where this server stood when it last made sure that the log is whole.
    pub(crate) checked: Offset,
    /// Other servers that read this log.
    pub(crate) readers: HashSet<Arc<str>>,
}

/// What a delivered entry asks for once the hub is released.
pub(crate) enum Deferred {
    Disconnect(Socket, bool),
    ServerEvent(Arc<Posted>),
    Ask(Arc<Posted>, Vec<Socket>),
    Fetch(Arc<str>, RequestId, Vec<Socket>),
    Tidy(Socket),
    Held(Held),
    Present,
    Run(Action),
}

impl Reading {
    /// Nothing read yet; this server's entries will be numbered from `first` on.
    pub(crate) fn new(first: u64) -> Reading {
        Reading { sent: first, ..Reading::default() }
    }

    /// The entries after `from`, if all of them are here.
    fn tail_after(&self, from: Offset, count: usize) -> Option<Vec<Item>> {
        let start = self.tail.partition_point(|(id, _)| *id <= from);
        (from >= self.tail_from && self.ready).then(|| self.tail.range(start..).take(count).cloned().collect())
    }

    fn note_reader(&mut self, uid: &Arc<str>) {
        if self.readers.len() < SENDERS {
            self.readers.insert(uid.clone());
        }
    }

    fn keep(&mut self, id: Offset, posted: &Arc<Posted>) {
        self.tail_bytes += posted.entry.weight();
        self.tail.push_back((id, posted.clone()));
        while self.tail.len() > TAIL_ENTRIES || self.tail_bytes > TAIL_BYTES {
            let Some((id, posted)) = self.tail.pop_front() else { return };
            self.tail_bytes = self.tail_bytes.saturating_sub(posted.entry.weight());
            self.tail_from = id;
        }
    }

    /// Whether this is the first time that the entry comes by.
    fn is_new(&mut self, id: Offset, posted: &Posted) -> bool {
        let new = self.seen.is_new(posted);
        if !new {
            self.doubles.insert(id);
            if self.doubles.len() > DOUBLES {
                self.doubles.pop_first();
            }
        }
        new
    }

    /// Gives the action back if too many wait: it must not be dropped with the hub held.
    fn wait_for(&mut self, position: Offset, action: Action) -> Option<Action> {
        if self.waiting.len() >= WAITING {
            return Some(action);
        }
        self.waiting.push((position, action));
        None
    }

    /// Takes out what has waited for this server's entry number `returned` and for `position`.
    pub(crate) fn release(&mut self, returned: u64, position: Offset, deferred: &mut Vec<Deferred>) {
        deferred.extend(self.held.release(returned).map(Deferred::Held));
        if self.waiting.iter().any(|(at, _)| *at <= position) {
            let waiting = std::mem::take(&mut self.waiting);
            let (ready, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(at, _)| *at <= position);
            self.waiting = waiting;
            deferred.extend(ready.into_iter().map(|(_, action)| Deferred::Run(action)));
        }
    }
}

impl Namespace {
    pub(crate) fn key(&self) -> Key {
        self.key.clone()
    }

    pub(crate) fn submit(&self, command: Command, done: Option<Done>) -> Result<(), StreamError> {
        self.core.streams.submit(self.now(), command, done)
    }

    // ---- opening and closing

    /// Begins to read the log: the id of a marker is the first position. Repeated until it succeeds.
    pub(crate) fn open(self: &Arc<Self>) {
        let mut hub = lock(&self.hub);
        if hub.reading.ready || hub.reading.opening {
            return;
        }
        match self.core.logged {
            true => hub.reading.opening = true,
            false => hub.reading.ready = true,
        }
        drop(hub);
        if self.core.logged {
            let (posted, me) = (self.core.post(0, Entry::Marker), self.clone());
            let command = Command::XAdd { key: self.key(), posted, create: true };
            let _ = self.submit(command, Some(Box::new(move |reply| me.opened(&reply))));
        }
    }

    fn opened(&self, reply: &Reply) {
        let mut hub = lock(&self.hub);
        hub.reading.opening = false;
        let Reply::Added(Some(marker)) = *reply else { return };
        hub.position = marker;
        hub.reading.checked = marker;
        if std::mem::take(&mut hub.reading.lost) {
            hub.reading.whole_from = marker;
            // What was flushed with its answer under way is appended again, and new to those who begin here.
            hub.reading.seen = Numbers::default();
        }
        hub.reading.ready = true;
        hub.reading.timed = None;
        hub.reading.tail.clear();
        (hub.reading.tail_bytes, hub.reading.tail_from) = (0, marker);
        hub.reading.fate.begin(marker, self.now());
        let waiting = std::mem::take(&mut hub.reading.waiting);
        drop(hub);
        // It may have been retired before.
        let ms = if self.core.streams.shared() { self.core.retention_ms().saturating_add(IDLE) } else { FOREVER };
        let _ = self.submit(Command::Expire { key: self.key(), ms }, None);
        self.core.begin_to_read(&self.key);
        waiting.into_iter().for_each(|(_, action)| action());
    }

    /// Runs `action` once the log's position is known: at once, nearly always.
    pub(crate) fn when_ready(self: &Arc<Self>, action: Action) {
        self.open();
        self.when_read(Offset::ZERO, action);
    }

    /// Runs `action` once the log has been read up to a client's `offset`, if there is such an entry. A new session must not begin before the
    /// offset of the one that was refused: the client sends it again, and it would pass for one of the new session. `action` is told from
    /// where on an offset can be trusted: where the log does not say whether it has such an entry, behind it.
    pub(crate) fn when_past(self: &Arc<Self>, offset: Option<Offset>, action: Box<dyn FnOnce(Offset) + Send>) {
        let Some(offset) = offset.filter(|offset| self.core.streams.shared() && *offset > self.position()) else {
            return action(Offset::ZERO);
        };
        let me = self.clone();
        let read = Command::XRead { key: self.key(), after: offset.before(), count: 1 };
        let done: Done = Box::new(move |reply| match reply {
            Reply::Entries(items) if items.first().is_some_and(|(id, _)| *id == offset) => {
                me.when_read(offset, Box::new(|| action(Offset::ZERO)));
            }
            Reply::Entries(_) => me.when_ready(Box::new(|| action(Offset::ZERO))),
            _ => me.when_ready(Box::new(move || action(offset.next()))),
        });
        let _ = self.submit(read, Some(done));
    }

    /// Runs `action` once the log has been read up to `position`, or opened anew because it will never be.
    pub(crate) fn when_read(&self, position: Offset, action: Action) {
        let mut hub = lock(&self.hub);
        match hub.position >= position && hub.reading.ready {
            true => {
                drop(hub);
                action();
            }
            false => {
                let refused = hub.reading.wait_for(position, action);
                drop(hub);
                drop(refused);
            }
        }
    }

    /// A namespace made by a rule goes: its log dies when no session can need it any more.
    pub(crate) fn retire(&self, retention_ms: u64) {
        lock(&self.hub).reading.retired = true;
        if self.core.logged {
            if self.core.streams.shared() {
                let posted = self.core.post(0, Entry::Closed);
                let _ = self.submit(Command::XAdd { key: self.key(), posted, create: false }, None);
            }
            let _ = self.submit(Command::Expire { key: self.key(), ms: retention_ms }, None);
        }
    }

    /// The last entry that was delivered to the clients of this server.
    pub(crate) fn position(&self) -> Offset {
        lock(&self.hub).position
    }

    /// Where to read on; `None` until the log is open.
    pub(crate) fn cursor(&self) -> Option<Offset> {
        let hub = lock(&self.hub);
        hub.reading.ready.then_some(hub.position)
    }

    // ---- into the log

    /// Appends an entry, to be delivered when it comes back from the log; without one it is delivered right away.
    pub(crate) fn publish(&self, entry: Entry) -> Result<(), EmitError> {
        if !self.core.logged {
            self.apply_local(entry);
            return Ok(());
        }
        if !self.core.streams.shared() {
            return self.publish_here(entry);
        }
        let mut hub = lock(&self.hub);
        if hub.reading.retired {
            return Err(EmitError::NamespaceGone);
        }
        let seq = hub.reading.sent + 1;
        self.append(&mut hub, entry, seq).map_err(EmitError::Log)
    }

    /// A log in this process has no other writer: with the hub held, what is appended is what would be read.
    fn publish_here(&self, entry: Entry) -> Result<(), EmitError> {
        let (now, posted) = (self.now(), self.core.post(0, entry));
        let mut hub = lock(&self.hub);
        if hub.reading.retired {
            return Err(EmitError::NamespaceGone);
        }
        let Some(id) = self.core.streams.append_here(now, &self.key, &posted) else { return Ok(()) };
        hub.position = id;
        let mut deferred = Vec::new();
        self.deliver(&mut hub, &posted, Some(id), &mut deferred);
        drop(hub);
        self.core.metrics.log_appends.one();
        self.run(deferred);
        Ok(())
    }

    /// Publishes an event.
    pub(crate) fn publish_event(&self, to: Target, name: &str, args: Args) -> Result<(), EmitError> {
        if self.core.streams.shared() {
            return self.publish(Entry::Broadcast { to, name: name.into(), args });
        }
        let event = EventRef { rooms: &to.rooms, except: &to.except, name, args: &args };
        self.publish_event_here(event, |hub, frames| self.send(hub, &to, &frames, false))
    }

    /// As `publish_event`, to a single client.
    pub(crate) fn publish_event_to(&self, socket: &Socket, name: &str, args: Args) -> Result<(), EmitError> {
        if self.core.streams.shared() {
            return self.publish_to(socket, Entry::Broadcast { to: socket.only(), name: name.into(), args });
        }
        let event = EventRef { rooms: slice::from_ref(socket.id().as_room()), except: &[], name, args: &args };
        self.publish_event_here(event, |hub, frames| match hub.is_alone(socket) {
            true => socket.send_now(frames),
            false => self.send(hub, &socket.only(), &frames, false),
        })
    }

    /// As `publish_here`, without an entry. All events of the namespace wait for the hub, so what can be done before is done before.
    fn publish_event_here(&self, event: EventRef<'_>, deliver: impl FnOnce(&Hub, Frames)) -> Result<(), EmitError> {
        let now = self.core.recently();
        let packet = socket_packet::begin_event(self.name().as_str(), None, event.name, event.args);
        let mut hub = lock(&self.hub);
        if hub.reading.retired {
            return Err(EmitError::NamespaceGone);
        }
        let appended = self.core.streams.append_event(now, &self.key, &self.core.uid, event);
        let Some(id) = appended else { return Ok(()) };
        hub.position = id;
        deliver(&hub, packet.finish(self.recovery_ms().map(|_| id)));
        let told = self.told_of(&hub, event);
        drop(hub);
        self.core.metrics.log_appends.one();
        self.tell(&told, event.name, event.args);
        Ok(())
    }

    /// As `publish`, for an entry that `socket` gets: what is sent to it besides the log waits for this.
    pub(crate) fn publish_to(&self, socket: &Socket, entry: Entry) -> Result<(), EmitError> {
        self.publish(entry)?;
        socket.expect_own(self.sent.load(Ordering::Acquire));
        Ok(())
    }

    pub(crate) fn append(&self, hub: &mut Hub, entry: Entry, seq: u64) -> Result<(), StreamError> {
        // A volatile event waits for nothing, and nothing waits for it.
        let seq = if let Entry::Passing { .. } = entry { 0 } else { seq };
        let command = Command::XAdd { key: self.key(), posted: self.core.post(seq, entry), create: true };
        match self.submit(command, None) {
            Ok(()) => {
                hub.reading.sent = seq.max(hub.reading.sent);
                if seq > 0 && hub.reading.timed.is_none() {
                    hub.reading.timed = Some((seq, self.now()));
                }
                self.sent.store(hub.reading.sent, Ordering::Release);
                self.core.metrics.log_appends.one();
                Ok(())
            }
            Err(error) => {
                self.core.metrics.log_failures.one();
                Err(error)
            }
        }
    }

    /// Carries out an entry for the clients of this server alone.
    pub(crate) fn apply_local(&self, entry: Entry) {
        let mut deferred = Vec::new();
        let mut hub = lock(&self.hub);
        self.deliver(&mut hub, &self.core.post(0, entry), None, &mut deferred);
        drop(hub);
        self.run(deferred);
    }

    // ---- out of the log

    /// Delivers what was read from a shared log after `after`; an answer to a question that is no longer asked is ignored.
    pub(crate) fn feed(self: &Arc<Self>, after: Offset, mut items: Vec<Item>) {
        let mut hub = lock(&self.hub);
        let position = hub.position;
        if !hub.reading.ready || items.is_empty() {
            return;
        }
        if after == position.before() {
            let Some(rest) = after_first(items, position) else {
                drop(hub);
                return self.lost(position);
            };
            items = rest;
        } else if after != position {
            return;
        }
        let mut deferred = Vec::new();
        let mut cut = None;
        let now = self.now();
        for (id, posted) in items {
            hub.position = id;
            cut = self.note_bytes(&mut hub, id, &posted).or(cut);
            if self.is_from_far_ahead(&mut hub, id, &posted, now) {
                continue;
            }
            // A number that this server has not given away says nothing.
            let given = posted.uid != self.core.uid || posted.seq <= hub.reading.sent;
            if given && !hub.reading.is_new(id, &posted) {
                self.core.metrics.log_repeats.one();
                continue;
            }
            hub.reading.keep(id, &posted);
            self.deliver(&mut hub, &posted, Some(id), &mut deferred);
            self.came_back(&mut hub, id, &posted, &mut deferred);
        }
        self.cut_off(&hub, cut);
        let (returned, position) = (self.returned.load(Ordering::Acquire), hub.position);
        hub.reading.release(returned, position, &mut deferred);
        drop(hub);
        self.run(deferred);
    }

    fn deliver(&self, hub: &mut Hub, posted: &Arc<Posted>, id: Option<Offset>, deferred: &mut Vec<Deferred>) {
        let own = posted.uid == self.core.uid;
        match &posted.entry {
            Entry::Broadcast { to, name, args } => {
                let offset = id.filter(|_| self.recovery_ms().is_some());
                let frames = socket_packet::event(self.name().as_str(), None, name, args, offset);
                self.send(hub, to, &frames, false);
                deferred.extend(self.telling(hub, to, posted));
            }
            // Its own clients got it when it was sent.
            Entry::Passing { .. } if own => {}
            Entry::Passing { to, name, args } => {
                self.send_unlogged(hub, to, name, args, true);
                deferred.extend(self.telling(hub, to, posted));
            }
            Entry::Ask { to, .. } => deferred.push(Deferred::Ask(posted.clone(), hub.matching(to))),
            Entry::Join { to, rooms } => self.move_clients(hub, to, rooms, Hub::join, deferred),
            Entry::Leave { to, rooms } => self.move_clients(hub, to, rooms, Hub::leave, deferred),
            Entry::Disconnect { to, close } => {
                for socket in hub.matching(to) {
                    // Ended here, in the order of the log: a cut that comes before the farewell must not keep the session.
                    self.expel(hub, &socket, Reason::ServerNamespaceDisconnect);
                    deferred.push(Deferred::Disconnect(socket, *close));
                }
            }
            Entry::Fetch { to, request } => {
                deferred.push(Deferred::Fetch(posted.uid.clone(), *request, hub.matching(to)));
            }
            Entry::ServerSide { .. } if !own => deferred.push(Deferred::ServerEvent(posted.clone())),
            Entry::Marker if !own => {
                hub.reading.note_reader(&posted.uid);
                deferred.push(Deferred::Present);
            }
            Entry::Present if !own => hub.reading.note_reader(&posted.uid),
            Entry::Closed => drop(hub.reading.readers.remove(&posted.uid)),
            // Those of sessions, inboxes and the control log have no business here.
            _ => {}
        }
    }

    /// Carries out what had to wait for the hub's release.
    pub(crate) fn run(&self, deferred: Vec<Deferred>) {
        for action in deferred {
            match action {
                Deferred::Disconnect(socket, close) => socket.farewell(close),
                Deferred::ServerEvent(posted) => self.server_event(&posted),
                Deferred::Ask(posted, sockets) => self.ask_clients(&posted, sockets),
                Deferred::Fetch(uid, request, sockets) => self.core.answer_fetch(&uid, request, &sockets),
                Deferred::Tidy(socket) => socket.namespace().tidy(&socket, UNTIDY),
                Deferred::Held(Held::Packet(socket, frames)) => socket.send_now(frames),
                Deferred::Held(Held::Disconnect(socket, close)) => socket.farewell(close),
                Deferred::Present => {
                    let posted = self.core.post(0, Entry::Present);
                    let _ = self.submit(Command::XAdd { key: self.key(), posted, create: true }, None);
                }
                Deferred::Run(action) => action(),
            }
        }
    }

    fn server_event(&self, posted: &Posted) {
        if let Entry::ServerSide { name, args, request } = &posted.entry {
            let ack = request.map(|request| ServerAck::new(self.core.clone(), posted.uid.clone(), request));
            self.handler().server_event(ServerEvent { name, args, ack });
        }
    }

    // ---- replays

    /// Up to a page of the log after `from`, if it can be had at once; a gap: the log does not hold `from` any more.
    pub(crate) fn recent(&self, hub: &Hub, from: Offset) -> Option<Result<Vec<Item>, Refused>> {
        if self.core.streams.shared() {
            return hub.reading.tail_after(from, PAGE).map(Ok);
        }
        let items = self.core.streams.at_hand(self.now(), &self.key(), from.before(), PAGE + 1);
        Some(after_first(items, from).ok_or(Refused::Gap))
    }

    // ---- holes

    /// Makes sure that the log still holds the entry where this server stood at the last check: nothing that came after it can be missing
    /// then. A log that does not was flushed, or cut off behind this server's back.
    pub(crate) fn check_log(self: &Arc<Self>) {
        let mut hub = lock(&self.hub);
        if !hub.reading.ready {
            drop(hub);
            return self.open();
        }
        let position = hub.position;
        let checked = std::mem::replace(&mut hub.reading.checked, position);
        drop(hub);
        let me = self.clone();
        let command = Command::XRead { key: self.key(), after: checked.before(), count: 1 };
        let done: Done = Box::new(move |reply| match reply {
            Reply::Entries(items) if items.first().is_none_or(|(id, _)| *id != checked) => me.lost(checked),
            // Something else has its name by now.
            Reply::Failed(StreamError::Refused) => me.lost(checked),
            _ => {}
        });
        let _ = self.submit(command, Some(done));
    }

    /// The log has a hole: nobody knows what the clients here have missed. Their sessions end, they come back as new ones, and the log is
    /// read anew.
    pub(crate) fn lost(self: &Arc<Self>, position: Offset) {
        let mut hub = lock(&self.hub);
        if !hub.reading.ready || hub.position < position {
            return;
        }
        // What waits goes on when the log is open again, and finds out.
        hub.reading.ready = false;
        hub.reading.lost = true;
        let sockets = hub.matching(&Target::default());
        for socket in &sockets {
            hub.remove(socket);
            self.end_session(socket);
        }
        hub.samples.clear();
        hub.restoring.clear();
        hub.reading.tail.clear();
        let asked = hub.reading.fate.forget_asked();
        drop(hub);
        asked.for_each(|settled| settled(Err(EmitError::Log(StreamError::Unavailable))));
        self.core.metrics.log_holes.one();
        self.core.log(&Notice::LogLost { namespace: self.name().clone(), clients: sockets.len() });
        for socket in sockets {
            socket.connection().handle(self.now(), Input::Abort(Reason::TransportClose));
        }
        self.open();
    }

    /// Forgets log entries that no session can need: those before the position of `retention_ms` ago. The entry at that position stays, so
    /// that a quiet log can still prove that it is complete.
    pub(crate) fn trim(&self, now: Time, retention_ms: u64) {
        let mut hub = lock(&self.hub);
        let position = hub.position;
        hub.samples.add(now, position);
        if let Some(min) = hub.samples.take_older(now, retention_ms) {
            hub.reading.fate.budget.forget(min);
            let _ = self.submit(Command::XTrim { key: self.key(), min }, None);
        }
        hub.reading.fate.budget.grow(self.core.options.limits.log_bytes);
        // Also where another server has just let it go: this one still reads it.
        if self.core.streams.shared() && hub.reading.ready {
            let _ = self.submit(Command::Expire { key: self.key(), ms: retention_ms.saturating_add(IDLE) }, None);
        }
    }

    // ---- to clients

    /// Sends one packet, encoded once, to all that are meant.
    pub(crate) fn send(&self, hub: &Hub, to: &Target, frames: &Frames, volatile: bool) {
        let (mut queued, mut dropped) = (0, 0);
        hub.each(to, |socket| match socket.connection().send(frames.clone(), volatile) {
            Sent::Queued => queued += 1,
            Sent::Dropped => dropped += 1,
            Sent::Closed => {}
        });
        self.count_out(queued);
        self.core.metrics.volatile_dropped.add(dropped);
    }
}
