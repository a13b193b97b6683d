//! One Socket.IO client on an Engine.IO session: its namespaces, its packets, the binary packet that is still arriving.
//!
//! Socket.IO protocol 5, "Packet types" and "Sample session". A client may be in many namespaces; it must join a first one in time.
//! Every error is final: the session is closed, no other client notices.

use crate::codec::args::Args;
use crate::codec::socket_packet::{self, SocketError, SocketPacket};
use crate::id::Time;
use crate::limits::Limits;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// Why a client's packet closes its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The packet can't be decoded.
    Packet(SocketError),
    /// A text packet although attachments are due.
    TextForAttachment,
    /// Binary data that belongs to no packet.
    StrayBinary,
    /// The attachments of one packet have more bytes together than this.
    AttachmentsTooLarge(usize),
    /// Attachments are due, and for so many milliseconds nothing of them has come.
    AttachmentsLate(u64),
    /// A packet for a namespace that the client is not in.
    NotConnected,
    /// A CONNECT for a namespace that the client is already in.
    AlreadyConnected,
    /// No namespace was joined within so many milliseconds.
    ConnectLate(u64),
}

impl ClientError {
    /// The code for the close frame that tells a client on a WebSocket. RFC 6455 section 7.4.1: 1009 where something is too large, 1008
    /// ("a message that violates its policy") for everything else that is not about frames.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            ClientError::AttachmentsTooLarge(_) | ClientError::Packet(SocketError::TooManyAttachments(_)) => 1009,
            ClientError::Packet(_)
            | ClientError::TextForAttachment
            | ClientError::StrayBinary
            | ClientError::AttachmentsLate(_)
            | ClientError::NotConnected
            | ClientError::AlreadyConnected
            | ClientError::ConnectLate(_) => 1008,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Packet(error) => error.fmt(f),
            ClientError::TextForAttachment => f.write_str("got plaintext data when reconstructing a packet"),
            ClientError::StrayBinary => f.write_str("got binary data when not reconstructing a packet"),
            ClientError::AttachmentsTooLarge(most) => {
                write!(f, "attachments of one packet larger than {most} bytes together")
            }
            ClientError::AttachmentsLate(ms) => write!(f, "nothing of an attachment that is due for {ms} ms"),
            ClientError::NotConnected => f.write_str("packet for a namespace that is not connected"),
            ClientError::AlreadyConnected => f.write_str("namespace is connected already"),
            ClientError::ConnectLate(ms) => write!(f, "no namespace joined within {ms} ms"),
        }
    }
}

impl std::error::Error for ClientError {}

/// What a packet asks for. Namespace names are the client's and of any length: the caller checks.
#[derive(Debug, PartialEq)]
pub enum Action<'a> {
    /// More attachments are due.
    Wait,
    /// Join a namespace; answer with [`Client::connected`] or [`Client::left`].
    Connect {
        /// The namespace, with its leading `/`.
        nsp: &'a str,
        /// The JSON object that came along.
        auth: Option<Cow<'a, str>>,
    },
    /// The client has left a namespace.
    Disconnect {
        /// The namespace.
        nsp: &'a str,
    },
    /// An event for a namespace that the client is in.
    Event {
        /// The namespace.
        nsp: Cow<'a, str>,
        /// The event's name.
        name: Cow<'a, str>,
        /// Its arguments.
        args: Args,
        /// The client wants an acknowledgement with this number.
        id: Option<u64>,
    },
    /// The answer to an event of the server.
    Ack {
        /// The namespace.
        nsp: Cow<'a, str>,
        /// The number that the server chose.
        id: u64,
        /// The answer's arguments.
        args: Args,
    },
}

#[derive(Debug)]
enum Membership {
    Connecting,
    Connected,
    /// The server has removed the client; what the client sent before it knew is dropped.
    Removed,
}

/// A binary packet of which attachments are missing.
#[derive(Debug)]
struct Partial {
    nsp: String,
    /// `None` for an acknowledgement.
    name: Option<String>,
    id: Option<u64>,
    args: String,
    attachments: Vec<Bytes>,
    due: usize,
    bytes: usize,
    /// When it is given up, unless something comes before.
    until: Time,
}

/// The state of one client.
#[derive(Debug)]
pub struct Client {
    namespaces: Vec<(Box<str>, Membership)>,
    partial: Option<Box<Partial>>,
    connect_by: Option<Time>,
    connect_ms: u64,
    attachments_ms: u64,
}

impl Client {
    /// A client that has `connect_ms` to join a namespace.
    #[must_use]
    pub fn new(now: Time, limits: &Limits) -> Client {
        let Limits { connect_ms, attachments_ms, .. } = *limits;
        let connect_by = Some(now.plus(connect_ms));
        Client { namespaces: Vec::new(), partial: None, connect_by, connect_ms, attachments_ms }
    }

