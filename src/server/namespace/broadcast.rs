//! Who gets a packet, in the official words: `to`, `except`, `volatile`, `local`, and what can be done with those clients.
//!
//! An event that is neither volatile nor local goes through the namespace's log where recovery is on or other servers share it, so that their
//! clients get it too, and a client that is away gets it when it comes back.

use crate::codec::args::Args;
use crate::server::client::socket::{EmitError, Socket, milliseconds};
use crate::server::cluster::requests::{Gathered, OnGathered, Whom};
use crate::server::log::entry::{Entry, RequestId, Rooms, Target};
use crate::server::namespace::Namespace;
use crate::server::pending::Pending;
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds that answers from clients and servers are waited for, unless [`Broadcast::timeout`] says otherwise.
const PATIENCE: u64 = 5_000;

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
    pub(crate) fn new(namespace: &Arc<Namespace>, target: Target) -> Broadcast {
        Broadcast { namespace: namespace.clone(), target, volatile: false, local: false, timeout_ms: None }
    }

    /// Adds the clients of a room, or of several: `to("a")`, `to(["a", "b"])`. Without any room everybody is meant; so is with an empty list.
    #[must_use]
    pub fn to(mut self, rooms: impl Into<Rooms>) -> Broadcast {
        self.target.rooms.add(rooms.into());
        self
    }

    /// Leaves the clients of a room, or of several, out.
    #[must_use]
    pub fn except(mut self, rooms: impl Into<Rooms>) -> Broadcast {
        self.target.except.extend_from_slice(&rooms.into());
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

    /// How long clients may take to answer; what servers say of them may be under way half a second longer.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Broadcast {
        self.timeout_ms = Some(milliseconds(time));
        self
    }

    fn patience(&self) -> u64 {
        self.timeout_ms.unwrap_or(PATIENCE)
    }

    fn whom(&self) -> Whom {
        if self.local { Whom::This } else { Whom::All }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// [`EmitError::ReservedName`], [`EmitError::TooManyAttachments`]; [`EmitError::NamespaceGone`] and [`EmitError::Log`] where there is a log.
    pub fn emit(self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        match (self.local, self.volatile) {
            (true, volatile) => self.namespace.emit_here(&self.target, name, &args.into(), volatile),
            (false, true) => self.namespace.emit_volatile(self.target, name, args.into()),
            (false, false) => self.namespace.emit(self.target, name, args.into()),
        }
    }

    /// Sends an event; `settled` is called once, when the log has taken it and it was delivered here, or with the reason why not: at once
    /// where there is no shared log.
    pub fn emit_then(
        self,
        name: &str,
        args: impl Into<Args>,
        settled: impl FnOnce(Result<(), EmitError>) + Send + 'static,
    ) {
        let args = args.into();
        let shared = self.namespace.core.streams.shared();
        match self.namespace.check(name, &args) {
            Ok(()) if shared && !self.local && !self.volatile => {
                let entry = Entry::Broadcast { to: self.target, name: name.into(), args };
                self.namespace.publish_then(entry, Box::new(settled));
            }
            Ok(()) => settled(self.emit(name, args)),
            Err(error) => settled(Err(error)),
        }
    }

    /// Sends an event and collects the clients' answers; `on_acks` is called once, when all have answered, or the time is over
    /// (5 s unless [`Broadcast::timeout`] says otherwise). Never replayed to clients that are away. See [`Broadcast::ask`] for a future.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub fn emit_with_ack(
        self,
        name: &str,
        args: impl Into<Args>,
        on_acks: impl FnOnce(Gathered) + Send + 'static,
    ) -> Result<(), EmitError> {
        self.ask_all(name, args.into(), Box::new(on_acks)).map(drop)
    }

    /// As [`Broadcast::emit_with_ack`], to be awaited.
    ///
    /// ```
    /// # async fn example(game: std::sync::Arc<rill::Namespace>) -> Result<(), rill::EmitError> {
    /// use std::time::Duration;
    ///
    /// let said = game.to("table 7").timeout(Duration::from_secs(5)).ask("ready?", ()).await?;
    /// println!("{} are ready, {} did not answer", said.answers.len(), said.missing);
    /// # Ok(()) }
    /// ```
    pub fn ask(self, name: &str, args: impl Into<Args>) -> Pending<Result<Gathered, EmitError>> {
        let (namespace, args) = (self.namespace.clone(), args.into());
        namespace.pending(|done| self.ask_all(name, args, done))
    }

    fn ask_all(self, name: &str, args: Args, done: OnGathered) -> Result<Option<RequestId>, EmitError> {
        self.namespace.check(name, &args)?;
        let (whom, timeout_ms) = (self.whom(), self.patience());
        let (to, name) = (self.target, name.into());
        let entry = |request| Entry::Ask { to, name, args, request, timeout_ms };
        self.namespace.ask(whom, timeout_ms, done, entry)
    }

    /// The clients that are meant, on this server.
    #[must_use]
    pub fn sockets(&self) -> Vec<Socket> {
        self.namespace.matching(&self.target)
    }

    /// Finds the clients that are meant, on all servers; `on_sockets` is called once, when all servers have answered or the time is over. See
    /// [`Broadcast::fetch`] for a future.
    ///
    /// # Errors
    /// [`EmitError::NamespaceGone`] and [`EmitError::Log`], where other servers are asked.
    pub fn fetch_sockets(self, on_sockets: impl FnOnce(Gathered) + Send + 'static) -> Result<(), EmitError> {
        self.find(Box::new(on_sockets)).map(drop)
    }

    /// As [`Broadcast::fetch_sockets`], to be awaited; they are in [`Gathered::sockets`].
    pub fn fetch(self) -> Pending<Result<Gathered, EmitError>> {
        self.namespace.clone().pending(|done| self.find(done))
    }

    fn find(self, done: OnGathered) -> Result<Option<RequestId>, EmitError> {
        let (whom, patience, to) = (self.whom(), self.patience(), self.target);
        self.namespace.ask(whom, patience, done, |request| Entry::Fetch { to, request })
    }

    /// Makes the clients join a room, or several; those who are away join when they come back.
    ///
    /// # Errors
    /// [`EmitError::NamespaceGone`] and [`EmitError::Log`], where there is a log.
    pub fn sockets_join(self, rooms: impl Into<Rooms>) -> Result<(), EmitError> {
        let rooms = rooms.into().to_vec();
        self.command(|to| Entry::Join { to, rooms })
    }

    /// Makes the clients leave a room, or several; those who are away leave when they come back.
    ///
    /// # Errors
    /// [`EmitError::NamespaceGone`] and [`EmitError::Log`], where there is a log.
    pub fn sockets_leave(self, rooms: impl Into<Rooms>) -> Result<(), EmitError> {
        let rooms = rooms.into().to_vec();
        self.command(|to| Entry::Leave { to, rooms })
    }

    /// Removes the clients from the namespace; with `close` their connections are closed too.
    ///
    /// # Errors
    /// [`EmitError::NamespaceGone`] and [`EmitError::Log`], where there is a log.
    pub fn disconnect_sockets(self, close: bool) -> Result<(), EmitError> {
        self.command(|to| Entry::Disconnect { to, close })
    }

    fn command(self, entry: impl FnOnce(Target) -> Entry) -> Result<(), EmitError> {
        let (local, to) = (self.local, self.target.clone());
        let entry = entry(self.target);
        // Rooms are told by the log, also where the clients of this server alone are meant.
        match (&entry, local) {
            (_, false) => self.namespace.publish(entry)?,
            (Entry::Join { rooms, .. }, true) => {
                self.namespace.matching(&to).iter().try_for_each(|socket| socket.join(rooms.clone()))?;
            }
            (Entry::Leave { rooms, .. }, true) => {
                self.namespace.matching(&to).iter().try_for_each(|socket| socket.leave(rooms.clone()))?;
            }
            (_, true) => self.namespace.apply_local(entry),
        }
        Ok(())
    }
}
