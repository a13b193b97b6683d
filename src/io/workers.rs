//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on its thread. In a runtime that shares its tasks among threads every few packets wake another thread that looks for
//! work, which costs more than the packets do.

use std::io;
use std::num::NonZero;
use std::thread;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// The threads besides the one that accepts connections, which serves too. They end when this is dropped, with what they serve.
#[derive(Debug, Default)]
pub struct Workers {
    threads: Vec<(Handle, oneshot::Sender<()>)>,
    /// How many connections have been given out so far.
    given: usize,
}

impl Workers {
    /// As many threads as the process may use processors, with the one that calls.
    ///
    /// # Errors
    /// The operating system gives no more threads, or files.
    pub fn for_all_processors() -> io::Result<Workers> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (1..processors).map(|_| start()).collect::<io::Result<_>>()?;
        Ok(Workers { threads, given: 0 })
    }

    /// Where the next connection goes; `None`: to the thread that asks. They take turns, two by two: a client on polling opens one connection
    /// for what it hears and one for what it says, and the latter has something to tell the former.
    pub(super) fn next(&mut self) -> Option<&Handle> {
        let turn = self.given / 2 % (self.threads.len() + 1);
        self.given = self.given.wrapping_add(1);
        turn.checked_sub(1).and_then(|turn| self.threads.get(turn)).map(|(handle, _)| handle)
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

fn start() -> io::Result<(Handle, oneshot::Sender<()>)> {
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new().name("rill-worker".to_owned()).spawn(move || {
        // Dropped, not sent.
        let _ = runtime.block_on(stopped);
    })?;
    Ok((handle, stop))
}
