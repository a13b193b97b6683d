//! Why a client left: the words that the official server gives to `disconnect` handlers, and which of them leave a session to recover.

use std::fmt;

/// Why a client left, in the official words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The transport broke a rule of HTTP or Engine.IO, or its client did not read.
    TransportError,
    /// The transport was closed: a network cut, a closed page.
    TransportClose,
    /// The server closed the connection after a Socket.IO packet that breaks the protocol.
    ForcedClose,
    /// No pong came in time.
    PingTimeout,
    /// A packet could not be decoded.
    ParseError,
    /// The server stops.
    ServerShuttingDown,
    /// The application closed the whole connection.
    ForcedServerClose,
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The application removed the client from the namespace.
    ServerNamespaceDisconnect,
}

impl Reason {
    /// The official words, as applications compare them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TransportError => "transport error",
            Reason::TransportClose => "transport close",
            Reason::ForcedClose => "forced close",
            Reason::PingTimeout => "ping timeout",
            Reason::ParseError => "parse error",
            Reason::ServerShuttingDown => "server shutting down",
            Reason::ForcedServerClose => "forced server close",
            Reason::ClientNamespaceDisconnect => "client namespace disconnect",
            Reason::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }

    /// Neither side meant it: the session may be recovered.
    #[must_use]
    pub fn recoverable(self) -> bool {
        match self {
            Reason::TransportError
            | Reason::TransportClose
            | Reason::ForcedClose
            | Reason::PingTimeout
            | Reason::ServerShuttingDown
            | Reason::ForcedServerClose => true,
            Reason::ParseError | Reason::ClientNamespaceDisconnect | Reason::ServerNamespaceDisconnect => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
