//! Out of the log: what happens when an entry is read back. The one place where an entry reaches a client.

use crate::codec::args::Args;
use crate::codec::socket_packet::{self, Frames};
use crate::id::{Offset, Room};
use crate::proto::reason::Reason;
use crate::server::client::connection::Sent;
use crate::server::client::handler::{ServerAck, ServerEvent};
use crate::server::client::socket::Socket;
use crate::server::log::entry::{Entry, Posted, RequestId, Target};
use crate::server::log::held::Held;
use crate::server::log::reader::Action;
use crate::server::log::seen::after_first;
use crate::server::log::streams::{Command, Item};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a delivered entry asks for once the hub is released.
pub(crate) enum Deferred {
    Disconnect(Socket, bool),
    ServerEvent(Arc<Posted>),
    Ask(Arc<Posted>, Vec<Socket>),
    Fetch(Arc<str>, RequestId, Vec<Socket>),
    Held(Held),
    Present,
    Run(Action),
}

/// What came of entries that were read.
enum Fed {
    /// They were delivered, or there was nothing to do.
    Delivered(Vec<Deferred>),
    /// Something is missing behind this position.
    Hole(Offset),
}

impl Namespace {
    /// Delivers what was read from a shared log after `after`; an answer to a question that is no longer asked is ignored.
    pub(crate) fn feed(self: &Arc<Self>, after: Offset, items: Vec<Item>) {
        match self.with_hub(|hub| self.feed_hub(hub, after, items)) {
            Fed::Delivered(deferred) => self.run(deferred),
            Fed::Hole(position) => self.lost(position),
        }
    }

    fn feed_hub(&self, hub: &mut Hub, after: Offset, mut items: Vec<Item>) -> Fed {
        let mut deferred = Vec::new();
        let position = hub.reader.position();
        if !hub.reader.is_open() || items.is_empty() {
            return Fed::Delivered(deferred);
        }
        if after == position.before() {
            let Some(rest) = after_first(items, position) else { return Fed::Hole(position) };
            items = rest;
        } else if after != position {
            return Fed::Delivered(deferred);
        }
        let (now, mut cut) = (self.now(), None);
        for (id, posted) in items {
            hub.reader.advance(id);
            cut = self.note_bytes(hub, id, &posted).or(cut);
            if self.is_from_far_ahead(hub, id, &posted, now) {
                continue;
            }
            if !hub.reader.read(id, &posted) {
                self.core.metrics.log_repeats.one();
                // Who asked must hear, also where another program had used the number before.
                if posted.uid == self.core.uid && posted.seq > 0 {
                    self.came_back(hub, posted.seq, &mut deferred);
                }
                continue;
            }
            self.deliver(hub, &posted, Some(id), &mut deferred);
            if posted.uid == self.core.uid && posted.seq > 0 {
                self.came_back(hub, posted.seq, &mut deferred);
            }
        }
        self.cut_off(hub, cut);
        deferred.extend(hub.reader.take_ready().into_iter().map(Deferred::Run));
        Fed::Delivered(deferred)
    }

    fn came_back(&self, hub: &mut Hub, seq: u64, deferred: &mut Vec<Deferred>) {
        if let Some(settled) = hub.reader.came_back(seq) {
            deferred.push(Deferred::Run(Box::new(|| settled(Ok(())))));
        }
        if let Some(ms) = hub.reader.take_time(self.now()) {
            self.core.metrics.delivery.add(ms);
        }
        self.release(hub, deferred);
    }

    /// This server's own entries have come back: what was held for them goes out, before anybody may send without waiting.
    pub(crate) fn release(&self, hub: &mut Hub, deferred: &mut Vec<Deferred>) {
        for held in hub.reader.take_released() {
            match held {
                Held::Packet(socket, frames) if socket.is_in() => socket.send_now(frames),
                // It was removed by an entry before, and hears that next.
                Held::Packet(..) => {}
                Held::Disconnect(..) => deferred.push(Deferred::Held(held)),
            }
        }
        self.returned.store(hub.reader.returned(), Ordering::Release);
    }

    pub(crate) fn deliver(
        &self,
        hub: &mut Hub,
        posted: &Arc<Posted>,
        id: Option<Offset>,
        deferred: &mut Vec<Deferred>,
    ) {
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
            Entry::Join { to, rooms } => self.move_clients(hub, posted, id, to, rooms, Hub::join),
            Entry::Leave { to, rooms } => self.move_clients(hub, posted, id, to, rooms, Hub::leave),
            Entry::Disconnect { to, close } => {
                if let Some(id) = id {
                    hub.reader.keep_command(id, posted);
                }
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
                hub.reader.note_reader(&posted.uid);
                deferred.push(Deferred::Present);
            }
            Entry::Present if !own => hub.reader.note_reader(&posted.uid),
            Entry::Closed => hub.reader.forget_reader(&posted.uid),
            // Those of sessions, inboxes and the control log have no business here.
            Entry::ServerSide { .. }
            | Entry::Marker
            | Entry::Present
            | Entry::Fetched { .. }
            | Entry::ServerAnswer { .. }
            | Entry::Asked { .. }
            | Entry::Answer { .. }
            | Entry::Record(_)
            | Entry::Claim(_)
            | Entry::Ended(..)
            | Entry::Withdrawn(..)
            | Entry::Taken { .. }
            | Entry::Member(_)
            | Entry::Wake => {}
        }
    }

    /// Puts clients into rooms, or takes them out.
    fn move_clients(
        &self,
        hub: &mut Hub,
        posted: &Arc<Posted>,
        id: Option<Offset>,
        to: &Target,
        rooms: &[Room],
        act: fn(&mut Hub, &Socket, &Room),
    ) {
        if let Some(id) = id {
            hub.reader.keep_command(id, posted);
        }
        for socket in hub.matching(to) {
            rooms.iter().for_each(|room| act(hub, &socket, room));
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

    /// With recovery on the event ends with the position of the last entry that was delivered, because the official client takes any trailing
    /// string for an offset.
    pub(crate) fn send_unlogged(&self, hub: &Hub, to: &Target, name: &str, args: &Args, volatile: bool) {
        let offset = self.recovery_ms().map(|_| hub.reader.position());
        let frames = socket_packet::event(self.name().as_str(), None, name, args, offset);
        self.send(hub, to, &frames, volatile);
    }
}