    /// Takes a text message.
    ///
    /// # Errors
    /// See [`ClientError`]; the connection is to be closed.
    pub fn text<'a>(&mut self, now: Time, text: &'a str, limits: &Limits) -> Result<Action<'a>, ClientError> {
        if self.partial.is_some() {
            return Err(ClientError::TextForAttachment);
        }
        match socket_packet::decode(text, limits.attachments).map_err(ClientError::Packet)? {
            SocketPacket::Connect { nsp, auth } => self.connect(nsp, auth),
            SocketPacket::Disconnect { nsp } => {
                self.check(nsp)?;
                self.left(nsp);
                Ok(Action::Disconnect { nsp })
            }
            SocketPacket::Event { nsp, id, name, args, attachments: 0 } => {
                self.check(nsp)?;
                let args = Args::from_wire(args.to_owned(), Vec::new());
                Ok(Action::Event { nsp: nsp.into(), name, args, id })
            }
            SocketPacket::Ack { nsp, id, args, attachments: 0 } => {
                self.check(nsp)?;
                let args = Args::from_wire(args.to_owned(), Vec::new());
                Ok(Action::Ack { nsp: nsp.into(), id, args })
            }
            SocketPacket::Event { nsp, id, name, args, attachments } => {
                self.begin(now, nsp, Some(name.into_owned()), id, args, attachments)
            }
            SocketPacket::Ack { nsp, id, args, attachments } => self.begin(now, nsp, None, Some(id), args, attachments),
        }
    }

    fn connect<'a>(&mut self, nsp: &'a str, auth: Option<Cow<'a, str>>) -> Result<Action<'a>, ClientError> {
        match self.namespaces.iter_mut().find(|(name, _)| **name == *nsp) {
            Some((_, membership @ Membership::Removed)) => *membership = Membership::Connecting,
            Some((_, Membership::Connecting | Membership::Connected)) => return Err(ClientError::AlreadyConnected),
            None => self.namespaces.push((nsp.into(), Membership::Connecting)),
        }
        Ok(Action::Connect { nsp, auth })
    }

    fn check(&self, nsp: &str) -> Result<(), ClientError> {
        match self.namespaces.iter().find(|(name, _)| **name == *nsp) {
            // For a removed client the layer above finds no socket and drops the packet.
            Some((_, Membership::Connected | Membership::Removed)) => Ok(()),
            Some((_, Membership::Connecting)) | None => Err(ClientError::NotConnected),
        }
    }

    fn begin(
        &mut self,
        now: Time,
        nsp: &str,
        name: Option<String>,
        id: Option<u64>,
        args: &str,
        due: usize,
    ) -> Result<Action<'static>, ClientError> {
        self.check(nsp)?;
        self.partial = Some(Box::new(Partial {
            nsp: nsp.to_owned(),
            name,
            id,
            args: args.to_owned(),
            attachments: Vec::new(),
            due,
            bytes: 0,
            until: now.plus(self.attachments_ms),
        }));
        Ok(Action::Wait)
    }

    /// Takes a binary message.
    ///
    /// # Errors
    /// [`ClientError::StrayBinary`], [`ClientError::AttachmentsTooLarge`]; the connection is to be closed.
    pub fn binary(&mut self, now: Time, data: Bytes, limits: &Limits) -> Result<Action<'static>, ClientError> {
        let Some(mut partial) = self.partial.take() else {
            return Err(ClientError::StrayBinary);
        };
        partial.bytes = partial.bytes.saturating_add(data.len());
        if partial.bytes > limits.attachments_bytes {
            return Err(ClientError::AttachmentsTooLarge(limits.attachments_bytes));
        }
        partial.attachments.push(data);
        if partial.attachments.len() < partial.due {
            partial.until = now.plus(self.attachments_ms);
            self.partial = Some(partial);
            return Ok(Action::Wait);
        }
        // The client may have left the namespace between header and attachments only by a text packet, which is an error above.
        let Partial { nsp, name, id, args, attachments, .. } = *partial;
        let args = Args::from_wire(args, attachments);
        Ok(match (name, id) {
            (Some(name), id) => Action::Event { nsp: nsp.into(), name: name.into(), args, id },
            (None, Some(id)) => Action::Ack { nsp: nsp.into(), id, args },
            (None, None) => Action::Wait,
        })
    }

    /// Something of what the client sends has come, though no message is whole yet.
    pub fn progress(&mut self, now: Time) {
        if let Some(partial) = &mut self.partial {
            partial.until = now.plus(self.attachments_ms);
        }
    }

    /// The CONNECT for `nsp` was answered.
    pub fn connected(&mut self, nsp: &str) {
        self.connect_by = None;
        self.change(nsp, Membership::Connected);
    }

    /// The client may not join `nsp`, or has left it.
    pub fn left(&mut self, nsp: &str) {
        self.namespaces.retain(|(name, _)| **name != *nsp);
    }

    /// The server has removed the client from `nsp`.
    pub fn removed(&mut self, nsp: &str) {
        self.change(nsp, Membership::Removed);
    }

    fn change(&mut self, nsp: &str, to: Membership) {
        if let Some((_, membership)) = self.namespaces.iter_mut().find(|(name, _)| **name == *nsp) {
            *membership = to;
        }
    }

    /// The client waits for the answer to its CONNECT for `nsp`.
    #[must_use]
    pub fn is_connecting(&self, nsp: &str) -> bool {
        self.namespaces.iter().any(|(name, state)| **name == *nsp && matches!(state, Membership::Connecting))
    }

    /// How many namespaces the client is in or joins.
    #[must_use]
    pub fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    /// The next moment at which [`Client::timeout`] may have something to say.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        match (self.connect_by, self.partial.as_ref().map(|partial| partial.until)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Checks the client's deadlines.
    ///
    /// # Errors
    /// [`ClientError::ConnectLate`], [`ClientError::AttachmentsLate`]; the connection is to be closed.
    pub fn timeout(&mut self, now: Time) -> Result<(), ClientError> {
        if self.connect_by.is_some_and(|by| now >= by) {
            return Err(ClientError::ConnectLate(self.connect_ms));
        }
        match self.partial.as_ref().is_some_and(|partial| now >= partial.until) {
            true => Err(ClientError::AttachmentsLate(self.attachments_ms)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
