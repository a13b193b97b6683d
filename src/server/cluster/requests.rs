//! Questions to all servers: which clients are there, what do they answer, what do the other servers say. Each has a time limit; what has
//! come by then is the result, and the servers that kept silent are named.
//!
//! A question is an entry of the namespace's log, so that it comes after what was sent before it; answers come to the asker's inbox.

use crate::codec::args::Args;
use crate::codec::socket_packet;
use crate::server::Core;
use crate::server::client::connection::Sent;
use crate::server::client::handler::AckError;
use crate::server::client::socket::{EmitError, Socket};
use crate::server::cluster::remote::RemoteSocket;
use crate::server::log::entry::{Entry, Posted, RequestId};
use crate::server::namespace::Namespace;
use crate::server::pending::Pending;
use crate::server::rank::{Locked, Rank, lock_as};
use crate::server::timers::Timer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

/// Milliseconds that answers may be under way, beyond the time that clients have.
const ON_THE_WAY: u64 = 500;

/// Clients in one answer.
const PART: usize = 1_000;

/// What came back from a question to all servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// The clients that were asked for, in [`fetch_sockets`](crate::server::namespace::broadcast::Broadcast::fetch_sockets) only.
    pub sockets: Vec<RemoteSocket>,
    /// The answers, in the order in which they came.
    pub answers: Vec<Args>,
    /// How many clients did not answer in time, or left.
    pub missing: usize,
    /// The servers that did not answer in time, by name.
    pub silent: Vec<String>,
}

/// Hears what came back.
pub(crate) type OnGathered = Box<dyn FnOnce(Gathered) + Send>;

/// Which servers a question goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    Others,
    This,
}

struct Open {
    /// Servers that have not reported yet.
    awaited: Vec<Arc<str>>,
    /// Clients that have been asked, less those that have answered.
    open: isize,
    gathered: Gathered,
    /// Whose clients are asked for.
    namespace: Weak<Namespace>,
    done: OnGathered,
}

#[derive(Default)]
struct Table {
    last: RequestId,
    pending: HashMap<RequestId, Open>,
}

/// The questions of this server that are not answered yet.
#[derive(Default)]
pub(crate) struct Requests(Mutex<Table>);

impl Requests {
    fn begin(&self, awaited: Vec<Arc<str>>, namespace: Weak<Namespace>, done: OnGathered) -> RequestId {
        let mut table = lock_as(Rank::One, &self.0);
        table.last += 1;
        let request = table.last;
        let gathered = Gathered::default();
        table.pending.insert(request, Open { awaited, open: 0, gathered, namespace, done });
        request
    }

    /// An answer has come. Late ones, and those to nobody's question, are ignored.
    pub(crate) fn heard(&self, uid: &str, entry: Entry) {
        let mut table = lock_as(Rank::One, &self.0);
        let (Entry::Fetched { request, .. }
        | Entry::Asked { request, .. }
        | Entry::Answer { request, .. }
        | Entry::ServerAnswer { request, .. }) = entry
        else {
            return;
        };
        let Some(pending) = table.pending.get_mut(&request) else { return };
        let reports = !matches!(entry, Entry::Answer { .. } | Entry::Fetched { more: true, .. });
        match entry {
            Entry::Fetched { sockets, .. } => {
                if let Some(namespace) = pending.namespace.upgrade() {
                    let found = sockets.into_iter().map(|socket| RemoteSocket::new(socket, uid, &namespace));
                    pending.gathered.sockets.extend(found);
                }
            }
            Entry::Asked { clients, .. } => {
                // Any program may say any number.
                pending.open = pending.open.saturating_add(isize::try_from(clients).unwrap_or(isize::MAX));
            }
            Entry::Answer { args, .. } => {
                pending.gathered.answers.push(args);
                pending.open -= 1;
            }
            Entry::ServerAnswer { args, .. } => pending.gathered.answers.push(args),
            _ => {}
        }
        if reports {
            pending.awaited.retain(|awaited| **awaited != *uid);
        }
        finish(table, request);
    }

    /// A client that was asked has left without an answer.
    fn gone(&self, request: RequestId) {
        let mut table = lock_as(Rank::One, &self.0);
        let Some(pending) = table.pending.get_mut(&request) else { return };
        pending.gathered.missing += 1;
        pending.open -= 1;
        finish(table, request);
    }

    /// Nobody waits any more.
    fn forget(&self, request: RequestId) {
        let forgotten = lock_as(Rank::One, &self.0).pending.remove(&request);
        drop(forgotten);
    }

    /// The time is over.
    pub(crate) fn expire(&self, request: RequestId, name: impl Fn(&str) -> String) {
        let pending = lock_as(Rank::One, &self.0).pending.remove(&request);
        if let Some(Open { awaited, open, mut gathered, done, .. }) = pending {
            gathered.missing += usize::try_from(open).unwrap_or(0);
            gathered.silent = awaited.iter().map(|uid| name(uid)).collect();
            done(gathered);
        }
    }
}

/// Hands the result over if nothing more can come.
fn finish(mut table: Locked<'_, Table>, request: RequestId) {
    let complete = |pending: &mut Open| pending.awaited.is_empty() && pending.open <= 0;
    if table.pending.get_mut(&request).is_some_and(complete) {
        let pending = table.pending.remove(&request);
        drop(table);
        if let Some(Open { gathered, done, .. }) = pending {
            done(gathered);
        }
    }
}

