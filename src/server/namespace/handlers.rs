//! The handlers of a namespace: nearly always one, looked at for every event without a lock.

use crate::codec::args::Args;
use crate::proto::reason::Reason;
use crate::server::client::handler::{Event, Handler, ServerEvent};
use crate::server::client::socket::Socket;
use std::iter::successors;
use std::sync::{Arc, OnceLock};

struct Link {
    handler: Arc<dyn Handler>,
    next: OnceLock<Box<Link>>,
}

/// A list that only grows.
#[derive(Default)]
pub(crate) struct Handlers(OnceLock<Box<Link>>);

impl Handlers {
    pub(crate) fn add(&self, handler: Arc<dyn Handler>) {
        let mut link = Box::new(Link { handler, next: OnceLock::new() });
        let mut place = &self.0;
        while let Err(mine) = place.set(link) {
            link = mine;
            match place.get() {
                Some(taken) => place = &taken.next,
                None => return,
            }
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        successors(self.0.get(), |link| link.next.get()).map(|link| &**link)
    }

    pub(crate) fn connect(&self, socket: &Socket) {
        self.links().for_each(|link| link.handler.connect(socket));
    }

    pub(crate) fn event(&self, socket: &Socket, event: Event<'_>) {
        match self.0.get() {
            // Every event comes by here.
            Some(only) if only.next.get().is_none() => only.handler.event(socket, event),
            Some(_) => self.event_to_several(socket, event),
            None => {}
        }
    }

    #[cold]
    fn event_to_several(&self, socket: &Socket, mut event: Event<'_>) {
        for link in self.links() {
            if link.next.get().is_none() {
                return link.handler.event(socket, event);
            }
            link.handler.event(socket, event.share());
        }
    }

    pub(crate) fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.links().for_each(|link| link.handler.disconnect(socket, reason));
    }

    pub(crate) fn server_event(&self, mut event: ServerEvent<'_>) {
        self.links().for_each(|link| link.handler.server_event(event.share()));
    }

    pub(crate) fn outgoing(&self, socket: &Socket, name: &str, args: &Args) {
        let hearing = self.links().filter(|link| link.handler.hears_outgoing());
        hearing.for_each(|link| link.handler.outgoing(socket, name, args));
    }
}
