//! A request for a session of another server: passed on to it, and its answer back. One hop, never a loop.
//!
//! The other server is asked over a plain connection of its own, which ends with the answer; a WebSocket stays on it. Whoever hangs up first
//! ends both sides, as if there were one connection.

use super::exchange::{Answer, Kept};
use super::http::{Flow, Gone, Http, NoBody};
use super::routes;
use super::stream::Stream;
use crate::codec::http::{self, Head, Method};
use bytes::Bytes;
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For the other server to accept: it is near.
const CONNECT: Duration = Duration::from_secs(1);
/// For a side to take what the other says.
const STUCK: Duration = Duration::from_secs(30);
/// Bytes of an answer's head that is kept: what a server of ours says is far shorter.
const HEAD: usize = 64 * 1024;
/// Marks a request that has been passed on: who does not know its session either says so.
const HOP: &str = "rill-hop";
/// Headers that concern one connection only (RFC 9110 section 7.6.1; `Upgrade` goes with a request for one), or the body, whose length is known by
/// then.
const OWN: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "expect",
    "transfer-encoding",
    "content-length",
    HOP,
];

/// Whether a WebSocket is asked for in the way that opens one.
fn is_upgrade(head: &Head) -> bool {
    head.method == Method::Get && head.asks_for_websocket()
}

/// Whether the request comes from another server.
pub(super) fn is_forwarded(head: &Head) -> bool {
    head.headers.get(HOP).is_some()
}

/// Passes a request on. `None`: the other server can't be reached, or ended without a word, and nothing was said to the client.
pub(super) async fn forward(http: &mut Http, head: &Head, address: &str) -> Option<Result<Flow, Gone>> {
    let method = match head.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Head | Method::Options | Method::Other => return None,
    };
    let reached = timeout(CONNECT, TcpStream::connect(address)).await;
    let mut other = match reached.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
        Ok(other) => other,
        Err(error) => {
            http.server.reached(address, Err(error.to_string()));
            return None;
        }
    };
    http.server.reached(address, Ok(()));
    let _ = other.set_nodelay(true);
    let body = match http.read_body(head, || {}).await {
        Ok(body) => body,
        Err(NoBody::Gone) => return Some(Err(Gone)),
        Err(NoBody::Status(status)) => return Some(routes::limit(http, head, status).await),
    };
    let mut request = rewritten(method, head, body.len(), &http.peer.to_string()).into_bytes();
    request.extend_from_slice(&body);
    let websocket = is_upgrade(head);
    // What a client sends behind its request for a WebSocket is its first frames.
    if websocket {
        request.extend_from_slice(&http.take_rest());
    }
    if other.write_all(&request).await.is_err() {
        return None;
    }
    http.server.metrics().forwarded.one();
    let limits = &http.server.options().limits;
    let most = limits.unsent_bytes.saturating_add(limits.max_payload).saturating_mul(2);
    if let Stream::Kept(kept) = http.stream() {
        return keep(kept, other, most).await.then_some(Ok(Flow::Close));
    }
    // An end without an answer would look to a balancer as if it were this server that fails.
    copy_both(http.stream(), other, websocket).await.then_some(Ok(Flow::Close))
}

/// Keeps the other server's answer for somebody who will write it; false: there is none, or it is larger than what waits for a client may be.
async fn keep(kept: &mut Kept, mut other: TcpStream, most: usize) -> bool {
    let mut bytes = Vec::new();
    let mut looked = 0;
    let end = loop {
        if let Some(end) = http::find_end(&bytes, looked) {
            break end;
        }
        looked = bytes.len();
        if bytes.len() > HEAD || !matches!(other.read_buf(&mut bytes).await, Ok(1..)) {
            return false;
        }
    };
    let mut rest = bytes.split_off(end);
    let Some((status, headers)) = http::parse_answer(&bytes) else { return false };
    let mut answer = Answer { status, headers, body: Bytes::new(), websocket: None };
    if status == 101 {
        kept.other = Some((other, rest));
    } else {
        let left = u64::try_from(most).unwrap_or(u64::MAX);
        if other.take(left).read_to_end(&mut rest).await.is_err() || rest.len() >= most {
            return false;
        }
        answer.body = rest.into();
    }
    kept.answer = Some(answer);
    true
}

/// Carries on with a WebSocket whose other end is at another server, which has said something already.
pub(super) async fn carry(client: &mut Stream, mut other: TcpStream, said: &[u8]) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_other, mut to_other) = other.split();
    let mut up = pin!(pass(&mut from_client, &mut to_other));
    let mut down = pin!(async {
        if matches!(timeout(STUCK, write(&mut to_client, said)).await, Ok(Ok(()))) {
            pass(&mut from_other, &mut to_client).await;
        }
    });
    poll_fn(|cx| match (up.as_mut().poll(cx), down.as_mut().poll(cx)) {
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        (Poll::Ready(()), _) | (_, Poll::Ready(())) => Poll::Ready(()),
    })
    .await;
}

