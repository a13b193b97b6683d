//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on its thread. In a runtime that shares its tasks among threads every few packets wake another thread that looks for
//! work, which costs more than the packets do.
//!
//! These runtimes come and go with [`run_on`](crate::run_on); what handlers begin must not. So handlers see another runtime as the present one:
//! that of the caller, their home. What they spawn runs there, and what they open (a pool's connections) lives as long as it. Only what this
//! floor makes for its connections belongs to the thread: it is made by [`own`].

use super::relay;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZero;
use std::pin::pin;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::{Timeout, sleep};

/// Between two looks at whether handlers' futures have come to their end.
pub(super) const LOOK: Duration = Duration::from_millis(10);

thread_local! {
    /// The runtime of a thread of [`Workers`], once its handlers have a home.
    static OWN: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// The threads besides the one that accepts connections, which serves too. When this is dropped they end, as soon as the futures of handlers
/// that wait have come to theirs.
#[derive(Debug, Default)]
pub struct Workers {
    threads: Vec<Worker>,
    /// How many connections have been given out so far.
    given: usize,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Tells the thread where its handlers are at home; it answers.
    home: Option<oneshot::Sender<(Handle, oneshot::Sender<()>)>>,
    /// Dropped, not sent.
    _stop: oneshot::Sender<()>,
}

impl Workers {
    /// As many threads as the process may use processors, with the one that calls.
    ///
    /// # Errors
    /// The operating system gives no more threads, or files.
    pub fn for_all_processors() -> io::Result<Workers> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Workers::with(processors.saturating_sub(1))
    }

    /// So many threads, besides the one that calls.
    ///
    /// # Errors
    /// The operating system gives no more threads, or files.
    pub fn with(threads: usize) -> io::Result<Workers> {
        let threads = (0..threads).map(|_| start()).collect::<io::Result<_>>()?;
        Ok(Workers { threads, given: 0 })
    }

    /// From now on the runtime that this is called in is the handlers' home.
    pub(super) async fn settle(&mut self) {
        let home = Handle::current();
        for worker in &mut self.threads {
            let (settled, when) = oneshot::channel();
            if let Some(tell) = worker.home.take()
                && tell.send((home.clone(), settled)).is_ok()
            {
                let _ = when.await;
            }
        }
    }

    /// Where the next connection goes; `None`: to the thread that asks. They take turns, two by two: a client on polling opens one connection
    /// for what it hears and one for what it says, and the latter has something to tell the former.
    pub(super) fn next(&mut self) -> Option<&Handle> {
        let turn = self.given / 2 % (self.threads.len() + 1);
        self.given = self.given.wrapping_add(1);
        turn.checked_sub(1).and_then(|turn| self.threads.get(turn)).map(|worker| &worker.handle)
    }
}

/// A runtime for the thread that calls, to serve connections on.
///
/// Before the thread sleeps, because nothing has arrived, it lets others have its processor for a moment: often something arrives meanwhile, and
/// to sleep and be woken would have cost as much as a packet does. Where no other thread waits, that takes a fraction of a microsecond; where
/// other programs keep the processors busy, a packet may wait for one of their time slices.
///
/// # Errors
/// The operating system gives no more files.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().on_thread_park(thread::yield_now).build()
}

fn start() -> io::Result<Worker> {
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let (home, told) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let own = handle.clone();
    let serve = move || runtime.block_on(serve(own, told, stopped));
    thread::Builder::new().name("rill-worker".to_owned()).spawn(serve)?;
    Ok(Worker { handle, home: Some(home), _stop: stop })
}

/// What the thread does besides its connections.
async fn serve(own: Handle, told: oneshot::Receiver<(Handle, oneshot::Sender<()>)>, stopped: oneshot::Receiver<()>) {
    let Ok((home, settled)) = told.await else { return };
    OWN.set(Some(own.clone()));
    // The tasks of this thread are polled while this future waits: all of them see the home.
    let _home = home.enter();
    let _ = settled.send(());
    let _ = stopped.await;
    // Connections are gone by now; what is left is begun by handlers.
    while own.metrics().num_alive_tasks() > relay::carriers() {
        self::own(|| sleep(LOOK)).await;
    }
}

/// The runtime that this thread's connections are served on.
pub(super) fn here() -> Option<Handle> {
    OWN.with_borrow(Clone::clone).or_else(|| Handle::try_current().ok())
}

/// Makes something that belongs to the runtime of this thread, not to the handlers' home: a timer, a socket.
pub(super) fn own<T>(make: impl FnOnce() -> T) -> T {
    match OWN.with_borrow(Clone::clone) {
        Some(own) => {
            let _own = own.enter();
            make()
        }
        None => make(),
    }
}

/// All that `future` makes belongs to the runtime of this thread.
pub(super) async fn all_own<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| own(|| future.as_mut().poll(cx))).await
}

/// As tokio's, on the runtime of this thread.
pub(super) fn timeout<F: Future>(time: Duration, future: F) -> Timeout<F> {
    own(|| tokio::time::timeout(time, future))
}