#[cfg(test)]
impl Core {
    pub(crate) fn open_requests(&self) -> usize {
        lock_as(Rank::One, &self.requests.0).pending.len()
    }
}

impl Core {
    /// Sends an answer to the server that asked. False: it has not been taken.
    pub(crate) fn answer(&self, asker: &Arc<str>, entry: Entry) -> bool {
        match *asker == self.uid {
            true => self.requests.heard(&self.uid, entry),
            // Any program may ask under any name; only servers have inboxes.
            false if self.is_alive(asker) => return self.post_to_inbox(asker, entry),
            false => return false,
        }
        true
    }

    /// Sends clients to the server that asked, in parts that readers take. Without the last one this server counts as silent.
    pub(crate) fn answer_fetch(&self, asker: &Arc<str>, request: RequestId, sockets: &[Socket]) {
        let mut left = sockets;
        loop {
            let (part, rest) = left.split_at(left.len().min(PART));
            let (sockets, more) = (part.iter().map(Socket::remote).collect(), !rest.is_empty());
            if !self.answer(asker, Entry::Fetched { request, sockets, more }) || !more {
                return;
            }
            left = rest;
        }
    }
}

impl Namespace {
    /// Asks the servers that read this namespace's log.
    pub(crate) fn ask(
        self: &Arc<Self>,
        whom: Whom,
        timeout_ms: u64,
        done: OnGathered,
        entry: impl FnOnce(RequestId) -> Entry,
    ) -> Result<Option<RequestId>, EmitError> {
        let others = || self.with_hub(|hub| self.core.alive(hub.reader.readers()));
        let this = self.core.uid.clone();
        let awaited = match whom {
            Whom::All => others().into_iter().chain([this]).collect(),
            Whom::Others => others(),
            Whom::This => vec![this],
        };
        if awaited.is_empty() {
            done(Gathered::default());
            return Ok(None);
        }
        let request = self.core.requests.begin(awaited, Arc::downgrade(self), done);
        let late = self.now().plus(timeout_ms.saturating_add(ON_THE_WAY));
        self.core.timers.add(late, Timer::Request(request));
        let entry = entry(request);
        if whom == Whom::This || !self.core.streams.shared() {
            self.apply_local(entry);
            return Ok(Some(request));
        }
        // Nobody will answer, and the caller knows.
        self.publish(entry).inspect_err(|_| self.core.requests.forget(request))?;
        Ok(Some(request))
    }

    /// A question as a future.
    pub(crate) fn pending(
        &self,
        ask: impl FnOnce(OnGathered) -> Result<Option<RequestId>, EmitError>,
    ) -> Pending<Result<Gathered, EmitError>> {
        let (pending, answer) = Pending::new();
        match ask(Box::new(move |gathered| answer(Ok(gathered)))) {
            Ok(Some(request)) => {
                let core = self.core.clone();
                pending.or_forget(move || core.requests.forget(request))
            }
            Ok(None) => pending,
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// Asks the clients of this server for the acknowledgements that some server wants, and reports how many they are.
    pub(crate) fn ask_clients(&self, posted: &Posted, sockets: Vec<Socket>) {
        let Entry::Ask { name, args, request, timeout_ms, .. } = &posted.entry else { return };
        self.core.answer(&posted.uid, Entry::Asked { request: *request, clients: sockets.len() });
        let id = self.next_ack();
        let frames = socket_packet::event(self.name().as_str(), Some(id), name, args, None);
        for socket in sockets {
            let asker = Asker { core: Arc::downgrade(&self.core), uid: posted.uid.clone(), request: *request };
            let on_ack = Box::new(move |answer| asker.tell(answer));
            if socket.expect_ack(id, Some(*timeout_ms), on_ack).is_err() {
                continue;
            }
            self.tell_one(&socket, name, args);
            match socket.connection().send(frames.clone(), false) {
                Sent::Queued => self.count_out(1),
                Sent::Dropped | Sent::Closed => socket.acked(id, Err(AckError::Disconnected)),
            }
        }
    }
}

/// Where a client's answer goes.
struct Asker {
    core: Weak<Core>,
    uid: Arc<str>,
    request: RequestId,
}

impl Asker {
    fn tell(&self, answer: Result<Args, AckError>) {
        let Some(core) = self.core.upgrade() else { return };
        match answer {
            Ok(args) => drop(core.answer(&self.uid, Entry::Answer { request: self.request, args })),
            // Without an answer the time limit tells.
            Err(_) if *self.uid == *core.uid => core.requests.gone(self.request),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::lock;

    #[test]
    fn counts_that_nobody_can_have_do_no_harm() {
        let requests = Requests::default();
        let heard = Arc::new(Mutex::new(None));
        let hears = heard.clone();
        let request =
            requests.begin(vec!["a".into()], Weak::new(), Box::new(move |gathered| *lock(&hears) = Some(gathered)));
        for clients in [usize::MAX, isize::MAX.unsigned_abs(), 3] {
            requests.heard("a", Entry::Asked { request, clients });
            assert!(lock(&heard).is_none(), "not everybody has answered");
        }
        requests.heard("a", Entry::Answer { request, args: 1.into() });
        requests.expire(request, str::to_owned);
        assert_eq!(lock(&heard).take().unwrap().answers, [1.into()]);
    }
}
