//! WebSockets over real sockets: what the kernel takes in parts, and what comes while it takes nothing.

use crate::codec::args::Args;
use crate::server::client::events::Events;
use crate::server::{Options, Server};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// What the server sends, which it doesn't mask: the next frame's payload.
async fn payload(client: &mut TcpStream) -> String {
    let mut head = [0; 2];
    client.read_exact(&mut head).await.unwrap();
    let size = match head[1] {
        126 => usize::from(client.read_u16().await.unwrap()),
        127 => usize::try_from(client.read_u64().await.unwrap()).unwrap(),
        size => usize::from(size),
    };
    let mut bytes = vec![0; size];
    client.read_exact(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn plain() -> Server {
    Server::in_memory(Options { recovery: None, ..Options::default() })
}

/// The port on which the server is there, and the task that serves.
async fn serve(server: &Server) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, tokio::spawn(crate::io::run(listener, server.clone(), std::future::pending())))
}

/// A client of the main namespace that takes so many bytes at once.
async fn connect(port: u16, takes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(takes).unwrap();
    let mut client = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(payload(&mut client).await.starts_with('0'));
    // `40`, masked with zeros.
    client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']).await.unwrap();
    assert!(payload(&mut client).await.starts_with("40"));
    client
}

/// Frames of all sizes, small ones joined and large ones alone, in writes that the kernel takes in parts.
#[test]
fn a_client_that_takes_little_at_once_gets_every_byte() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let main = server.of("/");
        let (port, serving) = serve(&server).await;
        let mut client = connect(port, 4_096).await;
        let text = |n: usize| format!("\"{n} {}\"", "x".repeat([3, 90, 700, 7_000, 40_000, 130_000][n * 7 % 6]));
        for n in 0..120 {
            main.emit_all("n", Args::from_wire(text(n), Vec::new())).unwrap();
        }
        for n in 0..120 {
            assert!(payload(&mut client).await == format!("42[\"n\",{}]", text(n)), "event {n}");
        }
        serving.abort();
    });
}

/// It says goodbye before it has read what waits for it.
#[test]
fn a_client_that_closes_while_much_waits_gets_the_close_frame() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let main = server.of("/");
        let (port, serving) = serve(&server).await;
        let mut client = connect(port, 4_096).await;
        let text = format!("\"{}\"", "x".repeat(30_000));
        for _ in 0..130 {
            main.emit_all("n", Args::from_wire(text.clone(), Vec::new())).unwrap();
        }
        // 1000, masked with zeros.
        client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]).await.unwrap();
        while server.connection_count() > 0 {
            tokio::task::yield_now().await;
        }
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert!(all.ends_with(&[0x88, 2, 3, 0xe8]), "{} bytes", all.len());
        serving.abort();
    });
}

/// A text frame, masked with zeros.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(size @ 0..126) => frame.push(0x80 | size),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// As much as is read at once: the event, and others that nobody listens to.
fn one_read_with(event: &str) -> Vec<u8> {
    let fill = |size: usize| masked(&format!("42[\"fill\",\"{}\"]", "x".repeat(size - 21)));
    let mut bytes = masked(event);
    bytes.extend(fill(32_000));
    let left = 64 * 1024 - bytes.len();
    bytes.extend(fill(left));
    assert_eq!(bytes.len(), 64 * 1024);
    bytes
}

/// What was written does not count as unsent when the next read is handled.
#[test]
fn a_client_that_reads_is_not_thought_slow() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let large = format!("\"{}\"", "x".repeat(100_000));
        server.of("/").handle(
            Events::new()
                .on("large", move |socket, _| socket.emit("large", Args::from_wire(large.clone(), Vec::new())).unwrap())
                .on("now", |socket, _| socket.volatile().emit("now", ()).unwrap()),
        );
        let (port, serving) = serve(&server).await;
        let mut client = connect(port, 2_000_000).await;
        let mut bytes = one_read_with("42[\"large\"]");
        bytes.extend(masked("42[\"now\"]"));
        client.write_all(&bytes).await.unwrap();
        assert!(payload(&mut client).await.starts_with("42[\"large\""));
        assert_eq!(payload(&mut client).await, "42[\"now\"]");
        serving.abort();
    });
}

/// RFC 6455 section 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame"; nor is anything heard then.
#[test]
fn nothing_follows_the_close_frame() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let large = format!("\"{}\"", "x".repeat(900_000));
        server.of("/").handle(Events::new().on("bye", move |socket, _| {
            for _ in 0..4 {
                socket.emit("large", Args::from_wire(large.clone(), Vec::new())).unwrap();
            }
            socket.disconnect(true);
        }));
        let (port, serving) = serve(&server).await;
        let mut client = connect(port, 4_096).await;
        let mut bytes = one_read_with("42[\"bye\"]");
        // A ping, and a close frame.
        bytes.extend([0x89, 0x81, 0, 0, 0, 0, b'x']);
        bytes.extend([0x88, 0x82, 0, 0, 0, 0, 3, 0xe8]);
        client.write_all(&bytes).await.unwrap();
        // The server fills the socket, and has read the rest by then if it reads at all.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        // The last packet, and one close frame.
        assert!(all.ends_with(b"\x81\x0241\x88\x02\x03\xe8"), "{:x?}", all.last_chunk::<12>());
        serving.abort();
    });
}

