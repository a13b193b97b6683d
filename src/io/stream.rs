//! What a connection's bytes go over: a socket of the system, or anything else that an application hands in (TLS, a Unix socket, a pipe in memory).
//!
//! Few kinds and no type parameter: the machinery above exists once, and a TCP socket costs a comparison more, not a call through a table.

use super::exchange::Kept;
use std::any::Any;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What can carry a connection.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

/// A stream of bytes in both directions.
pub(super) enum Stream {
    /// A socket of the system.
    Tcp(TcpStream),
    /// Anything else. What is written may wait in it until it is flushed.
    Other(Pin<Box<dyn Transport>>),
    /// None: one request of another program's server, whose answer is kept. Nothing more comes from its client.
    Kept(Box<Kept>),
}

impl Stream {
    /// Over whatever it is.
    pub(super) fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Stream {
        let mut stream = Some(stream);
        if let Some(tcp) = (&mut stream as &mut dyn Any).downcast_mut::<Option<TcpStream>>().and_then(Option::take) {
            return tcp.into();
        }
        match stream {
            Some(stream) => Stream::Other(Box::pin(stream)),
            // It was a socket, above.
            None => Stream::Other(Box::pin(tokio::io::empty())),
        }
    }

    /// What befell a stream whose peer has nothing more to say: of a socket, an error behind its end is a reset, in answer to something sent
    /// after it.
    pub(super) fn last_error(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.take_error()?.map_or(Ok(()), Err),
            Stream::Other(_) | Stream::Kept(_) => Ok(()),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        // Small packets leave at once: the protocol is a dialogue.
        let _ = stream.set_nodelay(true);
        Stream::Tcp(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Other(stream) => stream.as_mut().poll_read(cx, buffer),
            Stream::Kept(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Other(stream) => stream.as_mut().poll_write(cx, bytes),
            Stream::Kept(kept) => {
                kept.written.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        match me {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Other(stream) => stream.as_mut().poll_write_vectored(cx, slices),
            Stream::Kept(_) => Pin::new(me).poll_write(cx, slices.first().map_or(&[], |slice| slice)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // The system sends what it was given.
            Stream::Tcp(_) | Stream::Kept(_) => Poll::Ready(Ok(())),
            Stream::Other(stream) => stream.as_mut().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Other(stream) => stream.as_mut().poll_shutdown(cx),
            Stream::Kept(_) => Poll::Ready(Ok(())),
        }
    }
}
