//! A namespace's log: the seam to it, opening it, and making sure that it is whole.
//!
//! Guarantees: an entry reaches clients in the order of the log, once, and only by `deliver`; what can't be had whole is
//! called a hole, and every client that it may concern comes back as a new one.
//! May lock: nothing itself; [`Namespace`](crate::server::Namespace) lends the hub, which holds the `reader`.
//!
//! Everything that a cluster does is an entry. It is delivered when it is read back, by the server that sent it too, so that
//! all clients see the order of the log. From a log in this process it comes back in the same breath; a shared one is brought
//! by `feed`.

pub(crate) mod append;
pub(crate) mod budget;
pub(crate) mod deliver;
pub mod entry;
pub(crate) mod fate;
pub(crate) mod held;
pub mod memory;
pub(crate) mod packed;
pub(crate) mod reader;
pub(crate) mod seen;
pub mod streams;

use crate::id::{Offset, Time};
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::Core;
use crate::server::client::socket::EmitError;
use crate::server::log::entry::{Entry, Target};
use crate::server::log::reader::{Action, Waits};
use crate::server::log::seen::after_first;
use crate::server::log::streams::{Command, Done, Item, Key, PAGE, Reply, StreamError};
use crate::server::namespace::Namespace;
use crate::server::notice::Notice;
use std::sync::Arc;

/// Milliseconds that a shared log outlives the last server that reads it, beyond what sessions need.
const IDLE: u64 = 3_600_000;
/// How often in a row a check looks again because the reader has moved on meanwhile.
const LOOKS: u8 = 3;

/// Where what is sent goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seam {
    /// No log: one server, and clients that are away miss what is sent.
    Off,
    /// A log in this process: an entry comes back in the same breath.
    Here,
    /// A log that servers share: an entry comes back with what others have appended.
    Shared,
}

impl Core {
    /// Which it is, for this server.
    pub(crate) fn seam(&self) -> Seam {
        match (self.logged, self.streams.shared()) {
            (false, _) => Seam::Off,
            (true, false) => Seam::Here,
            (true, true) => Seam::Shared,
        }
    }
}

impl Namespace {
    pub(crate) fn key(&self) -> Key {
        self.key.clone()
    }

    // ---- opening and closing

    /// Begins to read the log: the id of a marker is the first position. Repeated until it succeeds.
    pub(crate) fn open(self: &Arc<Self>) {
        if !self.with_hub(|hub| hub.reader.begins_opening()) {
            return;
        }
        if self.core.seam() == Seam::Off {
            return self.opened(Offset::ZERO);
        }
        let (posted, me) = (self.core.post(0, Entry::Marker), self.clone());
        let command = Command::XAdd { key: self.key(), posted, create: true };
        let done: Done = Box::new(move |reply| match reply {
            Reply::Added(Some(marker)) => me.opened(marker),
            _ => me.with_hub(|hub| hub.reader.opening_failed()),
        });
        let _ = self.submit(command, Some(done));
    }

    fn opened(&self, marker: Offset) {
        let (now, control) = (self.now(), self.core.control_position());
        let waiting = self.with_hub(|hub| hub.reader.opened(now, marker, control));
        // Another server, or this one, may have let it go before.
        self.keep_log();
        self.core.begin_to_read(&self.key);
        waiting.into_iter().for_each(|action| action());
    }

    /// Runs `action` once the log has been read up to `position`, or opened anew because it will never be.
    pub(crate) fn when_read(self: &Arc<Self>, position: Offset, action: Action) {
        self.open();
        match self.with_hub(|hub| hub.reader.wait_for(position, action)) {
            Ok(()) => {}
            Err(Waits::Now(action)) => action(),
            Err(Waits::Never(action)) => drop(action),
        }
    }

    /// A namespace made by a rule goes: its log dies when no session can need it any more.
    pub(crate) fn retire(&self, retention_ms: u64) {
        self.with_hub(|hub| hub.reader.retire());
        if self.core.seam() == Seam::Shared {
            let posted = self.core.post(0, Entry::Closed);
            let _ = self.submit(Command::XAdd { key: self.key(), posted, create: false }, None);
        }
        if self.core.seam() != Seam::Off {
            let _ = self.submit(Command::Expire { key: self.key(), ms: retention_ms }, None);
        }
    }

    /// The last entry that was delivered to the clients of this server.
    pub(crate) fn position(&self) -> Offset {
        self.with_hub(|hub| hub.reader.position())
    }

    /// Where to read on; `None` until the log is open.
    pub(crate) fn cursor(&self) -> Option<Offset> {
        self.with_hub(|hub| hub.reader.cursor())
    }

    // ---- looking things up

    /// Whether there is an entry of this id in the log; `None`: the log did not answer.
    pub(crate) fn find(&self, id: Offset, then: Box<dyn FnOnce(Option<bool>) + Send>) {
        #[cfg(test)]
        if self.core.believes.load(std::sync::atomic::Ordering::Relaxed) {
            return then(Some(true));
        }
        let known = match self.core.seam() {
            Seam::Shared => self.with_hub(|hub| hub.reader.has(id)).then_some(true),
            Seam::Off | Seam::Here => {
                let items = self.core.streams.at_hand(self.now(), &self.key(), id.before(), 1);
                Some(items.first().is_some_and(|(first, _)| *first == id))
            }
        };
        if known.is_some() {
            return then(known);
        }
        let read = Command::XRead { key: self.key(), after: id.before(), count: 1 };
        let done: Done = Box::new(move |reply| match reply {
            Reply::Entries(items) => then(Some(items.first().is_some_and(|(first, _)| *first == id))),
            _ => then(None),
        });
        let _ = self.submit(read, Some(done));
    }

