//! One WebSocket: frames in, frames out, one task. RFC 6455; its rules are checked by [`Receiver`].
//!
//! All frames that one read returned are handled, handlers inline and in order; then what waits leaves in one write. Both have one buffer
//! per thread; a quiet WebSocket owns none, and nothing to write either.

use super::http::linger;
use super::relay::relayed;
use super::stream::Stream;
use super::workers::timeout;
use crate::codec::engine_packet::{self, EnginePacket};
use crate::codec::frame::Frame;
use crate::codec::websocket;
use crate::id::Time;
use crate::proto::reason::Reason;
use crate::proto::session::{Input, Via};
use crate::proto::websocket::{Received, Receiver, WebSocketError};
use crate::server::client::connection::{Connection, Outcome, Write};
use crate::server::notice::Notice;
use bytes::Bytes;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::iter;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// Bytes read at once, and bytes of small frames that are written together.
const SCRATCH: usize = 64 * 1024;
/// A frame of so many bytes is not copied to be written with others.
const LARGE: usize = 4 * 1024;
/// Frames that are written together where the first is large.
const SLICES: usize = 16;
/// For the last frames to go out.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Bytes of pongs that wait, more than a read full of pings is answered with: more than that only a client lets wait that pings and does not
/// read. RFC 6455 section 5.5.3: of the pings for which there is no room only "the most recently processed" is answered.
const MOST_PONGS: usize = 64 * 1024;
/// Messages that are handled before others of the thread have their turn: some tens of microseconds of the cheapest, so that a turn's end is no
/// cost beside them.
pub(super) const TURN: usize = 256;
/// After so many messages the clock is looked at: a turn ends with the running millisecond.
pub(super) const LOOK: usize = 8;

thread_local! {
    /// What one read returned.
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Small frames side by side, for one write.
    static JOINED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a WebSocket begins its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It carries its session.
    Session,
    /// It wants to take a polling session over.
    Probe,
}

impl Begin {
    /// Where its packets come from.
    pub(super) fn via(self) -> Via {
        match self {
            Begin::Session => Via::WebSocket,
            Begin::Probe => Via::Probe,
        }
    }
}

