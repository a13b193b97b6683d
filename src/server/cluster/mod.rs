//! The servers that share a log: heartbeats in the control log say who is there, inboxes carry answers, and both say which sessions have a
//! new owner.
//!
//! A server that is silent is dropped by the clock of this server's own heartbeats: while those don't come back, it is the log that is away.

pub(crate) mod proof;
pub(crate) mod remote;
pub(crate) mod requests;

use crate::id::{Nsp, Offset, SocketId, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::log::entry::{Entry, Member, Posted};
use crate::server::log::seen::{Numbers, Samples, after_first};
use crate::server::log::streams::{Command, Done, Item, Key, Reply, StreamError};
use crate::server::notice::Notice;
use crate::server::options::UNNAMED;
use crate::server::rank::{Rank, lock_as};
use crate::server::{Core, Server};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Milliseconds between two heartbeats.
const BEAT: u64 = 2_000;
/// Milliseconds without a heartbeat after which a server counts as dead.
const DEAD: u64 = 8_000;
/// Milliseconds between two heartbeats after which somebody with this server's name is told: who has just been started again under it may
/// have left one behind.
const TWIN: u64 = 1_000;
/// Milliseconds that the control log and inboxes are kept.
const KEPT: u64 = 60_000;

/// Milliseconds between two lines about the same.
const TOLD_AGAIN: u64 = 60_000;
/// Logs that the reader has not heard of; it asks all the time, where there is one.
const FRESH: usize = 1_000_000;

/// What a server reads besides the logs of its namespaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Control,
    Inbox,
}

/// How far it has been read.
#[derive(Default)]
struct Reader {
    position: Option<Offset>,
    opening: bool,
    samples: Samples,
    seen: Numbers,
}

impl Reader {
    /// What may be forgotten.
    fn old(&mut self, now: Time) -> Option<Offset> {
        if let Some(position) = self.position {
            self.samples.add(now, position);
        }
        self.samples.take_older(now, KEPT)
    }
}

struct Seen {
    member: Member,
    at: Time,
    /// When the heartbeat was signed.
    signed: Time,
    /// Since when it can't be reached, and when that was last told.
    unreachable: Option<(Time, Time)>,
    /// It has this server's name, and that was told.
    twin: bool,
    /// What is unlikely about its address was told.
    told: bool,
}

#[derive(Default)]
struct State {
    control: Reader,
    inbox: Reader,
    members: HashMap<Arc<str>, Seen>,
    /// When this server's own heartbeat last came back.
    own: Time,
    next_beat: Time,
    /// A heartbeat waits to be written: no second one is put behind it.
    beating: bool,
    address: Box<str>,
    /// The number of the last entry to each inbox and to the control log.
    sent: HashMap<Key, u64>,
    /// Logs that have been opened since [`Server::fresh_logs`] was last asked.
    fresh: Vec<Key>,
    /// When somebody was last told of who had not proved to be of this cluster.
    unproved: Option<Time>,
}

/// Takes a heartbeat, and gives what there is to be said of it.
fn hear_of(core: &Core, state: &mut State, uid: &Arc<str>, member: &Member, now: Time) -> Vec<Notice> {
    let signed = match &core.options.cluster_secret {
        None => Some(now),
        Some(secret) => proof::verify(secret, uid, member, now),
    };
    let before = state.members.get(uid);
    let is_secret = core.options.cluster_secret.is_some();
    // A copy of the last one says nothing, and one of an earlier one is none of this server's.
    if is_secret && before.is_some_and(|seen| signed == Some(seen.signed)) {
        return Vec::new();
    }
    let Some(signed) = signed.filter(|at| !is_secret || before.is_none_or(|seen| seen.signed < *at)) else {
        let tell = state.unproved.is_none_or(|told| now.since(told) >= TOLD_AGAIN);
        core.metrics.log_unreadable.one();
        if tell {
            state.unproved = Some(now);
        }
        return if tell { vec![Notice::HeartbeatUnproved { server: member.name.to_string() }] } else { Vec::new() };
    };
    let own = &state.address;
    let unlikely = !own.is_empty() && (member.address == *own || is_loopback(&member.address) != is_loopback(own));
    let (unreachable, told) = before.map_or((None, false), |seen| (seen.unreachable, seen.told));
    // A server that announces something else now may be reached there.
    let moved = before.is_some_and(|seen| seen.member.address != member.address);
    let notice = Notice::AddressUnlikely {
        server: member.name.to_string(),
        address: member.address.to_string(),
        own: own.to_string(),
    };
    let unreachable = unreachable.filter(|_| !moved);
    let say = unlikely && !member.address.is_empty() && (!told || moved);
    let (twin, since) = before.map_or((false, 0), |seen| (seen.twin, now.since(seen.at)));
    let meets = !twin && since >= TWIN && core.is_named() && *member.name == *core.options.name;
    let seen = Seen { member: member.clone(), at: now, signed, unreachable, twin: twin || meets, told: told || say };
    state.members.insert(uid.clone(), seen);
    let same = Notice::SameName { name: member.name.to_string(), address: member.address.to_string() };
    [(say, notice), (meets, same)].into_iter().filter(|(tell, _)| *tell).map(|(_, notice)| notice).collect()
}

