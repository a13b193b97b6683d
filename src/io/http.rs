//! One TCP connection: reads requests one after the other, keeps it alive, and ends as WebSocket if a request asks for that.
//!
//! RFC 9112. A quiet connection owns no buffer. Bounds: the head (size, headers, time), the body (size, time), the answer (time), rest
//! between requests; a client that breaks one gets a complete answer where one is possible, and its connection is closed.

use super::Stopping;
use super::routes;
use super::websocket::{self, Begin};
use crate::codec::http::{self, Head, HeadError, Response};
use crate::server::Server;
use crate::server::connection::Connection;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What happens to the connection after a request.
pub(super) enum Flow {
    /// The next request may come.
    KeepAlive,
    /// It is closed.
    Close,
    /// It carries frames now: of a new session, or of a probe.
    WebSocket(Arc<Connection>, Begin),
}

/// Larger bodies are not copied: a file has one place in memory, however many clients take their time to read it.
const COPIED: usize = 16 * 1024;

/// The connection can't be used any more: the peer is gone, too slow, or broke a bound.
#[derive(Debug)]
pub(super) struct Gone;

/// A TCP connection that carries HTTP.
pub struct Http {
    stream: TcpStream,
    /// What has been read and not used: the next request, or a part of it.
    buffer: Vec<u8>,
    pub(super) server: Server,
    pub(super) peer: IpAddr,
}

impl Http {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(stream: TcpStream, server: Server, peer: IpAddr) -> Http {
        Http { stream, buffer: Vec::new(), server, peer }
    }

    /// Serves the connection until it ends; `full`: there are too many connections already.
    pub(super) async fn serve(self, stopping: Stopping, full: bool) {
        // Apart, because a WebSocket lives long and needs nothing of all this.
        if let Some((http, connection, begin)) = Box::pin(self.answer_all(stopping, full)).await {
            websocket::serve(http.stream, http.buffer, connection, begin).await;
        }
    }

    /// Answers requests until the connection ends, or is a WebSocket's.
    async fn answer_all(mut self, mut stopping: Stopping, full: bool) -> Option<(Http, Arc<Connection>, Begin)> {
        let mut fresh = true;
        loop {
            let head = match self.read_head(&mut stopping, fresh).await {
                Ok(Some(head)) => head,
                Ok(None) | Err(Gone) => return None,
            };
            fresh = false;
            if full {
                self.server.metrics().refused_full.one();
                let _ = self.answer(&routes::unavailable("Too many connections\n"), true, false).await;
                return None;
            }
            // A server that stops answers what it has, and nothing after that.
            let keep_alive = head.keep_alive && !*stopping.borrow();
            match routes::respond(&mut self, head, keep_alive).await {
                Ok(Flow::KeepAlive) if keep_alive => {}
                Ok(Flow::KeepAlive | Flow::Close) | Err(Gone) => {
                    linger(&mut self.stream).await;
                    return None;
                }
                Ok(Flow::WebSocket(connection, begin)) => return Some((self, connection, begin)),
            }
        }
    }