fn rewritten(method: &str, head: &Head, length: usize, peer: &str) -> String {
    let mut text = format!("{method} {} HTTP/1.1\r\n", head.target);
    for (name, value) in head.headers.iter().filter(|(name, _)| !OWN.contains(name)) {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if length > 0 || head.method == Method::Post {
        let _ = write!(text, "content-length: {length}\r\n");
    }
    let connection = if is_upgrade(head) { "Upgrade" } else { "close" };
    let _ = write!(text, "{HOP}: {peer}\r\nconnection: {connection}\r\n\r\n");
    text
}

/// Copies in both directions until one side ends; false: the other server ended before it said anything. Only a WebSocket's client may say
/// more than its request: else it could speak to the other server itself.
async fn copy_both(client: &mut Stream, mut other: TcpStream, websocket: bool) -> bool {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_other, mut to_other) = other.split();
    let mut up = pin!(async {
        match websocket {
            true => pass(&mut from_client, &mut to_other).await,
            false => while matches!(from_client.read(&mut [0; 1024]).await, Ok(n) if n > 0) {},
        }
    });
    let mut down = pin!(async {
        let answers = matches!(from_other.peek(&mut [0]).await, Ok(1));
        if answers {
            pass(&mut from_other, &mut to_client).await;
        }
        answers
    });
    poll_fn(|cx| match (up.as_mut().poll(cx), down.as_mut().poll(cx)) {
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        (_, Poll::Ready(answered)) => Poll::Ready(answered),
        (Poll::Ready(()), Poll::Pending) => Poll::Ready(true),
    })
    .await
}

/// Copies until the source ends, or the other side takes nothing for a while.
async fn pass(from: &mut (dyn AsyncRead + Send + Unpin), to: &mut (dyn AsyncWrite + Send + Unpin)) {
    let mut bytes = vec![0; 8 * 1024];
    while let Ok(n) = from.read(&mut bytes).await
        && n > 0
        && matches!(timeout(STUCK, write(to, bytes.get(..n).unwrap_or_default())).await, Ok(Ok(())))
    {}
}

async fn write(to: &mut (dyn AsyncWrite + Send + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http;

    /// What is kept of an answer that the other server gives in pieces, and then hangs up.
    async fn kept(answer: &'static str, most: usize) -> Option<Kept> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let says = tokio::spawn(async move {
            for piece in answer.as_bytes().chunks(7) {
                if stream.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let mut kept = Kept::default();
        let whole = keep(&mut kept, other, most).await;
        says.await.unwrap();
        whole.then_some(kept)
    }

    #[test]
    fn an_answer_is_kept_whole_or_not_at_all() {
        let runtime = crate::io::workers::runtime().unwrap();
        let run = |answer, most| runtime.block_on(kept(answer, most));
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n42[1]";
        let answer = run(head, 100).unwrap().answer.unwrap();
        let headers: Vec<(&str, &str)> = answer.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(headers, [("Content-Type", "text/plain"), ("Set-Cookie", "a=b")]);
        assert_eq!((answer.status, &*answer.body), (200, &b"42[1]"[..]));
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nframes";
        let Kept { answer: Some(answer), other: Some((mut stream, mut said)), .. } = run(switching, 100).unwrap()
        else {
            panic!()
        };
        runtime.block_on(stream.read_to_end(&mut said)).unwrap();
        assert_eq!((answer.status, answer.headers.len(), &*said), (101, 2, &b"frames"[..]));
        for (name, answer, most) in [
            ("nothing", "", 100),
            ("half a head", "HTTP/1.1 200 OK\r\nContent-", 100),
            ("no HTTP", "hello, I am a mail server\r\n\r\n", 100),
            ("too large", head, 4),
        ] {
            assert!(run(answer, most).is_none(), "{name}");
        }
    }

    #[test]
    fn a_websocket_is_carried_on_until_one_side_ends() {
        crate::io::workers::runtime().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut owner, _) = listener.accept().await.unwrap();
            let (mut client, near) = tokio::io::duplex(16);
            let carrying = tokio::spawn(async move { carry(&mut Stream::new(near), other, b"open").await });
            client.write_all(b"ping").await.unwrap();
            let mut word = [0; 4];
            owner.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"ping");
            owner.write_all(b"pong").await.unwrap();
            for want in [b"open", b"pong"] {
                client.read_exact(&mut word).await.unwrap();
                assert_eq!(&word, want);
            }
            drop(owner);
            carrying.await.unwrap();
            assert_eq!(client.read(&mut word).await.unwrap(), 0);
        });
    }

    #[test]
    fn what_is_passed_on() {
        let head = "POST /socket.io/?sid=x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nCookie: b\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        let head = http::parse(head.as_bytes(), 9).unwrap();
        assert_eq!(
            rewritten("POST", &head, 3, "10.0.0.1"),
            "POST /socket.io/?sid=x HTTP/1.1\r\nhost: a\r\ncookie: b\r\ncontent-length: 3\r\nrill-hop: 10.0.0.1\r\nconnection: close\r\n\r\n"
        );
        let head = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nRill-Hop: y\r\n\r\n";
        let head = http::parse(head.as_bytes(), 9).unwrap();
        assert!(is_forwarded(&head));
        assert!(
            rewritten("GET", &head, 0, "::1")
                .ends_with("upgrade: websocket\r\nrill-hop: ::1\r\nconnection: Upgrade\r\n\r\n")
        );
    }
}
