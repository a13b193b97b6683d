//! A client of any server, as a question to all of them has found it.

use crate::codec::args::Args;
use crate::id::{Room, SocketId};
use crate::server::client::socket::EmitError;
use crate::server::log::entry::{self, Rooms};
use crate::server::namespace::Namespace;
use crate::server::namespace::broadcast::Broadcast;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// A client of some server, as [`Broadcast::fetch`] found it. What is done to it here is done where it is.
#[derive(Clone)]
pub struct RemoteSocket {
    /// Its id.
    pub id: SocketId,
    /// The official handshake object.
    pub handshake: Value,
    /// Its rooms; the first is its own id.
    pub rooms: Vec<Room>,
    /// What the application keeps with it.
    pub data: Value,
    /// The unique name of the server that it is on.
    uid: Arc<str>,
    namespace: Arc<Namespace>,
}

impl RemoteSocket {
    pub(crate) fn new(found: entry::RemoteSocket, uid: &str, namespace: &Arc<Namespace>) -> RemoteSocket {
        let entry::RemoteSocket { id, handshake, rooms, data } = found;
        RemoteSocket { id, handshake, rooms, data, uid: uid.into(), namespace: namespace.clone() }
    }

    /// The name of the server that it is on, [`Options::name`](crate::Options::name) there; its unique name if it has none, or is gone.
    #[must_use]
    pub fn server(&self) -> String {
        self.namespace.core.server_name(&self.uid)
    }

    /// This client alone, to be sent to and asked as any set of clients.
    #[must_use]
    pub fn only(&self) -> Broadcast {
        self.namespace.to(&self.id)
    }

    /// Sends it an event.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub fn emit(&self, name: &str, args: impl Into<Args>) -> Result<(), EmitError> {
        self.only().emit(name, args)
    }

    /// Makes it join a room, or several.
    ///
    /// # Errors
    /// As [`Broadcast::sockets_join`].
    pub fn join(&self, rooms: impl Into<Rooms>) -> Result<(), EmitError> {
        self.only().sockets_join(rooms)
    }

    /// Makes it leave a room, or several.
    ///
    /// # Errors
    /// As [`Broadcast::sockets_leave`].
    pub fn leave(&self, rooms: impl Into<Rooms>) -> Result<(), EmitError> {
        self.only().sockets_leave(rooms)
    }

    /// Removes it from the namespace; with `close` its connection is closed.
    ///
    /// # Errors
    /// As [`Broadcast::disconnect_sockets`].
    pub fn disconnect(&self, close: bool) -> Result<(), EmitError> {
        self.only().disconnect_sockets(close)
    }
}

/// By what is known of the clients.
impl PartialEq for RemoteSocket {
    fn eq(&self, other: &RemoteSocket) -> bool {
        (&self.id, &self.handshake, &self.rooms, &self.data) == (&other.id, &other.handshake, &other.rooms, &other.data)
    }
}

impl fmt::Debug for RemoteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found = f.debug_struct("RemoteSocket");
        found.field("id", &self.id).field("rooms", &self.rooms).field("data", &self.data).finish_non_exhaustive()
    }
}