/// A handler that waits for each event: at the bound the connection is read no further, and every event is handled in the end, in order.
#[test]
fn nothing_is_lost_of_what_is_sent_to_a_handler_that_waits() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let gate = Arc::new(Semaphore::new(0));
        let (passes, heard) = (gate.clone(), Arc::<Mutex<Vec<String>>>::default());
        let hears = heard.clone();
        server.of("/").handle(Events::new().on_async("n", move |socket, event| {
            let (passes, hears) = (passes.clone(), hears.clone());
            async move {
                passes.acquire().await.unwrap().forget();
                hears.lock().unwrap().push(event.args.text().to_owned());
                socket.emit("n", event.args).unwrap();
            }
        }));
        let (port, serving) = serve(&server).await;
        let client = connect(port, 65_536).await;
        let most = 20_000;
        let packets = (0..most).map(|n| format!("42[\"n\",{n}]"));
        let frames: Vec<u8> = packets
            .flat_map(|packet| {
                [&[0x81, 0x80 | u8::try_from(packet.len()).unwrap(), 0, 0, 0, 0], packet.as_bytes()].concat()
            })
            .collect();
        let (mut reader, mut writer) = client.into_split();
        let writes = tokio::spawn(async move { writer.write_all(&frames).await });
        while server.metrics().readings_paused.get() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        // One has begun, and so many wait.
        assert_eq!(server.metrics().messages_in.get(), 101);
        gate.add_permits(most);
        let mut bytes = vec![0; 65_536];
        while heard.lock().unwrap().len() < most {
            assert!(reader.read(&mut bytes).await.unwrap() > 0);
        }
        writes.await.unwrap().unwrap();
        assert!(heard.lock().unwrap().iter().enumerate().all(|(n, text)| n.to_string() == *text));
        assert_eq!(server.metrics().messages_in.get(), most as u64);
        serving.abort();
    });
}

/// Sends a request and gives the answer, head and body.
async fn ask(port: u16, request: String) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn a_post_is_answered_when_its_packets_have_a_place_in_line() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let gate = Arc::new(Semaphore::new(0));
        let passes = gate.clone();
        server.of("/").handle(Events::new().on_async("n", move |_, _| {
            let passes = passes.clone();
            async move { passes.acquire().await.unwrap().forget() }
        }));
        let (port, serving) = serve(&server).await;
        let get = |sid: &str| format!("GET /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let post = |sid: &str, body: String| {
            let length = body.len();
            format!("POST /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        };
        let opened = ask(port, get("")).await;
        let sid = format!("&sid={}", opened.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap());
        assert!(ask(port, post(&sid, "40".into())).await.ends_with("ok"));
        let body = vec!["42[\"n\"]"; 1_000].join("\x1e");
        let posting = tokio::spawn(ask(port, post(&sid, body)));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!posting.is_finished() && server.metrics().messages_in.get() == 101);
        // Meanwhile the client hears what is sent to it.
        assert!(ask(port, get(&sid)).await.contains("40{"));
        gate.add_permits(1_000);
        assert!(posting.await.unwrap().ends_with("ok"));
        assert_eq!(server.metrics().messages_in.get(), 1_000);
        serving.abort();
    });
}

/// Whose events were handled, in this order.
fn order_kept(server: &Server) -> Arc<Mutex<String>> {
    let order = Arc::new(Mutex::new(String::new()));
    let (flood, single) = (order.clone(), order.clone());
    server.of("/").handle(
        Events::new()
            .on("f", move |_, _| flood.lock().unwrap().push('f'))
            .on("s", move |_, _| single.lock().unwrap().push('s')),
    );
    order
}

/// How many events of the flood came before the one of another client that was there at the same time.
async fn waited(order: &Mutex<String>, all: usize) -> usize {
    while order.lock().unwrap().len() < all {
        tokio::task::yield_now().await;
    }
    order.lock().unwrap().find('s').unwrap()
}

/// A turn has so many messages, and others come between: once the flood is read, twice at most until the other is seen.
#[test]
fn a_flood_on_a_websocket_lets_others_of_its_thread_come_between() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let order = order_kept(&server);
        let (port, serving) = serve(&server).await;
        let (floods, other) = (connect(port, 4_096).await, connect(port, 4_096).await);
        let mut flood: Vec<u8> = masked("42[\"f\"]").repeat(4_000);
        // Pings count too, and all are answered.
        flood.extend([0x89, 0x80, 0, 0, 0, 0].repeat(10_000));
        // Without a point at which the server could run, so both are there when it does.
        assert!(floods.try_write(&flood).unwrap() > 40_000);
        assert!(other.try_write(&masked("42[\"s\"]")).is_ok());
        let before = waited(&order, 3_000).await;
        assert!(before <= 3 * super::TURN, "{before} events came first");
        drop((floods, other));
        serving.abort();
    });
}

/// The same for the packets of one body.
#[test]
fn a_large_body_lets_others_of_its_thread_come_between() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = plain();
        let order = order_kept(&server);
        let (port, serving) = serve(&server).await;
        let other = connect(port, 4_096).await;
        let ask = async |request: String| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let close = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        let opened = ask(format!("GET /socket.io/?EIO=4&transport=polling {close}\r\n")).await;
        let sid = opened.split_once("\"sid\":\"").unwrap().1.split_once('"').unwrap().0;
        let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let post = |body: &str| format!("POST {target} {close}Content-Length: {}\r\n\r\n{body}", body.len());
        assert!(ask(post("40")).await.ends_with("ok"));
        let flood = post(&["42[\"f\"]"; 9_000].join("\u{1e}"));
        let mut floods = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        floods.write_all(flood.as_bytes()).await.unwrap();
        // As soon as the first is handled; the server runs no further meanwhile.
        while order.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(other.try_write(&masked("42[\"s\"]")).is_ok());
        let before = waited(&order, 9_001).await;
        assert!(before <= 5 * super::TURN, "{before} events came first");
        serving.abort();
    });
}
