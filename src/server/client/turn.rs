//! Whose turn it is: what a client sends is handled one after the other, also while a handler waits.
//!
//! A plain handler runs where the client's packets are read. One that has to wait gives the client a future ([`Socket::run`]), which a task of
//! its own polls; what comes from the client meanwhile stands in line behind it. A line that is long enough stops the reading of the
//! client's connection until half of it is done: nothing is lost, and the client feels it as a slow network. Answers to the server's own
//! questions don't stand in line, because a handler may wait for them.

use crate::codec::args::Args;
use crate::id::Task;
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::client::handler::{Ack, Event};
use crate::server::client::life::Life;
use crate::server::client::socket::Socket;
use crate::server::notice::Notice;
use crate::server::rank::{Rank, lock_as};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Events that may stand in line where nobody stops reading; with more the connection is closed.
const MOST: usize = 10_000;

/// What stands in line.
enum Came {
    /// More that a handler has to do before the next event.
    Begun(Task),
    Event(Box<str>, Args, Option<u64>),
    Left(Reason),
}

impl Came {
    fn weight(&self) -> usize {
        match self {
            Came::Begun(_) | Came::Left(_) => 0,
            Came::Event(name, args, _) => args.weight().saturating_add(name.len()),
        }
    }
}

/// The line of one client.
#[derive(Default)]
pub(super) struct Turn {
    /// The handler's `connect` runs, perhaps on another thread, or a future of the client's is not ready.
    busy: bool,
    line: VecDeque<Came>,
    /// Of the events in the line.
    bytes: usize,
    /// The client's connection is read no further because of this line.
    full: bool,
}

impl Turn {
    fn push(&mut self, came: Came) {
        self.bytes = self.bytes.saturating_add(came.weight());
        self.line.push_back(came);
    }

    /// Before the events, and behind what has begun already.
    fn push_begun(&mut self, task: Task) {
        let begun = self.line.iter().take_while(|came| matches!(came, Came::Begun(_))).count();
        self.line.insert(begun, Came::Begun(task));
    }

    fn pop(&mut self) -> Option<Came> {
        let came = self.line.pop_front();
        match &came {
            Some(came) => self.bytes = self.bytes.saturating_sub(came.weight()),
            None => {
                debug_assert_eq!(self.bytes, 0, "nothing weighs nothing");
                self.busy = false;
                self.line = VecDeque::new();
            }
        }
        came
    }

    /// Forgets that the line is full; whether it was.
    fn has_room(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }
}

