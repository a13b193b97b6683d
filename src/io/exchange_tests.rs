//! Requests that another server has read, and WebSockets over whatever it hands over.

use super::{Answer, Request};
use crate::io::Service;
use crate::io::workers::runtime;
use crate::server::client::events::Events;
use crate::server::{Options, Server};
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{sleep, timeout};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const POLL: &str = "/socket.io/?EIO=4&transport=polling";

fn service() -> Service {
    let server = Server::in_memory(Options { recovery: None, ..Options::default() });
    server.of("/").handle(Events::new().on("echo", |socket, event| {
        let _ = socket.emit("echo", event.args);
    }));
    Service::begin(server)
}

fn upgrade(target: &str) -> Request {
    Request::new("GET", target, HERE)
        .header("Host", "a")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The session's id, from the answer to its first request.
fn sid(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", text(answer));
    text(answer).split('"').nth(3).unwrap().to_owned()
}

async fn post(service: &Service, target: &str, body: &'static str) -> u16 {
    service.answer(Request::new("POST", target, HERE).body(body)).await.status
}

async fn get(service: &Service, target: &str) -> Answer {
    service.answer(Request::new("GET", target, HERE)).await
}

fn run(test: impl Future<Output = ()>) {
    runtime().unwrap().block_on(test);
}

#[test]
fn a_session_by_long_polling() {
    run(async {
        let service = service();
        let target = format!("{POLL}&sid={}", sid(&get(&service, POLL).await));
        assert_eq!(post(&service, &target, "40").await, 200);
        assert!(text(&get(&service, &target).await).starts_with("40{"));
        // A GET waits for what comes.
        let (waiting, path) = (service.clone(), target.clone());
        let waits = tokio::spawn(async move { text(&get(&waiting, &path).await) });
        sleep(Duration::from_millis(20)).await;
        assert_eq!(post(&service, &target, "42[\"echo\",1]").await, 200);
        assert_eq!(waits.await.unwrap(), "42[\"echo\",1]");
    });
}

/// What is refused is refused as over a connection of our own.
#[test]
fn what_is_no_request_of_the_protocol() {
    run(async {
        let service = service();
        let large = Request::new("POST", POLL, HERE).body(vec![b'x'; 1_000_001]);
        let many = (0..200).fold(Request::new("GET", POLL, HERE), |request, n| request.header("a", n.to_string()));
        let long = Request::new("GET", POLL, HERE).header("a", "x".repeat(20_000));
        let split = Request::new("GET", POLL, HERE).header("a", "b\r\nhost: c\r\n\r\n").header("c\r\nd:", "e");
        for (name, request, status) in [
            ("no transport", Request::new("GET", "/socket.io/?EIO=4", HERE), 400),
            ("unknown session", Request::new("GET", &format!("{POLL}&sid=x"), HERE), 400),
            ("another path", Request::new("GET", "/other", HERE), 404),
            ("a method", Request::new("DELETE", POLL, HERE), 400),
            ("no target", Request::new("GET", "", HERE), 400),
            ("a POST without a session", large, 400),
            ("many headers", many, 431),
            ("a long head", long, 431),
            ("a header in another", split, 200),
        ] {
            let answer = service.answer(request).await;
            assert_eq!((answer.status, answer.websocket.is_some()), (status, false), "{name}: {}", text(&answer));
        }
        let target = format!("{POLL}&sid={}", sid(&get(&service, POLL).await));
        let large = Request::new("POST", &target, HERE).body(vec![b'x'; 1_000_001]);
        assert_eq!(service.answer(large).await.status, 413);
        // Two hosts, as HTTP/2 may have, are one.
        let request = Request::new("GET", POLL, HERE).header("host", "a").header("Host", "a");
        assert_eq!(service.answer(request).await.status, 200);
    });
}

#[test]
fn a_websocket_over_a_pipe() {
    run(async {
        let service = service();
        let answer = service.answer(upgrade("/socket.io/?EIO=4&transport=websocket")).await;
        assert_eq!(answer.status, 101);
        assert!(
            answer
                .headers
                .iter()
                .any(|(name, value)| name == "Sec-WebSocket-Accept" && value == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        let (mut far, near) = duplex(64);
        let serving = tokio::spawn(answer.websocket.unwrap().serve(near));
        let mut frame = async || {
            let mut head = [0; 2];
            far.read_exact(&mut head).await.unwrap();
            let mut bytes = vec![0; usize::from(head[1])];
            far.read_exact(&mut bytes).await.unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert!(frame().await.starts_with("0{"));
        far.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']).await.unwrap();
        let mut rest = [0; 6];
        far.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest[2..], b"40{\"");
        drop(far);
        serving.await.unwrap();
        assert_eq!(service.server().connection_count(), 0);
    });
}

/// A WebSocket that the other server never hands over, a client that hangs up while it waits: the session learns of it.
#[test]
fn what_is_dropped_is_closed() {
    run(async {
        let service = service();
        let answer = service.answer(upgrade("/socket.io/?EIO=4&transport=websocket")).await;
        assert_eq!(service.server().connection_count(), 1);
        drop(answer);
        assert_eq!(service.server().connection_count(), 0);

        let target = format!("{POLL}&sid={}", sid(&get(&service, POLL).await));
        assert!(timeout(Duration::from_millis(20), get(&service, &target)).await.is_err());
        assert_eq!(service.server().connection_count(), 0);

        // A probe that is dropped leaves its session as it was; a second one is closed at once.
        let id = sid(&get(&service, POLL).await);
        let probe = format!("/socket.io/?EIO=4&transport=websocket&sid={id}");
        let first = service.answer(upgrade(&probe)).await;
        let second = service.answer(upgrade(&probe)).await;
        let (mut far, near) = duplex(64);
        second.websocket.unwrap().serve(near).await;
        let mut said = Vec::new();
        far.read_to_end(&mut said).await.unwrap();
        assert_eq!((second.status, &*said), (101, &[0x88, 2, 0x03, 0xe8][..]));
        drop(first);
        assert_eq!(post(&service, &format!("{POLL}&sid={id}"), "40").await, 200);
    });
}
