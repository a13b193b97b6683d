//! What does not go through the log, and must not overtake what does: it waits until this server's own entries have come back.
//!
//! Its bound: pieces and bytes of all, and before that the bytes that may wait for one client. Who goes over it is cut.

use crate::codec::socket_packet::Frames;
use crate::id::SocketId;
use crate::limits::Limits;
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::socket::Socket;
use crate::server::log::Seam;
use crate::server::log::deliver::Deferred;
use crate::server::namespace::Namespace;
use std::collections::{HashMap, VecDeque};

/// Pieces that wait in one namespace.
const HELD: usize = 100_000;

/// What does not go through the log, and must not overtake what does.
pub(crate) enum Held {
    Packet(Socket, Frames),
    Disconnect(Socket, bool),
}

impl Held {
    pub(crate) fn socket(&self) -> &Socket {
        let (Held::Packet(socket, _) | Held::Disconnect(socket, _)) = self;
        socket
    }

    fn bytes(&self) -> usize {
        let frames = match self {
            Held::Packet(_, frames) => {
                frames.first.packet().len() + frames.rest.iter().map(|f| f.packet().len()).sum::<usize>()
            }
            Held::Disconnect(..) => 0,
        };
        frames + size_of::<Held>()
    }
}

/// What waits, each for an own entry of this number, in the order in which it came.
#[derive(Default)]
pub(crate) struct HeldQueue {
    queue: VecDeque<(u64, Held)>,
    bytes: usize,
    /// The bytes of each client.
    of: HashMap<SocketId, usize>,
}

impl HeldQueue {
    /// Gives it back if too much waits, for this client or for all.
    pub(crate) fn hold(&mut self, seq: u64, held: Held, limits: &Limits) -> Option<Held> {
        let bytes = held.bytes();
        let of = self.of.get(held.socket().id()).copied().unwrap_or(0);
        let full = self.queue.len() >= HELD || self.bytes.saturating_add(bytes) > limits.log_waiting_bytes;
        if full || of.saturating_add(bytes) > limits.unsent_bytes {
            return Some(held);
        }
        self.bytes += bytes;
        self.of.insert(held.socket().id().clone(), of + bytes);
        // Ascending, so that the front is the first to go: what came behind a later entry does not overtake it.
        let seq = self.queue.back().map_or(seq, |(last, _)| seq.max(*last));
        self.queue.push_back((seq, held));
        None
    }

    /// Takes out what has waited for the entries up to number `returned`.
    pub(crate) fn release(&mut self, returned: u64) -> impl Iterator<Item = Held> {
        std::iter::from_fn(move || {
            self.queue.front().filter(|(seq, _)| *seq <= returned)?;
            let (_, held) = self.queue.pop_front()?;
            self.bytes = self.bytes.saturating_sub(held.bytes());
            if let Some(of) = self.of.get_mut(held.socket().id()) {
                *of = of.saturating_sub(held.bytes());
            }
            if self.queue.is_empty() {
                self.of = HashMap::new();
            }
            Some(held)
        })
    }
}

impl Namespace {
    /// Does what does not go through the log once this server's entry number `seq` has come back.
    pub(crate) fn hold(&self, seq: u64, held: Held) {
        let held = self.with_hub(|hub| match seq <= hub.reader.returned() || self.core.seam() != Seam::Shared {
            true => Ok(vec![Deferred::Held(held)]),
            false => hub.reader.hold(seq, held, &self.core.options.limits).map_or(Ok(Vec::new()), Err),
        });
        match held {
            Ok(deferred) => self.run(deferred),
            // The log is away, and this client goes on asking: it recovers when both are back.
            Err(held) => {
                held.socket().connection().handle(self.now(), Input::Abort(Reason::TransportError));
            }
        }
    }
}
