//! One client in one namespace, as the application sees it: a cheap handle, safe to keep and to use from anywhere.
//!
//! Calls on a client that has left do nothing, as on the official server; with recovery on, what is sent to one that was cut off, and the rooms
//! that it is put into, wait for its return.

use crate::codec::args::Args;
use crate::codec::socket_packet::{self, Frames};
use crate::id::{Nsp, Offset, Pid, Room, SocketId, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::connection::{Connection, Sent};
use crate::server::client::extensions::Extensions;
use crate::server::client::handler::AckError;
use crate::server::client::life::{Life, LifeCell};
use crate::server::client::turn::Turn;
use crate::server::log::entry::{Record, RemoteSocket, Rooms, Target};
use crate::server::log::held::Held;
use crate::server::log::reader::Action;
use crate::server::log::streams::StreamError;
use crate::server::namespace::Namespace;
use crate::server::namespace::broadcast::Broadcast;
use crate::server::pending::Pending;
use crate::server::rank::{Rank, lock_as};
use crate::server::recovery::kept::{Kept, Place, Planned, RoomList};
use crate::server::timers::Timer;
use serde_core::de::DeserializeOwned;
use serde_core::ser::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Why a packet was not sent, or a room not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// `connect`, `connect_error`, `disconnect`, `disconnecting`, `newListener` and `removeListener` belong to the protocol.
    ReservedName,
    /// The arguments have no JSON form.
    NotJson,
    /// More attachments than clients accept.
    TooManyAttachments,
    /// The client's data is of another type than the one it was to be changed as.
    OtherData,
    /// Too many acknowledgements of this client are awaited.
    TooManyAcks,
    /// The client is in as many rooms as it may be.
    TooManyRooms,
    /// The room's name is too long.
    NameTooLong,
    /// The client has taken its session elsewhere meanwhile: what was changed here may be lost.
    Moved,
    /// A namespace that a rule had made went with its last client: ask for it again.
    NamespaceGone,
    /// The log took no more.
    Log(StreamError),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmitError::ReservedName => f.write_str("this event name is reserved"),
            EmitError::NotJson => f.write_str("the arguments have no JSON form"),
            EmitError::OtherData => f.write_str("the client's data is of another type"),
            EmitError::TooManyAttachments => f.write_str("too many binary attachments"),
            EmitError::TooManyAcks => f.write_str("too many acknowledgements are awaited from this client"),
            EmitError::TooManyRooms => f.write_str("too many rooms"),
            EmitError::NameTooLong => f.write_str("the room's name is too long"),
            EmitError::Moved => f.write_str("the client is connected elsewhere by now"),
            EmitError::NamespaceGone => f.write_str("the namespace went with its last client; ask for it again"),
            EmitError::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EmitError {}

/// As the timers count; the longest time is for ever.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

type OnAck = Box<dyn FnOnce(Result<Args, AckError>) + Send>;

pub(super) struct State {
    /// What belongs to its session.
    pub(super) kept: Kept,
    pub(super) acks: HashMap<u64, OnAck>,
    pub(super) turn: Turn,
}

pub(super) struct Inner {
    number: u64,
    id: SocketId,
    pid: Option<Pid>,
    recovered: bool,
    auth: Box<str>,
    joined: Time,
    pub(super) namespace: Arc<Namespace>,
    pub(super) connection: Arc<Connection>,
    pub(super) life: LifeCell,
    /// Among the clients of its namespace's hub, which alone writes this.
    is_in: AtomicBool,
    /// The number of this server's last entry that was sent to this client.
    own: AtomicU64,
    extensions: Extensions,
    pub(super) state: Mutex<State>,
}

/// A client in a namespace. Cloning is cheap and gives the same client.
#[derive(Clone)]
pub struct Socket(pub(super) Arc<Inner>);

/// A socket that may be gone.
#[derive(Clone)]
pub struct WeakSocket(Weak<Inner>);

impl WeakSocket {
    pub(crate) fn upgrade(&self) -> Option<Socket> {
        self.0.upgrade().map(Socket)
    }
}

/// Two handles are equal if they are the same client on the same connection.
impl PartialEq for Socket {
    fn eq(&self, other: &Socket) -> bool {
        self.0.number == other.0.number
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.nsp_name(), self.id())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.connection.server().release(&self.namespace);
    }
}

