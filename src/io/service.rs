//! A server that serves: what it needs besides connections, whoever accepts them, and its end.
//!
//! [`run_on`](super::run_on) is one over a listener of its own. In another program's server, such as one made with hyper or Axum, a [`Service`]
//! takes single connections ([`Service::serve_connection`]) or single requests ([`Service::answer`]).

use super::http::Http;
use super::stream::Stream;
use super::workers::LOOK;
use super::{Stopping, keep_time, relay};
use crate::id::{Spawner, Task};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::Server;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long connections have to take their goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(3);
/// How long answers and close frames have to leave after that.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(600);

/// Things that are being done; a clone is one more.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

struct Shared {
    server: Server,
    stop: watch::Sender<bool>,
    /// What is not over by then is cut off.
    over: watch::Sender<bool>,
    timers: AbortHandle,
    /// Connections that were handed in.
    connections: Arc<AtomicUsize>,
    /// Futures of handlers that have not come to their end.
    futures: Arc<AtomicUsize>,
    /// Where handlers are at home, and how many tasks there were when it all began; unless another program's server has its own there.
    home: Option<(Handle, usize)>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.timers.abort();
    }
}

/// A server that serves what another program accepts. Cloning is cheap and gives the same one; the last that is dropped stops the server's
/// timers, so keep it as long as there may be clients.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let service = rill::Service::begin(rill::Server::in_memory(rill::Options::default()));
/// let listener = tokio::net::UnixListener::bind("/run/chat.sock")?;
/// loop {
///     let (stream, _) = listener.accept().await?;
///     // Whoever connects to this socket is on this machine.
///     tokio::spawn(service.serve_connection(stream, [127, 0, 0, 1].into()));
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Service(Arc<Shared>);

impl Service {
    /// Lets clients in. The runtime that this is called in is the home of the server's timers and of what handlers begin.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    #[must_use]
    pub fn begin(server: Server) -> Service {
        Service::start(server, false)
    }

    /// `alone`: what is spawned in this runtime from now on is spawned by handlers.
    pub(super) fn start(server: Server, alone: bool) -> Service {
        let futures = Arc::default();
        server.open_again();
        server.set_spawner(counting(&futures, super::spawner()));
        let timers = tokio::spawn(keep_time(server.clone())).abort_handle();
        // It begins now, so that it is not counted later.
        relay::carriers();
        let home = Handle::current();
        let tasks = home.metrics().num_alive_tasks();
        let home = alone.then_some((home, tasks));
        let (stop, over) = (watch::Sender::new(false), watch::Sender::new(false));
        Service(Arc::new(Shared { server, stop, over, timers, connections: Arc::default(), futures, home }))
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.0.server
    }

    /// Serves one connection that speaks HTTP until it ends: TCP, TLS after its handshake, a Unix socket, a pipe in memory. `peer` is the address
    /// of who is at the other end, which a proxy in [`Options::trusts`](crate::Options::trusts) may say more about.
    ///
    /// The future is to be spawned, or polled by whoever accepts. It does not hold the service, and ends with it.
    pub fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        peer: IpAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        let full = self.0.connections.load(Ordering::Relaxed) >= self.0.server.options().limits.tcp_connections();
        let counted = Counted::new(&self.0.connections);
        let stay = self.0.server.arrive(peer);
        let (server, stopping, over) = (self.0.server.clone(), self.stopping(), self.0.over.subscribe());
        let serve = |stay| Box::pin(Http::new(Stream::new(stream), server, peer).serve(stopping, full, stay));
        let served = stay.map(|stay| until(over, serve(stay)));
        async move {
            let _counted = counted;
            if let Some(served) = served {
                served.await;
            }
        }
    }

    /// Serves a WebSocket of somebody else's connection, at most until everything is over.
    pub(super) async fn until_over(self, served: impl Future<Output = ()>) {
        let _counted = Counted::new(&self.0.connections);
        let over = self.0.over.subscribe();
        drop(self);
        until(over, served).await;
    }

    /// Whether it stops, for connections that wait for requests.
    pub(super) fn stopping(&self) -> Stopping {
        self.0.stop.subscribe()
    }

    /// Closes every session without a DISCONNECT packet, lets nobody in, and returns when the connections are gone and the futures of handlers
    /// have come to their end, as [`run`](crate::run) does, in the same time. Tasks that handlers have spawned are not known here: what else is
    /// spawned in this runtime is not theirs. [`Service::begin`] lets clients in again.
    pub async fn stop(&self) {
        self.close();
        let nobody = |count: &AtomicUsize| count.load(Ordering::Acquire) == 0;
        let sessions_end = async {
            while self.0.server.connection_count() > 0 {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(GOODBYE, sessions_end).await;
        let connections_end = async {
            while !nobody(&self.0.connections) {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(LAST_WORDS, connections_end).await;
        self.0.over.send_replace(true);
        self.end().await;
    }

    /// The beginning of the end.
    pub(super) fn close(&self) {
        self.0.stop.send_replace(true);
        self.0.server.close();
    }

    /// The end of it: sessions whose clients did not come, and what handlers have begun.
    pub(super) async fn end(&self) {
        for connection in self.0.server.connections() {
            connection.handle(self.0.server.now(), Input::Abort(Reason::ServerShuttingDown));
        }
        let most = Duration::from_millis(self.0.server.options().limits.finish_ms);
        let due = Instant::now().checked_add(most);
        while self.is_busy() && due.is_some_and(|due| Instant::now() < due) {
            sleep(LOOK).await;
        }
        // Not sooner: what is waited for may wait for an answer with a time limit.
        self.0.timers.abort();
    }

    /// Something that handlers have begun has not come to its end. Of the tasks that they spawn themselves nothing is known but that there are
    /// more than there were.
    fn is_busy(&self) -> bool {
        let more = |(home, tasks): &(Handle, usize)| home.metrics().num_alive_tasks() > *tasks;
        self.0.futures.load(Ordering::Acquire) > 0 || self.0.home.as_ref().is_some_and(more)
    }
}

/// Polls what is served, at most until everything is over.
async fn until(mut over: watch::Receiver<bool>, served: impl Future<Output = ()>) {
    let (mut served, mut over) = (pin!(served), pin!(over.wait_for(|over| *over)));
    poll_fn(|cx| match over.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => served.as_mut().poll(cx),
    })
    .await;
}

/// Counts what is spawned until it has come to its end.
fn counting(count: &Arc<AtomicUsize>, spawn: Spawner) -> Spawner {
    let count = count.clone();
    Arc::new(move |task: Task| {
        let counted = Counted::new(&count);
        spawn(Box::pin(async move {
            let _counted = counted;
            task.await;
        }));
    })
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
