//! Who waits for a connection: the tasks that carry its bytes, each with what it sleeps for.

use std::task::Waker;

/// What the task of the WebSocket sleeps for.
#[derive(Clone, Copy, Default)]
pub(super) enum Awaits {
    /// It does not sleep, and will look by itself.
    #[default]
    Nothing,
    Frames,
    /// Its socket takes no more: only the session's end is news.
    End,
}

#[derive(Default)]
pub(super) struct Wakers {
    pub(super) get: Option<Waker>,
    pub(super) websocket: Option<Waker>,
    pub(super) awaits: Awaits,
    pub(super) probe: Option<Waker>,
    /// The readers of the WebSocket and of a POST that have to stop for a while.
    pub(super) readers: [Option<Waker>; 2],
}

impl Wakers {
    pub(super) fn wait(&mut self, waker: &Waker, awaits: Awaits) {
        self.awaits = awaits;
        match &mut self.websocket {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

/// With the lock released: a task that another thread runs would wait for it at once.
pub(super) fn wake<const N: usize>(ready: [Option<Waker>; N]) {
    ready.into_iter().flatten().for_each(Waker::wake);
}
