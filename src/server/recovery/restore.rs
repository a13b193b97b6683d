//! A client's session in the log: its records, and the way back of a client that was away. What is to be computed is in
//! [`recovery`](crate::server::recovery::record); here it is put into commands.
//!
//! A return: a claim is appended and the session read in one write; the log is replayed from where the client stopped to this server's own
//! position; under the hub's lock the rest is added and the client let in. So no entry is in both halves or in neither.

use crate::codec::socket_packet;
use crate::id::{Offset, Pid, SocketId, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::connection::Connection;
use crate::server::client::socket::{EmitError, Position, Socket};
use crate::server::lock;
use crate::server::log::entry::{Entry, Record};
use crate::server::log::seen::after_first;
use crate::server::log::streams::{Command, Done, Item, Key, LARGE_PAGE, Reply, StreamError};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use crate::server::recovery::record::{self, Refused, Replay, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries of a session's stream: far more than there ever are, because they are tidied.
const RECORDS: usize = 256;
/// Records until a session's stream is tidied without waiting for a pong.
pub(crate) const UNTIDY: usize = 16;

/// A session that this server has claimed and may restore. While it lives, no other claim may come between.
pub(crate) struct Claimed {
    pub(crate) record: Record,
    claim: Offset,
    offset: Option<Offset>,
    namespace: Arc<Namespace>,
    evicted: Option<Socket>,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut hub = lock(&self.namespace.hub);
        if hub.restoring.get(&self.record.sid) == Some(&self.claim) {
            hub.restoring.remove(&self.record.sid);
        }
    }
}

impl Claimed {
    /// Drops the connection that still carried the session: at once, and without a word to its client.
    pub(crate) fn drop_evicted(&mut self, taker: &Arc<Connection>, now: Time) {
        if let Some(old) = self.evicted.take()
            && !Arc::ptr_eq(old.connection(), taker)
        {
            old.connection().handle(now, Input::Abort(Reason::TransportClose));
        }
    }
}

/// Hears whether a session could be claimed.
type OnClaimed = Box<dyn FnOnce(Result<Claimed, Refused>) + Send>;

/// Hears how a return ended: `Ok(false)`, the client is gone.
pub(crate) type OnAdmitted = Box<dyn FnOnce(Result<bool, Refused>) + Send>;

impl Namespace {
    // ---- records

    /// Puts a client's session into its stream. Its first record makes the stream; a later one must not bring an ended session back.
    pub(crate) fn write_record(&self, hub: &Hub, socket: &Socket) -> Result<(), StreamError> {
        if let (Some(_), Some(pid)) = (self.recovery_ms(), socket.pid())
            && let Some((record, first)) = socket.record(hub.position)
        {
            let posted = self.core.post(0, record);
            return self.submit(Command::XAdd { key: Key::Session(pid.clone()), posted, create: first }, None);
        }
        Ok(())
    }

    /// Calls back when the session's records so far are in the log.
    pub(crate) fn when_saved(&self, socket: &Socket, saved: Box<dyn FnOnce(Result<(), EmitError>) + Send>) {
        match socket.pid().filter(|_| self.core.streams.shared()) {
            Some(pid) => {
                let (nsp, claim) = (self.name().clone(), socket.claim());
                // The records count unless another claim came before.
                self.read_session(pid, move |reply| match reply {
                    Reply::Entries(items) if record::owner(&items, &nsp) <= claim => saved(Ok(())),
                    Reply::Failed(error) => saved(Err(EmitError::Log(error))),
                    _ => saved(Err(EmitError::Moved)),
                });
            }
            None => saved(Ok(())),
        }
    }

    /// Reads a session's stream. Commands are carried out in order: what was put into it before is there.
    fn read_session(&self, pid: &Pid, done: impl FnOnce(Reply) + Send + 'static) {
        let read = Command::XRead { key: Key::Session(pid.clone()), after: Offset::ZERO, count: RECORDS };
        let _ = self.submit(read, Some(Box::new(done)));
    }

    /// Ends a session on purpose. Other servers may have claimed it without this one knowing: then it goes on. So the end is an entry like
    /// others, and only a stream that this server owns is deleted.
    pub(crate) fn end_session(&self, socket: &Socket) {
        let (Some(_), Some(pid)) = (self.recovery_ms(), socket.pid()) else { return };
        let key = Key::Session(pid.clone());
        let delete = Command::Expire { key: key.clone(), ms: 0 };
        if !self.core.streams.shared() {
            let _ = self.submit(delete, None);
            return;
        }
        let (nsp, claim, core) = (self.name().clone(), socket.claim(), self.core.clone());
        let posted = self.core.post(0, Entry::Ended(nsp.clone(), claim));
        let _ = self.submit(Command::XAdd { key, posted, create: false }, None);
        self.read_session(pid, move |reply| {
            if let Reply::Entries(items) = reply
                && record::owner(&items, &nsp) <= claim
            {
                let _ = core.streams.submit((core.clock)(), delete, None);
            }
        });
    }

    /// A pong has come: the session's position may have moved, and its record outlives this server by a full window.
    pub(crate) fn keep_alive(self: &Arc<Self>, socket: &Socket) {
        let hub = lock(&self.hub);
        if !hub.has(socket) {
            return;
        }
        if socket.has_moved() {
            let _ = self.write_record(&hub, socket);
        }
        drop(hub);
        self.refresh(socket);
        self.tidy(socket, 2);
    }

    /// Lets the session live for a window after the next pong that does not come. One that is not there any more, because the log was away
    /// for longer than that, is written again: its client has just answered. One at a time, so that they don't pile up while it is away.
    fn refresh(self: &Arc<Self>, socket: &Socket) {
        let (Some(window), Some(pid)) = (self.recovery_ms(), socket.pid()) else { return };
        if !socket.begins_refresh() {
            return;
        }
        let expire = Command::Expire { key: Key::Session(pid.clone()), ms: self.session_ms() };
        let (me, owner, again) = (self.clone(), socket.clone(), expire.clone());
        let done: Done = Box::new(move |reply| {
            owner.ends_refresh();
            if let Reply::Existed(false) = reply {
                if !me.core.log_was_away(window) {
                    // It was ended, or flushed, while this server did not look: its client asks anew.
                    return me.drop_former(&owner);
                }
                let hub = lock(&me.hub);
                if hub.has(&owner) {
                    owner.forget_records();
                    let _ = me.write_record(&hub, &owner);
                    let _ = me.submit(again, None);
                }
            }
        });
        let _ = self.submit(expire, Some(done));
    }

    /// How long a session lives from now on: a window after the next pong that does not come.
    fn session_ms(&self) -> u64 {
        self.recovery_ms().unwrap_or(0).saturating_add(self.core.options.heartbeat_ms())
    }

    /// Forgets the records before the newest. Read first: a claim of another server must not go with them, and is what tells a former owner
    /// that it is one. Not worth it for less than `records`; where they are in memory, they cost more than the look.
    pub(crate) fn tidy(self: &Arc<Self>, socket: &Socket, records: usize) {
        let (Some(_), Some(pid)) = (self.recovery_ms(), socket.pid()) else { return };
        let records = if self.core.streams.shared() { records } else { 2 };
        if !socket.take_untidy(records) {
            return;
        }
        let (me, owner, key) = (self.clone(), socket.clone(), Key::Session(pid.clone()));
        self.read_session(pid, move |reply| {
            let Reply::Entries(items) = reply else { return };
            if record::owner(&items, me.name()) > owner.claim() {
                me.drop_former(&owner);
            } else if let Some((min, _)) = record::newest_record(&items, record::END, me.name()) {
                let _ = me.submit(Command::XTrim { key, min }, None);
            }
        });
    }

    /// Another server has the session now: the dead socket goes without touching rooms or record.
    fn drop_former(&self, socket: &Socket) {
        let mut hub = lock(&self.hub);
        let here = hub.has(socket);
        if here {
            hub.remove(socket);
        }
        drop(hub);
        if here {
            socket.connection().handle(self.now(), Input::Abort(Reason::TransportClose));
        }
    }

    /// The control log says that a session has a new owner.
    pub(crate) fn taken(&self, sid: &SocketId, claim: Offset) {
        let mut hub = lock(&self.hub);
        if hub.restoring.get(sid).is_some_and(|ours| *ours < claim) {
            hub.restoring.remove(sid);
        }
        let former = hub.sockets.get(sid).filter(|socket| socket.claim() < claim).cloned();
        drop(hub);
        if let Some(former) = former {
            self.drop_former(&former);
        }
    }

    // ---- the way back

    /// Claims the session that a client asks for.
    pub(crate) fn claim(self: &Arc<Self>, request: Request, then: OnClaimed) {
        let (me, pid) = (self.clone(), request.pid.clone());
        let seq = self.core.next_claim.fetch_add(1, Ordering::Relaxed);
        let posted = self.core.post(seq, Entry::Claim(self.name().clone()));
        let key = Key::Session(pid.clone());
        let _ = self.submit(Command::XAdd { key: key.clone(), posted, create: false }, None);
        // A client that comes back at the last moment: its session must not die before the first refresh arrives.
        let _ = self.submit(Command::Expire { key, ms: self.session_ms() }, None);
        self.read_session(&pid, move |reply| then(me.claimed(&request, seq, reply)));
    }

    /// Reads what there is to claim, with our own claim in it, and takes the session from a connection that still looks alive here.
    fn claimed(self: &Arc<Self>, request: &Request, seq: u64, reply: Reply) -> Result<Claimed, Refused> {
        let Reply::Entries(items) = reply else { return Err(Refused::LogUnavailable) };
        let key = Key::Session(request.pid.clone());
        if items.len() >= RECORDS {
            // Nobody comes back so often: each claim would make the log send all of them again.
            let _ = self.submit(Command::Expire { key, ms: 0 }, None);
            return Err(Refused::UnknownSession);
        }
        let ours = |(_, posted): &&Item| posted.uid == self.core.uid && posted.seq == seq;
        // A claim that was repeated, because its first answer was lost, counts where it stands last.
        let (claim, _) = items.iter().rev().find(ours).ok_or(Refused::UnknownSession)?;
        let (newest, record) = record::newest_record(&items, *claim, self.name()).ok_or(Refused::UnknownSession)?;
        // What is older than the newest record says nothing more; claims that came after it stay.
        let _ = self.submit(Command::XTrim { key, min: newest }, None);
        let mut hub = lock(&self.hub);
        let later = record::owner(&items, self.name()) > *claim;
        if later || hub.restoring.get(&record.sid).is_some_and(|other| other > claim) {
            return Err(Refused::Contested);
        }
        let evicted = hub.sockets.get(&record.sid).cloned();
        if let Some(old) = &evicted {
            if old.claim() > *claim {
                return Err(Refused::Contested);
            }
            hub.remove(old);
        }
        hub.restoring.insert(record.sid.clone(), *claim);
        drop(hub);
        self.core.announce_taken(self.name(), &record.sid, *claim);
        let (record, offset) = (record.clone(), request.offset);
        Ok(Claimed { record, claim: *claim, offset, namespace: self.clone(), evicted })
    }

    /// Lets a client in: the answer to its CONNECT, what it missed, and everything from then on.
    pub(crate) fn admit(self: &Arc<Self>, socket: &Socket, claimed: Option<Claimed>, done: OnAdmitted) {
        match claimed {
            Some(claimed) => Restore { socket: socket.clone(), claimed, done }.begin(),
            None => {
                let (me, socket) = (self.clone(), socket.clone());
                let offset = Request::from_auth(socket.auth()).and_then(|request| request.offset);
                let enter = Box::new(move |floor| me.enter_new(socket, floor, done));
                let me = self.clone();
                self.when_ready(Box::new(move || me.when_past(offset, enter)));
            }
        }
    }

    /// Lets a client in without a session of its own, at the log's position, if there is one at this moment. A return from before `floor`
    /// will be refused.
    fn enter_new(self: &Arc<Self>, socket: Socket, floor: Offset, done: OnAdmitted) {
        let mut hub = lock(&self.hub);
        if !hub.reading.ready {
            drop(hub);
            let me = self.clone();
            return self.when_ready(Box::new(move || me.enter_new(socket, floor, done)));
        }
        let here = Position { since: hub.position, confirmed: hub.position, floor, ..Position::default() };
        let admitted = self.enter(&mut hub, &socket, here, None);
        drop(hub);
        self.refresh(&socket);
        done(Ok(admitted));
    }

    fn enter(self: &Arc<Self>, hub: &mut Hub, socket: &Socket, position: Position, replay: Option<Replay>) -> bool {
        let (missed, stays) = replay.map(Replay::finish).unwrap_or_default();
        let pid = socket.pid().map(|pid| pid.as_str());
        let answer = socket_packet::connect(self.name().as_str(), socket.id().as_str(), pid);
        let count = missed.len();
        if !socket.connection().admit(socket, missed, answer) {
            return false;
        }
        socket.admitted(position, stays);
        hub.insert(socket);
        let _ = self.write_record(hub, socket);
        self.count_out(count);
        true
    }
}

/// A return that is under way.
struct Restore {
    socket: Socket,
    claimed: Claimed,
    done: OnAdmitted,
}

impl Restore {
    fn namespace(&self) -> Arc<Namespace> {
        self.claimed.namespace.clone()
    }

    fn end(self, how: Result<bool, Refused>) {
        let Restore { claimed, done, .. } = self;
        drop(claimed);
        done(how);
    }

    fn fail(self, refused: Refused) {
        self.end(Err(refused));
    }

    /// The server that the client comes from may have read further than this one. Its rooms and the client's offset speak of what is not here
    /// yet: it is looked up, because clients make offsets up, and waited for.
    fn begin(self) {
        let namespace = self.namespace();
        let (applied, position) = (self.claimed.record.applied, namespace.position());
        let furthest = self.claimed.offset.map_or(applied, |offset| offset.max(applied));
        if furthest <= position || !namespace.core.streams.shared() {
            return self.start();
        }
        let read = Command::XRead { key: namespace.key(), after: furthest.before(), count: 1 };
        self.submit(read, move |mut restore, items| match after_first(items, furthest) {
            Some(_) => namespace.when_read(furthest, Box::new(move || restore.start())),
            None if furthest > applied => {
                restore.claimed.offset = None;
                restore.begin();
            }
            None => restore.fail(Refused::Gap),
        });
    }

    fn start(self) {
        let namespace = self.namespace();
        let Claimed { record, claim, offset, .. } = &self.claimed;
        let options = &namespace.core.options;
        let needs_offset = options.recovery.as_ref().is_some_and(|recovery| !recovery.without_offset);
        let hub = lock(&namespace.hub);
        let (position, whole_from) = (hub.position, hub.reading.whole_from);
        drop(hub);
        let start = match record::start(record, *offset, position, needs_offset) {
            Ok(start) if record.since >= whole_from => start,
            Ok(_) => return self.fail(Refused::Gap),
            Err(refused) => return self.fail(refused),
        };
        let position = Position {
            since: record.since,
            confirmed: start,
            floor: record.floor,
            claim: *claim,
            written: true,
            ..Position::default()
        };
        // Half of what may wait for a client: binary grows by a third on a client that takes base64 only.
        let replay = Replay::new(record, start, options.limits.unsent_bytes / 2);
        self.advance(position, replay);
    }

    /// Replays page by page. Most of a long replay is read while others go on; the rest, under the lock, is what came meanwhile.
    fn advance(self, position: Position, mut replay: Replay) {
        let namespace = self.namespace();
        loop {
            let from = replay.cursor();
            let hub = lock(&namespace.hub);
            if from >= hub.position {
                drop(hub);
                return self.finish(position, replay);
            }
            let Some(page) = namespace.recent(&hub, from) else { break };
            let end = hub.position;
            drop(hub);
            if let Err(refused) = page.and_then(|page| replay.page(page, end)) {
                return self.fail(refused);
            }
        }
        let from = replay.cursor();
        let read = Command::XRead { key: namespace.key(), after: from.before(), count: LARGE_PAGE + 1 };
        self.submit(read, move |restore, items| {
            let hub = lock(&namespace.hub);
            let end = hub.position;
            replay.skip(&hub.reading.doubles);
            drop(hub);
            let done = after_first(items, from).ok_or(Refused::Gap).and_then(|page| replay.page(page, end));
            match done {
                Ok(()) => restore.advance(position, replay),
                Err(refused) => restore.fail(refused),
            }
        });
    }

    fn finish(self, position: Position, mut replay: Replay) {
        let namespace = self.namespace();
        let mut hub = lock(&namespace.hub);
        // The log has lost entries: what is still true is seen when it is open again.
        if !hub.reading.ready {
            drop(hub);
            return namespace.when_ready(Box::new(move || self.start()));
        }
        // It was opened anew meanwhile.
        if position.since < hub.reading.whole_from {
            drop(hub);
            return self.fail(Refused::Gap);
        }
        // Claimed by somebody else since.
        if hub.restoring.get(&self.claimed.record.sid) != Some(&self.claimed.claim) {
            drop(hub);
            return self.fail(Refused::Contested);
        }
        while replay.cursor() < hub.position {
            let Some(page) = namespace.recent(&hub, replay.cursor()) else {
                drop(hub);
                return self.advance(position, replay);
            };
            if let Err(refused) = page.and_then(|page| replay.page(page, hub.position)) {
                drop(hub);
                return self.fail(refused);
            }
        }
        let admitted = namespace.enter(&mut hub, &self.socket, position, Some(replay));
        drop(hub);
        namespace.refresh(&self.socket);
        self.end(Ok(admitted));
    }

    /// Reads, and goes on with what came.
    fn submit(self, read: Command, then: impl FnOnce(Restore, Vec<Item>) + Send + 'static) {
        let namespace = self.namespace();
        let done: Done = Box::new(move |reply| match reply {
            Reply::Entries(items) => then(self, items),
            _ => self.fail(Refused::LogUnavailable),
        });
        let _ = namespace.submit(read, Some(done));
    }
}
