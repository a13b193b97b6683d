//! The one seam to the log: four commands as values, their replies as values.
//!
//! A stream is an append-only list of entries with ascending ids under a key. [`MemoryStreams`](crate::server::log::memory::MemoryStreams) keeps them in
//! this process, `io::redis` in Redis; the commands map one to one to its XADD, XREAD, XTRIM and EXPIRE.

use crate::id::{Nsp, Offset, Pid, Time};
use crate::server::log::entry::{EventRef, Posted};
use std::fmt;
use std::sync::Arc;

/// Entries per XREAD: few enough for one reply, many enough that a long log takes few round trips.
pub const PAGE: usize = 1_000;
/// Entries per XREAD where they are read again, from a shared log: each may be large, and others wait for the answer.
pub const LARGE_PAGE: usize = 100;

/// The name of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The log of a namespace: broadcasts, room commands, questions to all servers. In Redis `socket.io#<nsp>#`.
    Log(Nsp),
    /// The session of one client in one namespace: its records and claims. In Redis `sio:session:<pid>`.
    Session(Pid),
    /// One server's inbox: answers to its questions. In Redis `socket.io#<uid>#`.
    Inbox(Arc<str>),
    /// The control log: heartbeats, and sessions that have a new owner. In Redis `socket.io#`.
    Control,
}

/// An entry with its id.
pub type Item = (Offset, Arc<Posted>);

/// What can be asked of a log.
#[derive(Clone, Debug)]
pub enum Command {
    /// XADD: append an entry. Without `create` a missing key stays missing (NOMKSTREAM).
    XAdd {
        /// Where to.
        key: Key,
        /// What.
        posted: Arc<Posted>,
        /// Make the stream if it is missing.
        create: bool,
    },
    /// XREAD: up to `count` entries after `after`.
    XRead {
        /// Where from.
        key: Key,
        /// The last entry that is known.
        after: Offset,
        /// At most this many.
        count: usize,
    },
    /// XTRIM MINID: forget what is older than `min`.
    XTrim {
        /// Where.
        key: Key,
        /// The oldest entry to keep.
        min: Offset,
    },
    /// EXPIRE: let the key die after `ms` milliseconds; 0 deletes it now.
    Expire {
        /// Which.
        key: Key,
        /// From now.
        ms: u64,
    },
}

impl Command {
    /// The stream that is meant.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Command::XAdd { key, .. }
            | Command::XRead { key, .. }
            | Command::XTrim { key, .. }
            | Command::Expire { key, .. } => key,
        }
    }
}

/// What a command answers.
#[derive(Debug)]
pub enum Reply {
    /// XADD: the entry's id; `None` where the key is missing and was not to be made.
    Added(Option<Offset>),
    /// XREAD: entries in order, none where the key is missing.
    Entries(Vec<Item>),
    /// XTRIM: how many entries are gone.
    Trimmed(usize),
    /// EXPIRE: whether the key existed.
    Existed(bool),
    /// The command was not carried out.
    Failed(StreamError),
}

/// Hears a reply.
pub type Done = Box<dyn FnOnce(Reply) + Send>;

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The log can't be reached and no more may wait for it.
    Unavailable,
    /// The log refuses the command, for example because its user may not give it.
    Refused,
    /// The log has no room left for it.
    Full,
    /// It is larger than the log takes.
    TooLarge,
    /// Somebody has written the last possible id: nobody can append behind it.
    Exhausted,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamError::Unavailable => "the log can't be reached and its queue is full",
            StreamError::Refused => "the log refuses the command",
            StreamError::Full => "the log has no room left for it",
            StreamError::TooLarge => "it is larger than the log takes",
            StreamError::Exhausted => "the log holds the last possible id, and begins anew",
        })
    }
}

impl std::error::Error for StreamError {}

/// A log with the four commands.
///
/// The commands of one server are carried out in the order in which it gives them. What other servers append to a shared log comes back to
/// `Server::feed`, which somebody calls with what XREAD finds after `Server::cursors`.
pub trait Streams: Send + Sync {
    /// Takes a command. `done` hears the reply: before this returns where the log is in this process, later where it is shared. So who waits
    /// for a reply holds no lock here.
    ///
    /// # Errors
    /// No more commands may wait, or this one can't be written: it is not carried out, which `done` hears too, at once.
    fn submit(&self, now: Time, command: Command, done: Option<Done>) -> Result<(), StreamError>;

    /// Other servers read and write the log too, and replies take their time.
    fn shared(&self) -> bool;

    /// Appends to a log in this process, and tells the entry's id at once; `None`: the log is shared, and takes commands.
    fn append_here(&self, _now: Time, _key: &Key, _posted: &Arc<Posted>) -> Option<Offset> {
        None
    }

    /// As `append_here`, for an event: the log makes its own copy.
    fn append_event(&self, _now: Time, _key: &Key, _uid: &Arc<str>, _event: EventRef<'_>) -> Option<Offset> {
        None
    }

    /// Up to `count` entries after `after` of a log in this process; a shared log has none at hand.
    fn at_hand(&self, _now: Time, _key: &Key, _after: Offset, _count: usize) -> Vec<Item> {
        Vec::new()
    }
}