impl Socket {
    /// Does `work` in the client's order: what comes from the client from now on, its leaving too, is handled after it. Everything else goes on
    /// meanwhile: other clients, heartbeats, what is sent to this client, its answers to [`emit_with_ack`](Socket::emit_with_ack).
    ///
    /// This is what [`Events::on_async`](crate::Events::on_async) does with its closure's future. If the future panics, or its runtime ends, the
    /// client's connection is closed: it comes back.
    pub fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.begin(Box::pin(work));
    }

    fn begin(&self, task: Task) {
        let mut state = lock_as(Rank::One, &self.0.state);
        if state.turn.busy {
            return state.turn.push_begun(task);
        }
        state.turn.busy = true;
        if self.0.life.get() == Life::Live {
            self.0.life.set(Life::Busy);
        }
        drop(state);
        self.attend_later(task);
    }

    fn attend_later(&self, task: Task) {
        self.0.connection.server().core().spawn(Box::pin(attend(Attending(Some(self.clone())), task)));
    }

    /// A client's event: its turn is now, or it stands in line.
    pub(crate) fn event(&self, name: &str, args: Args, id: Option<u64>) {
        if self.0.life.get() == Life::Live {
            return self.hand_over(name, args, id);
        }
        let limits = &self.0.connection.server().options().limits;
        let mut state = lock_as(Rank::One, &self.0.state);
        let turn = &mut state.turn;
        if !turn.busy && !matches!(self.0.life.get(), Life::Joining | Life::Admitted) {
            drop(state);
            return self.hand_over(name, args, id);
        }
        turn.push(Came::Event(name.into(), args, id));
        let many = turn.line.len() > MOST;
        let fills =
            !turn.full && (turn.line.len() >= limits.waiting_events || turn.bytes >= limits.waiting_event_bytes);
        turn.full |= fills;
        drop(state);
        if fills {
            self.0.connection.pause_reading();
        }
        if many {
            self.0.connection.handle(self.0.connection.server().now(), Input::Close(Reason::ForcedServerClose));
        }
    }

    fn hand_over(&self, name: &str, args: Args, id: Option<u64>) {
        let since = self.0.namespace.sent.load(Ordering::Acquire);
        let ack = id.map(|id| Ack::new(self.clone(), id, since));
        self.0.namespace.handler().event(self, Event { name, args, ack });
    }

    /// Who is next. When nobody is, the line is open again.
    fn next(&self) -> Option<Came> {
        let limits = &self.0.connection.server().options().limits;
        let mut state = lock_as(Rank::One, &self.0.state);
        let turn = &mut state.turn;
        let came = turn.pop();
        let short = turn.line.len() <= limits.waiting_events / 2 && turn.bytes <= limits.waiting_event_bytes / 2;
        let has_room = short && turn.has_room();
        if came.is_none() && self.0.life.get() == Life::Busy {
            self.0.life.set(Life::Live);
        }
        drop(state);
        if has_room {
            self.0.connection.resume_reading();
        }
        came
    }

    /// Sees to the line, up to something that has to be waited for.
    fn see_to_line(&self) -> Option<Task> {
        loop {
            match self.next()? {
                Came::Begun(task) => return Some(task),
                Came::Event(name, args, id) => self.hand_over(&name, args, id),
                Came::Left(reason) => self.0.namespace.handler().disconnect(self, reason),
            }
        }
    }

    /// Tells the handler of a client that was let in, unless it has left again; then what has come from the client meanwhile.
    pub(crate) fn announce(&self) {
        let mut state = lock_as(Rank::One, &self.0.state);
        if self.0.life.get() != Life::Admitted {
            return;
        }
        self.0.life.set(Life::Busy);
        state.turn.busy = true;
        drop(state);
        self.0.namespace.handler().connect(self);
        if let Some(task) = self.see_to_line() {
            self.attend_later(task);
        }
    }

    /// The client has left, or its connection has ended.
    pub(crate) fn left(&self, reason: Reason) {
        self.0.namespace.remove(self, reason);
        let mut state = lock_as(Rank::One, &self.0.state);
        let next = if reason.recoverable() { Life::Away } else { Life::Gone };
        let was = self.0.life.get();
        self.0.life.set(next);
        let acks = std::mem::take(&mut state.acks);
        let unsaved = state.kept.give_up();
        let has_room = state.turn.has_room();
        // Whoever was never announced has nobody who would see to its line.
        let line = if matches!(was, Life::Joining | Life::Admitted) {
            std::mem::take(&mut state.turn)
        } else {
            Turn::default()
        };
        if was == Life::Busy {
            state.turn.push(Came::Left(reason));
        }
        drop(state);
        drop(line);
        if has_room {
            self.0.connection.resume_reading();
        }
        unsaved.into_iter().for_each(|action| action());
        for on_ack in acks.into_values() {
            on_ack(Err(crate::server::client::handler::AckError::Disconnected));
        }
        if was == Life::Live {
            self.0.namespace.handler().disconnect(self, reason);
        }
    }

    /// A future has not come to its end: nobody knows what it has done, so its client begins anew. The application's handlers are not called,
    /// because this may be the end of the runtime that they need.
    fn abandon(&self) {
        let mut state = lock_as(Rank::One, &self.0.state);
        let line = std::mem::take(&mut state.turn);
        self.0.life.set(Life::Gone);
        drop(state);
        let server = self.0.connection.server();
        server.log(&Notice::ClientClosed {
            session: format!("{:?}", self.0.connection.sid),
            reason: "a handler did not come to its end".to_owned(),
        });
        let connection = self.0.connection.clone();
        server.core().spawn(Box::pin(async move {
            if line.full {
                connection.resume_reading();
            }
            connection.handle(connection.server().now(), Input::Close(Reason::ForcedServerClose));
        }));
    }
}

/// Polls what a client's handlers wait for, one after the other, until its line is empty.
async fn attend(mut attending: Attending, first: Task) {
    let mut begun = Some(first);
    while let (Some(task), Some(socket)) = (begun.take(), &attending.0) {
        task.await;
        begun = socket.see_to_line();
    }
    attending.0 = None;
}

/// The socket whose line is seen to, as long as it is.
struct Attending(Option<Socket>);

impl Drop for Attending {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            socket.abandon();
        }
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
