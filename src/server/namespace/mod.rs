//! A namespace: its clients and rooms, and its log. One lock, the hub, orders everything that a client of it can observe.
//!
//! Where there is a log, because recovery is on or other servers share it, an event is appended to it and delivered when it is read back, while
//! the hub is held: the order of delivery is the order of the log also when two threads emit at once, and a client joins or leaves a room at
//! an exact position. Handlers run with the hub released.

pub mod broadcast;
pub mod family;
pub(crate) mod handlers;
pub(crate) mod hash;
pub(crate) mod hub;

use crate::codec::args::Args;
use crate::codec::socket_packet;
use crate::id::{Nsp, Room, SocketId, Time};
use crate::proto::reason::Reason;
use crate::server::Core;
use crate::server::client::handler::{ConnectError, Handler, Middleware, Next};
use crate::server::client::socket::{EmitError, Socket, milliseconds};
use crate::server::cluster::requests::{Gathered, OnGathered, Whom};
use crate::server::log::deliver::Deferred;
use crate::server::log::entry::{Entry, EventRef, Posted, RequestId, Rooms, Target};
use crate::server::log::reader::Reader;
use crate::server::log::seen::BEGIN;
use crate::server::log::streams::Key;
use crate::server::namespace::broadcast::Broadcast;
use crate::server::namespace::handlers::Handlers;
use crate::server::namespace::hub::Hub;
use crate::server::pending::Pending;
use crate::server::rank::{Rank, lock_as};
use crate::server::recovery::kept::Planned;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

/// A namespace.
pub struct Namespace {
    name: Nsp,
    /// Its log's.
    pub(crate) key: Key,
    pub(crate) core: Arc<Core>,
    handlers: Handlers,
    /// Some handler hears of what is sent.
    tells: AtomicBool,
    middlewares: RwLock<Vec<Middleware>>,
    hub: Mutex<Hub>,
    pub(crate) me: Weak<Namespace>,
    acks: AtomicU64,
    /// The numbers of this server's last entry in a shared log, and of the last that came back. Written with the hub held.
    pub(crate) sent: AtomicU64,
    pub(crate) returned: AtomicU64,
    /// Sockets that point here; a namespace made by a rule goes with the last.
    pub(crate) users: AtomicUsize,
    pub(crate) dynamic: AtomicBool,
}

impl Namespace {
    /// A namespace whose log is not open yet.
    pub(crate) fn new(name: Nsp, core: Arc<Core>, dynamic: bool) -> Arc<Namespace> {
        // A namespace that comes again goes on with higher numbers than the one that went.
        // Also after very many of them: a million numbers for each millisecond.
        let now = (core.clock)().0.saturating_mul(BEGIN);
        let next = |last: u64| Some(now.max(last.saturating_add(BEGIN)));
        let _ = core.next_namespace.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let first = core.next_namespace.load(Ordering::Relaxed);
        let first_ack = first_ack(&core);
        Arc::new_cyclic(|me| Namespace {
            me: me.clone(),
            key: Key::Log(name.clone()),
            name,
            core,
            handlers: Handlers::default(),
            tells: AtomicBool::new(false),
            middlewares: RwLock::default(),
            hub: Mutex::new(Hub { reader: Reader::new(first), ..Hub::default() }),
            acks: AtomicU64::new(first_ack),
            sent: AtomicU64::new(first),
            returned: AtomicU64::new(first),
            users: AtomicUsize::new(0),
            dynamic: AtomicBool::new(dynamic),
        })
    }

    /// The one place where the hub is locked: its order is the order of everything that clients can observe. In it nothing
    /// waits, no handler runs and no action that others have left behind; what wants that is given back and done afterwards.
    pub(crate) fn with_hub<R>(&self, f: impl FnOnce(&mut Hub) -> R) -> R {
        f(&mut lock_as(Rank::Hub, &self.hub))
    }

    /// Its name, with the leading `/`.
    #[must_use]
    pub fn name(&self) -> &Nsp {
        &self.name
    }