impl Socket {
    /// A socket that waits for the middlewares; `restored` gives it the names and data of its session.
    pub(crate) fn new(
        connection: &Arc<Connection>,
        namespace: &Arc<Namespace>,
        auth: &str,
        restored: Option<&Record>,
    ) -> Socket {
        let server = connection.server();
        let (id, pid, data) = match restored {
            Some(record) => (record.sid.clone(), Some(record.pid.clone()), record.data.clone()),
            None => {
                let pid = server.options().recovery.as_ref().map(|_| Pid::new(server.random()));
                (SocketId::new(server.random()), pid, Arc::new(Value::Null))
            }
        };
        let state = State { kept: Kept::new(data), acks: HashMap::new(), turn: Turn::default() };
        server.retain(namespace);
        Socket(Arc::new(Inner {
            number: server.next_number(),
            id,
            pid,
            recovered: restored.is_some(),
            auth: auth.into(),
            joined: server.now(),
            namespace: namespace.clone(),
            connection: connection.clone(),
            life: LifeCell::default(),
            is_in: AtomicBool::new(false),
            own: AtomicU64::new(0),
            extensions: Extensions::default(),
            state: Mutex::new(state),
        }))
    }

    /// The client's public id in this namespace; also the room that has this client alone.
    #[must_use]
    pub fn id(&self) -> &SocketId {
        &self.0.id
    }

