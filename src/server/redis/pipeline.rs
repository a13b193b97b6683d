//! What a server sends to a shared log: commands in order, over a connection that may break at any moment.
//!
//! After a break nobody knows which of the commands under way were carried out. Appends to logs are looked up before they are repeated: the
//! log is read from where this server's last known entry stands, and what is there already counts as answered. Everything else is harmless
//! to repeat. Order is kept. What slips through all the same (an append that the old connection still delivers) has the same number as its
//! repetition, and readers skip it.
//!
//! A log without memory refuses appends. Small ones are tried again when everything under way is answered and the log was given room; a large
//! one is refused to its sender at once, and so is a small one of which a later one was taken: order is kept here too.

use crate::id::{Offset, Time};
use crate::server::log::entry::{Entry, Posted};
use crate::server::log::streams::{Command, Done, Key, LARGE_PAGE, Reply, StreamError};
use std::collections::{HashMap, VecDeque};

/// Milliseconds that an XREAD may wait for a log that is away; clients that come back are told that they are new then.
const PATIENCE: u64 = 10_000;
/// Commands that may wait besides packets: sessions of clients that come and go while the log is away.
const COMMANDS: usize = 1_000_000;
/// Bytes of an append that is tried again when the log has no memory.
const SMALL: usize = 64 * 1024;
/// How often, each time after the log was given room.
const TRIES: u8 = 4;
/// In place of that number: the command gives the log room.
const MAKES_ROOM: u8 = u8::MAX;
/// Streams whose last own entry is remembered; without, a look-up reads the whole stream.
const REMEMBERED: usize = 10_000;

struct Pending {
    command: Command,
    done: Option<Done>,
    since: Time,
    /// How often a log without memory has refused it.
    tries: u8,
}

impl Pending {
    fn may_try_again(&self) -> bool {
        let weight = weight(&self.command).max(other_weight(&self.command));
        weight <= SMALL && self.tries < TRIES
    }
}

/// A look-up of own entries in one stream.
struct Lookup {
    key: Key,
    after: Offset,
}

/// The commands that wait for a log, those under way first.
pub struct Pipeline {
    queue: VecDeque<Pending>,
    /// How many of the queue are under way.
    sent: usize,
    /// Appends that a log without memory refused, to be tried again before the queue, when nothing is under way.
    refused: VecDeque<Pending>,
    /// The log must be given room; so many commands do it already.
    wants_room: bool,
    making_room: usize,
    /// Look-ups to be made before anything else, the first perhaps under way.
    lookups: VecDeque<Lookup>,
    looking: bool,
    /// Entries per look-up.
    page: usize,
    /// Of the queue's first, how many were under way when the connection broke.
    doubtful: usize,
    last: HashMap<Key, Offset>,
    packets: usize,
    bytes: usize,
    /// Bytes of what is no packet: sessions, answers.
    rest: usize,
    most_packets: usize,
    most_bytes: usize,
}

/// What a reply has settled: to be called with the pipeline released.
pub type Settled = Vec<(Done, Reply)>;

impl Pipeline {
    /// Nothing waits; packets may be `most_packets` and `most_bytes`.
    #[must_use]
    pub fn new(most_packets: usize, most_bytes: usize) -> Pipeline {
        Pipeline {
            queue: VecDeque::new(),
            sent: 0,
            refused: VecDeque::new(),
            wants_room: false,
            making_room: 0,
            lookups: VecDeque::new(),
            looking: false,
            page: LARGE_PAGE,
            doubtful: 0,
            last: HashMap::new(),
            packets: 0,
            bytes: 0,
            rest: 0,
            most_packets,
            most_bytes,
        }
    }

