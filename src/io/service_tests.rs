//! What handlers have begun outlives the threads that they ran on; connections over anything that reads and writes.

use crate::io::workers::{Workers, runtime};
use crate::io::{Service, run_on};
use crate::limits::Limits;
use crate::server::client::events::Events;
use crate::server::client::handler::Ack;
use crate::server::{Options, Server};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A client over any stream.
struct Client<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// In the main namespace, by WebSocket.
    async fn connect(mut stream: S) -> Client<S> {
        let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        let mut client = Client(stream);
        assert!(client.hear().await.starts_with('0'));
        client.say("40").await;
        assert!(client.hear().await.starts_with("40"));
        client
    }

    /// A text frame, masked with zeros.
    async fn say(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).await.unwrap();
        let size = match head[1] {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            127 => usize::try_from(self.0.read_u64().await.unwrap()).unwrap(),
            size => usize::from(size),
        };
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Serves on three threads, until it is told to stop.
async fn serve(server: &Server) -> (u16, oneshot::Sender<()>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    (port, stop, tokio::spawn(run_on(Workers::with(2).unwrap(), listener, server.clone(), shutdown)))
}

/// As many clients as have each thread serve two.
async fn clients(port: u16) -> Vec<Client<TcpStream>> {
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(Client::connect(TcpStream::connect((HERE, port)).await.unwrap()).await);
    }
    clients
}

/// Each client's `work` is acknowledged, then the server stops.
async fn work_and_stop(server: &Server) {
    let (port, stop, serving) = serve(server).await;
    let mut clients = clients(port).await;
    for client in &mut clients {
        client.say(r#"420["work"]"#).await;
        assert_eq!(client.hear().await, "430[true]");
    }
    stop.send(()).unwrap();
    serving.await.unwrap();
}

fn options(finish_ms: u64) -> Options {
    Options { recovery: None, limits: Limits { finish_ms, ..Limits::default() }, ..Options::default() }
}

/// Says when it goes.
struct Going(Arc<AtomicBool>);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn what_handlers_have_begun_comes_to_its_end_before_run_on_returns() {
    for kind in ["spawned", "awaited"] {
        let (done, threads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let work = {
            let (done, threads) = (done.clone(), threads.clone());
            move || {
                threads.lock().unwrap().push(thread::current().id());
                let done = done.clone();
                async move {
                    sleep(Duration::from_millis(300)).await;
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        runtime().unwrap().block_on(async {
            let server = Server::in_memory(options(5_000));
            let acked = |event: &mut Option<Ack>| event.take().into_iter().for_each(|ack| ack.send(true));
            server.of("/").handle(match kind {
                "spawned" => Events::new().on("work", move |_, mut event| {
                    acked(&mut event.ack);
                    tokio::spawn(work());
                }),
                _ => Events::new().on("work", move |socket, mut event| {
                    acked(&mut event.ack);
                    socket.run(work());
                }),
            });
            // Twice in one process.
            for all in [6, 12] {
                work_and_stop(&server).await;
                assert_eq!(done.load(Ordering::SeqCst), all, "{kind}");
            }
        });
        let threads = threads.lock().unwrap();
        assert!(threads.iter().any(|thread| *thread != threads[0]), "{kind}: on one thread only");
    }
}

#[test]
fn the_wait_at_the_end_is_bounded_and_what_takes_longer_goes_on() {
    runtime().unwrap().block_on(async {
        let gone = Arc::new(AtomicBool::new(false));
        let server = Server::in_memory(options(200));
        let going = gone.clone();
        server.of("/").handle(Events::new().on("work", move |_, event| {
            event.ack.into_iter().for_each(|ack| ack.send(true));
            let going = Going(going.clone());
            tokio::spawn(async move {
                sleep(Duration::from_secs(600)).await;
                drop(going);
            });
        }));
        let begun = Instant::now();
        work_and_stop(&server).await;
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(200) && took < Duration::from_secs(9), "{took:?}");
        sleep(Duration::from_millis(100)).await;
        assert!(!gone.load(Ordering::SeqCst));
    });
}

#[test]
fn what_a_handler_has_opened_is_good_after_the_threads_have_gone() {
    runtime().unwrap().block_on(async {
        let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = database.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = database.accept().await {
                tokio::spawn(async move {
                    while matches!(stream.read_u8().await, Ok(n) if stream.write_u8(n + 1).await.is_ok()) {}
                });
            }
        });
        // A connection for each client, made by its handler on the client's thread.
        let pool = Arc::new(tokio::sync::Mutex::new(Vec::<TcpStream>::new()));
        let server = Server::in_memory(options(5_000));
        let (opened, used) = (pool.clone(), Arc::new(AtomicUsize::new(0)));
        let uses = used.clone();
        server.of("/").handle(Events::new().on("work", move |socket, event| {
            let (opened, uses) = (opened.clone(), uses.clone());
            let ack = event.ack;
            socket.run(async move {
                let mut stream = match opened.lock().await.pop() {
                    Some(stream) => stream,
                    None => TcpStream::connect(address).await.unwrap(),
                };
                stream.write_u8(1).await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), 2);
                uses.fetch_add(1, Ordering::SeqCst);
                // Kept until all have theirs.
                sleep(Duration::from_millis(50)).await;
                ack.into_iter().for_each(|ack| ack.send(true));
                opened.lock().await.push(stream);
            });
        }));
        for all in [6, 12, 18] {
            work_and_stop(&server).await;
            assert_eq!(used.load(Ordering::SeqCst), all);
        }
        let mut pool = pool.lock().await;
        assert!(!pool.is_empty());
        for stream in &mut *pool {
            stream.write_u8(7).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 8);
        }
    });
}

