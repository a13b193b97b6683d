//! A client's CONNECT to a namespace, carried out: `recovery/returning.rs` decides, this file does what it says.
//!
//! One [`Joining`] per CONNECT goes from step to step; what a step has to wait for takes it along and hands it back.

use crate::codec::socket_packet::{self, Frames};
use crate::id::{Offset, SocketId, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input as SessionInput;
use crate::server::Server;
use crate::server::client::connection::Connection;
use crate::server::client::handler::{ConnectError, Next};
use crate::server::client::socket::Socket;
use crate::server::log::entry::Entry;
use crate::server::log::seen::after_first;
use crate::server::log::streams::{Command, Item, Key, LARGE_PAGE, PAGE, Reply};
use crate::server::metrics::RefusedReturn;
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use crate::server::notice::Notice;
use crate::server::recovery::kept::Place;
use crate::server::recovery::record::{self, Claim, Refused, Request, Session};
use crate::server::recovery::replay::Bounds;
use crate::server::recovery::returning::{Input, Output, Returning, Rules, View};
use crate::server::timers::Timer;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Characters of a namespace in the log that somebody made up.
const NAMED: usize = 64;

impl Server {
    /// A client asks to join a namespace.
    pub(crate) fn connect(&self, connection: &Arc<Connection>, nsp: &str, auth: Option<&str>) {
        let limits = &self.options().limits;
        let refuse = |message: &str| {
            self.note_refused(connection, nsp, message);
            connection.refuse(nsp, socket_packet::connect_error(nsp, message, None));
        };
        if nsp.len() > limits.name_bytes {
            return refuse("Namespace name too long");
        }
        if auth.is_some_and(|auth| auth.len() > limits.auth_bytes) {
            return refuse("auth too large");
        }
        if connection.namespaces() > limits.namespaces_per_client {
            return refuse("Too many namespaces");
        }
        let Some(namespace) = self.resolve(nsp) else { return refuse("Invalid namespace") };
        let auth = auth.unwrap_or("{}");
        let recovery = self.options().recovery.as_ref();
        let request = recovery.map(|_| Request::from_auth(auth)).unwrap_or_default();
        let rules = Rules {
            skip_middlewares: recovery.is_some_and(|recovery| recovery.skip_middlewares),
            needs_offset: recovery.is_some_and(|recovery| !recovery.without_offset),
            // Half of what may wait for a client: binary grows by a third on a client that takes base64 only.
            bounds: Bounds { bytes: limits.unsent_bytes / 2, entries: limits.replay_entries },
        };
        let (returning, output) = Returning::begin(rules, &request);
        let (server, connection) = (self.clone(), connection.clone());
        let joining = Joining {
            server,
            connection,
            namespace,
            auth: auth.into(),
            request,
            returning,
            socket: None,
            hold: None,
            end: Offset::ZERO,
        };
        Box::new(joining).carry_out(output);
    }

    fn note_refused(&self, connection: &Connection, nsp: &str, reason: &str) {
        self.log(&Notice::JoinRefused {
            address: connection.handshake.address.to_string(),
            namespace: nsp.chars().take(NAMED).collect(),
            reason: reason.to_owned(),
        });
    }
}

/// A session that this server has claimed and not let in. While it lives, no other claim may come between.
struct Hold {
    namespace: Arc<Namespace>,
    sid: SocketId,
    claim: Offset,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.namespace.with_hub(|hub| {
            if hub.restoring.get(&self.sid) == Some(&self.claim) {
                hub.restoring.remove(&self.sid);
            }
        });
    }
}

/// A CONNECT under way.
struct Joining {
    server: Server,
    connection: Arc<Connection>,
    /// Held by `resolve` until this is over.
    namespace: Arc<Namespace>,
    auth: Box<str>,
    request: Request,
    returning: Returning,
    socket: Option<Socket>,
    hold: Option<Hold>,
    /// Where the reader stood when the hub was held last.
    end: Offset,
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.hold = None;
        self.server.release(&self.namespace);
    }
}

impl Joining {
    /// Something has happened: on with it.
    fn go_on(mut self: Box<Self>, input: Input<'_>) {
        let output = self.returning.handle(input);
        self.carry_out(output);
    }

