//! What stands in the logs: the entries of the official adapter's types, and Rill's own session records and claims.
//!
//! In memory an entry is kept as it is, shared and never serialised.

use crate::codec::args::Args;
use crate::id::{Nsp, Offset, Pid, Room, SocketId};
use serde_json::Value;
use std::sync::Arc;

/// Who is meant: everybody in one of `rooms` (or in the namespace, if there are none) who is in none of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// One of these; none means all.
    pub rooms: Vec<Room>,
    /// None of these.
    pub except: Vec<Room>,
}

impl Target {
    /// Whether a client is meant, by what `is_in` says of its rooms (its own id counts as one).
    #[must_use]
    pub fn matches(&self, is_in: impl Fn(&Room) -> bool) -> bool {
        (self.rooms.is_empty() || self.rooms.iter().any(&is_in)) && !self.except.iter().any(&is_in)
    }
}

/// One entry of a log. The numbers are the official adapter's message types.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// 1: a server begins to read the log; its id is an exact first position.
    Marker,
    /// 3: an event for clients.
    Broadcast {
        /// Who gets it.
        to: Target,
        /// The event's name.
        name: Box<str>,
        /// Its arguments.
        args: Args,
    },
    /// 4: clients join rooms.
    Join {
        /// Who.
        to: Target,
        /// Which.
        rooms: Vec<Room>,
    },
    /// 5: clients leave rooms.
    Leave {
        /// Who.
        to: Target,
        /// Which.
        rooms: Vec<Room>,
    },
    /// 6: clients are disconnected from the namespace, or altogether.
    Disconnect {
        /// Who.
        to: Target,
        /// Also close the connection.
        close: bool,
    },
    /// 9: an event for the other servers.
    ServerSide {
        /// The server that sent it, which ignores it.
        uid: Box<str>,
        /// The event's name.
        name: Box<str>,
        /// Its arguments.
        args: Args,
    },
    /// In a session's stream: its state.
    Record(Box<Record>),
    /// In a session's stream: from here on its appender owns the session.
    Claim,
}

impl Entry {
    /// About how many bytes of memory the entry keeps alive.
    #[must_use]
    pub fn weight(&self) -> usize {
        let text = match self {
            Entry::Broadcast { args, name, .. } | Entry::ServerSide { args, name, .. } => {
                let attachments: usize = args.attachments().iter().map(bytes::Bytes::len).sum();
                name.len() + args.text().len() + attachments
            }
            Entry::Record(record) => 64 * record.stays.len(),
            Entry::Marker | Entry::Join { .. } | Entry::Leave { .. } | Entry::Disconnect { .. } | Entry::Claim => 0,
        };
        text + size_of::<Entry>() + 64
    }
}

/// A client's stay in a room: it gets the entries after `from`, up to and with `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The room.
    pub room: Room,
    /// The last entry before it joined.
    pub from: Offset,
    /// The last entry before it left; `None` while it stays.
    pub until: Option<Offset>,
}

/// What a session is restored from. Positions are ids in the namespace's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The namespace that the session belongs to.
    pub nsp: Nsp,
    /// The client's id.
    pub sid: SocketId,
    /// Its secret.
    pub pid: Pid,
    /// The server that wrote this.
    pub uid: Box<str>,
    /// The claim that the writer holds; zero for the server that made the session.
    pub claim: Offset,
    /// The log's position when the session was made: an offset before it belongs to something else.
    pub since: Offset,
    /// The client has got everything up to here.
    pub position: Offset,
    /// `stays` tells of room commands up to here; later ones are found in the log.
    pub applied: Offset,
    /// `stays` is complete from here on; what was missed before can't be told any more.
    pub floor: Offset,
    /// The rooms, with the stretch of the log that the client was in them.
    pub stays: Vec<Stay>,
    /// What the application keeps with the client.
    pub data: Arc<Value>,
}
