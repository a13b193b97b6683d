//! The one seam to the log: four commands as values, their replies as values (DESIGN.md section 1).
//!
//! A stream is an append-only list of entries with ascending ids under a key. [`MemoryStreams`](super::memory::MemoryStreams) keeps them in
//! this process; what stands here maps one to one to Redis' XADD, XREAD, XTRIM and EXPIRE.

use super::entry::Entry;
use crate::id::{Nsp, Offset, Pid, Time};
use std::fmt;
use std::sync::Arc;

/// The name of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The log of a namespace: broadcasts and room commands. In Redis `socket.io#<nsp>#`.
    Log(Nsp),
    /// The session of one client in one namespace: its records and claims. In Redis `sio:session:<pid>`.
    Session(Pid),
}

/// What can be asked of a log.
#[derive(Clone, Debug)]
pub enum Command {
    /// XADD: append an entry. Without `create` a missing key stays missing (NOMKSTREAM).
    XAdd {
        /// Where to.
        key: Key,
        /// What.
        entry: Arc<Entry>,
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

/// What a command answers.
#[derive(Debug)]
pub enum Reply {
    /// XADD: the entry's id; `None` where the key is missing and was not to be made.
    Added(Option<Offset>),
    /// XREAD: entries in order, none where the key is missing.
    Entries(Vec<(Offset, Arc<Entry>)>),
    /// XTRIM: how many entries are gone.
    Trimmed(usize),
    /// EXPIRE: whether the key existed.
    Existed(bool),
    /// The command was not carried out.
    Failed(StreamError),
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The log can't be reached and no more may wait for it.
    Unavailable,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Unavailable => f.write_str("the log can't be reached and its queue is full"),
        }
    }
}

impl std::error::Error for StreamError {}

/// A log with the four commands.
pub trait Streams: Send + Sync {
    /// Carries a command out at `now`.
    fn submit(&self, now: Time, command: Command) -> Reply;
}
