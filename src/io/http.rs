//! One TCP connection: reads requests one after the other, keeps it alive, and ends as WebSocket if a request asks for that.
//!
//! RFC 9112. A read goes to a buffer of the thread; what came is kept until it is used, and a quiet connection owns no buffer. Bounds: the
//! head (size, headers, time), the body (size, time), the answer (time), rest between requests; a client that breaks one gets a complete answer
//! where one is possible, and its connection is closed.

use super::Stopping;
use super::deadline::Deadline;
use super::routes;
use super::websocket::{self, Begin};
use crate::codec::http::{self, Head, HeadError, Response};
use crate::limits::Limits;
use crate::server::Server;
use crate::server::client::connection::Connection;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

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
/// Bytes read at once.
const SCRATCH: usize = 16 * 1024;
/// Bytes of an answer's head; few are longer.
const USUAL_HEAD: usize = 256;

thread_local! {
    /// What one read returned.
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The connection can't be used any more: the peer is gone, too slow, or broke a bound.
#[derive(Debug)]
pub(super) struct Gone;

/// A TCP connection that carries HTTP.
pub struct Http {
    stream: TcpStream,
    /// What has been read and not used: the next request, or a part of it.
    buffer: Vec<u8>,
    deadline: Deadline,
    pub(super) server: Server,
    pub(super) peer: IpAddr,
}

impl Http {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(stream: TcpStream, server: Server, peer: IpAddr) -> Http {
        Http { stream, buffer: Vec::new(), deadline: Deadline::default(), server, peer }
    }

    /// Serves the connection until it ends; `full`: there are too many connections already.
    pub(super) fn serve(self, stopping: Stopping, full: bool) -> impl Future<Output = ()> + Send {
        // Apart, because a WebSocket lives long and needs nothing of all this.
        let answered = Box::pin(self.answer_all(stopping, full));
        async {
            if let Some((stream, early, connection, begin)) = answered.await {
                websocket::serve(stream, early, connection, begin).await;
            }
        }
    }

    /// Answers requests until the connection ends, or is a WebSocket's; with what came behind the request for that.
    async fn answer_all(
        mut self,
        stopping: Stopping,
        full: bool,
    ) -> Option<(TcpStream, Vec<u8>, Arc<Connection>, Begin)> {
        let mut fresh = true;
        let mut watched = stopping.clone();
        let mut stop = pin!(watched.wait_for(|stop| *stop));
        loop {
            let head = match self.read_head(stop.as_mut(), fresh).await {
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
                Ok(Flow::WebSocket(connection, begin)) => return Some((self.stream, self.buffer, connection, begin)),
            }
        }
    }

    /// The next request's head. `None`: the peer has nothing more to ask, or the server stops; a `fresh` connection is heard even then,
    /// because it may be a client that comes for its goodbye.
    async fn read_head(&mut self, mut stop: Pin<&mut impl Future>, fresh: bool) -> Result<Option<Head>, Gone> {
        let Limits { idle_ms, request_ms, .. } = self.server.options().limits;
        // A pipelined one may be here already.
        if self.buffer.is_empty() {
            let first = self.within(idle_ms, |http, cx| match http.poll_read(cx) {
                Poll::Pending if !fresh && stop.as_mut().poll(cx).is_ready() => Poll::Ready(Err(Gone)),
                first => first,
            });
            let Some(Ok(())) = first.await else { return Ok(None) };
        }
        let mut looked = 0;
        let found = self.within(request_ms, |http, cx| {
            loop {
                if let Some(found) = http.take_head(&mut looked) {
                    return Poll::Ready(Ok(found));
                }
                ready!(http.poll_read(cx))?;
            }
        });
        match found.await.unwrap_or(Ok(Err(408)))? {
            Ok(head) => Ok(Some(head)),
            Err(status) => self.refuse(status).await,
        }
    }

    /// Takes the head out of what has been read; `None`: more is needed. `looked` says how much was looked at before, in vain.
    fn take_head(&mut self, looked: &mut usize) -> Option<Result<Head, u16>> {
        let limits = &self.server.options().limits;
        match http::find_end(&self.buffer, *looked) {
            Some(end) if end <= limits.head_bytes => {
                let rest = self.buffer.split_off(end);
                let head = http::parse(&self.buffer, limits.headers);
                self.buffer = rest;
                Some(head.map_err(|error| HeadError::status(&error)))
            }
            None if self.buffer.len() <= limits.head_bytes => {
                *looked = self.buffer.len();
                None
            }
            Some(_) | None => Some(Err(431)),
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
        let time = self.server.options().limits.request_ms;
        let complete = self.within(time, |http, cx| {
            // Room grows with what has arrived, not with what was announced.
            while http.buffer.len() < length {
                ready!(http.poll_read(cx))?;
            }
            Poll::Ready(Ok(()))
        });
        complete.await.ok_or(Gone)??;
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
        let mut body = if with_body { response.body.as_ref() } else { &[] };
        let mut bytes = Vec::with_capacity(USUAL_HEAD + if body.len() <= COPIED { body.len() } else { 0 });
        response.write_head(&mut bytes, keep_alive);
        self.server.metrics().bytes_out.add(bytes.len() + body.len());
        if body.len() <= COPIED {
            bytes.extend_from_slice(std::mem::take(&mut body));
        }
        self.write(&bytes).await?;
        if !body.is_empty() {
            self.write(body).await?;
        }
        Ok(())
    }

    /// Writes all of it, in bounded time.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        let time = self.server.options().limits.idle_ms;
        let complete = self.within(time, |http, cx| {
            while !bytes.is_empty() {
                match ready!(Pin::new(&mut http.stream).poll_write(cx, bytes)) {
                    Ok(n) if n > 0 => bytes = bytes.get(n..).unwrap_or_default(),
                    Ok(_) | Err(_) => return Poll::Ready(Err(Gone)),
                }
            }
            Poll::Ready(Ok(()))
        });
        complete.await.ok_or(Gone)?
    }

    /// Does `step` until it is ready, at most so many milliseconds long: `None` if that is not enough. The time begins when there is something
    /// to wait for.
    async fn within<T>(
        &mut self,
        time: u64,
        mut step: impl FnMut(&mut Http, &mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        let mut due = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = step(self, cx) {
                return Poll::Ready(Some(value));
            }
            match *due.get_or_insert_with(|| Instant::now().checked_add(Duration::from_millis(time))) {
                Some(due) => self.deadline.poll(cx, due).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Reads what is there. The end of what the peer has to say is no better than a break.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut buffer = READ.take();
        if buffer.is_empty() {
            buffer = vec![0; SCRATCH];
        }
        let mut target = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut target).map(|read| match (read, target.filled()) {
            (Ok(()), bytes) if !bytes.is_empty() => {
                self.server.metrics().bytes_in.add(bytes.len());
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
            (Ok(()) | Err(_), _) => Err(Gone),
        });
        READ.set(buffer);
        read
    }

    /// Waits for `ready`, and watches the connection meanwhile: `None` if the peer hangs up, or sends more than a pipelined request.
    pub(super) async fn while_open<T>(&mut self, mut ready: impl FnMut(&mut Context<'_>) -> Option<T>) -> Option<T> {
        let most = self.server.options().limits.head_bytes;
        poll_fn(|cx| {
            if let Some(value) = ready(cx) {
                return Poll::Ready(Some(value));
            }
            loop {
                match ready!(self.poll_read(cx)) {
                    Ok(()) if self.buffer.len() <= most => {}
                    Ok(()) | Err(Gone) => return Poll::Ready(None),
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