/// Whether only this machine reaches the address.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl State {
    fn reader(&mut self, side: Side) -> &mut Reader {
        match side {
            Side::Control => &mut self.control,
            Side::Inbox => &mut self.inbox,
        }
    }
}

/// What this server knows of the others.
#[derive(Default)]
pub(crate) struct Cluster(Mutex<State>);

/// A server of the cluster, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its unique name in the log.
    pub uid: Arc<str>,
    /// What it says of itself.
    pub member: Member,
    /// Milliseconds since its last heartbeat.
    pub age: u64,
    /// For how many milliseconds this server can't reach it at the address that it announces.
    pub unreachable: Option<u64>,
}

impl Core {
    /// An entry in this server's name.
    pub(crate) fn post(&self, seq: u64, entry: Entry) -> Arc<Posted> {
        Arc::new(Posted { uid: self.uid.clone(), seq, entry })
    }

    fn side_key(&self, side: Side) -> Key {
        match side {
            Side::Control => Key::Control,
            Side::Inbox => Key::Inbox(self.uid.clone()),
        }
    }

    /// Appends to an inbox or to the control log, each with its own numbers. False: it has not been taken.
    fn post_numbered(&self, key: Key, entry: Entry) -> bool {
        let mut state = lock_as(Rank::One, &self.cluster.0);
        let seq = state.sent.entry(key.clone()).or_default();
        *seq += 1;
        let posted = self.post(*seq, entry);
        // With the lock held: numbers and order must agree.
        // Another's inbox is its own to make: an answer to somebody who is gone must not stay for ever.
        let create = !matches!(&key, Key::Inbox(uid) if *uid != self.uid);
        self.streams.submit((self.clock)(), Command::XAdd { key, posted, create }, None).is_ok()
    }

    pub(crate) fn post_to_inbox(&self, uid: &Arc<str>, entry: Entry) -> bool {
        self.post_numbered(Key::Inbox(uid.clone()), entry)
    }

    /// The reader must look at one more log: it may be waiting for others.
    pub(crate) fn begin_to_read(&self, key: &Key) {
        if self.streams.shared() {
            let mut state = lock_as(Rank::One, &self.cluster.0);
            if state.fresh.len() < FRESH {
                state.fresh.push(key.clone());
            }
            drop(state);
            self.post_to_inbox(&self.uid, Entry::Wake);
        }
    }

    pub(crate) fn announce_taken(&self, nsp: &Nsp, sid: &SocketId, claim: Offset) {
        if self.streams.shared() {
            let taken = Entry::Taken { nsp: nsp.clone(), sid: sid.clone(), claim };
            self.post_numbered(Key::Control, taken);
        }
    }

    /// The last entry of the control log that was read; zero: none.
    pub(crate) fn control_position(&self) -> Offset {
        lock_as(Rank::One, &self.cluster.0).control.position.unwrap_or(Offset::ZERO)
    }

    /// Whether this is another server that lives.
    pub(crate) fn is_alive(&self, uid: &str) -> bool {
        lock_as(Rank::One, &self.cluster.0).members.contains_key(uid)
    }

    /// Whether this server's own heartbeats did not come back for as long as sessions last: then they are gone because nobody could renew them.
    pub(crate) fn log_was_away(&self, window: u64) -> bool {
        !self.streams.shared() || (self.clock)().since(lock_as(Rank::One, &self.cluster.0).own) >= window
    }

    /// Those of `uids` that live.
    pub(crate) fn alive(&self, uids: &HashSet<Arc<str>>) -> Vec<Arc<str>> {
        let state = lock_as(Rank::One, &self.cluster.0);
        uids.iter().filter(|uid| state.members.contains_key(*uid)).cloned().collect()
    }

    /// Whether this server was given a name.
    fn is_named(&self) -> bool {
        self.options.name != UNNAMED
    }

