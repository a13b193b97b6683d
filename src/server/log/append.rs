//! Into the log: how an entry of this server's gets there, and what must wait until it has come back.

use crate::codec::args::Args;
use crate::codec::socket_packet::{self, Frames};
use crate::id::Room;
use crate::server::client::socket::{EmitError, Socket};
use crate::server::log::Seam;
use crate::server::log::entry::{Entry, EventRef, Target};
use crate::server::log::streams::{Command, Done, StreamError};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use std::slice;
use std::sync::atomic::Ordering;

impl Namespace {
    /// Appends an entry, to be delivered when it comes back from the log; without a log it is delivered right away.
    pub(crate) fn publish(&self, entry: Entry) -> Result<(), EmitError> {
        match self.core.seam() {
            Seam::Off => self.apply_local(entry),
            Seam::Here => self.publish_here(entry)?,
            Seam::Shared => self.with_hub(|hub| self.append(hub, entry).map(drop))?,
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
                let (seq, changed) = (self.append(hub, entry)?, socket.clone());
                socket.change_begun(seq, room, enters);
                hub.reader.ask(seq, Box::new(move |result| changed.change_settled(seq, result)));
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
        let told = self.with_hub(|hub| {
            if hub.reader.is_retired() {
                return Err(EmitError::NamespaceGone);
            }
            if let Some(id) = self.core.streams.append_event(now, &self.key, &self.core.uid, event) {
                hub.reader.advance(id);
                deliver(hub, packet.finish(self.recovery_ms().map(|_| id)));
            }
            Ok(self.told_of(hub, event))
        })?;
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

    /// With the hub held: numbers and order must agree. Gives the entry's number.
    pub(crate) fn append(&self, hub: &mut Hub, entry: Entry) -> Result<u64, EmitError> {
        if hub.reader.is_retired() {
            return Err(EmitError::NamespaceGone);
        }
        // A volatile event waits for nothing, and nothing waits for it.
        let seq = if let Entry::Passing { .. } = entry { 0 } else { hub.reader.next_number() };
        let command = Command::XAdd { key: self.key(), posted: self.core.post(seq, entry), create: true };
        match self.submit(command, None) {
            Ok(()) => {
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
}