    /// The client came back and got its session: id, rooms and data, and what it missed.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.0.recovered
    }

    /// The client is in the namespace.
    #[must_use]
    pub fn connected(&self) -> bool {
        matches!(self.0.life.get(), Life::Admitted | Life::Busy | Life::Live)
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.0.namespace
    }

    /// The connection that carries the client.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    /// The JSON object that came with the client's CONNECT; `{}` if none did.
    #[must_use]
    pub fn auth(&self) -> &str {
        &self.0.auth
    }

    /// When the client joined the namespace.
    #[must_use]
    pub fn joined(&self) -> Time {
        self.0.joined
    }

    /// The official handshake object.
    #[must_use]
    pub fn handshake(&self) -> Value {
        self.0.connection.handshake.to_value(self.auth(), self.0.joined)
    }

    /// What the application keeps with the client; survives a recovery.
    #[must_use]
    pub fn data(&self) -> Arc<Value> {
        self.kept(|kept| kept.data().clone())
    }

    /// The client's data as a type of yours.
    ///
    /// # Errors
    /// It is of another type, or was never set: `null`.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&*self.data())
    }

    /// Replaces the client's data, by anything that serde can write. With recovery it goes into the session record; see [`Socket::when_saved`].
    ///
    /// # Errors
    /// [`EmitError::NotJson`]. [`EmitError::Log`]: the log takes no more. The data is replaced even so, and lost if the client comes back before
    /// the next record.
    pub fn set_data(&self, data: impl Serialize) -> Result<(), EmitError> {
        let data = serde_json::to_value(data).map_err(|_| EmitError::NotJson)?;
        self.kept(|kept| kept.set_data(Arc::new(data)));
        self.0.namespace.keep_data(self);
        Ok(())
    }

    /// Changes the client's data in place, as a type of yours ([`Value`] is one). No change gets lost that somebody else makes at the same time:
    /// `change` is called again then.
    ///
    /// ```
    /// # use rill::{Events, Options, Server};
    /// use serde_json::Value;
    ///
    /// let events = Events::new().on("point", |socket, _| {
    ///     let _ = socket.change_data(|data: &mut Value| data["points"] = (data["points"].as_u64().unwrap_or(0) + 1).into());
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`Socket::set_data`]; [`EmitError::OtherData`] where the data is of another type.
    pub fn change_data<T: Serialize + DeserializeOwned>(&self, change: impl Fn(&mut T)) -> Result<(), EmitError> {
        loop {
            let before = self.data();
            let mut data = T::deserialize(&*before).map_err(|_| EmitError::OtherData)?;
            change(&mut data);
            let after = serde_json::to_value(data).map_err(|_| EmitError::NotJson)?;
            let changed = self.kept(|kept| {
                let same = Arc::ptr_eq(&before, kept.data());
                if same {
                    kept.set_data(Arc::new(after));
                }
                same
            });
            if changed {
                self.0.namespace.keep_data(self);
                return Ok(());
            }
        }
    }

    /// Live objects beside [`data`](Socket::data), by their type. They go with this socket.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// Sends an event.
    ///
    /// # Errors
    /// [`EmitError::ReservedName`], [`EmitError::TooManyAttachments`]; [`EmitError::NamespaceGone`] and [`EmitError::Log`] where there is a log.
    pub fn emit(&self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        self.0.namespace.emit_to(self, name, args.into())
    }

    /// Sends an event that asks for an acknowledgement; `on_ack` hears it, or why it did not come within `timeout`, `None`: while the client is
    /// here. It runs on the client's task, or on the timers'. See [`Socket::ask`] for a future.
    ///
    /// # Errors
    /// As [`Socket::emit`], and [`EmitError::TooManyAcks`]; `on_ack` is not called then.
    pub fn emit_with_ack(
        &self,
        name: &str,
        args: impl Into<Args>,
        timeout: Option<Duration>,
        on_ack: impl FnOnce(Result<Args, AckError>) + Send + 'static,
    ) -> Result<(), EmitError> {
        self.emit_asking(name, &args.into(), timeout, Box::new(on_ack)).map(drop)
    }

    /// Sends an event that asks for an acknowledgement, to be awaited. A handler may wait for its own client: answers don't stand in line behind
    /// its events. Dropped before it comes, the answer is no longer expected.
    ///
    /// ```
    /// use rill::Events;
    /// use std::time::Duration;
    ///
    /// let quiz = Events::new().on_async("ready", |socket, _event| async move {
    ///     match socket.ask("what is 6 x 7?", (), Some(Duration::from_secs(10))).await {
    ///         Ok(answer) if answer.parse::<u8>(0).is_ok_and(|n| n == 42) => drop(socket.emit("right", ())),
    ///         Ok(_) => drop(socket.emit("wrong", ())),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// });
    /// ```
    pub fn ask(&self, name: &str, args: impl Into<Args>, timeout: Option<Duration>) -> Pending<Result<Args, AckError>> {
        let ((pending, answer), asked) = (Pending::new(), self.clone());
        match self.emit_asking(name, &args.into(), timeout, Box::new(answer)) {
            Ok(id) => pending.or_forget(move || drop(asked.forget_ack(id))),
            Err(error) => Pending::ready(Err(AckError::NotSent(error))),
        }
    }

    fn emit_asking(&self, name: &str, args: &Args, timeout: Option<Duration>, on_ack: OnAck) -> Result<u64, EmitError> {
        self.0.namespace.check(name, args)?;
        let id = self.0.namespace.next_ack();
        self.expect_ack(id, timeout.map(milliseconds), on_ack)?;
        let frames = socket_packet::event(self.nsp_name().as_str(), Some(id), name, args, None);
        self.send_after(self.own(), frames);
        self.0.namespace.tell_one(self, name, args);
        Ok(id)
    }

    fn forget_ack(&self, id: u64) -> Option<OnAck> {
        lock_as(Rank::One, &self.0.state).acks.remove(&id)
    }

    pub(crate) fn expect_ack(&self, id: u64, timeout_ms: Option<u64>, on_ack: OnAck) -> Result<(), EmitError> {
        let server = self.0.connection.server();
        let mut state = lock_as(Rank::One, &self.0.state);
        if matches!(self.0.life.get(), Life::Away | Life::Gone) {
            drop(state);
            on_ack(Err(AckError::Disconnected));
            return Ok(());
        }
        if state.acks.len() >= server.options().limits.pending_acks {
            return Err(EmitError::TooManyAcks);
        }
        state.acks.insert(id, on_ack);
        drop(state);
        if let Some(ms) = timeout_ms {
            server.timers().add(server.now().plus(ms), Timer::Ack(self.downgrade(), id));
        }
        Ok(())
    }

    /// The client's answer, or its absence; an unknown id is ignored.
    pub(crate) fn acked(&self, id: u64, answer: Result<Args, AckError>) {
        if let Some(on_ack) = self.forget_ack(id) {
            on_ack(answer);
        }
    }

    /// `since`: the namespace's last entry before the handler ran. An acknowledgement must not overtake what its handler has sent.
    pub(crate) fn send_ack(&self, id: u64, args: &Args, since: u64) {
        if self.connected() {
            let sent = self.0.namespace.sent.load(Ordering::Acquire);
            let after = if sent > since { sent } else { self.own() };
            self.send_after(after, socket_packet::ack(self.nsp_name().as_str(), id, args));
        }
    }

    /// Sends a packet once this server's entry number `own` has come back from the log; nearly always it has.
    fn send_after(&self, own: u64, frames: Frames) {
        match own <= self.0.namespace.returned.load(Ordering::Acquire) {
            true => self.send_now(frames),
            false => self.0.namespace.hold(own, Held::Packet(self.clone(), frames)),
        }
    }

    /// Sends a packet to a client that is in the namespace; it may have been removed while the packet waited.
    pub(crate) fn send_now(&self, frames: Frames) {
        if self.connected() && self.0.connection.send(frames, false) == Sent::Queued {
            self.0.namespace.count_out(1);
        }
    }

    /// What is sent to this client besides the log waits for entry number `own`.
    pub(crate) fn expect_own(&self, own: u64) {
        self.0.own.fetch_max(own, Ordering::AcqRel);
    }

    fn own(&self) -> u64 {
        self.0.own.load(Ordering::Acquire)
    }

    /// This client alone, wherever it is.
    pub(crate) fn only(&self) -> Target {
        Target { rooms: Rooms::One(self.0.id.room()), except: Vec::new() }
    }

    /// Sends to this client only if it can take the packet now.
    #[must_use]
    pub fn volatile(&self) -> Broadcast {
        Broadcast::new(&self.0.namespace, self.only()).volatile()
    }

    /// Everybody in the namespace but this client.
    #[must_use]
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(&self.0.namespace, Target { rooms: Rooms::None, except: vec![self.0.id.room()] })
    }

    /// Everybody in this room, or in one of several, but this client.
    #[must_use]
    pub fn to(&self, rooms: impl Into<Rooms>) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// Everybody in the namespace but this client and those in this room, or in one of several.
    #[must_use]
    pub fn except(&self, rooms: impl Into<Rooms>) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// Joins a room, or several. With recovery the change goes into the session record; see [`Socket::when_saved`].
    ///
    /// # Errors
    /// [`EmitError::NameTooLong`], [`EmitError::TooManyRooms`]; [`EmitError::NamespaceGone`] and [`EmitError::Log`] where there is a log.
    pub fn join(&self, rooms: impl Into<Rooms>) -> Result<(), EmitError> {
        rooms.into().iter().try_for_each(|room| self.0.namespace.join(self, room))
    }

    /// Leaves a room, or several.
    ///
    /// # Errors
    /// [`EmitError::NamespaceGone`] and [`EmitError::Log`], where there is a log.
    pub fn leave(&self, rooms: impl Into<Rooms>) -> Result<(), EmitError> {
        rooms.into().iter().try_for_each(|room| self.0.namespace.leave(self, room))
    }

    /// Calls back once all changes so far of rooms and data are in the session record, so that they survive this server: at once with the
    /// in-memory log or without recovery, within a round trip with Redis. [`EmitError::Moved`]: the client has come back elsewhere.
    pub fn when_saved(&self, saved: impl FnOnce(Result<(), EmitError>) + Send + 'static) {
        self.0.namespace.when_saved(self, Box::new(saved));
    }

    /// The rooms that the client is in, its own id first. With recovery a room counts for events when its entry has come
    /// back from the log, a moment later.
    #[must_use]
    pub fn rooms(&self) -> Vec<Room> {
        let rooms = self.kept(|kept| kept.planned_rooms());
        std::iter::once(self.0.id.room()).chain(rooms).collect()
    }

    /// Removes the client from the namespace; with `close` from all of them, and its connection is closed.
    pub fn disconnect(&self, close: bool) {
        let own = self.own();
        match own <= self.0.namespace.returned.load(Ordering::Acquire) {
            true => self.farewell(close),
            false => self.0.namespace.hold(own, Held::Disconnect(self.clone(), close)),
        }
    }

    pub(crate) fn farewell(&self, close: bool) {
        if !self.connected() {
            return;
        }
        let sockets = if close { self.0.connection.sockets() } else { vec![self.clone()] };
        for socket in sockets {
            // The session ends before the client hears of it: a client that returns at once must not find it.
            socket.0.namespace.remove(&socket, Reason::ServerNamespaceDisconnect);
            let packet = socket_packet::disconnect(socket.nsp_name().as_str());
            if socket.0.connection.removed(&socket, packet) {
                socket.left(Reason::ServerNamespaceDisconnect);
            }
        }
        if close {
            let now = self.0.connection.server().now();
            self.0.connection.handle(now, Input::Close(Reason::ForcedServerClose));
        }
    }

    /// The client is here, or may come back and get what is sent to it meanwhile.
    pub(crate) fn may_return(&self) -> bool {
        self.connected() || self.0.life.get() == Life::Away
    }

    /// See [`Hub::has`](crate::server::namespace::hub::Hub::has).
    pub(crate) fn is_in(&self) -> bool {
        self.0.is_in.load(Ordering::Acquire)
    }

    pub(crate) fn set_in(&self, is_in: bool) {
        self.0.is_in.store(is_in, Ordering::Release);
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn pid(&self) -> Option<&Pid> {
        self.0.pid.as_ref()
    }

    pub(crate) fn nsp_name(&self) -> &Nsp {
        self.0.namespace.name()
    }

    // ---- its session

    /// Looks at what belongs to its session.
    pub(crate) fn kept<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        f(&mut lock_as(Rank::One, &self.0.state).kept)
    }

    pub(crate) fn downgrade(&self) -> WeakSocket {
        WeakSocket(Arc::downgrade(&self.0))
    }

    pub(crate) fn note_position(&self) {
        self.0.namespace.with_hub(|hub| {
            let position = hub.reader.position();
            self.kept(|kept| kept.note(position));
        });
    }

    /// The pong has come: the client got everything up to the noted position.
    pub(crate) fn confirm_position(&self) {
        self.kept(|kept| kept.confirm());
        self.0.namespace.keep_alive(self);
    }

    /// The namespace lets the client in.
    pub(crate) fn admitted(&self, place: Place, is_stored: bool) {
        let mut state = lock_as(Rank::One, &self.0.state);
        self.0.life.set(Life::Admitted);
        state.kept.begin(place, is_stored);
    }

    /// It was gone before it was in.
    pub(crate) fn not_admitted(&self) {
        let mut state = lock_as(Rank::One, &self.0.state);
        self.0.life.set(Life::Gone);
        let turn = std::mem::take(&mut state.turn);
        drop(state);
        drop(turn);
    }

    /// Enters a room. Under the hub's lock.
    pub(crate) fn enter(&self, room: &Room, at: Offset) {
        self.kept(|kept| kept.enter(room, at));
    }

    /// Leaves a room. Under the hub's lock.
    pub(crate) fn leave_room(&self, room: &Room, at: Offset) {
        self.kept(|kept| kept.leave(room, at));
    }

    /// The rooms that the hub has it in.
    pub(crate) fn joined_rooms(&self) -> RoomList {
        self.kept(|kept| kept.rooms().clone())
    }

    pub(crate) fn plans(&self, room: &Room) -> Planned {
        self.kept(|kept| kept.plans(room))
    }

    pub(crate) fn change_begun(&self, seq: u64, room: Room, enters: bool) {
        self.kept(|kept| kept.change_begun(seq, room, enters));
    }

    /// A change has come back from the log, or will not. Without a lock held: who waits for it hears of it here.
    pub(crate) fn change_settled(&self, seq: u64, result: Result<(), EmitError>) {
        let actions: Vec<Action> = self.kept(|kept| match result {
            Ok(()) => kept.change_kept(seq),
            Err(error) => kept.change_failed(seq, error),
        });
        actions.into_iter().for_each(|action| action());
    }

    /// As cluster-wide questions tell of it.
    pub(crate) fn remote(&self) -> RemoteSocket {
        RemoteSocket {
            id: self.id().clone(),
            handshake: self.handshake(),
            rooms: self.rooms(),
            data: Value::clone(&self.data()),
        }
    }
}