    /// Adds a handler, the application's side. Where there are several each hears everything, in the order in which they were added.
    pub fn handle(self: &Arc<Self>, handler: impl Handler) -> Arc<Namespace> {
        self.set_handler(Arc::new(handler));
        self.clone()
    }

    pub(crate) fn set_handler(&self, handler: Arc<dyn Handler>) {
        if handler.hears_outgoing() {
            self.tells.store(true, Ordering::Release);
        }
        self.handlers.add(handler);
    }

    pub(crate) fn handler(&self) -> &Handlers {
        &self.handlers
    }

    /// The clients whose handlers want to hear that `to` is sent something. Empty, nearly always.
    pub(crate) fn told(&self, hub: &Hub, to: &Target) -> Vec<Socket> {
        match self.tells.load(Ordering::Acquire) {
            true => hub.matching(to),
            false => Vec::new(),
        }
    }

    pub(crate) fn told_of(&self, hub: &Hub, event: EventRef<'_>) -> Vec<Socket> {
        match self.tells.load(Ordering::Acquire) {
            true => hub.matching(&Target { rooms: event.rooms.to_vec().into(), except: event.except.to_vec() }),
            false => Vec::new(),
        }
    }

    pub(crate) fn telling(&self, hub: &Hub, to: &Target, posted: &Arc<Posted>) -> Option<Deferred> {
        let told = self.told(hub, to);
        let (namespace, posted) = (told.first()?.namespace().clone(), posted.clone());
        Some(Deferred::Run(Box::new(move || {
            if let Entry::Broadcast { name, args, .. } | Entry::Passing { name, args, .. } = &posted.entry {
                namespace.tell(&told, name, args);
            }
        })))
    }

    /// What goes to a client past the hub.
    pub(crate) fn tell_one(&self, socket: &Socket, name: &str, args: &Args) {
        if self.tells.load(Ordering::Acquire) && socket.connected() {
            self.handlers.outgoing(socket, name, args);
        }
    }

    /// With the hub released.
    pub(crate) fn tell(&self, told: &[Socket], name: &str, args: &Args) {
        told.iter().for_each(|socket| self.handlers.outgoing(socket, name, args));
    }

    /// Adds a middleware: it sees each client before it joins, and lets it in or refuses it. They run in the order in which they were added;
    /// clients that recover their session pass without, unless [`Recovery::skip_middlewares`](crate::server::Recovery) is off.
    pub fn use_middleware(&self, middleware: impl Fn(&Socket, Next) + Send + Sync + 'static) {
        self.add_middleware(Arc::new(middleware));
    }

    pub(crate) fn add_middleware(&self, middleware: Middleware) {
        self.middlewares.write().unwrap_or_else(std::sync::PoisonError::into_inner).push(middleware);
    }

