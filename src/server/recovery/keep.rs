//! Session records in the log: when one is written, how long it lives, how a session ends, and what all that are away may
//! take together.
//!
//! A record is written when the session is first worth keeping (its first room or data, half a second after it began, its first
//! pong, or its end), then at most once per heartbeat, at its end, and a second after its data were changed. While one is on
//! its way a newer one waits for it. What happens to rooms costs no record: the namespace's log tells it.

use crate::id::{Nsp, Offset, Pid, SocketId, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::socket::{EmitError, Socket};
use crate::server::log::Seam;
use crate::server::log::entry::{Entry, Record};
use crate::server::log::streams::{Command, Done, Key, Reply};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use crate::server::rank::{Rank, lock_as};
use crate::server::recovery::kept::OnSaved;
use crate::server::recovery::record::{self, RECORDS};
use crate::server::timers::Timer;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Milliseconds after which a session is worth keeping, whatever its client does.
const WORTH: u64 = 500;
/// Records until a session's stream is tidied.
const UNTIDY: usize = 4;
/// Sessions that were over before they were worth keeping, and are kept even so: so many at once, and so many a second.
/// Whoever connects and hangs up all the time fills no log.
const FRESH_AT_ONCE: u64 = 500;
const FRESH_PER_SECOND: u64 = 20;
/// What a session takes in its stream besides its record's own text.
const OVERHEAD: usize = 768;

/// A session whose client is away.
struct Waiting {
    until: Time,
    nsp: Nsp,
    pid: Pid,
    claim: Offset,
    bytes: usize,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// When the fresh sessions that were kept so far would have come one by one.
    fresh_until: u64,
}

/// The sessions that this server keeps for clients that are away: their bytes are bounded, here and in Redis.
#[derive(Default)]
pub(crate) struct Away(Mutex<Inner>);

impl Away {
    /// Whether one more session is kept that was not worth keeping.
    fn takes_fresh(&self, now: Time) -> bool {
        let mut inner = lock_as(Rank::One, &self.0);
        let until = inner.fresh_until.max(now.0.saturating_mul(FRESH_PER_SECOND));
        let takes = until - now.0.saturating_mul(FRESH_PER_SECOND) < FRESH_AT_ONCE * 1_000;
        inner.fresh_until = until + if takes { 1_000 } else { 0 };
        takes
    }

    /// Adds a session, and gives back those that must go for it, the oldest first.
    fn add(&self, now: Time, most: usize, session: Waiting) -> Vec<Waiting> {
        let mut inner = lock_as(Rank::One, &self.0);
        inner.bytes += session.bytes;
        inner.waiting.push_back(session);
        let mut forgotten = Vec::new();
        while let Some(oldest) = inner.waiting.front() {
            let over = inner.bytes > most;
            if oldest.until > now && !over {
                break;
            }
            if let Some(oldest) = inner.waiting.pop_front() {
                inner.bytes -= oldest.bytes;
                if oldest.until > now {
                    forgotten.push(oldest);
                }
            }
        }
        debug_assert!(inner.bytes <= most, "sessions that are away keep their bound");
        forgotten
    }

    /// Bytes of the sessions that are away, about.
    pub(crate) fn bytes(&self) -> usize {
        lock_as(Rank::One, &self.0).bytes
    }
}

impl Namespace {
    /// How long a session lives from now on: a window after the next pong that does not come.
    pub(crate) fn session_ms(&self) -> u64 {
        self.recovery_ms().unwrap_or(0).saturating_add(self.core.options.heartbeat_ms())
    }

    // ---- writing

    /// A session has begun: it will be worth keeping if it lasts. A log in this process has a record at once, which costs nobody
    /// anything: who loses its connection at once and comes back before that is noticed gets its session.
    pub(crate) fn keep_later(&self, socket: &Socket) {
        if socket.pid().is_none() {
            return;
        }
        if self.core.seam() == Seam::Here {
            self.with_hub(|hub| self.write_record(hub, socket, false));
        }
        self.core.timers.add(self.now().plus(WORTH), Timer::Keep(self.me.clone(), socket.id().clone()));
    }

    /// It has got its first room or data.
    pub(crate) fn keep_first(&self, socket: &Socket) {
        if socket.pid().is_some() && !socket.kept(|kept| kept.is_worth()) {
            self.keep_session(socket);
        }
    }

    /// Writes what has changed, and lets it live.
    pub(crate) fn keep_session(&self, socket: &Socket) {
        if !socket.is_in() {
            return;
        }
        socket.kept(|kept| kept.be_worth());
        self.with_hub(|hub| {
            if hub.has(socket) && socket.kept(|kept| kept.has_news() && kept.may_write()) {
                self.write_record(hub, socket, false);
            }
        });
        self.refresh(socket);
    }

    /// A pong has come: the session's position may have moved, and its record outlives this server by a full window.
    pub(crate) fn keep_alive(&self, socket: &Socket) {
        if socket.pid().is_some() {
            self.keep_session(socket);
            self.tidy(socket);
        }
    }

    /// The socket's data have changed: written now, or as soon as a second has passed since the last record.
    pub(crate) fn keep_data(&self, socket: &Socket) {
        if socket.pid().is_none() || !socket.is_in() {
            return;
        }
        let (due, now) = (socket.kept(|kept| kept.data_due()), self.now());
        match due <= now {
            true => self.keep_session(socket),
            false => self.core.timers.add(due, Timer::Keep(self.me.clone(), socket.id().clone())),
        }
    }

    /// The client is cut off, and out of the hub: its session waits for a window. One that was not worth keeping yet is kept if not
    /// too many come and go like that.
    pub(crate) fn keep_away(&self, hub: &Hub, socket: &Socket) {
        let (Some(window), Some(pid)) = (self.recovery_ms(), socket.pid()) else { return };
        let now = self.now();
        if !socket.kept(|kept| kept.is_worth()) && !self.core.away.takes_fresh(now) {
            self.core.metrics.sessions_forgotten.one();
            return self.end_session(socket);
        }
        let bytes = self.write_record(hub, socket, true);
        let _ = self.submit(Command::Expire { key: Key::Session(pid.clone()), ms: window }, None);
        let (until, claim) = (now.plus(window), socket.kept(|kept| kept.claim()));
        let waiting = Waiting { until, nsp: self.name().clone(), pid: pid.clone(), claim, bytes: bytes + OVERHEAD };
        for oldest in self.core.away.add(now, self.core.options.limits.away_bytes, waiting) {
            self.core.metrics.sessions_forgotten.one();
            self.end(&oldest.nsp, &oldest.pid, oldest.claim);
        }
    }

    /// Puts a session into its stream; its first record makes the stream, a later one must not bring an ended session back.
    /// Gives the bytes that it takes, about.
    fn write_record(&self, hub: &Hub, socket: &Socket, away: bool) -> usize {
        let Some(pid) = socket.pid() else { return 0 };
        let (now, until, names) = (self.now(), hub.reader.position(), (self.name(), socket.id(), pid));
        let (record, first, version) = socket.kept(|kept| kept.record(now, until, names, away));
        let posted = self.core.post(0, Entry::Record(Box::new(record)));
        let bytes = posted.entry.weight();
        let (me, owner) = (self.me.clone(), socket.clone());
        let done: Done = Box::new(move |reply| {
            if let Some(me) = me.upgrade() {
                me.written(&owner, &reply, first, version);
            }
        });
        let _ = self.submit(Command::XAdd { key: Key::Session(pid.clone()), posted, create: first }, Some(done));
        bytes
    }

    /// A record's append was answered. Runs where the reply comes, perhaps with the hub held: it only looks at the socket.
    fn written(&self, socket: &Socket, reply: &Reply, first: bool, version: u64) {
        let ok = matches!(reply, Reply::Added(Some(_)));
        if socket.kept(|kept| kept.was_written(ok, first)) {
            // Something has changed meanwhile. At once would be at a bad place.
            self.core.timers.add(Time(0), Timer::Keep(self.me.clone(), socket.id().clone()));
        }
        if let Reply::Failed(error) = reply {
            let actions = socket.kept(|kept| kept.data_refused(version, EmitError::Log(*error)));
            return actions.into_iter().for_each(|action| self.core.timers.add(Time(0), Timer::Run(action)));
        }
        if !ok {
            return;
        }
        match self.core.seam() {
            // Who waits for data must know that they count: unless another server has claimed the session before.
            Seam::Shared if socket.kept(|kept| kept.awaits_data()) => {
                let (Some(pid), owner, nsp) = (socket.pid(), socket.clone(), self.name().clone()) else { return };
                self.read_session(pid, move |reply| {
                    let claim = owner.kept(|kept| kept.claim());
                    let counts = matches!(reply, Reply::Entries(items) if record::owner(&items, &nsp) <= claim);
                    let actions = owner.kept(|kept| if counts { kept.data_saved(version) } else { kept.give_up() });
                    actions.into_iter().for_each(|action| action());
                });
            }
            Seam::Shared | Seam::Here | Seam::Off => {
                let actions = socket.kept(|kept| kept.data_saved(version));
                debug_assert!(actions.is_empty(), "nobody waits for data here");
            }
        }
    }

    /// Calls back when the session's changes so far are kept.
    pub(crate) fn when_saved(&self, socket: &Socket, saved: OnSaved) {
        if self.recovery_ms().is_none() || self.core.seam() != Seam::Shared {
            return saved(Ok(()));
        }
        if !socket.may_return() {
            return saved(Err(EmitError::Moved));
        }
        let actions = socket.kept(|kept| kept.when_saved(saved));
        actions.into_iter().for_each(|action| action());
        if socket.kept(|kept| kept.awaits_data()) {
            self.keep_data(socket);
        }
    }

    // ---- living on

    /// Lets the session live for a window after the next pong that does not come. One that is not there any more, because the log was away
    /// for longer than that, is written again: its client has just answered. One at a time, so that they don't pile up while it is away.
    pub(crate) fn refresh(&self, socket: &Socket) {
        let (Some(window), Some(pid)) = (self.recovery_ms(), socket.pid()) else { return };
        if !socket.kept(|kept| kept.begins_refresh()) {
            return;
        }
        let (me, owner) = (self.me.clone(), socket.clone());
        let done: Done = Box::new(move |reply| {
            owner.kept(|kept| kept.ends_refresh());
            let (Reply::Existed(false), Some(me)) = (reply, me.upgrade()) else { return };
            if !me.core.log_was_away(window) {
                // It was ended, or flushed, while this server did not look: its client asks anew.
                return me.drop_former(&owner);
            }
            owner.kept(|kept| kept.forget_records());
            me.keep_session(&owner);
        });
        let _ = self.submit(Command::Expire { key: Key::Session(pid.clone()), ms: self.session_ms() }, Some(done));
    }

    /// Reads a session's stream. Commands are carried out in order: what was put into it before is there.
    pub(crate) fn read_session(&self, pid: &Pid, done: impl FnOnce(Reply) + Send + 'static) {
        let read = Command::XRead { key: Key::Session(pid.clone()), after: Offset::ZERO, count: RECORDS };
        let _ = self.submit(read, Some(Box::new(done)));
    }

    /// Forgets the records before the newest, a few at a time. Read first: a claim of another server must not go with them, and is what
    /// tells a former owner that it is one.
    fn tidy(&self, socket: &Socket) {
        let Some(pid) = socket.pid() else { return };
        let records = if self.core.seam() == Seam::Shared { UNTIDY } else { 2 };
        if !socket.kept(|kept| kept.take_untidy(records)) {
            return;
        }
        let (me, owner, key) = (self.me.clone(), socket.clone(), Key::Session(pid.clone()));
        self.read_session(pid, move |reply| {
            let (Reply::Entries(items), Some(me)) = (reply, me.upgrade()) else { return };
            if record::owner(&items, me.name()) > owner.kept(|kept| kept.claim()) {
                me.drop_former(&owner);
            } else if let Some((min, _)) = record::newest_record(&items, record::END, me.name()) {
                let _ = me.submit(Command::XTrim { key, min }, None);
            }
        });
    }

    /// The record of a session whose socket is still here: as new as can be.
    pub(crate) fn record_of(&self, hub: &Hub, socket: &Socket) -> Option<Record> {
        let (now, until, names) = (self.now(), hub.reader.position(), (self.name(), socket.id(), socket.pid()?));
        Some(socket.kept(|kept| kept.record(now, until, names, false)).0)
    }

    // ---- ending

    /// Ends a session on purpose. One that was never written needs no end.
    pub(crate) fn end_session(&self, socket: &Socket) {
        if let (Some(_), Some(pid), false) = (self.recovery_ms(), socket.pid(), socket.kept(|kept| kept.is_new())) {
            self.end(self.name(), pid, socket.kept(|kept| kept.claim()));
        }
    }

    /// Ends the session that is held by `claim`. Other servers may have claimed it without this one knowing: then it goes on. So the end is
    /// an entry like others, and only a stream that this server owns is deleted.
    fn end(&self, nsp: &Nsp, pid: &Pid, claim: Offset) {
        let (nsp, core, key) = (nsp.clone(), self.core.clone(), Key::Session(pid.clone()));
        let posted = self.core.post(0, Entry::Ended(nsp.clone(), claim));
        let _ = self.submit(Command::XAdd { key: key.clone(), posted, create: false }, None);
        self.read_session(pid, move |reply| {
            if let Reply::Entries(items) = reply
                && !items.is_empty()
                && record::owner(&items, &nsp) <= claim
            {
                let _ = core.streams.submit((core.clock)(), Command::Expire { key, ms: 0 }, None);
            }
        });
    }

    /// The control log says that a session has a new owner.
    pub(crate) fn taken(&self, sid: &SocketId, claim: Offset) {
        let former = self.with_hub(|hub| {
            if hub.restoring.get(sid).is_some_and(|ours| *ours < claim) {
                hub.restoring.remove(sid);
            }
            hub.sockets.get(sid).filter(|socket| socket.kept(|kept| kept.claim()) < claim).cloned()
        });
        if let Some(former) = former {
            self.drop_former(&former);
        }
    }

    /// Another server has the session now: the dead socket goes without touching rooms or record.
    pub(crate) fn drop_former(&self, socket: &Socket) {
        let here = self.with_hub(|hub| {
            let here = hub.has(socket);
            if here {
                hub.remove(socket);
            }
            here
        });
        if here {
            socket.connection().handle(self.now(), Input::Abort(Reason::TransportClose));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(until: u64, bytes: usize) -> Waiting {
        let pid = Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap();
        Waiting { until: Time(until), nsp: Nsp::new("/"), pid, claim: Offset::ZERO, bytes }
    }

    #[test]
    fn sessions_that_are_away_are_bounded_in_bytes() {
        let away = Away::default();
        assert!(away.add(Time(0), 100, waiting(10, 60)).is_empty());
        assert_eq!(away.add(Time(1), 100, waiting(11, 60)).len(), 1, "the oldest goes");
        assert!(away.add(Time(11), 100, waiting(21, 60)).is_empty(), "what has expired needs no end");
        assert_eq!(away.bytes(), 60);
        assert_eq!(away.add(Time(12), 100, waiting(22, 101)).len(), 2, "one too large for the bound goes too");
    }

    #[test]
    fn who_comes_and_goes_is_kept_so_many_times_a_second() {
        let away = Away::default();
        let now = Time(1_000_000);
        assert_eq!((0..5_000).filter(|_| away.takes_fresh(now)).count(), FRESH_AT_ONCE as usize);
        let later = now.plus(1_000);
        assert_eq!((0..5_000).filter(|_| away.takes_fresh(later)).count(), FRESH_PER_SECOND as usize);
    }
}
