//! What stands in the logs: the entries of the official adapter's types, and Rill's own session records, claims and members.
//!
//! In memory an entry is kept as it is, shared and never serialised; how it stands in Redis is told in [`wire`](crate::server::redis::wire).

use crate::codec::args::Args;
use crate::id::{Nsp, Offset, Pid, Room, SocketId};
use bytes::Bytes;
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;

/// Names of rooms: one, or a list of them, made of texts. Nearly always there is one, which needs no list of its own.
#[derive(Clone, Debug, Default)]
pub enum Rooms {
    /// No room.
    #[default]
    None,
    /// One.
    One(Room),
    /// Any number.
    Many(Vec<Room>),
}

impl Rooms {
    /// Adds rooms.
    pub fn add(&mut self, rooms: Rooms) {
        match self {
            Rooms::None => *self = rooms,
            Rooms::One(_) | Rooms::Many(_) => rooms.iter().for_each(|room| self.push(room.clone())),
        }
    }

    /// Adds a room.
    pub fn push(&mut self, room: Room) {
        *self = match std::mem::take(self) {
            Rooms::None => Rooms::One(room),
            Rooms::One(first) => Rooms::Many(vec![first, room]),
            Rooms::Many(mut rooms) => {
                rooms.push(room);
                Rooms::Many(rooms)
            }
        };
    }
}

impl Deref for Rooms {
    type Target = [Room];

    fn deref(&self) -> &[Room] {
        match self {
            Rooms::None => &[],
            Rooms::One(room) => std::slice::from_ref(room),
            Rooms::Many(rooms) => rooms,
        }
    }
}

impl PartialEq for Rooms {
    fn eq(&self, other: &Rooms) -> bool {
        **self == **other
    }
}

impl Eq for Rooms {}

impl<T: Into<Room>> From<Vec<T>> for Rooms {
    fn from(mut rooms: Vec<T>) -> Rooms {
        match (rooms.pop(), rooms.is_empty()) {
            (None, _) => Rooms::None,
            (Some(room), true) => Rooms::One(room.into()),
            (Some(room), false) => {
                rooms.push(room);
                Rooms::Many(rooms.into_iter().map(T::into).collect())
            }
        }
    }
}

impl<T: Into<Room>, const N: usize> From<[T; N]> for Rooms {
    fn from(rooms: [T; N]) -> Rooms {
        Vec::from(rooms).into()
    }
}

impl From<&str> for Rooms {
    fn from(room: &str) -> Rooms {
        Rooms::One(room.into())
    }
}

impl From<String> for Rooms {
    fn from(room: String) -> Rooms {
        Rooms::One(room.into())
    }
}

impl From<Room> for Rooms {
    fn from(room: Room) -> Rooms {
        Rooms::One(room)
    }
}

impl From<&Room> for Rooms {
    fn from(room: &Room) -> Rooms {
        Rooms::One(room.clone())
    }
}

impl From<&SocketId> for Rooms {
    fn from(id: &SocketId) -> Rooms {
        Rooms::One(id.room())
    }
}

impl<T: Into<Room>> FromIterator<T> for Rooms {
    fn from_iter<I: IntoIterator<Item = T>>(rooms: I) -> Rooms {
        rooms.into_iter().map(T::into).collect::<Vec<Room>>().into()
    }
}

/// Who is meant: everybody in one of `rooms` (or in the namespace, if there are none) who is in none of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// One of these; none means all.
    pub rooms: Rooms,
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

/// An entry with its sender: what is appended to a log and read from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// The server that sent it; `emitter` for programs that are no server.
    pub uid: Arc<str>,
    /// The sender's number for it in this log, ascending: an append whose answer was lost is repeated with the same number.
    /// 0: the sender does not number.
    pub seq: u64,
    /// What it says.
    pub entry: Entry,
}

