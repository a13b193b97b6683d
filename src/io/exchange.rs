//! One request that another program's HTTP server has read, and its answer: for applications made with hyper, Axum and the like, which have
//! Socket.IO on their own port then.
//!
//! The request is answered as if it had come over a connection of our own that carries it alone ([`Kept`]): the same rules, the same code. What
//! becomes a WebSocket is told apart; the other server switches protocols and hands over the stream.

use super::http::{Flow, Http};
use super::routes;
use super::service::Service;
use super::stream::Stream;
use super::websocket::{self, Begin};
use crate::codec::http::{self, HeadError, Response};
use crate::limits::Limits;
use crate::proto::session::Input;
use crate::server::client::connection::Connection;
use bytes::Bytes;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// For the last bytes to be taken.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// A request: the head as another server has read it, and the whole body.
///
/// ```
/// let request = rill::Request::new("GET", "/socket.io/?EIO=4&transport=polling", [127, 0, 0, 1].into())
///     .header("host", "chat.example.org")
///     .header("cookie", "a=b");
/// ```
#[derive(Clone)]
pub struct Request {
    /// The request line and the headers, without the empty line.
    head: Vec<u8>,
    has_host: bool,
    body: Bytes,
    peer: IpAddr,
}

impl Request {
    /// A request for this path and query, from this address. What a method or a target may not contain is left out.
    #[must_use]
    pub fn new(method: &str, target: &str, peer: IpAddr) -> Request {
        let mut head = Vec::with_capacity(512);
        let word = |text: &str, head: &mut Vec<u8>| head.extend(text.bytes().filter(u8::is_ascii_graphic));
        word(method, &mut head);
        head.push(b' ');
        word(target, &mut head);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        Request { head, has_host: false, body: Bytes::new(), peer }
    }

    /// Adds a header. Those that say how long the body is are left out: it is here.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let ours = ["content-length", "transfer-encoding", "expect"].into_iter().any(is);
        // A request of HTTP/2 may have both this and `:authority`; one counts.
        if ours || (is("host") && self.has_host) {
            return self;
        }
        self.has_host |= is("host");
        self.head.extend(name.bytes().filter(|byte| byte.is_ascii_graphic() && *byte != b':'));
        self.head.push(b':');
        self.head.extend(value.as_ref().iter().filter(|byte| !byte.is_ascii_control() || **byte == b'\t'));
        self.head.extend_from_slice(b"\r\n");
        self
    }

    /// Sets the body. Read no more than [`Limits::max_payload`](crate::Limits::max_payload), and answer 413 yourself where more comes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = body.into();
        self
    }

    fn parse(&mut self, limits: &Limits) -> Result<http::Head, u16> {
        if !self.has_host {
            self.head.extend_from_slice(b"host:\r\n");
        }
        self.head.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        match http::find_end(&self.head, 0) {
            Some(end) if end == self.head.len() && end <= limits.head_bytes => {
                http::parse(&self.head, limits.headers).map_err(|error| HeadError::status(&error))
            }
            Some(_) | None => Err(431),
        }
    }
}

/// What a request was answered with.
pub struct Answer {
    /// The status code; 101 where there is a [`Answer::websocket`].
    pub status: u16,
    /// The headers. `Content-Length` is the other server's business.
    pub headers: Vec<http::Field>,
    /// The body.
    pub body: Bytes,
    /// What the connection carries when the head of this answer has been sent.
    pub websocket: Option<WebSocket>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        let headers = response.headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Answer { status: response.status, headers, body: response.body, websocket: None }
    }
}

/// What stands in for a connection of our own: it carries one request, whose body has been read already, and keeps the answer.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) answer: Option<Answer>,
    /// Written behind the answer to a request for a WebSocket.
    pub(super) written: Vec<u8>,
    /// The server that carries on with the WebSocket, and what it has said already.
    pub(super) other: Option<(TcpStream, Vec<u8>)>,
}

/// A connection that has become a WebSocket. Dropped unserved, it counts as closed.
pub struct WebSocket(Option<Carries>);

enum Carries {
    Session(Service, Arc<Connection>, Begin),
    Other(TcpStream, Vec<u8>),
    /// A close frame.
    End(Vec<u8>),
}

impl WebSocket {
    /// Serves the WebSocket over the stream of its connection, from which the other server has read the request and nothing else, until it ends.
    /// This future is to be spawned where the other server does not wait for it.
    pub async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let mut stream = Stream::new(stream);
        match self.0.take() {
            Some(Carries::Session(service, connection, begin)) => {
                let served = websocket::serve(stream, Vec::new(), connection, begin);
                service.until_over(served).await;
            }
            Some(Carries::Other(other, said)) => super::forward::carry(&mut stream, other, &said).await,
            Some(Carries::End(bytes)) => {
                let last = async {
                    stream.write_all(&bytes).await?;
                    stream.shutdown().await
                };
                let _ = super::workers::timeout(LAST_WORDS, last).await;
            }
            None => {}
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if let Some(Carries::Session(_, connection, begin)) = &self.0 {
            connection.handle(connection.server().now(), Input::SocketClosed(begin.via()));
        }
    }
}

impl Service {
    /// Answers one request that another HTTP server has read: of a path that begins with [`Options::path`](crate::Options::path), or for one of
    /// the server's pages. An answer to a client that waits for packets takes as long as there are none; dropping the future says that its
    /// client has hung up.
    ///
    /// `examples/axum.rs` is the whole of an application that does this.
    pub async fn answer(&self, mut request: Request) -> Answer {
        let server = self.server();
        let head = match request.parse(&server.options().limits) {
            Ok(head) => head,
            Err(status) => {
                server.metrics().refused_http.one();
                return Response::new(status).into();
            }
        };
        server.metrics().bytes_in.add(request.head.len() + request.body.len());
        let kept = Stream::Kept(Box::default());
        let mut http = Http::new(kept, server.clone(), request.peer).with_body(request.body.into());
        let flow = Box::pin(routes::respond(&mut http, head, true)).await;
        let Kept { answer, written, other } = match http.into_stream() {
            Stream::Kept(kept) => *kept,
            Stream::Tcp(_) | Stream::Other(_) => Kept::default(),
        };
        let Some(mut answer) = answer else { return Response::new(500).into() };
        let carries = match (flow, other) {
            (Ok(Flow::WebSocket(connection, begin)), _) => Some(Carries::Session(self.clone(), connection, begin)),
            (Ok(_), Some((other, said))) => Some(Carries::Other(other, said)),
            (Ok(_), None) if answer.status == 101 => Some(Carries::End(written)),
            (Ok(_) | Err(_), _) => None,
        };
        answer.websocket = carries.map(|carries| WebSocket(Some(carries)));
        answer
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