    /// The next request's head. `None`: the peer has nothing more to ask, or the server stops; a `fresh` connection is heard even then,
    /// because it may be a client that comes for its goodbye.
    async fn read_head(&mut self, stopping: &mut Stopping, fresh: bool) -> Result<Option<Head>, Gone> {
        let limits = self.server.options().limits.clone();
        if self.buffer.is_empty() {
            let mut stop = pin!(stopping.wait_for(|stop| *stop));
            let rest = poll_fn(|cx| match !fresh && stop.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(Ok(0)),
                false => self.poll_fill(cx, 1024),
            });
            match timeout(Duration::from_millis(limits.idle_ms), rest).await {
                Ok(Ok(n)) if n > 0 => {}
                _ => return Ok(None),
            }
        }
        match timeout(Duration::from_millis(limits.request_ms), self.finish_head(limits.head_bytes)).await {
            Ok(Ok(Some(end))) => self.parse_head(end, limits.headers).await,
            Ok(Ok(None)) => self.refuse(431).await,
            Ok(Err(Gone)) => Err(Gone),
            Err(_) => self.refuse(408).await,
        }
    }

    /// Reads until the head is whole; `None`: it is larger than it may be.
    async fn finish_head(&mut self, most: usize) -> Result<Option<usize>, Gone> {
        let mut looked = 0;
        loop {
            if let Some(end) = http::find_end(&self.buffer, looked) {
                return Ok((end <= most).then_some(end));
            }
            looked = self.buffer.len();
            if looked > most {
                return Ok(None);
            }
            if self.fill(1024).await? == 0 {
                return Err(Gone);
            }
        }
    }

    async fn parse_head(&mut self, end: usize, most_headers: usize) -> Result<Option<Head>, Gone> {
        let rest = self.buffer.split_off(end);
        let parsed = http::parse(&self.buffer, most_headers);
        self.buffer = rest;
        match parsed {
            Ok(head) => Ok(Some(head)),
            Err(error) => self.refuse(HeadError::status(&error)).await,
        }
    }

    /// Answers a request that is no request, and gives the connection up.
    async fn refuse(&mut self, status: u16) -> Result<Option<Head>, Gone> {
        self.server.metrics().refused_http.one();
        self.answer(&Response::new(status), true, false).await?;
        linger(&mut self.stream).await;
        Err(Gone)
    }

    /// The body, which has `length` bytes; the caller has checked that it may be that long.
    pub(super) async fn read_body(&mut self, length: usize) -> Result<Vec<u8>, Gone> {
        let time = Duration::from_millis(self.server.options().limits.request_ms);
        let complete = async {
            while self.buffer.len() < length {
                // Room grows with what has arrived, not with what was announced.
                let missing = length - self.buffer.len();
                if self.fill(missing.min(16 * 1024)).await? == 0 {
                    return Err(Gone);
                }
            }
            Ok(())
        };
        timeout(time, complete).await.map_err(|_| Gone)??;
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// What was read behind the request.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Tells a client that waits for permission to send its body.
    pub(super) async fn invite_body(&mut self) -> Result<(), Gone> {
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await
    }

    /// Writes a response, head and small bodies in one piece. The answer to HEAD announces a body and has none.
    pub(super) async fn answer(&mut self, response: &Response, with_body: bool, keep_alive: bool) -> Result<(), Gone> {
        let mut bytes = Vec::with_capacity(512);
        response.write_head(&mut bytes, keep_alive);
        let mut body = if with_body { response.body.as_ref() } else { &[] };
        self.server.metrics().bytes_out.add(bytes.len() + body.len());
        if body.len() <= COPIED {
            bytes.extend_from_slice(std::mem::take(&mut body));
        }
        self.write(&bytes).await?;
        self.write(body).await
    }

    /// Writes all of it, in bounded time.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        let time = Duration::from_millis(self.server.options().limits.idle_ms);
        let complete = async {
            while !bytes.is_empty() {
                self.stream.writable().await.map_err(|_| Gone)?;
                match self.stream.try_write(bytes) {
                    Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return Err(Gone),
                }
            }
            Ok(())
        };
        timeout(time, complete).await.map_err(|_| Gone)?
    }

    /// Reads what is there, making room for `room` bytes; 0 is the end.
    async fn fill(&mut self, room: usize) -> Result<usize, Gone> {
        poll_fn(|cx| self.poll_fill(cx, room)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<usize, Gone>> {
        loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone)),
                Poll::Pending => return Poll::Pending,
            }
            self.buffer.reserve(room);
            // Unlike `try_read_buf` this notices that nothing more is there.
            match pin!(self.stream.read_buf(&mut self.buffer)).poll(cx) {
                Poll::Ready(Ok(n)) => {
                    self.server.metrics().bytes_in.add(n);
                    return Poll::Ready(Ok(n));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone)),
                Poll::Pending => {
                    if self.buffer.is_empty() {
                        self.buffer = Vec::new();
                    }
                }
            }
        }
    }

    /// Waits for `ready`, and watches the connection meanwhile: `None` if the peer hangs up, or sends more than a pipelined request.
    pub(super) async fn while_open<T>(&mut self, mut ready: impl FnMut(&mut Context<'_>) -> Option<T>) -> Option<T> {
        let most = self.server.options().limits.head_bytes;
        poll_fn(|cx| {
            if let Some(value) = ready(cx) {
                return Poll::Ready(Some(value));
            }
            loop {
                match self.poll_fill(cx, 1024) {
                    Poll::Ready(Ok(n)) if n > 0 && self.buffer.len() <= most => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// Ends a connection so that its peer sees the last answer: the end is announced, and what the peer still sends is read for a moment,
/// because a socket closed with unread data sends a reset that can destroy the answer on its way.
pub(super) async fn linger(stream: &mut TcpStream) {
    let mut left: usize = 1024 * 1024;
    let mut waste = vec![0; 16 * 1024];
    let drain = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut waste);
        match Pin::new(&mut *stream).poll_shutdown(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
        while left > 0 {
            buffer.clear();
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => left = left.saturating_sub(buffer.filled().len()),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    });
    let _ = timeout(Duration::from_millis(500), drain).await;
}
