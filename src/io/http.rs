//! One connection: reads requests one after the other, keeps it alive, and ends as WebSocket if a request asks for that.
//!
//! RFC 9112. A read goes to a buffer of the thread; what came is kept until it is used, and a quiet connection owns no buffer. Bounds: the
//! head (size, headers, time), the body (size, pace), the answer (pace), rest between requests; a client that breaks one gets a complete answer
//! where one is possible, and its connection is closed.

use super::Stopping;
use super::deadline::{Deadline, Pace};
use super::exchange::Answer;
use super::routes;
use super::stream::Stream;
use super::websocket::{self, Begin};
use super::workers::timeout;
use crate::codec::chunked::{ChunkError, Chunked};
use crate::codec::http::{self, Body, Head, HeadError, Response};
use crate::codec::opening::{self, Foreign, Opening};
use crate::id::Time;
use crate::limits::Limits;
use crate::server::Server;
use crate::server::client::connection::Connection;
use crate::server::client::door::{NoPlace, Stay};
use crate::server::client::repeats::{Carrier, End};
use crate::server::notice::Notice;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

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
/// A session is told this often that a body goes on coming.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Bytes of an answer's head; few are longer.
const USUAL_HEAD: usize = 256;

thread_local! {
    /// What one read returned.
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The last second that stood in an answer, and its text.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// The connection can't be used any more: the peer is gone, too slow, or broke a bound.
#[derive(Debug)]
pub(super) struct Gone;

/// Why a connection gets no further than its head.
enum Refused {
    /// The answer says so.
    Status(u16),
    /// It speaks something else.
    Foreign(Foreign),
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum NoBody {
    /// The peer is gone.
    Gone,
    /// Its request is to be answered with this, and the connection closed: 408, 413 or 400.
    Status(u16),
}

impl From<ChunkError> for NoBody {
    fn from(error: ChunkError) -> NoBody {
        NoBody::Status(match error {
            ChunkError::Malformed => 400,
            ChunkError::TooLarge => 413,
        })
    }
}

/// A connection that carries HTTP.
pub(super) struct Http {
    stream: Stream,
    /// What has been read and not used: the next request, or a part of it.
    buffer: Vec<u8>,
    deadline: Deadline,
    /// Tells sessions what became of their answers; made for the first.
    carrier: Option<Arc<Carrier>>,
    /// How the connection ended, once it has.
    end: End,
    pub(super) server: Server,
    pub(super) peer: IpAddr,
}

impl Http {
    /// A connection that was just accepted.
    pub(super) fn new(stream: Stream, server: Server, peer: IpAddr) -> Http {
        Http {
            stream,
            buffer: Vec::new(),
            deadline: Deadline::default(),
            carrier: None,
            end: End::InOrder,
            server,
            peer,
        }
    }

    /// With a body that has been read already.
    pub(super) fn with_body(mut self, body: Vec<u8>) -> Http {
        self.buffer = body;
        self
    }

    /// Serves the connection until it ends; `full`: there are too many connections already; `stay` is its place.
    pub(super) fn serve(self, stopping: Stopping, full: bool, stay: Stay) -> impl Future<Output = ()> + Send {
        // Apart, because a WebSocket lives long and needs nothing of all this.
        let answered = Box::pin(self.answer_all(stopping, full));
        // What a future is given and awaits has two places in it: it is made here, and not wrapped.
        async move {
            let _stay = stay;
            if let Some((stream, early, connection, begin)) = answered.await {
                websocket::serve(stream, early, connection, begin).await;
            }
        }
    }

    /// Answers requests until the connection ends, or is a WebSocket's; with what came behind the request for that.
    async fn answer_all(mut self, stopping: Stopping, full: bool) -> Option<(Stream, Vec<u8>, Arc<Connection>, Begin)> {
        let websocket = self.answer_each(stopping, full).await;
        if let Some(carrier) = &self.carrier {
            carrier.ends(self.server.now(), self.end);
        }
        websocket.map(|(connection, begin)| (self.stream, self.buffer, connection, begin))
    }

    async fn answer_each(&mut self, stopping: Stopping, full: bool) -> Option<(Arc<Connection>, Begin)> {
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
                let full = routes::no_place(&self.server, NoPlace::Full);
                let _ = self.answer(&full, true, false).await;
                return None;
            }
            // A server that stops answers what it has, and nothing after that.
            let keep_alive = head.keep_alive && !*stopping.borrow();
            match routes::respond(self, head, keep_alive).await {
                Ok(Flow::KeepAlive) if keep_alive => {}
                Ok(Flow::KeepAlive | Flow::Close) | Err(Gone) => {
                    let left = linger(&mut self.stream).await;
                    self.note_end(left);
                    return None;
                }
                Ok(Flow::WebSocket(connection, begin)) => return Some((connection, begin)),
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
            let Some(Ok(_)) = first.await else { return Ok(None) };
        }
        let mut looked = 0;
        let mut opened = !fresh;
        let found = self.within(request_ms, |http, cx| {
            loop {
                match if opened { Opening::Http } else { http.opening() } {
                    Opening::Http => opened = true,
                    Opening::Foreign(foreign) => return Poll::Ready(Ok(Err(Refused::Foreign(foreign)))),
                    Opening::Proxy(..) => continue,
                    Opening::More => {
                        ready!(http.poll_read(cx))?;
                        continue;
                    }
                }
                if let Some(found) = http.take_head(&mut looked) {
                    return Poll::Ready(Ok(found));
                }
                ready!(http.poll_read(cx))?;
            }
        });
        match found.await.unwrap_or(Ok(Err(Refused::Status(408))))? {
            Ok(head) => {
                if let Some(carrier) = &self.carrier {
                    carrier.carries();
                }
                Ok(Some(head))
            }
            Err(refused) => self.refuse(refused).await,
        }
    }

    /// What a new connection begins with. What a proxy says of who is behind it is taken out, and counts from then on.
    fn opening(&mut self) -> Opening {
        let trusts = self.server.options().trusts.as_ref();
        let opening = opening::recognise(&self.buffer, trusts.is_some_and(|trusts| trusts(self.peer.to_canonical())));
        if let Opening::Proxy(size, client) = opening {
            self.buffer.drain(..size.min(self.buffer.len()));
            self.peer = client.unwrap_or(self.peer);
        }
        opening
    }

    /// Takes the head out of what has been read; `None`: more is needed. `looked` says how much was looked at before, in vain.
    fn take_head(&mut self, looked: &mut usize) -> Option<Result<Head, Refused>> {
        let limits = &self.server.options().limits;
        match http::find_end(&self.buffer, *looked) {
            Some(end) if end <= limits.head_bytes => {
                let rest = self.buffer.split_off(end);
                let head = http::parse(&self.buffer, limits.headers);
                self.buffer = rest;
                Some(head.map_err(|error| Refused::Status(HeadError::status(&error))))
            }
            None if self.buffer.len() <= limits.head_bytes => {
                *looked = self.buffer.len();
                None
            }
            Some(_) | None => Some(Err(Refused::Status(431))),
        }
    }

    /// Answers a request that is no request, and gives the connection up.
    async fn refuse(&mut self, refused: Refused) -> Result<Option<Head>, Gone> {
        self.server.metrics().refused_http.one();
        let response = match refused {
            Refused::Status(status) => {
                let (address, reason) = (self.peer.to_canonical().to_string(), format!("status {status}"));
                self.server.log(&Notice::HandshakeRefused { address, reason });
                Response::new(status)
            }
            Refused::Foreign(foreign) => {
                self.server.log_rarely(foreign as usize, &Notice::RefusedForeign { address: self.peer, what: foreign });
                Response::new(foreign.status())
                    .header("Content-Type", "text/plain")
                    .body("This port speaks plain HTTP/1.1.\n")
            }
        };
        self.answer(&response, true, false).await?;
        let _ = linger(&mut self.stream).await;
        Err(Gone)
    }

    /// The body. A client that waits for permission to send it gets that, unless it is too large by its own word. `goes_on` is called about
    /// once a second while it comes slowly.
    pub(super) async fn read_body(&mut self, head: &Head, mut goes_on: impl FnMut()) -> Result<Vec<u8>, NoBody> {
        let Limits { max_payload, request_ms, bytes_per_second, .. } = self.server.options().limits;
        let mut chunked = match head.body {
            Body::Length(length) if length > max_payload => return Err(NoBody::Status(413)),
            Body::Length(_) => None,
            Body::Chunked => Some(Chunked::new(max_payload)),
        };
        if head.expects_continue() && self.buffer.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|Gone| NoBody::Gone)?;
        }
        let mut pace: Option<Pace> = None;
        let mut told = Instant::now();
        poll_fn(|cx| {
            loop {
                match (&mut chunked, head.body) {
                    (Some(chunked), _) => {
                        let taken = chunked.read(&self.buffer).map_err(NoBody::from)?;
                        self.buffer.drain(..taken);
                        if chunked.is_done() {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    // Room grows with what has arrived, not with what was announced.
                    (None, Body::Length(length)) if self.buffer.len() < length => {}
                    (None, Body::Length(_) | Body::Chunked) => return Poll::Ready(Ok(())),
                }
                match (self.poll_read(cx), &mut pace) {
                    (Poll::Ready(Ok(_)), None) => {}
                    (Poll::Ready(Ok(bytes)), Some(pace)) => {
                        let now = Instant::now();
                        pace.moves(now, bytes);
                        if now.duration_since(told) >= TELL_EVERY {
                            told = now;
                            goes_on();
                        }
                    }
                    (Poll::Ready(Err(Gone)), _) => return Poll::Ready(Err(NoBody::Gone)),
                    (Poll::Pending, pace) => {
                        let pace = pace.get_or_insert_with(|| Pace::new(Instant::now(), request_ms, bytes_per_second));
                        return self.deadline.poll(cx, pace.due()).map(|()| Err(NoBody::Status(408)));
                    }
                }
            }
        })
        .await?;
        match (chunked, head.body) {
            (Some(chunked), _) => Ok(chunked.into_body()),
            (None, Body::Length(length)) => {
                let rest = self.buffer.split_off(length.min(self.buffer.len()));
                Ok(std::mem::replace(&mut self.buffer, rest))
            }
            (None, Body::Chunked) => Ok(Vec::new()),
        }
    }

    /// What was read behind the request.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// What sessions know this connection by.
    pub(super) fn carrier(&mut self) -> Arc<Carrier> {
        self.carrier.get_or_insert_default().clone()
    }

    /// What the end of the connection says about its last answer.
    fn note_end(&mut self, left: io::Result<()>) {
        self.end = match left.map_err(|error| error.kind()) {
            Ok(()) => self.end.max(End::InOrder),
            Err(io::ErrorKind::ConnectionReset) => self.end.max(End::Reset),
            // The peer had closed, and its system answered the answer with a reset.
            Err(_) => End::Unanswered,
        };
    }

    /// Writes a response, head and small bodies in one piece. The answer to HEAD announces a body and has none.
    pub(super) async fn answer(&mut self, response: &Response, with_body: bool, keep_alive: bool) -> Result<(), Gone> {
        let mut body = if with_body { response.body.as_ref() } else { &[] };
        if let Stream::Kept(kept) = &mut self.stream {
            let answer = Answer::from(response.clone());
            self.server.metrics().bytes_out.add(body.len());
            kept.answer = Some(if with_body { answer } else { Answer { body: Bytes::new(), ..answer } });
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(USUAL_HEAD + if body.len() <= COPIED { body.len() } else { 0 });
        with_date(self.server.recently(), |date| response.write_head(&mut bytes, keep_alive, date));
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

    /// Writes all of it, as long as it goes on.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        let Limits { answer_ms, bytes_per_second, .. } = self.server.options().limits;
        let mut pace: Option<Pace> = None;
        let written = poll_fn(|cx| {
            loop {
                let stream = Pin::new(&mut self.stream);
                let step = match bytes.is_empty() {
                    true => stream.poll_flush(cx).map_ok(|()| 0),
                    false => stream.poll_write(cx, bytes),
                };
                match (step, &mut pace) {
                    (Poll::Ready(Ok(_)), _) if bytes.is_empty() => return Poll::Ready(Ok(())),
                    (Poll::Ready(Ok(n)), pace) if n > 0 => {
                        bytes = bytes.get(n..).unwrap_or_default();
                        if let Some(pace) = pace {
                            pace.moves(Instant::now(), n);
                        }
                    }
                    (Poll::Ready(Ok(_) | Err(_)), _) => return Poll::Ready(Err(Gone)),
                    (Poll::Pending, pace) => {
                        let pace = pace.get_or_insert_with(|| Pace::new(Instant::now(), answer_ms, bytes_per_second));
                        return self.deadline.poll(cx, pace.due()).map(|()| Err(Gone));
                    }
                }
            }
        })
        .await;
        if written.is_err() {
            self.end = End::Unanswered;
        }
        written
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

    /// Reads what is there, and says how much it was. The end of what the peer has to say is no better than a break.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Gone>> {
        let mut buffer = READ.take();
        if buffer.is_empty() {
            buffer = vec![0; SCRATCH];
        }
        let mut target = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut target).map(|read| match (read, target.filled()) {
            (Ok(()), bytes) if !bytes.is_empty() => {
                self.server.metrics().bytes_in.add(bytes.len());
                self.buffer.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            (read, _) => {
                let left = read.and_then(|()| self.stream.last_error());
                self.note_end(left);
                Err(Gone)
            }
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
                    Ok(_) if self.buffer.len() <= most => {}
                    Ok(_) | Err(Gone) => return Poll::Ready(None),
                }
            }
        })
        .await
    }
}

/// Hands over the time as HTTP writes it, which is made anew once a second.
fn with_date(now: Time, write: impl FnOnce(&str)) {
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now.0 / 1_000 {
            *second = now.0 / 1_000;
            *text = now.http();
        }
        write(text);
    });
}

/// Ends a connection so that its peer sees the last answer: the end is announced, and what the peer still sends is read for a moment,
/// because a socket closed with unread data sends a reset that can destroy the answer on its way. An error says that the peer broke off.
pub(super) async fn linger(stream: &mut Stream) -> io::Result<()> {
    let mut left: usize = 1024 * 1024;
    let mut waste = vec![0; 16 * 1024];
    let drain = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut waste);
        match Pin::new(&mut *stream).poll_shutdown(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(stream.last_error().and(Err(error))),
            Poll::Pending => return Poll::Pending,
        }
        while left > 0 {
            buffer.clear();
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => left = left.saturating_sub(buffer.filled().len()),
                read => return Poll::Ready(read.and_then(|()| stream.last_error())),
            }
        }
        Poll::Ready(Ok(()))
    });
    timeout(Duration::from_millis(500), drain).await.unwrap_or(Ok(()))
}
