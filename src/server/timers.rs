//! When the server must look at something again: one heap for all sessions and acknowledgements, instead of a timer for each.
//!
//! Entries are never removed early; what they point at knows whether it is really due. Time passes outside: the io floor sleeps until
//! [`Timers::next`] and then takes `Timers::due`.

use super::client::connection::Connection;
use super::client::socket::WeakSocket;
use super::log::entry::RequestId;
use super::log::reader::Action;
use super::namespace::Namespace;
use super::rank::{Rank, lock_as};
use crate::id::{SocketId, Time};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Mutex, Weak};
use std::task::Waker;

/// What is to be looked at.
pub(crate) enum Timer {
    /// A session's heartbeat, upgrade, connect or attachment deadline.
    Connection(Weak<Connection>),
    /// A client that is read more slowly may be read on.
    Pace(Weak<Connection>),
    /// An acknowledgement that may not have come.
    Ack(WeakSocket, u64),
    /// A session that may have become worth keeping, or whose data have changed.
    /// Told by its id: a handle would keep the memory of one that has gone.
    Keep(Weak<Namespace>, SocketId),
    /// Something that must not be done where it was asked for: others come first, or a lock was held.
    Run(Action),
    /// A question to all servers that may not have been answered by all.
    Request(RequestId),
}

struct Entry {
    at: Time,
    timer: Timer,
}

/// Soonest first: [`BinaryHeap`] gives the greatest.
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

#[derive(Default)]
struct Inner {
    heap: BinaryHeap<Entry>,
    sleeper: Option<Waker>,
}

/// All deadlines of a server.
#[derive(Default)]
pub struct Timers(Mutex<Inner>);

impl Timers {
    /// Adds a deadline, and wakes the sleeper if it is the soonest.
    pub(crate) fn add(&self, at: Time, timer: Timer) {
        let mut inner = lock_as(Rank::Timers, &self.0);
        let soonest = inner.heap.peek().is_none_or(|first| at < first.at);
        inner.heap.push(Entry { at, timer });
        let sleeper = if soonest { inner.sleeper.take() } else { None };
        drop(inner);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// The soonest deadline; `waker` is woken when a sooner one is added.
    pub fn next(&self, waker: &Waker) -> Option<Time> {
        let mut inner = lock_as(Rank::Timers, &self.0);
        inner.sleeper = Some(waker.clone());
        inner.heap.peek().map(|first| first.at)
    }

    /// Takes what is due at `now`, soonest first.
    pub(crate) fn due(&self, now: Time) -> Vec<Timer> {
        let mut inner = lock_as(Rank::Timers, &self.0);
        let mut due = Vec::new();
        while inner.heap.peek().is_some_and(|first| first.at <= now) {
            due.extend(inner.heap.pop().map(|entry| entry.timer));
        }
        if inner.heap.capacity() > 1024 && inner.heap.len() * 4 < inner.heap.capacity() {
            inner.heap.shrink_to_fit();
        }
        due
    }
}