/// Carries frames until the WebSocket ends; `early` is what came in the same segment as the opening handshake.
pub(super) async fn serve(stream: Stream, early: Vec<u8>, connection: Arc<Connection>, begin: Begin) {
    let limits = &connection.server().options().limits;
    let mut socket = Socket {
        receiver: Receiver::new(limits.max_payload, limits.fragments),
        stream,
        connection,
        via: begin.via(),
        attached: true,
        queue: VecDeque::new(),
        latest: None,
        written: 0,
        sent: 0,
        unflushed: false,
        last: false,
        waker: None,
        unread: early,
        handled: 0,
    };
    socket.connection.server().metrics().bytes_in.add(socket.unread.len());
    poll_fn(|cx| match socket.poll(cx) {
        Poll::Pending if !socket.last => Poll::Pending,
        Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
    })
    .await;
    // What is queued still goes out, to a client that reads.
    let _ = timeout(LAST_WORDS, poll_fn(|cx| if socket.last { socket.poll(cx) } else { Poll::Ready(()) })).await;
    // Also where the task ends otherwise: the session must not wait for a WebSocket that is gone.
    let Socket { connection, via, attached, mut stream, last, sent, .. } = socket;
    connection.sent(sent);
    if attached {
        connection.handle(connection.server().now(), Input::SocketClosed(via));
    }
    if last {
        let _ = linger(&mut stream).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something was done: look again.
    Again,
    /// Nothing to do until woken.
    Wait,
    /// Others have their turn first.
    Yield,
    /// What is queued still goes out, then the WebSocket ends.
    End,
    /// The WebSocket ends now.
    Gone,
}

/// What is written: a shared packet of the session, or a control frame of our own.
enum Queued {
    Packet(Frame),
    Control(Arc<[u8]>),
    Pongs(Vec<u8>),
}

impl Queued {
    fn bytes(&self) -> &[u8] {
        match self {
            Queued::Packet(frame) => frame.websocket(),
            Queued::Control(bytes) => bytes,
            Queued::Pongs(bytes) => bytes,
        }
    }
}

/// What may still be read and handled before others of the thread have their turn: a client that floods must not make them wait.
struct Turn {
    bytes: usize,
    messages: usize,
}

impl Turn {
    /// The millisecond in which handling began is over, and something has been handled.
    fn is_over(&self, connection: &Connection, began: Time) -> bool {
        self.messages < TURN && connection.server().now() > began
    }
}

/// Wakes this task when the others that are ready have run, and what has arrived for them has been looked at.
fn after_others(cx: &mut Context<'_>) -> Poll<()> {
    // It is ready when it is polled again, which it never is; being polled wakes this task.
    let _ = pin!(yield_now()).poll(cx);
    Poll::Pending
}

struct Socket {
    stream: Stream,
    connection: Arc<Connection>,
    receiver: Receiver,
    via: Via,
    /// The session does not know yet that this WebSocket is no use to it; it may have another probe by then.
    attached: bool,
    queue: VecDeque<Queued>,
    /// The pong for the last ping, if there was no room for it among those that wait.
    latest: Option<Arc<[u8]>>,
    /// Bytes of the queue's first entry that are written.
    written: usize,
    /// Bytes of the session's packets that are written, and that it does not know of.
    sent: usize,
    /// What is written may wait in the stream.
    unflushed: bool,
    /// After the queue comes the end.
    last: bool,
    /// What the session wakes this task with, made once.
    waker: Option<Waker>,
    /// What has been read and may not be handled yet.
    unread: Vec<u8>,
    /// How much of that has been handled.
    handled: usize,
}

impl Socket {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Once there is nothing more to read the task will be woken when there is.
        let (mut reads, mut yields, mut turn) = (true, false, Turn { bytes: SCRATCH, messages: TURN });
        loop {
            match if reads && !self.last { self.read(cx, &mut turn) } else { Step::Wait } {
                Step::Again => {}
                Step::Wait => reads = false,
                Step::Yield => (reads, yields) = (false, true),
                Step::End => self.last = true,
                Step::Gone => return Poll::Ready(()),
            }
            match self.write(cx, !reads && !yields) {
                Step::Gone => return Poll::Ready(()),
                Step::Wait if yields && !self.last => return after_others(cx),
                Step::Wait if !reads => return Poll::Pending,
                Step::Wait | Step::Yield | Step::Again | Step::End => {}
            }
        }
    }

    /// Writes what waits, as much as the socket takes. `sleeps`: the task sleeps if nothing does, until the session wakes it. Not sooner: what
    /// the client's own events send to it would wake the task that is about to look anyway.
    fn write(&mut self, cx: &mut Context<'_>, sleeps: bool) -> Step {
        if self.queue.is_empty() && !self.last && !self.unflushed {
            match self.refill(cx, sleeps) {
                Step::Again => {}
                step => return step,
            }
        }
        while !self.queue.is_empty() || self.unflushed {
            match self.write_batch(cx) {
                Poll::Ready(Ok(())) if self.queue.is_empty() => {
                    self.queue.extend(self.latest.take().filter(|_| !self.last).map(Queued::Control));
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(())) => return Step::Gone,
                // The client does not read. Its session may end meanwhile; then nobody waits for it. What comes last has its own time limit.
                Poll::Pending if self.last => return Step::Wait,
                Poll::Pending => {
                    let over = match self.via {
                        Via::WebSocket => self.connection.poll_blocked(std::mem::take(&mut self.sent), cx.waker()),
                        Via::Probe | Via::Polling => !self.connection.poll_probe(cx.waker()),
                    };
                    return if over { Step::Gone } else { Step::Wait };
                }
            }
        }
        if self.last { Step::Gone } else { Step::Again }
    }

    /// Takes from the session what waits for the client.
    fn refill(&mut self, cx: &mut Context<'_>, sleeps: bool) -> Step {
        if self.via == Via::Probe {
            return match self.connection.poll_probe(cx.waker()) {
                true => Step::Wait,
                false => self.detach(),
            };
        }
        let waker = sleeps.then(|| &*self.waker.get_or_insert_with(|| relayed(cx.waker())));
        match self.connection.take_frames(std::mem::take(&mut self.sent), waker) {
            Write::Frames(frames) if frames.is_empty() => {
                self.queue = VecDeque::new();
                Step::Wait
            }
            Write::Frames(frames) => {
                self.queue.extend(frames.into_iter().map(Queued::Packet));
                Step::Again
            }
            Write::Last(frames) => {
                self.queue.extend(frames.into_iter().map(Queued::Packet));
                self.end_with_session()
            }
            Write::Closed => self.end_with_session(),
        }
    }

    /// Queues a close frame and the end.
    fn end(&mut self, code: u16, reason: &str) -> Step {
        self.end_with(websocket::close(code, reason))
    }

    fn end_with(&mut self, close: Arc<[u8]>) -> Step {
        self.queue.push_back(Queued::Control(close));
        self.last = true;
        Step::Again
    }

    /// The session is over. A client that broke a rule of the layers above is told which.
    fn end_with_session(&mut self) -> Step {
        let (code, reason) = self.connection.last_words();
        self.end(code, &reason)
    }

    /// The session has given this WebSocket up.
    fn detach(&mut self) -> Step {
        self.attached = false;
        self.end(1000, "")
    }

    /// Writes once. Small frames are copied side by side first, which costs less than handing the kernel a list of them; large ones are not.
    fn write_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        if self.queue.is_empty() {
            let flushed = Pin::new(&mut self.stream).poll_flush(cx);
            self.unflushed = flushed.is_pending();
            return flushed.map_err(|_| ());
        }
        let mut unsent = self.queue.iter().map(Queued::bytes);
        let first = unsent.next().and_then(|bytes| bytes.get(self.written..)).unwrap_or_default();
        let wrote = match self.queue.len() {
            2.. if first.len() >= LARGE => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                for (slice, bytes) in slices.iter_mut().zip(iter::once(first).chain(unsent)) {
                    *slice = IoSlice::new(bytes);
                }
                Pin::new(&mut self.stream).poll_write_vectored(cx, &slices)
            }
            2.. => {
                let mut joined = JOINED.take();
                joined.clear();
                joined.reserve(SCRATCH);
                joined.extend_from_slice(first);
                for bytes in unsent {
                    if joined.len() + bytes.len() > SCRATCH {
                        break;
                    }
                    joined.extend_from_slice(bytes);
                }
                let wrote = Pin::new(&mut self.stream).poll_write(cx, &joined);
                JOINED.set(joined);
                wrote
            }
            _ => Pin::new(&mut self.stream).poll_write(cx, first),
        };
        match wrote {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.unflushed = true;
                self.advance(n);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(_) | Err(_)) => Poll::Ready(Err(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn advance(&mut self, n: usize) {
        self.written += n;
        while let Some(first) = self.queue.front() {
            let length = first.bytes().len();
            if self.written < length {
                break;
            }
            self.written -= length;
            if let Some(Queued::Packet(_)) = self.queue.pop_front() {
                self.sent += length;
            }
        }
        // Small packets can wait until the session is asked for more; a client must not be thought slow for large ones.
        if self.sent >= LARGE {
            self.connection.sent(std::mem::take(&mut self.sent));
        }
    }

    /// Reads once, and handles what came as far as this turn goes; first what is left from the last one.
    fn read(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Step {
        if self.is_full() && !self.connection.poll_reading(self.via, cx.waker()) {
            return Step::Wait;
        }
        if !self.unread.is_empty() {
            let (mut unread, mut at) = (std::mem::take(&mut self.unread), std::mem::take(&mut self.handled));
            let step = self.receive(&mut unread, &mut at, turn);
            if at < unread.len() {
                (self.unread, self.handled) = (unread, at);
            }
            return step;
        }
        if turn.bytes == 0 {
            return Step::Yield;
        }
        let mut buffer = READ.take();
        if buffer.is_empty() {
            buffer = vec![0; SCRATCH];
        }
        let mut target = ReadBuf::new(&mut buffer);
        let step = match Pin::new(&mut self.stream).poll_read(cx, &mut target) {
            Poll::Pending => Step::Wait,
            Poll::Ready(Err(_)) => Step::Gone,
            Poll::Ready(Ok(())) => match target.filled_mut() {
                [] => Step::Gone,
                bytes => {
                    self.connection.server().metrics().bytes_in.add(bytes.len());
                    turn.bytes = turn.bytes.saturating_sub(bytes.len());
                    let mut at = 0;
                    let step = self.receive(bytes, &mut at, turn);
                    self.unread = bytes.get(at..).unwrap_or_default().to_vec();
                    step
                }
            },
        };
        READ.set(buffer);
        step
    }

    /// As many of the client's events wait as may. A probe has none.
    fn is_full(&self) -> bool {
        self.via != Via::Probe && self.connection.is_full()
    }

    /// Handles bytes from `at` on, until they are used up, as many of the client's events wait as may, or others have their turn.
    fn receive(&mut self, bytes: &mut [u8], at: &mut usize, turn: &mut Turn) -> Step {
        let now = self.connection.server().now();
        loop {
            if turn.messages == 0 || (turn.messages.is_multiple_of(LOOK) && turn.is_over(&self.connection, now)) {
                return Step::Yield;
            }
            let input = match self.receiver.next(bytes, at) {
                Ok(None) => {
                    if self.receiver.is_within_message() && self.via == Via::WebSocket {
                        self.connection.progress(now);
                    }
                    return Step::Again;
                }
                Ok(Some(Received::Text(text))) => match engine_packet::decode(text) {
                    Ok(packet) => Input::Packet(self.via, packet),
                    Err(_) => Input::Garbage(self.via),
                },
                Ok(Some(Received::Binary(data))) => {
                    Input::Packet(self.via, EnginePacket::Binary(Bytes::copy_from_slice(data)))
                }
                Ok(Some(Received::Pong)) => {
                    turn.messages -= 1;
                    continue;
                }
                Ok(Some(Received::Ping(data))) => {
                    let pong = websocket::pong(data);
                    turn.messages -= 1;
                    match self.queue.back_mut() {
                        Some(Queued::Pongs(pongs)) if pongs.len() + pong.len() > MOST_PONGS => self.latest = Some(pong),
                        Some(Queued::Pongs(pongs)) => pongs.extend_from_slice(&pong),
                        Some(Queued::Packet(_) | Queued::Control(_)) | None => {
                            self.queue.push_back(Queued::Pongs(pong.to_vec()));
                        }
                    }
                    continue;
                }
                Ok(Some(Received::Close { code })) => return self.closed_by_client(code),
                Err(error) => return self.broken(&error),
            };
            turn.messages -= 1;
            match self.connection.handle(now, input) {
                Outcome::Handled if self.is_full() => return Step::Again,
                Outcome::Handled => {}
                Outcome::Reply(packet) => {
                    self.queue.push_back(Queued::Control(Frame::text(packet).websocket().into()));
                }
                Outcome::Upgraded => self.via = Via::WebSocket,
                Outcome::Refused(_) => {
                    self.detach();
                    return Step::End;
                }
            }
        }
    }

    /// "The endpoint must send a Close frame in response", with the same code, or none.
    fn closed_by_client(&mut self, code: Option<u16>) -> Step {
        self.connection.handle(self.connection.server().now(), Input::SocketClosed(self.via));
        self.attached = false;
        self.end_with(code.map_or_else(websocket::empty_close, |code| websocket::close(code, "")));
        Step::End
    }

    /// "_Fail the WebSocket Connection_": a close frame with the code of the rule that was broken.
    fn broken(&mut self, error: &WebSocketError) -> Step {
        let server = self.connection.server();
        server.metrics().protocol_errors.one();
        server.log(&Notice::ClientClosed { session: format!("{:?}", self.connection.sid), reason: error.to_string() });
        let input = match self.via {
            Via::Probe => Input::SocketClosed(Via::Probe),
            Via::WebSocket | Via::Polling => Input::Abort(Reason::TransportError),
        };
        self.connection.handle(server.now(), input);
        self.attached = false;
        self.end(error.close_code(), &error.reason());
        Step::End
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