/// An event on its way into a log that makes its own copy.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    /// Who gets it, as in [`Target`].
    pub rooms: &'a [Room],
    /// Who of them does not.
    pub except: &'a [Room],
    /// The event's name.
    pub name: &'a str,
    /// Its arguments.
    pub args: &'a Args,
}

impl EventRef<'_> {
    /// The entry that it is.
    #[must_use]
    pub fn entry(self) -> Entry {
        let to = Target { rooms: self.rooms.to_vec().into(), except: self.except.to_vec() };
        Entry::Broadcast { to, name: self.name.into(), args: self.args.clone() }
    }
}

/// Which request an answer belongs to: a number that its asker made up.
pub type RequestId = u64;

/// One entry of a log. The numbers are the official adapter's message types; those from 20 on are our own.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// 1: a server begins to read the log; its id is an exact first position.
    Marker,
    /// 2: a server answers a marker, so that the newcomer knows who reads the log.
    Present,
    /// 3: an event for clients.
    Broadcast {
        /// Who gets it.
        to: Target,
        /// The event's name.
        name: Box<str>,
        /// Its arguments.
        args: Args,
    },
    /// 3 with `requestId`: an event that asks clients for acknowledgements, never replayed.
    Ask {
        /// Who gets it.
        to: Target,
        /// The event's name.
        name: Box<str>,
        /// Its arguments.
        args: Args,
        /// What the answers carry.
        request: RequestId,
        /// How long clients may take, in milliseconds.
        timeout_ms: u64,
    },
    /// 3 with `flags.volatile`: an event for those clients of other servers that can take it when it comes by; never replayed.
    Passing {
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
    /// 7: which clients are there?
    Fetch {
        /// Who is meant.
        to: Target,
        /// What the answer carries.
        request: RequestId,
    },
    /// 8, in an inbox: a server's clients, or a part of them.
    Fetched {
        /// The request.
        request: RequestId,
        /// The clients.
        sockets: Vec<RemoteSocket>,
        /// Another part follows.
        more: bool,
    },
    /// 9: an event for the other servers.
    ServerSide {
        /// The event's name.
        name: Box<str>,
        /// Its arguments.
        args: Args,
        /// What the answers carry, if answers are wanted.
        request: Option<RequestId>,
    },
    /// 10, in an inbox: a server's answer to its event; the official adapter carries one value.
    ServerAnswer {
        /// The request.
        request: RequestId,
        /// The answer.
        args: Args,
    },
    /// 11, in an inbox: so many clients of a server were asked.
    Asked {
        /// The request.
        request: RequestId,
        /// How many.
        clients: usize,
    },
    /// 12, in an inbox: a client's acknowledgement; the official adapter carries its first argument.
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        args: Args,
    },
    /// 13: a server stops reading the log.
    Closed,
    /// 20, in a session's stream: its state.
    Record(Box<Record>),
    /// 21, in a session's stream: from here on its appender owns the session, if it belongs to this namespace.
    Claim(Nsp),
    /// 25, in a session's stream: it was ended on purpose, by the owner with this claim.
    Ended(Nsp, Offset),
    /// 26, in a session's stream: this claim was taken back by its appender, and counts for nothing.
    Withdrawn(Nsp, Offset),
    /// 22, in the control log: a session has a new owner.
    Taken {
        /// The session's namespace.
        nsp: Nsp,
        /// The client.
        sid: SocketId,
        /// The new owner's claim.
        claim: Offset,
    },
    /// 23, in the control log: a server lives.
    Member(Member),
    /// 24, in a server's own inbox: its reader must look at something new.
    Wake,
}

/// What a server says of itself in its heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, for people.
    pub name: Box<str>,
    /// Begins the Engine.IO ids that it gives out.
    pub tag: Box<str>,
    /// Where other servers reach it, `host:port`; empty: nowhere.
    pub address: Box<str>,
    /// How many clients it has.
    pub clients: usize,
    /// That it is of this cluster, where servers have a secret in common; else empty.
    pub proof: Box<str>,
}

