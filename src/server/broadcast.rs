//! Who gets a packet, in the official words: `to`, `except`, `volatile`, `local`, and what can be done with those clients.
//!
//! An event that is neither volatile nor local is appended to the namespace's log first where recovery is on, so that a client that is away
//! gets it when it comes back.

use super::connection::Sent;
use super::entry::{Entry, Target};
use super::handler::AckError;
use super::lock;
use super::namespace::Namespace;
use super::socket::{EmitError, Socket};
use crate::codec::args::Args;
use crate::codec::socket_packet;
use crate::id::Room;
use std::sync::{Arc, Mutex};

/// What came back from a broadcast that asked for acknowledgements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acks {
    /// The answers, in the order in which they came.
    pub answers: Vec<Args>,
    /// How many clients did not answer in time, or left.
    pub missing: usize,
}

/// A set of clients, and how to send to them.
#[derive(Clone)]
pub struct Broadcast {
    namespace: Arc<Namespace>,
    target: Target,
    volatile: bool,
    local: bool,
    timeout_ms: Option<u64>,
}

impl Broadcast {
    pub(super) fn new(namespace: &Arc<Namespace>, target: Target) -> Broadcast {
        Broadcast { namespace: namespace.clone(), target, volatile: false, local: false, timeout_ms: None }
    }

    /// Adds the clients of `room`; without any room everybody is meant.
    #[must_use]
    pub fn to(mut self, room: impl Into<Room>) -> Broadcast {
        self.target.rooms.push(room.into());
        self
    }

    /// Leaves the clients of `room` out.
    #[must_use]
    pub fn except(mut self, room: impl Into<Room>) -> Broadcast {
        self.target.except.push(room.into());
        self
    }

    /// Only clients that can take the packet now get it; it is not kept for those who are away.
    #[must_use]
    pub fn volatile(mut self) -> Broadcast {
        self.volatile = true;
        self
    }

    /// Only clients of this server; events are not kept for those who are away.
    #[must_use]
    pub fn local(mut self) -> Broadcast {
        self.local = true;
        self
    }

    /// How long [`Broadcast::emit_with_ack`] waits, in milliseconds.
    #[must_use]
    pub fn timeout(mut self, ms: u64) -> Broadcast {
        self.timeout_ms = Some(ms);
        self
    }

    /// Sends an event.
    pub fn emit(self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        match self.volatile || self.local {
            true => self.namespace.emit_direct(&self.target, name, &args.into(), self.volatile),
            false => self.namespace.emit(self.target, name, args.into(), None),
        }
    }

    /// Sends an event and collects the clients' answers; `on_acks` is called once, when all have answered, left, or the time is over
    /// (5 s unless [`Broadcast::timeout`] says otherwise). Never replayed to clients that are away.
    pub fn emit_with_ack(
        self,
        name: &str,
        args: impl Into<Args>,
        on_acks: impl FnOnce(Acks) + Send + 'static,
    ) -> Result<(), EmitError> {
        let args = args.into();
        self.namespace.check(name, &args)?;
        let sockets = self.sockets();
        if sockets.is_empty() {
            on_acks(Acks::default());
            return Ok(());
        }
        let id = self.namespace.next_ack();
        let frames = socket_packet::event(self.namespace.name().as_str(), Some(id), name, &args, None);
        let collector = Collector::new(sockets.len(), Box::new(on_acks));
        for socket in sockets {
            let answer = collector.clone();
            let on_ack = Box::new(move |result| Collector::add(&answer, result));
            if socket.expect_ack(id, Some(self.timeout_ms.unwrap_or(5_000)), on_ack).is_err() {
                Collector::add(&collector, Err(AckError::Disconnected));
            } else if socket.connection().send(&frames, self.volatile) != Sent::Queued {
                socket.acked(id, Err(AckError::Disconnected));
            } else {
                self.namespace.count_out(1);
            }
        }
        Ok(())
    }

    /// The clients that are meant, on this server.
    #[must_use]
    pub fn sockets(&self) -> Vec<Socket> {
        self.namespace.matching(&self.target)
    }

    /// The clients that are meant, on all servers; a single server knows them at once.
    pub fn fetch_sockets(&self, on_sockets: impl FnOnce(Vec<Socket>)) {
        on_sockets(self.sockets());
    }

    /// Makes the clients join rooms; those who are away join when they come back.
    pub fn sockets_join(self, rooms: Vec<Room>) -> Result<(), EmitError> {
        self.command(|to| Entry::Join { to, rooms })
    }

    /// Makes the clients leave rooms; those who are away leave when they come back.
    pub fn sockets_leave(self, rooms: Vec<Room>) -> Result<(), EmitError> {
        self.command(|to| Entry::Leave { to, rooms })
    }

    /// Removes the clients from the namespace; with `close` their connections are closed too.
    pub fn disconnect_sockets(self, close: bool) -> Result<(), EmitError> {
        self.command(|to| Entry::Disconnect { to, close })
    }

    fn command(self, entry: impl FnOnce(Target) -> Entry) -> Result<(), EmitError> {
        let entry = entry(self.target);
        match self.local {
            true => self.namespace.apply_local(&entry),
            false => return self.namespace.publish(entry),
        }
        Ok(())
    }
}

type OnAcks = Box<dyn FnOnce(Acks) + Send>;

/// Collects the answers to one broadcast.
struct Collector {
    awaited: usize,
    acks: Acks,
    on_acks: Option<OnAcks>,
}

impl Collector {
    fn new(awaited: usize, on_acks: OnAcks) -> Arc<Mutex<Collector>> {
        Arc::new(Mutex::new(Collector { awaited, acks: Acks::default(), on_acks: Some(on_acks) }))
    }

    fn add(this: &Mutex<Collector>, answer: Result<Args, AckError>) {
        let mut collector = lock(this);
        match answer {
            Ok(args) => collector.acks.answers.push(args),
            Err(AckError::Timeout | AckError::Disconnected) => collector.acks.missing += 1,
        }
        collector.awaited = collector.awaited.saturating_sub(1);
        if collector.awaited > 0 {
            return;
        }
        let acks = std::mem::take(&mut collector.acks);
        let on_acks = collector.on_acks.take();
        drop(collector);
        if let Some(on_acks) = on_acks {
            on_acks(acks);
        }
    }
}