    /// As [`use_middleware`](Namespace::use_middleware), for one that has to wait: what its future gives is the decision.
    ///
    /// ```
    /// # async fn is_known(auth: String) -> bool { auth.contains("token") }
    /// use rill::{ConnectError, Options, Server};
    ///
    /// let server = Server::in_memory(Options::default());
    /// server.of("/").use_async(|socket| async move {
    ///     match is_known(socket.auth().to_owned()).await {
    ///         true => Ok(()),
    ///         false => Err(ConnectError::new("who are you?")),
    ///     }
    /// });
    /// ```
    pub fn use_async<F: Future<Output = Result<(), ConnectError>> + Send + 'static>(
        &self,
        middleware: impl Fn(Socket) -> F + Send + Sync + 'static,
    ) {
        self.add_middleware(family::waiting(middleware));
    }

    pub(crate) fn middleware(&self, index: usize) -> Option<Middleware> {
        self.middlewares.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(index).cloned()
    }

    // ---- what the application calls

    /// Sends an event to everybody.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub fn emit_all(self: &Arc<Self>, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        self.all().emit(name, args)
    }

    /// Everybody in the namespace.
    #[must_use]
    pub fn all(self: &Arc<Self>) -> Broadcast {
        Broadcast::new(self, Target::default())
    }

    /// Everybody in this room, or in one of several.
    #[must_use]
    pub fn to(self: &Arc<Self>, rooms: impl Into<Rooms>) -> Broadcast {
        self.all().to(rooms)
    }

    /// Everybody who is not in this room, or in one of several.
    #[must_use]
    pub fn except(self: &Arc<Self>, rooms: impl Into<Rooms>) -> Broadcast {
        self.all().except(rooms)
    }

    /// The client of this id, on this server.
    #[must_use]
    pub fn socket(&self, id: &SocketId) -> Option<Socket> {
        self.with_hub(|hub| hub.sockets.get(id).cloned())
    }

    /// How many clients are in it, on this server.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with_hub(|hub| hub.sockets.len())
    }

    /// Whether nobody is in it, on this server.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rooms have a client, without the clients' own rooms, on this server.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.with_hub(|hub| hub.rooms.len())
    }

    /// Its rooms with their number of clients, without the clients' own rooms, on this server.
    #[must_use]
    pub fn rooms(&self) -> Vec<(Room, usize)> {
        let mut rooms: Vec<_> =
            self.with_hub(|hub| hub.rooms.iter().map(|(room, members)| (room.clone(), members.len())).collect());
        rooms.sort();
        rooms
    }

    /// The present moment on the server's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.core.clock)()
    }

    /// Sends an event to the other servers' handlers ([`Handler::server_event`]).
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub fn server_side_emit(&self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        let args = args.into();
        self.check(name, &args)?;
        self.publish(Entry::ServerSide { name: name.into(), args, request: None })
    }

    /// Sends an event to the other servers' handlers and gathers their answers, for at most `timeout`. See
    /// [`server_side_ask`](Namespace::server_side_ask) for a future.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub fn server_side_emit_with_ack(
        self: &Arc<Self>,
        name: &str,
        args: impl Into<Args>,
        timeout: Duration,
        on_answers: impl FnOnce(Gathered) + Send + 'static,
    ) -> Result<(), EmitError> {
        self.ask_servers(name, args.into(), timeout, Box::new(on_answers)).map(drop)
    }

    /// As [`server_side_emit_with_ack`](Namespace::server_side_emit_with_ack), to be awaited.
    pub fn server_side_ask(
        self: &Arc<Self>,
        name: &str,
        args: impl Into<Args>,
        timeout: Duration,
    ) -> Pending<Result<Gathered, EmitError>> {
        let args = args.into();
        self.pending(|done| self.ask_servers(name, args, timeout, done))
    }

    fn ask_servers(
        self: &Arc<Self>,
        name: &str,
        args: Args,
        timeout: Duration,
        done: OnGathered,
    ) -> Result<Option<RequestId>, EmitError> {
        self.check(name, &args)?;
        let name = name.into();
        let entry = |request| Entry::ServerSide { name, args, request: Some(request) };
        self.ask(Whom::Others, milliseconds(timeout), done, entry)
    }

    // ---- emitting

    /// Refuses what clients would not accept.
    pub(crate) fn check(&self, name: &str, args: &Args) -> Result<(), EmitError> {
        if socket_packet::is_reserved(name) {
            return Err(EmitError::ReservedName);
        }
        if args.is_broken() {
            return Err(EmitError::NotJson);
        }
        match args.attachments().len() > self.core.options.limits.attachments {
            true => Err(EmitError::TooManyAttachments),
            false => Ok(()),
        }
    }

    /// Sends an event that clients who are away get later.
    pub(crate) fn emit(&self, to: Target, name: &str, args: Args) -> Result<(), EmitError> {
        self.check(name, &args)?;
        self.publish_event(to, name, args)
    }

    /// As `emit`, to a single client.
    pub(crate) fn emit_to(&self, socket: &Socket, name: &str, args: Args) -> Result<(), EmitError> {
        self.check(name, &args)?;
        match self.recovery_ms() {
            None => {
                socket.send_now(socket_packet::event(self.name.as_str(), None, name, &args, None));
                self.tell_one(socket, name, &args);
            }
            Some(_) if socket.may_return() => return self.publish_event_to(socket, name, args),
            // A client that has left for good gets nothing.
            Some(_) => {}
        }
        Ok(())
    }

    /// Sends an event to the clients that are here, and keeps nothing.
    pub(crate) fn emit_here(&self, to: &Target, name: &str, args: &Args, volatile: bool) -> Result<(), EmitError> {
        self.check(name, args)?;
        let told = self.with_hub(|hub| {
            self.send_unlogged(hub, to, name, args, volatile);
            self.told(hub, to)
        });
        self.tell(&told, name, args);
        Ok(())
    }

    /// Sends an event to the clients everywhere that can take it now. Those of this server don't wait for the log.
    pub(crate) fn emit_volatile(&self, to: Target, name: &str, args: Args) -> Result<(), EmitError> {
        self.emit_here(&to, name, &args, true)?;
        match self.core.streams.shared() {
            true => self.publish(Entry::Passing { to, name: name.into(), args }),
            false => Ok(()),
        }
    }

    // ---- clients and rooms

    pub(crate) fn matching(&self, to: &Target) -> Vec<Socket> {
        self.with_hub(|hub| hub.matching(to))
    }

    /// A client enters a room. With recovery that is told by the log: it counts when its entry has come back.
    pub(crate) fn join(&self, socket: &Socket, room: &Room) -> Result<(), EmitError> {
        let limits = &self.core.options.limits;
        if room.as_str().len() > limits.name_bytes {
            return Err(EmitError::NameTooLong);
        }
        match socket.plans(room) {
            Planned::In => return Ok(()),
            Planned::Out { rooms, bytes } => {
                if rooms >= limits.rooms_per_client || bytes + room.as_str().len() > limits.room_names_bytes {
                    return Err(EmitError::TooManyRooms);
                }
            }
        }
        self.change_room(socket, room.clone(), true)
    }

    pub(crate) fn leave(&self, socket: &Socket, room: &Room) -> Result<(), EmitError> {
        match (socket.is_in(), socket.plans(room)) {
            (true, Planned::Out { .. }) => Ok(()),
            (true, Planned::In) | (false, _) => self.change_room(socket, room.clone(), false),
        }
    }

    fn change_room(&self, socket: &Socket, room: Room, enters: bool) -> Result<(), EmitError> {
        if self.recovery_ms().is_none() {
            let act = if enters { Hub::join } else { Hub::leave };
            self.with_hub(|hub| {
                if hub.has(socket) {
                    act(hub, socket, &room)
                }
            });
            return Ok(());
        }
        // A client that is cut off joins when it returns. One that is gone joins nothing: the room would never be empty again.
        if !socket.may_return() {
            return Ok(());
        }
        self.keep_first(socket);
        self.publish_room(socket, room, enters)
    }

    /// Takes the client out; its session stays for the window if neither side meant it to end. A socket whose session was taken over is
    /// not in the hub any more, and touches neither rooms nor record.
    pub(crate) fn remove(&self, socket: &Socket, reason: Reason) {
        self.with_hub(|hub| {
            if hub.has(socket) {
                self.expel(hub, socket, reason);
            }
        });
    }

    pub(crate) fn expel(&self, hub: &mut Hub, socket: &Socket, reason: Reason) {
        hub.remove(socket);
        match reason.recoverable() {
            true => self.keep_away(hub, socket),
            false => self.end_session(socket),
        }
    }

    pub(crate) fn recovery_ms(&self) -> Option<u64> {
        self.core.options.recovery.as_ref().map(|recovery| recovery.window_ms)
    }

    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic.load(Ordering::SeqCst)
    }

    pub(crate) fn next_ack(&self) -> u64 {
        self.acks.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_out(&self, packets: usize) {
        self.core.metrics.messages_out.add(packets);
    }
}

/// Where this server's acknowledgement ids begin: at random, so that a client's answer to one server's question is none to
/// another's after a return. Short enough to cost little.
fn first_ack(core: &Core) -> u64 {
    let mut bytes = [0; 8];
    (core.random)(&mut bytes);
    u64::from_le_bytes(bytes) >> 32
}
