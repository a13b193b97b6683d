//! What happens on this server, for those who show it: connections, clients and rooms that come and go, requests that are refused.
//!
//! Whoever watches has a queue of its own, with a bound. Nobody waits for those who watch, and who does not read misses the oldest.

use super::lock;
use crate::id::{Nsp, Room, SocketId};
use crate::proto::handshake::{Refusal, Transport};
use crate::proto::reason::Reason;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};

/// Changes that wait for one who watches; the oldest go when there are more.
const WAITING: usize = 10_000;

/// Something has happened on this server. New kinds may come.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// A session was opened.
    Opened {
        /// Where the client is.
        address: Box<str>,
        /// The transport that it began with.
        transport: Transport,
    },
    /// A session has ended.
    Closed {
        /// Where the client was.
        address: Box<str>,
        /// Why.
        reason: Reason,
    },
    /// A request was refused, with the official code and message.
    Refused {
        /// Where it came from.
        address: Box<str>,
        /// Its path and query.
        url: Box<str>,
        /// Why: the code is [`Refusal::code`].
        refusal: Refusal,
    },
    /// A client has joined a namespace.
    Joined {
        /// The namespace.
        nsp: Nsp,
        /// The client.
        id: SocketId,
    },
    /// A client is out of a namespace; it may come back if it was cut off.
    Left {
        /// The namespace.
        nsp: Nsp,
        /// The client.
        id: SocketId,
    },
    /// A room has its first client.
    RoomCreated {
        /// The namespace.
        nsp: Nsp,
        /// The room.
        room: Room,
    },
    /// The last client has left a room.
    RoomDeleted {
        /// The namespace.
        nsp: Nsp,
        /// The room.
        room: Room,
    },
    /// A client has joined a room. Its own room, which has its id for a name, is not told of.
    RoomJoined {
        /// The namespace.
        nsp: Nsp,
        /// The room.
        room: Room,
        /// The client.
        id: SocketId,
    },
    /// A client has left a room.
    RoomLeft {
        /// The namespace.
        nsp: Nsp,
        /// The room.
        room: Room,
        /// The client.
        id: SocketId,
    },
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Change>,
    missed: u64,
    waker: Option<Waker>,
}

/// What [`Server::watch`](crate::Server::watch) gives: the changes from then on, in their order.
///
/// ```
/// # async fn example(server: rill::Server) {
/// use rill::Change;
///
/// let mut changes = server.watch();
/// while let Some(change) = changes.next().await {
///     if let Change::Refused { address, refusal, .. } = change {
///         println!("{address}: {} {}", refusal.code(), refusal.message());
///     }
/// }
/// # }
/// ```
pub struct Changes(Arc<Mutex<Queue>>);

impl Changes {
    /// The next change, as soon as there is one; `None` when the server is gone. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Change> {
        poll_fn(|cx| {
            let mut queue = lock(&self.0);
            if let Some(change) = queue.waiting.pop_front() {
                return Poll::Ready(Some(change));
            }
            queue.waker = Some(cx.waker().clone());
            // The server has the only weak ones.
            if Arc::weak_count(&self.0) == 0 { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// The next change, if there is one now.
    pub fn take(&mut self) -> Option<Change> {
        lock(&self.0).waiting.pop_front()
    }

    /// How many changes were not read in time, and are lost.
    #[must_use]
    pub fn missed(&self) -> u64 {
        lock(&self.0).missed
    }
}

/// Those who watch; nearly always nobody.
#[derive(Default)]
pub(crate) struct Watchers {
    any: AtomicBool,
    queues: Mutex<Vec<Weak<Mutex<Queue>>>>,
}

impl Watchers {
    pub(crate) fn add(&self) -> Changes {
        let queue = Arc::default();
        lock(&self.queues).push(Arc::downgrade(&queue));
        self.any.store(true, Ordering::Release);
        Changes(queue)
    }

    /// Also with the hub held: nothing is done but to remember.
    pub(crate) fn tell(&self, change: impl FnOnce() -> Change) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let change = change();
        let mut queues = lock(&self.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        self.any.store(!queues.is_empty(), Ordering::Release);
        let mut wakers = Vec::new();
        for queue in queues.iter().filter_map(Weak::upgrade) {
            let mut queue = lock(&queue);
            if queue.waiting.len() >= WAITING {
                queue.waiting.pop_front();
                queue.missed += 1;
            }
            queue.waiting.push_back(change.clone());
            wakers.extend(queue.waker.take());
        }
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        let queues: Vec<_> = lock(&self.queues).drain(..).filter_map(|queue| queue.upgrade()).collect();
        for queue in queues {
            let waker = lock(&queue).waker.take();
            waker.into_iter().for_each(Waker::wake);
        }
    }
}