    /// A server's name, for people.
    pub(crate) fn server_name(&self, uid: &str) -> String {
        let state = lock_as(Rank::One, &self.cluster.0);
        match state.members.get(uid) {
            Some(seen) if !seen.member.name.is_empty() => seen.member.name.to_string(),
            _ if *uid == *self.uid => self.options.name.clone(),
            _ => uid.to_owned(),
        }
    }
}

impl Server {
    /// Where other servers reach this one, `host:port`; told to them with the next heartbeat.
    pub(crate) fn set_address(&self, address: &str) {
        lock_as(Rank::One, &self.core().cluster.0).address = address.into();
    }

    /// The other servers that live.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let now = self.now();
        let state = lock_as(Rank::One, &self.core().cluster.0);
        let neighbour = |(uid, seen): (&Arc<str>, &Seen)| Neighbour {
            uid: uid.clone(),
            member: seen.member.clone(),
            age: now.since(seen.at),
            unreachable: seen.unreachable.map(|(since, _)| now.since(since)),
        };
        let mut all: Vec<Neighbour> = state.members.iter().map(neighbour).collect();
        all.sort_by(|a, b| (&a.member.name, &a.uid).cmp(&(&b.member.name, &b.uid)));
        all
    }

    /// The address of the server whose session this is, by the tag that its id begins with; `None`: of no server that lives.
    pub(crate) fn owner_address(&self, sid: &str) -> Option<Box<str>> {
        let state = lock_as(Rank::One, &self.core().cluster.0);
        let is_owner = |seen: &&Seen| !seen.member.tag.is_empty() && sid.starts_with(&*seen.member.tag);
        let owner = state.members.values().find(is_owner)?;
        Some(owner.member.address.clone()).filter(|address| !address.is_empty())
    }

    /// Whether a request could be passed on to the server that announces this address, or why not.
    pub(crate) fn reached(&self, address: &str, result: Result<(), String>) {
        let now = self.now();
        let mut state = lock_as(Rank::One, &self.core().cluster.0);
        let Some(seen) = state.members.values_mut().find(|seen| *seen.member.address == *address) else { return };
        let Err(reason) = result else {
            seen.unreachable = None;
            return;
        };
        self.metrics().unreachable.one();
        let (since, told) = seen.unreachable.map_or((now, None), |(since, told)| (since, Some(told)));
        let tell = told.is_none_or(|told| now.since(told) >= TOLD_AGAIN);
        seen.unreachable = Some((since, if tell { now } else { told.unwrap_or(now) }));
        let server = seen.member.name.to_string();
        drop(state);
        if tell {
            self.log(&Notice::Unreachable { server, address: address.to_owned(), reason });
        }
    }

    /// The log has been reached and all that must be read is being read: clients may come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if !self.core().streams.shared() {
            return true;
        }
        let state = lock_as(Rank::One, &self.core().cluster.0);
        // Its own heartbeat has come back: so have the others' answers to its marker, most likely.
        let ready = state.control.position.is_some() && state.inbox.position.is_some() && state.own > Time(0);
        drop(state);
        ready && self.namespaces().iter().all(|namespace| namespace.is_dynamic() || namespace.cursor().is_some())
    }

    /// What the reader of a shared log has to read, each with the position after which to read. That is the last entry that is known; a
    /// reader that may be late reads the logs `again` from that entry on, which must come first: else entries were trimmed before they were
    /// read, and `Server::feed` ends the sessions here before anything behind the hole is delivered.
    #[must_use]
    pub fn cursors(&self, again: bool) -> Vec<(Key, Offset)> {
        let core = self.core();
        let mut state = lock_as(Rank::One, &core.cluster.0);
        let mut cursors = Vec::new();
        for side in [Side::Control, Side::Inbox] {
            cursors.extend(state.reader(side).position.map(|position| (core.side_key(side), position)));
        }
        drop(state);
        for namespace in self.namespaces() {
            let after = |position: Offset| if again { position.before() } else { position };
            cursors.extend(namespace.cursor().map(|position| (namespace.key(), after(position))));
        }
        cursors
    }

    /// The logs that have been opened since this was last asked: `Server::cursors` has them too.
    #[must_use]
    pub(crate) fn fresh_logs(&self) -> Vec<Key> {
        std::mem::take(&mut lock_as(Rank::One, &self.core().cluster.0).fresh)
    }

    /// The streams beside the logs that this server reads.
    #[must_use]
    pub(crate) fn side_keys(&self) -> [Key; 2] {
        [Side::Control, Side::Inbox].map(|side| self.core().side_key(side))
    }

    /// One of what is read can't be read any more: something else has its name, or it is not permitted.
    pub(crate) fn unreadable(&self, key: &Key) {
        match key {
            Key::Log(nsp) => {
                if let Some(namespace) = self.namespace(nsp) {
                    namespace.unreadable();
                }
            }
            Key::Control => lock_as(Rank::One, &self.core().cluster.0).control.position = None,
            Key::Inbox(_) => lock_as(Rank::One, &self.core().cluster.0).inbox.position = None,
            Key::Session(_) => {}
        }
    }

    /// Where one of the `Server::cursors` stands; `None`: it is not read any more, or not now.
    #[must_use]
    pub(crate) fn cursor(&self, key: &Key, again: bool) -> Option<Offset> {
        match key {
            Key::Log(nsp) => {
                let position = self.namespace(nsp)?.cursor()?;
                Some(if again { position.before() } else { position })
            }
            Key::Control => lock_as(Rank::One, &self.core().cluster.0).control.position,
            Key::Inbox(_) => lock_as(Rank::One, &self.core().cluster.0).inbox.position,
            Key::Session(_) => None,
        }
    }

    /// Takes what was read from a shared log after `after`, one of the [`Server::cursors`].
    pub(crate) fn feed(&self, now: Time, key: &Key, after: Offset, items: Vec<Item>) {
        self.watch_clock(now);
        match key {
            Key::Log(nsp) => {
                if let Some(namespace) = self.namespace(nsp) {
                    namespace.feed(after, items);
                }
            }
            Key::Control => self.feed_cluster(now, after, items, Side::Control),
            Key::Inbox(_) => self.feed_cluster(now, after, items, Side::Inbox),
            Key::Session(_) => {}
        }
    }

    fn feed_cluster(&self, now: Time, after: Offset, items: Vec<Item>, side: Side) {
        let core = self.core();
        for (id, posted) in items {
            let mut state = lock_as(Rank::One, &core.cluster.0);
            let reader = state.reader(side);
            if reader.position.is_none_or(|position| position < after || position >= id) {
                return;
            }
            reader.position = Some(id);
            if !reader.seen.is_new(&posted) {
                continue;
            }
            match &posted.entry {
                Entry::Member(_) if posted.uid == core.uid => state.own = now,
                // A newcomer wants to know who is there.
                Entry::Marker if side == Side::Control && posted.uid != core.uid => {
                    let address = state.address.clone();
                    drop(state);
                    self.beat(address);
                }
                Entry::Member(member) => {
                    let notices = hear_of(core, &mut state, &posted.uid, member, now);
                    drop(state);
                    notices.iter().for_each(|notice| core.log(notice));
                }
                // Anybody can say that somebody else goes: where servers prove themselves, silence tells.
                Entry::Closed if core.options.cluster_secret.is_none() => drop(state.members.remove(&posted.uid)),
                Entry::Closed => {}
                Entry::Taken { nsp, sid, claim } => {
                    drop(state);
                    if let Some(namespace) = self.namespace(nsp) {
                        namespace.taken(sid, *claim);
                    }
                }
                entry => {
                    drop(state);
                    core.requests.heard(&posted.uid, entry.clone());
                }
            }
        }
    }

    /// What a server that shares its log does from time to time, at least twice a second.
    pub(crate) fn tend_cluster(&self, now: Time) {
        if !self.core().streams.shared() {
            return;
        }
        self.open_reader(Side::Control);
        self.open_reader(Side::Inbox);
        let core = self.core();
        let mut state = lock_as(Rank::One, &core.cluster.0);
        if now < state.next_beat || state.control.position.is_none() {
            return;
        }
        state.next_beat = now.plus(BEAT);
        let own = state.own;
        state.members.retain(|_, seen| own.since(seen.at) < DEAD);
        let trims = [Side::Control, Side::Inbox].map(|side| (core.side_key(side), state.reader(side).old(now)));
        let beats = !std::mem::replace(&mut state.beating, true);
        let address = state.address.clone();
        drop(state);
        if beats {
            self.beat(address);
        }
        for (key, min) in trims {
            if let Some(min) = min {
                let _ = core.streams.submit(now, Command::XTrim { key, min }, None);
            }
        }
        self.check_reader(Side::Control);
        self.check_reader(Side::Inbox);
        self.namespaces().iter().for_each(|namespace| namespace.check_log());
    }

    fn beat(&self, address: Box<str>) {
        let core = self.core();
        let clients = self.connection_count();
        let (name, tag) = (core.options.name.as_str().into(), core.tag.as_str().into());
        let mut member = Member { name, tag, address, clients, proof: Box::default() };
        if let Some(secret) = &core.options.cluster_secret {
            member.proof = proof::sign(secret, &core.uid, &member, self.now());
        }
        core.post_numbered(Key::Control, Entry::Member(member));
        let me = self.clone();
        let done: Done = Box::new(move |_| lock_as(Rank::One, &me.core().cluster.0).beating = false);
        // Both die with the last that reads them.
        let _ = core.streams.submit(self.now(), Command::Expire { key: Key::Control, ms: KEPT }, None);
        let expire = Command::Expire { key: core.side_key(Side::Inbox), ms: KEPT };
        let _ = core.streams.submit(self.now(), expire, Some(done));
    }

    /// Begins to read the control log or the inbox: a marker's id is the first position.
    fn open_reader(&self, side: Side) {
        let core = self.core();
        let mut state = lock_as(Rank::One, &core.cluster.0);
        let reader = state.reader(side);
        if reader.position.is_some() || std::mem::replace(&mut reader.opening, true) {
            return;
        }
        drop(state);
        let me = self.clone();
        let done: Done = Box::new(move |reply| {
            let mut state = lock_as(Rank::One, &me.core().cluster.0);
            let reader = state.reader(side);
            reader.opening = false;
            if let Reply::Added(Some(marker)) = reply {
                reader.position = Some(marker);
            }
        });
        let (key, posted) = (core.side_key(side), core.post(0, Entry::Marker));
        let _ = core.streams.submit(self.now(), Command::XAdd { key, posted, create: true }, Some(done));
    }

    /// What the reader has read last must still be there; else the stream was flushed or expired, and ids may have gone backwards.
    fn check_reader(&self, side: Side) {
        let core = self.core();
        let position = lock_as(Rank::One, &core.cluster.0).reader(side).position;
        let Some(position) = position else { return };
        let me = self.clone();
        let done: Done = Box::new(move |reply| {
            let mut state = lock_as(Rank::One, &me.core().cluster.0);
            let reader = state.reader(side);
            let gone = match reply {
                Reply::Entries(items) => after_first(items, position).is_none(),
                // Something else has its name by now.
                Reply::Failed(StreamError::Refused) => true,
                _ => false,
            };
            if gone && reader.position.is_some_and(|now| now >= position) {
                reader.position = None;
                reader.samples.clear();
            }
        });
        let read = Command::XRead { key: core.side_key(side), after: position.before(), count: 1 };
        let _ = core.streams.submit(self.now(), read, Some(done));
    }

    /// A server that stood still for longer than a heartbeat may take delivers nothing more to its clients: they are elsewhere by now, or
    /// come back.
    pub(crate) fn watch_clock(&self, now: Time) {
        let last = self.core().looked.fetch_max(now.0, Ordering::Relaxed);
        let still = now.since(Time(last));
        if last == 0 || still <= self.options().heartbeat_ms() || !self.core().streams.shared() {
            return;
        }
        let connections = self.connections();
        // It may have been stopped for so long.
        if connections.is_empty() {
            return;
        }
        self.log(&Notice::StoodStill { seconds: still / 1_000 });
        for connection in connections {
            connection.handle(now, Input::Abort(Reason::TransportClose));
        }
    }

    /// Takes notice that a shared log has refused a command of this server. Whoever carries commands to the log calls this, beside what hears
    /// the reply.
    pub(crate) fn refused(&self, command: &Command, error: StreamError) {
        let Command::XAdd { key, posted, .. } = command else { return };
        match key {
            Key::Log(nsp) => {
                if let Some(namespace) = self.namespace(nsp) {
                    namespace.not_written(posted.seq, error);
                }
            }
            // They are read from where they begin, and made again where they are missing.
            Key::Control | Key::Inbox(_) | Key::Session(_) if error == StreamError::Exhausted => {
                let delete = Command::Expire { key: key.clone(), ms: 0 };
                let _ = self.core().streams.submit(self.now(), delete, None);
            }
            Key::Control | Key::Inbox(_) | Key::Session(_) => {}
        }
    }

    /// What a log that has no memory left can be given back: commands that cut the logs which this server reads.
    #[must_use]
    pub(crate) fn make_room(&self) -> Vec<Command> {
        self.namespaces().iter().filter_map(|namespace| namespace.make_room()).collect()
    }

    /// Tells the others that this server goes.
    pub(crate) fn leave_cluster(&self) {
        if self.core().streams.shared() {
            self.core().post_numbered(Key::Control, Entry::Closed);
        }
    }
}