/// A client of some server, as cluster-wide questions tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteSocket {
    /// Its id.
    pub id: SocketId,
    /// The official handshake object.
    pub handshake: Value,
    /// Its rooms; the first is its own id.
    pub rooms: Vec<Room>,
    /// What the application keeps with it.
    pub data: Value,
}

impl Entry {
    /// About how many bytes of memory the entry keeps alive.
    #[must_use]
    pub fn weight(&self) -> usize {
        let attachments: usize = self.attachments().iter().map(Bytes::len).sum();
        let text = match self {
            Entry::Broadcast { name, args, .. }
            | Entry::Passing { name, args, .. }
            | Entry::ServerSide { name, args, .. }
            | Entry::Ask { name, args, .. } => name.len() + args.text().len(),
            Entry::ServerAnswer { args, .. } | Entry::Answer { args, .. } => args.text().len(),
            Entry::Record(record) => {
                let all = record.rooms.iter().chain(record.base.iter().flatten());
                let names: usize = all.map(|room| 32 + room.as_str().len()).sum();
                names + value_weight(&record.data)
            }
            Entry::Fetched { sockets, .. } => {
                let names =
                    |socket: &RemoteSocket| -> usize { socket.rooms.iter().map(|r| 4 + r.as_str().len()).sum() };
                sockets.iter().map(|socket| 1_024 + names(socket) + value_weight(&socket.data)).sum()
            }
            Entry::Join { rooms, .. } | Entry::Leave { rooms, .. } => names_weight(rooms),
            _ => 0,
        };
        let target = match self {
            Entry::Broadcast { to, .. }
            | Entry::Passing { to, .. }
            | Entry::Ask { to, .. }
            | Entry::Join { to, .. }
            | Entry::Leave { to, .. }
            | Entry::Disconnect { to, .. }
            | Entry::Fetch { to, .. } => names_weight(&to.rooms) + names_weight(&to.except),
            _ => 0,
        };
        text + target + attachments + size_of::<Posted>() + 64
    }

    /// The binary in it.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        match self {
            Entry::Broadcast { args, .. }
            | Entry::Passing { args, .. }
            | Entry::ServerSide { args, .. }
            | Entry::Ask { args, .. }
            | Entry::ServerAnswer { args, .. }
            | Entry::Answer { args, .. } => args.attachments(),
            _ => &[],
        }
    }
}

/// About how many bytes the names take.
fn names_weight(rooms: &[Room]) -> usize {
    rooms.iter().map(|room| 4 + room.as_str().len()).sum()
}

/// About how many bytes a value takes.
fn value_weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| 16 + value_weight(item)).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| 32 + key.len() + value_weight(value)).sum(),
    }
}

/// What a session is restored from: a snapshot at a position of the namespace's log. The log after it tells the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The namespace that the session belongs to.
    pub nsp: Nsp,
    /// The client's id.
    pub sid: SocketId,
    /// Its secret.
    pub pid: Pid,
    /// The claim that the writer holds; zero for the server that made the session.
    pub claim: Offset,
    /// The log's position when the session was made: an offset before it belongs to something else.
    pub since: Offset,
    /// The client has got everything up to here.
    pub position: Offset,
    /// An offset that the client had before the session and that was no entry of the log: it counts as absent.
    pub stale: Option<Offset>,
    /// One of which nobody could tell: a return with it is refused.
    pub doubtful: Option<Offset>,
    /// How often in a row the session was taken from a connection that looked alive.
    pub taken: u8,
    /// The client's connection has ended.
    pub away: bool,
    /// The rooms when this was written, without the client's own.
    pub rooms: Vec<Room>,
    /// The entry after which they were the same.
    pub rooms_since: Offset,
    /// The entry up to which they were the same: the last one before this was written.
    pub rooms_until: Offset,
    /// The rooms at the position, where they have changed since.
    pub base: Option<Vec<Room>>,
    /// What the application keeps with the client.
    pub data: Arc<Value>,
}