    /// How many packets wait, and their bytes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.packets, self.bytes)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.refused.is_empty()
    }

    /// Whether the log has no memory left and must be given some: told once for each time.
    #[must_use]
    pub fn takes_room(&mut self) -> bool {
        std::mem::take(&mut self.wants_room)
    }

    /// Takes commands that give the log room: they go out before anything else.
    pub fn make_room(&mut self, now: Time, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            self.rest += other_weight(&command);
            // Behind what is under way, whose replies come in order.
            let pending = Pending { command, done: None, since: now, tries: MAKES_ROOM };
            self.making_room += 1;
            self.queue.insert(self.sent, pending);
        }
    }

    /// Takes a command.
    ///
    /// # Errors
    /// As many packets, or other commands, wait as may wait: the command is not taken, and `done` is given back.
    pub fn submit(&mut self, now: Time, command: Command, done: Option<Done>) -> Result<(), Option<Done>> {
        let weight = weight(&command);
        let rest = if weight == 0 { other_weight(&command) } else { 0 };
        let full = match weight {
            0 => self.queue.len() >= COMMANDS || self.rest.saturating_add(rest) > self.most_bytes,
            _ => self.packets >= self.most_packets || self.bytes.saturating_add(weight) > self.most_bytes,
        };
        if full {
            return Err(done);
        }
        self.packets += usize::from(weight > 0);
        self.bytes += weight;
        self.rest += rest;
        self.queue.push_back(Pending { command, done, since: now, tries: 0 });
        Ok(())
    }

    /// The next command to be sent.
    pub fn next_command(&mut self) -> Option<Command> {
        if let Some(Lookup { key, after }) = self.lookups.front() {
            let lookup = Command::XRead { key: key.clone(), after: *after, count: self.page };
            return (!std::mem::replace(&mut self.looking, true)).then_some(lookup);
        }
        if !self.refused.is_empty() {
            // Nothing overtakes what is tried again.
            if self.sent > 0 {
                return None;
            }
            self.try_again();
        }
        let command = self.queue.get(self.sent)?.command.clone();
        self.sent += 1;
        Some(command)
    }

    /// Until replies are here there is no next command: to a look-up, or to everything that went out before what is tried again.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.looking || !self.refused.is_empty()
    }

    /// How many appends wait to be tried again.
    #[must_use]
    pub fn waits_again(&self) -> usize {
        self.refused.len()
    }

    /// The reply to the oldest command under way.
    #[must_use]
    pub fn answered(&mut self, reply: Reply) -> Settled {
        if self.looking {
            self.looking = false;
            return self.looked_up(reply);
        }
        self.sent = self.sent.saturating_sub(1);
        if matches!(reply, Reply::Failed(StreamError::Full)) {
            self.wants_room |= self.refused.is_empty() && self.making_room == 0;
            if self.queue.front().is_some_and(Pending::may_try_again) {
                let pending = self.queue.pop_front();
                self.refused.extend(pending.map(|pending| Pending { tries: pending.tries + 1, ..pending }));
                return Vec::new();
            }
        }
        let taken = match (&reply, self.queue.front()) {
            (Reply::Added(_), Some(pending)) => Some(pending.command.key().clone()),
            _ => None,
        };
        let mut settled: Settled = self.settle(reply).into_iter().collect();
        if let Some(key) = taken.filter(|_| !self.refused.is_empty()) {
            let (late, rest) = self.refused.drain(..).partition(|pending| *pending.command.key() == key);
            self.refused = rest;
            let late: VecDeque<Pending> = late;
            for pending in late {
                self.queue.push_front(pending);
                settled.extend(self.settle(Reply::Failed(StreamError::Full)));
            }
        }
        settled
    }

    /// Everything that was under way is answered: what was refused goes out again, behind what gives the log room.
    fn try_again(&mut self) {
        let room = self.queue.iter().take_while(|pending| pending.tries == MAKES_ROOM).count();
        for (n, pending) in self.refused.drain(..).enumerate() {
            self.queue.insert(room + n, pending);
        }
    }

    /// The first command of the queue has this reply.
    fn settle(&mut self, reply: Reply) -> Option<(Done, Reply)> {
        let Pending { command, done, tries, .. } = self.queue.pop_front()?;
        self.making_room -= usize::from(tries == MAKES_ROOM);
        let weight = weight(&command);
        self.packets -= usize::from(weight > 0);
        self.bytes -= weight;
        self.rest -= if weight == 0 { other_weight(&command) } else { 0 };
        if let (Command::XAdd { key, posted, .. }, Reply::Added(Some(id))) = (&command, &reply)
            && is_numbered(key, posted)
        {
            if self.last.len() >= REMEMBERED {
                self.last.clear();
            }
            self.last.insert(key.clone(), *id);
        }
        if self.queue.is_empty() && self.queue.capacity() > 1_024 {
            self.queue = VecDeque::new();
        }
        done.map(|done| (done, reply))
    }

    /// The reply to the oldest command under way can't be read, most likely because it is larger than a reply may be, and would be again: a
    /// look-up asks for less next time, another read is given up. The connection can't be used any more.
    #[must_use]
    pub fn too_large(&mut self) -> Settled {
        if self.looking {
            self.page = (self.page / 2).max(1);
            return Vec::new();
        }
        match self.queue.front() {
            Some(Pending { command: Command::XRead { .. }, .. }) if self.sent > 0 => {
                self.answered(Reply::Failed(StreamError::Unavailable))
            }
            _ => Vec::new(),
        }
    }

    /// The connection broke: all that was under way is in doubt.
    pub fn broken(&mut self) {
        // Those were answered, but stand before what is in doubt.
        self.sent += self.refused.len();
        for pending in self.refused.drain(..).rev() {
            self.queue.push_front(pending);
        }
        self.doubtful = self.doubtful.max(self.sent);
        self.sent = 0;
        self.looking = false;
        self.lookups.clear();
        for Pending { command, .. } in self.queue.range(..self.doubtful) {
            if let Command::XAdd { key, posted, .. } = command
                && is_numbered(key, posted)
                && self.lookups.iter().all(|lookup| lookup.key != *key)
            {
                let after = self.last.get(key).copied().unwrap_or_default();
                self.lookups.push_back(Lookup { key: key.clone(), after });
            }
        }
        if self.lookups.is_empty() {
            self.doubtful = 0;
        }
    }

    /// A break as it must not be handled: everything under way goes out again, under new numbers.
    #[cfg(test)]
    pub fn repeat_blindly(&mut self) {
        self.sent = 0;
        for Pending { command, .. } in &mut self.queue {
            if let Command::XAdd { posted, .. } = command {
                *posted = std::sync::Arc::new(Posted { seq: 0, ..Posted::clone(posted) });
            }
        }
    }

    /// What is in the log already counts as answered.
    fn looked_up(&mut self, reply: Reply) -> Settled {
        let Some(Lookup { key, after }) = self.lookups.pop_front() else { return Vec::new() };
        let items = match reply {
            Reply::Entries(items) => items,
            _ => Vec::new(),
        };
        let mut settled = Vec::new();
        for (id, posted) in &items {
            if posted.seq > 0 {
                settled.extend(self.found(&key, posted, *id));
            }
        }
        if let Some((last, _)) = items.last().filter(|_| items.len() >= self.page) {
            self.lookups.push_front(Lookup { key, after: *last.max(&after) });
        }
        if self.lookups.is_empty() {
            self.doubtful = 0;
            self.page = LARGE_PAGE;
        }
        settled
    }

    fn found(&mut self, key: &Key, posted: &Posted, id: Offset) -> Option<(Done, Reply)> {
        let is_it = |pending: &Pending| match &pending.command {
            Command::XAdd { key: other, posted: waiting, .. } => {
                other == key && waiting.seq == posted.seq && waiting.uid == posted.uid
            }
            _ => false,
        };
        let at = self.queue.range(..self.doubtful).position(is_it)?;
        let found = self.queue.remove(at)?;
        self.doubtful -= 1;
        // To the front, where replies are settled.
        self.queue.push_front(found);
        self.settle(Reply::Added(Some(id)))
    }

    /// Gives up XREADs that have waited too long for a log that is away, or that does not answer. They keep their place: replies come in the
    /// order of the queue.
    #[must_use]
    pub fn give_up(&mut self, now: Time) -> Settled {
        let late = |pending: &&mut Pending| {
            matches!(pending.command, Command::XRead { .. }) && now.since(pending.since) >= PATIENCE
        };
        let done = self.queue.iter_mut().filter(late).filter_map(|pending| pending.done.take());
        done.map(|done| (done, Reply::Failed(StreamError::Unavailable))).collect()
    }
}