    /// Up to a page of the log after `from`, if it can be had at once; nothing in it: the log does not hold `from` any more.
    pub(crate) fn at_hand(&self, tail: Option<Vec<Item>>, from: Offset) -> Option<Option<Vec<Item>>> {
        match self.core.seam() {
            Seam::Shared => tail.map(Some),
            Seam::Off | Seam::Here => {
                let items = self.core.streams.at_hand(self.now(), &self.key(), from.before(), PAGE + 1);
                Some(after_first(items, from))
            }
        }
    }

    // ---- holes

    /// Makes sure that the log still holds the entry where this server stood at the last check: nothing that came after it can
    /// be missing then. A log that does not was flushed, lost its tail, or was cut off behind this server's back.
    pub(crate) fn check_log(self: &Arc<Self>) {
        match self.with_hub(|hub| hub.reader.to_check()) {
            None => self.open(),
            Some(checked) => self.check_from(checked, LOOKS),
        }
    }

    fn check_from(self: &Arc<Self>, checked: (Offset, Offset), looks: u8) {
        let (position, control) = (checked.0, self.core.control_position());
        let now = (self.position(), control);
        let me = self.clone();
        let done: Done = Box::new(move |reply| {
            let items = match reply {
                Reply::Entries(items) => items,
                // Something else has its name by now.
                Reply::Failed(StreamError::Refused) => return me.lost(position),
                _ => return,
            };
            match after_first(items, position) {
                Some(_) => me.with_hub(|hub| hub.reader.was_checked(now)),
                None => me.was_it_cut(checked, looks),
            }
        });
        let read = Command::XRead { key: self.key(), after: position.before(), count: 1 };
        let _ = self.submit(read, Some(done));
    }

    /// The entry at the last check is gone. Other programs may cut the log (XADD with MAXLEN): that costs connected clients
    /// nothing, and returns from before the cut are refused as they come. It was a cut if the control log still holds what it
    /// held at that check, so that nothing was flushed and no tail was lost, and if the log begins with an entry that was read here.
    fn was_it_cut(self: &Arc<Self>, checked: (Offset, Offset), looks: u8) {
        let (position, control) = checked;
        if control == Offset::ZERO {
            return self.lost(position);
        }
        let me = self.clone();
        let done: Done = Box::new(move |reply| {
            let Reply::Entries(items) = reply else { return };
            match after_first(items, control) {
                Some(_) => me.where_was_it_cut(checked, looks),
                None => me.lost(position),
            }
        });
        let read = Command::XRead { key: Key::Control, after: control.before(), count: 1 };
        let _ = self.submit(read, Some(done));
    }

    fn where_was_it_cut(self: &Arc<Self>, checked: (Offset, Offset), looks: u8) {
        let me = self.clone();
        let done: Done = Box::new(move |reply| {
            let Reply::Entries(items) = reply else { return };
            let (read, control) = (me.position(), me.core.control_position());
            match items.first() {
                Some((first, _)) if *first > checked.0 && *first <= read => {
                    me.core.metrics.log_cuts.one();
                    me.with_hub(|hub| hub.reader.was_checked((read, control)));
                }
                // The reader is about to come by.
                Some((first, _)) if *first > checked.0 && looks > 1 => me.where_was_it_cut(checked, looks - 1),
                _ => me.lost(checked.0),
            }
        });
        let read = Command::XRead { key: self.key(), after: Offset::ZERO, count: 1 };
        let _ = self.submit(read, Some(done));
    }

    /// The log has a hole: nobody knows what the clients here have missed. Their sessions end, they come back as new ones, and the log is
    /// read anew.
    pub(crate) fn lost(self: &Arc<Self>, position: Offset) {
        let lost = self.with_hub(|hub| {
            if !hub.reader.is_open() || hub.reader.position() < position {
                return None;
            }
            let asked = hub.reader.lose();
            let sockets = hub.matching(&Target::default());
            for socket in &sockets {
                hub.remove(socket);
                self.end_session(socket);
            }
            hub.samples.clear();
            hub.restoring.clear();
            Some((sockets, asked))
        });
        let Some((sockets, asked)) = lost else { return };
        asked.into_iter().for_each(|settled| settled(Err(EmitError::Log(StreamError::Unavailable))));
        self.core.metrics.log_holes.one();
        self.core.log(&Notice::LogLost { namespace: self.name().clone(), clients: sockets.len() });
        for socket in sockets {
            socket.connection().handle(self.now(), Input::Abort(Reason::TransportClose));
        }
        self.open();
    }

    /// Forgets log entries that no session can need: those before the position of `retention_ms` ago. The entry at that position stays, so
    /// that a quiet log can still prove that it is complete.
    pub(crate) fn trim(&self, now: Time, retention_ms: u64) {
        let (min, open) = self.with_hub(|hub| {
            let position = hub.reader.position();
            hub.samples.add(now, position);
            let min = hub.samples.take_older(now, retention_ms);
            hub.reader.budget().grow(self.core.options.limits.log_bytes);
            min.into_iter().for_each(|min| hub.reader.budget().forget(min));
            (min, hub.reader.is_open())
        });
        if let Some(min) = min {
            let _ = self.submit(Command::XTrim { key: self.key(), min }, None);
        }
        if open {
            self.keep_log();
        }
    }

    /// The log lives while somebody reads it, and dies by itself when nobody says so any more.
    fn keep_log(&self) {
        if self.core.seam() != Seam::Off {
            let ms = self.core.retention_ms().saturating_add(IDLE);
            let _ = self.submit(Command::Expire { key: self.key(), ms }, None);
        }
    }
}
