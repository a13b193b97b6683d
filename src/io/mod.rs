//! Floor 4: the shells. Sockets, tokio, the clock and the operating system's randomness; everything that is decided is decided below.
//!
//! [`run`] accepts connections and gives each a task, [`run_on`] on the threads of [`workers`]. `http` reads requests in the time that
//! `deadline` gives them, `routes` and `cors` say what is answered, and a connection that upgrades becomes a `websocket`; `relay` wakes many
//! of them together. One more task sleeps until the server's next deadline. [`redis`] carries a log that servers share; `forward` hands a request
//! to the server of the cluster that has its session.

mod cors;
mod deadline;
mod exchange;
mod forward;
mod http;
pub mod redis;
mod relay;
mod routes;
mod service;
mod stream;
mod websocket;
pub mod workers;

use crate::id::{Clock, Random, Spawner, Time};
use crate::server::log::memory::MemoryStreams;
use crate::server::notice::Notice;
use crate::server::{Options, Server};
use service::{GOODBYE, LAST_WORDS};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use workers::Workers;

pub use exchange::{Answer, Request, WebSocket};
pub use service::Service;

/// The timers look at the clock at least this often.
const TICK: u64 = 1_000;

/// Milliseconds since 1970 when the clock was made, and from then on as time really passes: never backwards, whatever is done to the
/// system's clock.
#[must_use]
pub fn clock() -> Clock {
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = Instant::now();
    Arc::new(move || Time((begin + since.elapsed()).as_millis() as u64))
}

/// The operating system's randomness. Where there is none no id can be made that nobody guesses: the process ends.
#[must_use]
pub fn random() -> Random {
    Arc::new(|bytes| {
        if let Err(error) = getrandom::fill(bytes) {
            eprintln!("[SERVER] the operating system gives no random numbers: {error}");
            std::process::abort();
        }
    })
}

/// Runs the futures of handlers: on the thread that the handler runs on, where there is a runtime of tokio, and else on the one that this is
/// called on. Without either each gets a thread.
#[must_use]
pub fn spawner() -> Spawner {
    let home = Handle::try_current().ok();
    Arc::new(move |task| match workers::here().or_else(|| home.clone()) {
        Some(runtime) => drop(runtime.spawn(task)),
        None => drop(std::thread::spawn(|| workers::runtime().map(|runtime| runtime.block_on(task)))),
    })
}

impl Server {
    /// A server that keeps its log in memory: one server, no Redis. The real clock, the operating system's randomness.
    #[must_use]
    pub fn in_memory(options: Options) -> Server {
        let streams = Arc::new(MemoryStreams::new(&options.limits));
        let server = Server::new(options, streams, clock(), random());
        server.set_spawner(spawner());
        server
    }
}

impl Server {
    /// A server that shares its log, and so its clients, with all others over this Redis. It serves once the other thing that this gives back,
    /// its connection, runs: see [`RedisStreams::run`](redis::RedisStreams::run).
    ///
    /// ```no_run
    /// use rill::{Options, RedisOptions, Server};
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// let (server, redis) = Server::with_redis(Options::default(), RedisOptions::default());
    /// tokio::spawn(redis.run(server.clone(), Some(([0, 0, 0, 0], 3000).into())));
    /// let listener = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
    /// rill::run(listener, server, std::future::pending()).await;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_redis(options: Options, place: redis::RedisOptions) -> (Server, redis::RedisStreams) {
        let streams = redis::RedisStreams::new(place, &options.limits, clock(), options.log.clone());
        let server = Server::new(options, Arc::new(streams.clone()), clock(), random());
        server.set_spawner(spawner());
        (server, streams)
    }
}

/// Whether the server stops, for tasks that wait for requests.
pub(crate) type Stopping = watch::Receiver<bool>;

/// Serves until `shutdown` is ready, then closes every connection without a DISCONNECT packet and returns when they are gone (within 4 s), and
/// when what handlers have begun has come to its end: their futures, and tasks that they have spawned on this runtime, at most
/// [`Limits::finish_ms`](crate::Limits::finish_ms) longer. What takes longer goes on as long as the runtime of the caller does.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let server = rill::Server::in_memory(rill::Options::default());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// rill::run(listener, server, std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
pub async fn run(listener: TcpListener, server: Server, shutdown: impl Future<Output = ()>) {
    run_on(Workers::default(), listener, server, shutdown).await;
}

/// As [`run`], with the connections spread over `workers` and the thread that runs this.
///
/// Handlers run on those threads, but the present runtime is, for what they spawn and open there, the one that this is called in: a pool of
/// connections that a handler has made is still good after `run_on` has returned, and in the next one.
pub async fn run_on(mut workers: Workers, listener: TcpListener, server: Server, shutdown: impl Future<Output = ()>) {
    let service = Service::start(server.clone(), true);
    workers.settle().await;
    let mut door =
        Door { listener, workers, server: server.clone(), stopping: service.stopping(), tasks: JoinSet::new() };
    let mut shutdown = pin!(shutdown);
    poll_fn(|cx| {
        let stop = shutdown.as_mut().poll(cx);
        door.poll_accept(cx);
        stop
    })
    .await;
    service.close();
    // Clients on polling come once more, for what waits and for their goodbye; new ones are refused.
    let sessions_end = poll_fn(|cx| {
        door.poll_accept(cx);
        if server.connection_count() == 0 { Poll::Ready(()) } else { Poll::Pending }
    });
    let _ = timeout(GOODBYE, sessions_end).await;
    let Door { listener, workers, mut tasks, .. } = door;
    drop(listener);
    let _ = timeout(LAST_WORDS, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
    drop(workers);
    service.end().await;
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    workers: Workers,
    server: Server,
    stopping: Stopping,
    tasks: JoinSet<()>,
}

impl Door {
    /// Gives each new connection a task, and clears away those that have ended.
    fn poll_accept(&mut self, cx: &mut Context<'_>) {
        loop {
            while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
            match self.listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, peer))) => {
                    // Without a word: a crowd of strangers is not to be written to.
                    let Some(stay) = self.server.arrive(peer.ip()) else { continue };
                    let full = self.tasks.len() >= self.server.options().limits.tcp_connections();
                    let (server, stopping) = (self.server.clone(), self.stopping.clone());
                    let serve = move |stream: TcpStream| {
                        http::Http::new(stream.into(), server, peer.ip()).serve(stopping, full, stay)
                    };
                    match self.workers.next() {
                        None => drop(self.tasks.spawn(serve(stream))),
                        Some(worker) => {
                            // It belongs to the runtime that reads it.
                            let stream = stream.into_std();
                            let there = async move {
                                if let Ok(stream) =
                                    stream.and_then(|stream| workers::own(|| TcpStream::from_std(stream)))
                                {
                                    serve(stream).await;
                                }
                            };
                            self.tasks.spawn_on(there, worker);
                        }
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.server.log(&Notice::CantAccept { reason: error.to_string() });
                    let waker = cx.waker().clone();
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(100)).await;
                        waker.wake();
                    });
                    return;
                }
                Poll::Pending => return,
            }
        }
    }
}

/// Sleeps from deadline to deadline.
async fn keep_time(server: Server) {
    let mut nap = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let now = server.now();
            server.handle_timeouts(now);
            let next = server.timers().next(cx.waker()).map_or(TICK, |next| next.since(now).min(TICK));
            nap.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(next));
            if nap.as_mut().poll(cx).is_pending() {
                return Poll::<()>::Pending;
            }
        }
    })
    .await;
}
