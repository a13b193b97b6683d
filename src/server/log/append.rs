//! Into the log: how an entry of this server's gets there, and what must wait until it has come back.

use crate::codec::args::Args;
use crate::codec::socket_packet::{self, Frames};
use crate::id::{Room, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::socket::{EmitError, Socket};
use crate::server::log::entry::{Entry, EventRef, Target};
use crate::server::log::reader::Held;
use crate::server::log::streams::{Command, Done, Reply, StreamError};
use crate::server::log::{Deferred, Seam};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use crate::server::timers::Timer;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

impl Namespace {
    /// Appends an entry, to be delivered when it comes back from the log; without a log it is delivered right away.
    pub(crate) fn publish(&self, entry: Entry) -> Result<(), EmitError> {
        match self.core.seam() {
            Seam::Off => self.apply_local(entry),
            Seam::Here => self.publish_here(entry)?,
            Seam::Shared => self.with_hub(|hub| self.append(hub, entry, None).map(drop))?,
        }
        Ok(())
    }

    /// As `publish`, of a room that `socket` enters or leaves: known to it as under way until it has come back.
    pub(crate) fn publish_room(&self, socket: &Socket, room: Room, enters: bool) -> Result<(), EmitError> {
        let (to, rooms) = (socket.only(), vec![room.clone()]);
        let entry = if enters { Entry::Join { to, rooms } } else { Entry::Leave { to, rooms } };
        match self.core.seam() {
            Seam::Off => self.apply_local(entry),
            Seam::Here => self.publish_here(entry)?,
            Seam::Shared => self.with_hub(|hub| {
                let seq = self.append(hub, entry, Some(socket))?;
                socket.change_begun(seq, room, enters);
                Ok(())
            })?,
        }
        Ok(())
    }

    /// A log in this process has no other writer: with the hub held, what is appended is what would be read.
    fn publish_here(&self, entry: Entry) -> Result<(), EmitError> {
        let (now, posted) = (self.now(), self.core.post(0, entry));
        let deferred = self.with_hub(|hub| {
            if hub.reader.is_retired() {
                return Err(EmitError::NamespaceGone);
            }
            let mut deferred = Vec::new();
            if let Some(id) = self.core.streams.append_here(now, &self.key, &posted) {
                hub.reader.advance(id);
                self.deliver(hub, &posted, Some(id), &mut deferred);
            }
            Ok(deferred)
        })?;
        self.core.metrics.log_appends.one();
        self.run(deferred);
        Ok(())
    }

    /// Publishes an event.
    pub(crate) fn publish_event(&self, to: Target, name: &str, args: Args) -> Result<(), EmitError> {
        match self.core.seam() {
            Seam::Off => self.emit_here(&to, name, &args, false),
            Seam::Here => {
                let event = EventRef { rooms: &to.rooms, except: &to.except, name, args: &args };
                self.publish_event_here(event, |hub, frames| self.send(hub, &to, &frames, false))
            }
            Seam::Shared => self.publish(Entry::Broadcast { to, name: name.into(), args }),
        }
    }

    /// As `publish_event`, to a single client. What is sent to it besides the log waits for this.
    pub(crate) fn publish_event_to(&self, socket: &Socket, name: &str, args: Args) -> Result<(), EmitError> {
        if self.core.seam() == Seam::Shared {
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
        self.with_hub(|hub| {
            if hub.reader.is_retired() {
                return Err(EmitError::NamespaceGone);
            }
            if let Some(id) = self.core.streams.append_event(now, &self.key, &self.core.uid, event) {
                hub.reader.advance(id);
                deliver(hub, packet.finish(self.recovery_ms().map(|_| id)));
            }
            Ok(())
        })?;
        self.core.metrics.log_appends.one();
        Ok(())
    }

    /// As `publish`, for an entry that `socket` gets: what is sent to it besides the log waits for this.
    pub(crate) fn publish_to(&self, socket: &Socket, entry: Entry) -> Result<(), EmitError> {
        self.publish(entry)?;
        socket.expect_own(self.sent.load(Ordering::Acquire));
        Ok(())
    }

    /// With the hub held: numbers and order must agree. Gives the entry's number; `changed` is told if the log refuses it.
    fn append(&self, hub: &mut Hub, entry: Entry, changed: Option<&Socket>) -> Result<u64, EmitError> {
        if hub.reader.is_retired() {
            return Err(EmitError::NamespaceGone);
        }
        // A volatile event waits for nothing, and nothing waits for it.
        let volatile = matches!(entry, Entry::Passing { .. });
        let seq = if volatile { 0 } else { hub.reader.next_number() };
        let taken = Arc::new(AtomicBool::new(false));
        let done = (!volatile).then(|| self.on_refusal(seq, changed.cloned(), taken.clone()));
        let command = Command::XAdd { key: self.key(), posted: self.core.post(seq, entry), create: true };
        match self.submit(command, done) {
            Ok(()) => {
                taken.store(true, Ordering::Release);
                hub.reader.was_sent(self.now(), seq);
                self.sent.store(hub.reader.sent(), Ordering::Release);
                self.core.metrics.log_appends.one();
                Ok(seq)
            }
            Err(error) => {
                self.core.metrics.log_failures.one();
                Err(EmitError::Log(error))
            }
        }
    }

    /// What an append does when the log refuses it later: nobody may wait for an entry that never comes back. Seen to a
    /// moment later, because a reply may come while the hub is held; not `taken`, it never had a number of its own.
    fn on_refusal(&self, seq: u64, changed: Option<Socket>, taken: Arc<AtomicBool>) -> Done {
        let me = self.me.clone();
        Box::new(move |reply| {
            let (Reply::Failed(error), Some(me)) = (reply, me.upgrade()) else { return };
            let core = me.core.clone();
            let refused = move || {
                if taken.load(Ordering::Acquire) {
                    me.refused(seq, changed.as_ref(), error);
                }
            };
            core.timers.add(Time(0), Timer::Run(Box::new(refused)));
        })
    }

    fn refused(&self, seq: u64, changed: Option<&Socket>, error: StreamError) {
        self.core.metrics.log_failures.one();
        let deferred = self.with_hub(|hub| {
            let mut deferred = Vec::new();
            hub.reader.was_refused(seq);
            self.release(hub, &mut deferred);
            deferred
        });
        self.run(deferred);
        if let Some(socket) = changed {
            socket.change_failed(seq, error).into_iter().for_each(|action| action());
        }
    }

    pub(crate) fn submit(&self, command: Command, done: Option<Done>) -> Result<(), StreamError> {
        self.core.streams.submit(self.now(), command, done)
    }

    /// Carries out an entry for the clients of this server alone.
    pub(crate) fn apply_local(&self, entry: Entry) {
        let posted = self.core.post(0, entry);
        let deferred = self.with_hub(|hub| {
            let mut deferred = Vec::new();
            self.deliver(hub, &posted, None, &mut deferred);
            deferred
        });
        self.run(deferred);
    }

    // ---- what must not overtake

    /// Does what does not go through the log once this server's entry number `seq` has come back. A client that makes more
    /// wait than may wait for a client is cut: it recovers when the log and it are back.
    pub(crate) fn hold(&self, seq: u64, held: Held) {
        let client = match &held {
            Held::Packet(socket, _) | Held::Disconnect(socket, _) => socket.clone(),
        };
        let weight = held.weight();
        let kept = self.with_hub(|hub| {
            if seq <= hub.reader.returned() || self.core.seam() != Seam::Shared {
                return Ok(vec![Deferred::Held(held)]);
            }
            // What one client makes wait is bounded before what all do.
            if client.holds(weight) > self.core.options.limits.unsent_bytes {
                return Err(());
            }
            hub.reader.hold(seq, held).map_or(Ok(Vec::new()), |_| Err(()))
        });
        match kept {
            Ok(deferred) => self.run(deferred),
            Err(()) => drop(client.connection().handle(self.now(), Input::Abort(Reason::TransportError))),
        }
    }
}

impl Held {
    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Held::Packet(_, frames) => {
                let all = std::iter::once(&frames.first).chain(&frames.rest);
                all.map(|frame| frame.websocket().len()).sum::<usize>() + size_of::<Held>()
            }
            Held::Disconnect(..) => size_of::<Held>(),
        }
    }

    /// Whom it is for.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Held::Packet(socket, _) | Held::Disconnect(socket, _) => socket,
        }
    }
}