    fn carry_out(mut self: Box<Self>, mut output: Output) {
        loop {
            output = match output {
                Output::Claim => {
                    (self.socket, self.hold) = (None, None);
                    return self.claim();
                }
                Output::Restore(session) => {
                    self.make_socket(Some(&session));
                    self.returning.handle(Input::Rested)
                }
                Output::Ask(session) => {
                    self.make_socket(session.as_deref());
                    return self.ask(0);
                }
                Output::Anew(refused) => {
                    self.count_refused(refused);
                    (self.socket, self.hold) = (None, None);
                    self.returning.handle(Input::Rested)
                }
                Output::Find(id) => {
                    let namespace = self.namespace.clone();
                    return namespace.find(id, Box::new(move |found| self.go_on(Input::Found(found))));
                }
                Output::Wait(position) => {
                    let namespace = self.namespace.clone();
                    return namespace.when_read(position, Box::new(move || self.go_on(Input::Reached)));
                }
                Output::Look => self.look(),
                Output::Read(from) => return self.read(from),
                Output::Rest => {
                    let server = self.server.clone();
                    let later = move || self.go_on(Input::Rested);
                    return server.timers().add(Time(0), Timer::Run(Box::new(later)));
                }
                Output::End => return,
                Output::Commands(..) | Output::Enter(_) | Output::EnterNew(_) => {
                    debug_assert!(false, "needs the hub");
                    return;
                }
            };
        }
    }

    // ---- the claim

    /// Appends a claim, and reads the session with it.
    fn claim(mut self: Box<Self>) {
        let (namespace, core) = (self.namespace.clone(), self.server.core().clone());
        let Some(pid) = self.request.pid.clone() else { return };
        let seq = core.next_claim.fetch_add(1, Ordering::Relaxed);
        let (key, posted) = (Key::Session(pid.clone()), core.post(seq, Entry::Claim(namespace.name().clone())));
        let _ = namespace.submit(Command::XAdd { key: key.clone(), posted, create: false }, None);
        // A client that comes back at the last moment: its session must not die before the first refresh arrives.
        let _ = namespace.submit(Command::Expire { key, ms: namespace.session_ms() }, None);
        namespace.read_session(&pid, move |reply| {
            let claimed = self.claimed(seq, reply);
            self.go_on(Input::Claimed(claimed));
        });
    }

    fn claimed(&mut self, seq: u64, reply: Reply) -> Result<Box<Session>, Refused> {
        let Reply::Entries(items) = reply else { return Err(Refused::LogUnavailable) };
        let (namespace, core) = (&self.namespace, self.server.core());
        let key = Key::Session(self.request.pid.clone().ok_or(Refused::UnknownSession)?);
        let ours = |(_, posted): &Item| posted.uid == core.uid && posted.seq == seq;
        match record::judge(&items, namespace.name(), ours) {
            Claim::Refused(refused) => Err(refused),
            Claim::Crowded(min) => {
                let _ = namespace.submit(Command::XTrim { key, min }, None);
                Err(Refused::Contested)
            }
            Claim::Withdrawn(claim) => {
                let posted = core.post(0, Entry::Withdrawn(namespace.name().clone(), claim));
                let _ = namespace.submit(Command::XAdd { key, posted, create: false }, None);
                Err(Refused::Shared)
            }
            Claim::Granted(session, newest) => {
                // What is older than the newest record says nothing more; claims that came after it stay.
                let _ = namespace.submit(Command::XTrim { key, min: newest }, None);
                self.take(session)
            }
        }
    }

    /// Takes the session from a connection that still looks alive here, and tells the others that it is ours.
    fn take(&mut self, mut session: Box<Session>) -> Result<Box<Session>, Refused> {
        let (namespace, claim, sid) = (&self.namespace, session.claim, session.record.sid.clone());
        let evicted = namespace.with_hub(|hub| {
            if hub.restoring.get(&sid).is_some_and(|other| *other > claim) {
                return Err(Refused::Contested);
            }
            let evicted = hub.sockets.get(&sid).cloned();
            if let Some(old) = &evicted {
                let held = old.kept(|kept| kept.claim());
                if held > claim {
                    return Err(Refused::Contested);
                }
                hub.remove(old);
                // Who owns it knows more than the record.
                if let Some(record) = namespace.record_of(hub, old).filter(|_| held >= session.record.claim) {
                    session.record = record;
                }
            }
            hub.restoring.insert(sid.clone(), claim);
            Ok(evicted)
        })?;
        self.server.core().announce_taken(namespace.name(), &sid, claim);
        self.hold = Some(Hold { namespace: namespace.clone(), sid, claim });
        // The connection that carried it so far goes at once, and without a word to its client.
        if let Some(old) = evicted.filter(|old| !Arc::ptr_eq(old.connection(), &self.connection)) {
            old.connection().handle(self.server.now(), SessionInput::Abort(Reason::TransportClose));
        }
        Ok(session)
    }

    // ---- the middlewares

    fn make_socket(&mut self, session: Option<&Session>) {
        let record = session.map(|session| &session.record);
        self.socket = Some(Socket::new(&self.connection, &self.namespace, &self.auth, record));
    }