/// What the bounds of the queue count: packets of the application. The rest is bounded by the clients that cause it.
fn weight(command: &Command) -> usize {
    match command {
        Command::XAdd { key: Key::Log(_), posted, .. } => match &posted.entry {
            Entry::Marker | Entry::Present | Entry::Closed => 0,
            entry => entry.weight(),
        },
        _ => 0,
    }
}

/// Of what is no packet: sessions' records and answers to questions can be large.
fn other_weight(command: &Command) -> usize {
    match command {
        Command::XAdd { posted, .. } => posted.entry.weight(),
        _ => 64,
    }
}

/// Whether readers know the entry again by its number. Records and claims may stand twice.
fn is_numbered(key: &Key, posted: &Posted) -> bool {
    posted.seq > 0 && !matches!(key, Key::Session(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Nsp;
    use crate::limits::Limits;
    use crate::server::log::entry::Target;
    use crate::server::log::memory::MemoryStreams;
    use crate::server::log::streams::Item;
    use std::sync::{Arc, Mutex};

    fn log() -> Key {
        Key::Log(Nsp::new("/"))
    }

    fn append(seq: u64) -> Command {
        let entry = Entry::Broadcast { to: Target::default(), name: "x".into(), args: seq.into() };
        Command::XAdd { key: log(), posted: Arc::new(Posted { uid: "me".into(), seq, entry }), create: true }
    }

    fn numbers(streams: &MemoryStreams) -> Vec<u64> {
        let read = Command::XRead { key: log(), after: Offset::ZERO, count: 100 };
        match streams.carry_out(Time(9), read) {
            Reply::Entries(items) => items.iter().map(|(_, posted): &Item| posted.seq).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Sends all that waits; the log carries out `done` of it before the connection breaks, and `heard` replies arrive.
    fn go(pipeline: &mut Pipeline, streams: &MemoryStreams, done: usize, heard: usize) {
        let commands: Vec<Command> = std::iter::from_fn(|| pipeline.next_command()).collect();
        let replies: Vec<Reply> = commands.into_iter().take(done).map(|c| streams.carry_out(Time(5), c)).collect();
        for reply in replies.into_iter().take(heard) {
            for (done, reply) in pipeline.answered(reply) {
                done(reply);
            }
        }
    }

    #[test]
    fn what_was_carried_out_is_not_repeated() {
        for (done, heard) in [(0, 0), (1, 0), (2, 1), (3, 0), (3, 2), (5, 0), (5, 3), (5, 5)] {
            let streams = MemoryStreams::new(&Limits::default());
            let mut pipeline = Pipeline::new(100, 100_000);
            let answers = Arc::new(Mutex::new(Vec::new()));
            for seq in 1..=5 {
                let answers = answers.clone();
                let done: Done = Box::new(move |reply| answers.lock().unwrap().push((seq, reply)));
                assert!(pipeline.submit(Time(1), append(seq), Some(done)).is_ok());
            }
            go(&mut pipeline, &streams, done, heard);
            pipeline.broken();
            while !pipeline.is_empty() {
                go(&mut pipeline, &streams, 100, 100);
            }
            assert_eq!(numbers(&streams), [1, 2, 3, 4, 5], "{done} {heard}");
            let answers: Vec<u64> = answers.lock().unwrap().iter().map(|(seq, _)| *seq).collect();
            assert_eq!(answers, [1, 2, 3, 4, 5], "{done} {heard}");
            assert_eq!(pipeline.waiting(), (0, 0));
        }
    }

    /// Replies of a log that has no memory for `full` of so many appends, each a text of these bytes.
    fn without_memory(sizes: &[usize], full: &[bool], rounds: usize) -> (Vec<String>, Vec<(usize, String)>) {
        let (mut pipeline, mut sent) = (Pipeline::new(100, 1 << 26), Vec::new());
        let answers = Arc::new(Mutex::new(Vec::new()));
        for (n, size) in sizes.iter().enumerate() {
            let entry = Entry::Broadcast { to: Target::default(), name: "x".into(), args: "x".repeat(*size).into() };
            let posted = Arc::new(Posted { uid: "me".into(), seq: n as u64 + 1, entry });
            let answers = answers.clone();
            let done: Done = Box::new(move |reply| answers.lock().unwrap().push((n + 1, format!("{reply:?}"))));
            let add = Command::XAdd { key: log(), posted, create: true };
            assert!(pipeline.submit(Time(1), add, Some(done)).is_ok());
        }
        let mut ids = 0;
        for round in 0..20 {
            let commands: Vec<Command> = std::iter::from_fn(|| pipeline.next_command()).collect();
            if commands.is_empty() {
                break;
            }
            for command in commands {
                let reply = match &command {
                    Command::XAdd { posted, .. } => {
                        let n = usize::try_from(posted.seq).unwrap();
                        sent.push(format!("add {n}"));
                        ids += 1;
                        match full[n - 1] && round < rounds {
                            true => Reply::Failed(StreamError::Full),
                            false => Reply::Added(Some(Offset { ms: 1, seq: ids })),
                        }
                    }
                    _ => {
                        sent.push("trim".to_owned());
                        Reply::Trimmed(1)
                    }
                };
                for (done, reply) in pipeline.answered(reply) {
                    done(reply);
                }
                if pipeline.takes_room() {
                    let trim = Command::XTrim { key: log(), min: Offset::ZERO };
                    pipeline.make_room(Time(1), vec![trim]);
                }
            }
        }
        assert!(pipeline.is_empty() && pipeline.waiting() == (0, 0) && pipeline.rest == 0);
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        (sent, answers.into_iter().map(|(n, reply)| (n, reply.split('(').next().unwrap().to_owned())).collect())
    }

    #[test]
    fn a_log_without_memory_refuses_what_is_large_and_takes_what_is_small_in_order() {
        let (sent, answers) = without_memory(&[10, 900_000, 10, 10], &[true; 4], 1);
        assert_eq!(sent[..5], ["add 1", "add 2", "add 3", "add 4", "trim"]);
        assert_eq!(sent[5..], ["add 1", "add 3", "add 4"]);
        let want = [(2, "Failed"), (1, "Added"), (3, "Added"), (4, "Added")];
        assert_eq!(answers, want.map(|(n, reply)| (n, reply.to_owned())));
        // A later one was taken: the earlier one must not come behind it.
        let (_, answers) = without_memory(&[10, 10, 10], &[true, false, true], 1);
        assert_eq!(answers, [(2, "Added"), (1, "Failed"), (3, "Added")].map(|(n, reply)| (n, reply.to_owned())));
        // Memory that others fill: refused soon, and nothing waits for ever.
        let (sent, answers) = without_memory(&[10, 10], &[true, true], 99);
        assert_eq!(answers, [(1, "Failed"), (2, "Failed")].map(|(n, reply)| (n, reply.to_owned())));
        assert!(sent.len() < 20, "{sent:?}");
    }

    #[test]
    fn bounds_and_patience() {
        let mut pipeline = Pipeline::new(2, 100_000);
        assert!(pipeline.submit(Time(1), append(1), None).is_ok());
        assert!(pipeline.submit(Time(1), append(2), None).is_ok());
        assert!(pipeline.submit(Time(1), append(3), None).is_err());
        let heard = Arc::new(Mutex::new(None));
        let hears = heard.clone();
        let done: Done = Box::new(move |reply| *hears.lock().unwrap() = Some(format!("{reply:?}")));
        let read = Command::XRead { key: log(), after: Offset::ZERO, count: 1 };
        assert!(pipeline.submit(Time(1), read, Some(done)).is_ok());
        assert!(pipeline.give_up(Time(10_000)).is_empty());
        for (done, reply) in pipeline.give_up(Time(10_001)) {
            done(reply);
        }
        assert_eq!(heard.lock().unwrap().as_deref(), Some("Failed(Unavailable)"));
        assert_eq!(pipeline.waiting().0, 2);
    }
}
