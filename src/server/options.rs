//! What can be set about a server; the defaults are the official server's, with recovery on.

use super::client::connection::Connection;
use super::notice::{Level, Notice};
use crate::codec::http::{Head, Response};
use crate::limits::Limits;
use crate::proto::handshake::Offered;
use bytes::Bytes;
use std::future::Future;
use std::io::Write as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// The name of a server that was given none.
pub(crate) const UNNAMED: &str = "rill";

/// Decides whether a handshake request may open a session; it may take its time. False is answered with 403 `Forbidden`.
pub type AllowRequest = Arc<dyn Fn(&Head) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;
/// Headers for the answer to a handshake request, such as `Set-Cookie`.
pub type InitialHeaders = Arc<dyn Fn(&Head) -> Vec<(&'static str, String)> + Send + Sync>;
/// Answers GET requests outside the Engine.IO path, where `None` is 404, and any request for a longer path than that, where `None` leaves it
/// to the protocol.
pub type Pages = Arc<dyn Fn(&Head) -> Option<Response> + Send + Sync>;
/// Hears the messages of a server that speaks Engine.IO without Socket.IO.
pub type EngineHandler = Arc<dyn Fn(&Arc<Connection>, Message<'_>) + Send + Sync>;
/// Hears what the server says to the people who run it. `notice.to_string()` is a line of text with a tag such as `[RECOVERY]`;
/// [`Notice::line`] gives level and fields too.
pub type Log = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Whether the proxy at this address is believed when it says where a client is, which host it asked for and by which scheme: by
/// `X-Forwarded-For`, `-Host` and `-Proto`, or `Forwarded`.
pub type Trusts = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What an [`EngineHandler`] hears.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The session was opened.
    Opened,
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a Bytes),
}

/// Which pages of other origins may talk to the server from a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// None may read what the server answers: there are no CORS headers, as on the official server by default. A WebSocket needs none, and may
    /// come from any page: only a list keeps others away.
    #[default]
    Off,
    /// All of them: `Access-Control-Allow-Origin: *`.
    Any,
    /// These, and the server's own; a session from any other is refused, over WebSocket too. `https://*.example.org` means all its sub-domains,
    /// `null` pages without an origin, such as files.
    Origins(Vec<String>),
}

/// Connection state recovery.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// How long a client may be away, in milliseconds.
    pub window_ms: u64,
    /// Clients that recover don't see the middlewares again.
    pub skip_middlewares: bool,
    /// A client that never received an event recovers too; the official server refuses it.
    pub without_offset: bool,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery { window_ms: 120_000, skip_middlewares: true, without_offset: true }
    }
}

/// A server's options.
#[derive(Clone)]
pub struct Options {
    /// This server's name, for people: in answers that name servers, and in the cluster's heartbeats.
    pub name: String,
    /// Where Engine.IO requests are answered, with the slash at its end or without it.
    pub path: String,
    /// Milliseconds from a pong to the next ping.
    pub ping_interval_ms: u64,
    /// Milliseconds for a pong to arrive.
    pub ping_timeout_ms: u64,
    /// Every bound.
    pub limits: Limits,
    /// The transports.
    pub offered: Offered,
    /// Cross-origin requests.
    pub cors: Cors,
    /// Connection state recovery; `None` is off, as on the official server.
    pub recovery: Option<Recovery>,
    /// A check of handshake requests.
    pub allow_request: Option<AllowRequest>,
    /// More headers for the answers to handshake requests.
    pub initial_headers: Option<InitialHeaders>,
    /// Pages beside the protocol.
    pub pages: Option<Pages>,
    /// Speak Engine.IO alone.
    pub engine: Option<EngineHandler>,
    /// What the servers of a cluster prove themselves to each other with; `None`: whoever may write to the shared log is believed.
    pub cluster_secret: Option<String>,
    /// Proxies that are believed; `None`: none.
    pub trusts: Option<Trusts>,
    /// Hears what the server has to say. By default that goes to standard error, without what is of the level
    /// [`Debug`](super::notice::Level::Debug); `None` is silence.
    pub log: Option<Log>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name: UNNAMED.to_owned(),
            path: "/socket.io/".to_owned(),
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            limits: Limits::default(),
            offered: Offered { polling: true, websocket: true },
            cors: Cors::Off,
            recovery: Some(Recovery::default()),
            allow_request: None,
            initial_headers: None,
            pages: None,
            engine: None,
            cluster_secret: None,
            trusts: None,
            log: Some(Arc::new(to_standard_error)),
        }
    }
}

/// Not `eprintln!`, which panics when nobody reads.
fn to_standard_error(notice: &Notice) {
    let line = notice.line();
    if line.level <= Level::Info {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

impl Options {
    /// The longest time that a dead client goes unnoticed.
    pub(crate) fn heartbeat_ms(&self) -> u64 {
        self.ping_interval_ms.saturating_add(self.ping_timeout_ms)
    }
}