    /// Asks the middlewares from `index` on, one after the other.
    fn ask(self: Box<Self>, index: usize) {
        let Some(socket) = self.socket.clone() else { return };
        let Some(middleware) = self.namespace.middleware(index) else { return self.go_on(Input::Verdict(true)) };
        let decide = move |verdict: Result<(), ConnectError>| match verdict {
            Ok(()) => self.ask(index + 1),
            Err(error) => {
                let nsp = self.namespace.name().as_str();
                let data = error.data.as_ref().and_then(|data| serde_json::value::to_raw_value(data).ok());
                self.server.note_refused(&self.connection, nsp, &error.message);
                self.connection.refuse(nsp, socket_packet::connect_error(nsp, &error.message, data.as_deref()));
                self.go_on(Input::Verdict(false));
            }
        };
        middleware(&socket, Next::new(Box::new(decide)));
    }

    // ---- the replay, and the door

    /// Holds the hub for as long as nothing has to be waited for.
    fn look(&mut self) -> Output {
        let namespace = self.namespace.clone();
        let mut entered = false;
        let output = namespace.with_hub(|hub| {
            let mut output = Output::Look;
            loop {
                output = match output {
                    Output::Look => {
                        self.end = hub.reader.position();
                        self.returning.handle(Input::View(View {
                            position: hub.reader.cursor(),
                            whole_from: hub.reader.whole_from(),
                            held: self.hold.as_ref().and_then(|hold| hub.restoring.get(&hold.sid)).copied(),
                            doubles: hub.reader.doubles(),
                        }))
                    }
                    Output::Commands(from, to) => self.returning.handle(Input::Commands(hub.reader.commands(from, to))),
                    Output::Read(from) => match namespace.at_hand(hub.reader.tail_after(from, PAGE), from) {
                        Some(page) => self.returning.handle(Input::Page(page, self.end)),
                        None => return Output::Read(from),
                    },
                    Output::Enter(entry) => {
                        let place = Place {
                            since: entry.session.record.since,
                            confirmed: entry.start,
                            base: entry.found.rooms_at_start.into(),
                            rooms: entry.found.rooms.into(),
                            changed: entry.found.changed,
                            stale: entry.session.record.stale,
                            doubtful: entry.session.record.doubtful,
                            claim: entry.session.claim,
                            taken: entry.session.taken,
                        };
                        entered = self.enter(hub, place, true, entry.found.missed);
                        self.returning.handle(Input::Entered)
                    }
                    Output::EnterNew(new) => {
                        let here = hub.reader.position();
                        let place = Place {
                            since: here,
                            confirmed: here,
                            changed: here,
                            stale: new.stale,
                            doubtful: new.doubtful,
                            ..Place::default()
                        };
                        entered = self.enter(hub, place, false, Vec::new());
                        self.returning.handle(Input::Entered)
                    }
                    other => return other,
                };
            }
        });
        if entered {
            self.announce();
        }
        output
    }

    /// Lets the client in, with the hub held: the answer to its CONNECT, what it missed, and everything from then on. So no
    /// entry is in both halves or in neither. False: it is gone; its session can be claimed again.
    fn enter(&self, hub: &mut Hub, place: Place, is_stored: bool, missed: Vec<Frames>) -> bool {
        let Some(socket) = &self.socket else { return false };
        let pid = socket.pid().map(|pid| pid.as_str());
        let answer = socket_packet::connect(self.namespace.name().as_str(), socket.id().as_str(), pid);
        let count = missed.len();
        // Before the answer goes out: the client's next packet may be here at once.
        socket.admitted(place, is_stored);
        if !self.connection.admit(socket, missed, answer) {
            socket.not_admitted();
            return false;
        }
        hub.insert(socket);
        self.namespace.count_out(count);
        true
    }

    fn announce(&self) {
        let Some(socket) = &self.socket else { return };
        match socket.recovered() {
            true => {
                self.namespace.keep_session(socket);
                let metrics = self.server.metrics();
                metrics.recoveries_granted.one();
                metrics.replay.add(self.server.now().since(socket.joined()));
                self.server.log(&Notice::Recovered { id: socket.id().clone() });
            }
            false => self.namespace.keep_later(socket),
        }
        socket.announce();
    }

    /// Reads a page of a shared log.
    fn read(self: Box<Self>, from: Offset) {
        let namespace = self.namespace.clone();
        let read = Command::XRead { key: namespace.key(), after: from.before(), count: LARGE_PAGE + 1 };
        let done = move |reply| match reply {
            Reply::Entries(items) => {
                let end = self.end;
                self.go_on(Input::Page(after_first(items, from), end));
            }
            _ => self.go_on(Input::Unanswered),
        };
        let _ = namespace.submit(read, Some(Box::new(done)));
    }

    fn count_refused(&self, reason: Refused) {
        let nsp = self.namespace.name();
        self.server.metrics().refuse_return(RefusedReturn {
            at: self.server.now(),
            nsp: nsp.clone(),
            id: self.socket.as_ref().map(|socket| socket.id().clone()),
            address: self.connection.handshake.address.clone(),
            reason,
        });
        self.server.log(&Notice::ReturnedAsNew { namespace: nsp.clone(), reason });
    }
}