/// A stream that keeps what is written until it is flushed, as TLS may, and that takes only so much.
struct Keeps(DuplexStream, Vec<u8>);

impl AsyncRead for Keeps {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Keeps {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let me = self.get_mut();
        if me.1.len() >= 1_000 {
            std::task::ready!(std::pin::Pin::new(&mut *me).poll_flush(cx))?;
        }
        let taken = bytes.len().min(1_000);
        me.1.extend_from_slice(&bytes[..taken]);
        std::task::Poll::Ready(Ok(taken))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let me = self.get_mut();
        while !me.1.is_empty() {
            let n = std::task::ready!(std::pin::Pin::new(&mut me.0).poll_write(cx, &me.1))?;
            me.1.drain(..n);
        }
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let me = self.get_mut();
        std::task::ready!(std::pin::Pin::new(&mut *me).poll_flush(cx))?;
        std::pin::Pin::new(&mut me.0).poll_shutdown(cx)
    }
}

/// Echoes, over pipes of so many bytes, of all sizes; then the service stops, and begins again.
#[test]
fn a_connection_over_anything_that_reads_and_writes() {
    runtime().unwrap().block_on(async {
        let server = Server::in_memory(options(1_000));
        server.of("/").handle(Events::new().on("echo", |socket, event| {
            let size = event.args.parse::<usize>(0).unwrap_or_default();
            let _ = socket.emit("echo", "x".repeat(size));
        }));
        for room in [7, 4_000] {
            let service = Service::begin(server.clone());
            let (far, near) = duplex(room);
            let serving = tokio::spawn(service.serve_connection(Keeps(near, Vec::new()), HERE));
            let mut client = Client::connect(far).await;
            for size in [0, 10, 3_000, 100_000] {
                client.say(&format!(r#"42["echo",{size}]"#)).await;
                assert_eq!(client.hear().await.len(), r#"42["echo",""]"#.len() + size);
            }
            for _ in 0..100 {
                client.say(r#"42["echo",100]"#).await;
            }
            for _ in 0..100 {
                client.hear().await;
            }
            // Two requests over one pipe.
            let (mut far, near) = duplex(room);
            let polling = tokio::spawn(service.serve_connection(near, HERE));
            for _ in 0..2 {
                let get = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
                far.write_all(get.as_bytes()).await.unwrap();
                let mut answer = Vec::new();
                while !answer.ends_with(b"}") {
                    answer.push(far.read_u8().await.unwrap());
                }
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
            let begun = Instant::now();
            let hears = tokio::spawn(async move {
                let mut rest = Vec::new();
                let _ = client.0.read_to_end(&mut rest).await;
                rest
            });
            service.stop().await;
            assert_eq!(hears.await.unwrap(), [0x88, 2, 0x03, 0xe8], "a close frame: 1000");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            serving.await.unwrap();
            polling.await.unwrap();
            assert_eq!(server.connection_count(), 0);
        }
    });
}
