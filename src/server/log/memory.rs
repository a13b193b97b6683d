//! `MemoryStreams`: the embedded log. The four commands of [`Streams`] on lists in this process, for one server without Redis.
//!
//! Ids are the milliseconds of the clock and a number, as Redis makes them, and never go backwards. Beyond its cap a log forgets its oldest
//! entries; recovery notices. Sixteen shards, each behind its own lock, so that namespaces and sessions don't wait for each other.

use crate::id::{Offset, Time};
use crate::limits::Limits;
use crate::server::log::entry::{Entry, EventRef, Posted};
use crate::server::log::packed::{Packed, Place};
use crate::server::log::streams::{Command, Done, Item, Key, Reply, StreamError, Streams};
use crate::server::namespace::hash::Keyed;
use crate::server::rank::{Rank, lock_as};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

const SHARDS: usize = 16;
/// Milliseconds between two looks for expired keys, shard by shard, on the way of other commands.
const SWEEP_EVERY: u64 = 5_000;
/// Entries at the end of a log that a read looks through one by one.
const TAIL: usize = 8;

/// An entry as it is kept.
#[derive(Debug)]
enum Kept {
    Packed(Place),
    Whole(Arc<Posted>),
}

impl Kept {
    fn weight(&self) -> usize {
        match self {
            Kept::Packed(place) => place.len() + size_of::<(Offset, Kept)>(),
            Kept::Whole(posted) => posted.entry.weight(),
        }
    }
}

#[derive(Debug, Default)]
struct Stream {
    entries: VecDeque<(Offset, Kept)>,
    /// Apart, because most streams are sessions, and those keep no events.
    packed: Option<Box<Packed>>,
    bytes: usize,
    last: Offset,
    dies: Option<Time>,
}

impl Stream {
    fn add(&mut self, now: Time, posted: &Arc<Posted>, limits: &Limits) -> Offset {
        let packed = match &posted.entry {
            Entry::Broadcast { to, name, args } => {
                let event = EventRef { rooms: &to.rooms, except: &to.except, name, args };
                self.pack(&posted.uid, posted.seq, event)
            }
            _ => None,
        };
        self.keep(now, packed.map_or_else(|| Kept::Whole(posted.clone()), Kept::Packed), limits)
    }

    fn add_event(&mut self, now: Time, uid: &Arc<str>, event: EventRef<'_>, limits: &Limits) -> Offset {
        let whole = || Kept::Whole(Arc::new(Posted { uid: uid.clone(), seq: 0, entry: event.entry() }));
        let kept = self.pack(uid, 0, event).map_or_else(whole, Kept::Packed);
        self.keep(now, kept, limits)
    }

    fn pack(&mut self, uid: &Arc<str>, seq: u64, event: EventRef<'_>) -> Option<Place> {
        self.packed.get_or_insert_default().add(uid, seq, event)
    }

    fn keep(&mut self, now: Time, kept: Kept, limits: &Limits) -> Offset {
        let id = match now.0 > self.last.ms {
            true => Offset { ms: now.0, seq: 0 },
            false => Offset { ms: self.last.ms, seq: self.last.seq + 1 },
        };
        self.last = id;
        self.bytes += kept.weight();
        self.entries.push_back((id, kept));
        while self.entries.len() > 1 && (self.entries.len() > limits.log_entries || self.bytes > limits.log_bytes) {
            self.drop_oldest();
        }
        id
    }

    fn drop_oldest(&mut self) {
        let Some((_, kept)) = self.entries.pop_front() else { return };
        self.bytes -= kept.weight();
        let Some(packed) = &mut self.packed else { return };
        match self.entries.front() {
            Some((_, Kept::Packed(place))) => packed.forget(Some(*place)),
            Some((_, Kept::Whole(_))) => {}
            None => packed.forget(None),
        }
    }

    fn item(&self, (id, kept): &(Offset, Kept)) -> Option<Item> {
        match kept {
            Kept::Packed(place) => self.packed.as_ref()?.get(*place).map(|posted| (*id, Arc::new(posted))),
            Kept::Whole(posted) => Some((*id, posted.clone())),
        }
    }

    fn read(&self, after: Offset, count: usize) -> Vec<Item> {
        // What is read is nearly always the very end: a search through the whole log would miss the processor's cache at each step.
        let tail = self.entries.iter().rev().take(TAIL).take_while(|(id, _)| *id > after).count();
        let start = match tail {
            TAIL => self.entries.partition_point(|(id, _)| *id <= after),
            _ => self.entries.len() - tail,
        };
        self.entries.range(start..).take(count).filter_map(|entry| self.item(entry)).collect()
    }

    fn trim(&mut self, min: Offset) -> usize {
        let before = self.entries.len();
        while self.entries.front().is_some_and(|(id, _)| *id < min) {
            self.drop_oldest();
        }
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        before - self.entries.len()
    }
}

#[derive(Debug, Default)]
struct Shard {
    streams: HashMap<Key, Stream, Keyed>,
    next_sweep: Time,
}

impl Shard {
    fn sweep(&mut self, now: Time) {
        if now >= self.next_sweep {
            self.next_sweep = now.plus(SWEEP_EVERY);
            self.streams.retain(|_, stream| stream.dies.is_none_or(|dies| now < dies));
        }
    }

    /// The stream that lives under a key. One that has expired is emptied here, and swept away later.
    fn get(&mut self, now: Time, key: &Key) -> Option<&mut Stream> {
        let stream = self.streams.get_mut(key)?;
        if stream.dies.is_some_and(|dies| now >= dies) {
            *stream = Stream { dies: stream.dies, ..Stream::default() };
            return None;
        }
        Some(stream)
    }

    fn make(&mut self, key: Key) -> &mut Stream {
        let stream = self.streams.entry(key).or_default();
        stream.dies = None;
        stream
    }
}

/// Logs in this process.
pub struct MemoryStreams {
    shards: [Mutex<Shard>; SHARDS],
    limits: Limits,
}

impl MemoryStreams {
    /// No streams yet; `limits` caps each of them.
    #[must_use]
    pub fn new(limits: &Limits) -> MemoryStreams {
        MemoryStreams { shards: Default::default(), limits: limits.clone() }
    }

    /// Entries and bytes of one stream, for `status` and `/metrics`.
    #[must_use]
    pub fn size(&self, key: &Key) -> (usize, usize) {
        let shard = lock_as(Rank::Log, self.shard(key));
        shard.streams.get(key).map_or((0, 0), |stream| (stream.entries.len(), stream.bytes))
    }

    /// How many streams there are at `now`.
    #[must_use]
    pub fn keys(&self, now: Time) -> usize {
        let alive = |stream: &&Stream| stream.dies.is_none_or(|dies| now < dies);
        self.shards.iter().map(|shard| lock_as(Rank::Log, shard).streams.values().filter(alive).count()).sum()
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        // Pids are random text, and there are few namespaces: the last byte spreads them well enough.
        let last = match key {
            Key::Log(nsp) => nsp.as_str().bytes().last(),
            Key::Session(pid) => pid.as_str().bytes().last(),
            Key::Inbox(_) | Key::Control => None,
        };
        self.shards.get(usize::from(last.unwrap_or(0)) % SHARDS).unwrap_or(&self.shards[0])
    }

    /// Forgets everything, as FLUSHALL does.
    #[cfg(test)]
    pub(crate) fn flush(&self) {
        self.shards.iter().for_each(|shard| lock_as(Rank::Log, shard).streams.clear());
    }

    /// Forgets what was appended from `since` on, as a log does that was restored.
    #[cfg(test)]
    pub(crate) fn lose_tail(&self, since: Time) {
        for shard in &self.shards {
            let mut shard = lock_as(Rank::Log, shard);
            for stream in shard.streams.values_mut() {
                while stream.entries.back().is_some_and(|(id, _)| id.ms >= since.0) {
                    let Some((_, kept)) = stream.entries.pop_back() else { break };
                    stream.bytes -= kept.weight();
                }
                stream.last = stream.entries.back().map_or(Offset::ZERO, |(id, _)| *id);
            }
            shard.streams.retain(|_, stream| !stream.entries.is_empty());
        }
    }

    /// Puts an entry of nobody's with this id behind the others, as any program can in Redis.
    #[cfg(test)]
    pub(crate) fn plant(&self, key: &Key, id: Offset) {
        let mut shard = lock_as(Rank::Log, self.shard(key));
        let stream = shard.streams.entry(key.clone()).or_default();
        let posted = Posted { uid: "x".into(), seq: 0, entry: Entry::Marker };
        (stream.last, stream.bytes) = (id, stream.bytes + posted.entry.weight());
        stream.entries.push_back((id, Kept::Whole(Arc::new(posted))));
    }

    /// XADD without a command: the stream is made if it is missing.
    fn append(&self, now: Time, key: &Key, add: impl FnOnce(&mut Stream) -> Offset) -> Offset {
        let mut shard = lock_as(Rank::Log, self.shard(key));
        shard.sweep(now);
        match shard.get(now, key) {
            Some(stream) => add(stream),
            None => add(shard.make(key.clone())),
        }
    }

    /// Carries a command out at `now`.
    pub(crate) fn carry_out(&self, now: Time, command: Command) -> Reply {
        let mut shard = lock_as(Rank::Log, self.shard(command.key()));
        shard.sweep(now);
        let found = shard.get(now, command.key());
        match (command, found) {
            (Command::XAdd { posted, .. }, Some(stream)) => Reply::Added(Some(stream.add(now, &posted, &self.limits))),
            (Command::XAdd { create: false, .. }, None) => Reply::Added(None),
            (Command::XAdd { key, posted, create: true }, None) => {
                Reply::Added(Some(shard.make(key).add(now, &posted, &self.limits)))
            }
            (Command::XRead { after, count, .. }, Some(stream)) => Reply::Entries(stream.read(after, count)),
            (Command::XRead { .. }, None) => Reply::Entries(Vec::new()),
            (Command::XTrim { min, .. }, Some(stream)) => Reply::Trimmed(stream.trim(min)),
            (Command::XTrim { .. }, None) => Reply::Trimmed(0),
            (Command::Expire { key, ms: 0 }, Some(_)) => Reply::Existed(shard.streams.remove(&key).is_some()),
            (Command::Expire { ms, .. }, Some(stream)) => {
                stream.dies = Some(now.plus(ms));
                Reply::Existed(true)
            }
            (Command::Expire { .. }, None) => Reply::Existed(false),
        }
    }
}

impl Streams for MemoryStreams {
    fn submit(&self, now: Time, command: Command, done: Option<Done>) -> Result<(), StreamError> {
        let reply = self.carry_out(now, command);
        if let Some(done) = done {
            done(reply);
        }
        Ok(())
    }

    fn shared(&self) -> bool {
        false
    }

    fn append_here(&self, now: Time, key: &Key, posted: &Arc<Posted>) -> Option<Offset> {
        Some(self.append(now, key, |stream| stream.add(now, posted, &self.limits)))
    }

    fn append_event(&self, now: Time, key: &Key, uid: &Arc<str>, event: EventRef<'_>) -> Option<Offset> {
        Some(self.append(now, key, |stream| stream.add_event(now, uid, event, &self.limits)))
    }

    fn at_hand(&self, now: Time, key: &Key, after: Offset, count: usize) -> Vec<Item> {
        let mut shard = lock_as(Rank::Log, self.shard(key));
        shard.get(now, key).map_or_else(Vec::new, |stream| stream.read(after, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Nsp;

    fn post(entry: Entry) -> Arc<Posted> {
        Arc::new(Posted { uid: "a".into(), seq: 0, entry })
    }

    fn key() -> Key {
        Key::Log(Nsp::new("/"))
    }

    fn add(streams: &MemoryStreams, now: u64) -> Offset {
        let command = Command::XAdd { key: key(), posted: post(Entry::Marker), create: true };
        match streams.carry_out(Time(now), command) {
            Reply::Added(Some(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn read(streams: &MemoryStreams, now: u64, after: Offset, count: usize) -> Vec<Offset> {
        match streams.carry_out(Time(now), Command::XRead { key: key(), after, count }) {
            Reply::Entries(entries) => entries.into_iter().map(|(id, _)| id).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ids_ascend_also_when_the_clock_does_not() {
        let streams = MemoryStreams::new(&Limits::default());
        let ids = [add(&streams, 5), add(&streams, 5), add(&streams, 3), add(&streams, 6)];
        assert_eq!(ids.map(|id| id.to_string()), ["5-0", "5-1", "5-2", "6-0"]);
        assert_eq!(read(&streams, 6, ids[1], 10), ids[2..]);
        assert_eq!(read(&streams, 6, Offset::ZERO, 2), ids[..2]);
        assert_eq!(read(&streams, 6, ids[3], 2), []);
    }

    #[test]
    fn trim_expire_and_missing_keys() {
        let streams = MemoryStreams::new(&Limits::default());
        let missing = Command::XAdd { key: key(), posted: post(Entry::Marker), create: false };
        assert!(matches!(streams.carry_out(Time(1), missing), Reply::Added(None)));
        let ids = [add(&streams, 1), add(&streams, 2), add(&streams, 3)];
        let trim = Command::XTrim { key: key(), min: ids[1] };
        assert!(matches!(streams.carry_out(Time(3), trim), Reply::Trimmed(1)));
        assert_eq!(read(&streams, 3, Offset::ZERO, 9), ids[1..]);
        let expire = |ms| Command::Expire { key: key(), ms };
        assert!(matches!(streams.carry_out(Time(3), expire(10)), Reply::Existed(true)));
        assert_eq!(read(&streams, 12, Offset::ZERO, 9).len(), 2);
        assert_eq!(read(&streams, 13, Offset::ZERO, 9).len(), 0);
        assert!(matches!(streams.carry_out(Time(13), expire(10)), Reply::Existed(false)));
        add(&streams, 14);
        assert!(matches!(streams.carry_out(Time(14), expire(0)), Reply::Existed(true)));
        assert_eq!(streams.keys(Time(14)), 0);
    }

    #[test]
    fn the_cap_forgets_the_oldest() {
        let streams = MemoryStreams::new(&Limits { log_entries: 2, ..Limits::default() });
        let ids = [add(&streams, 1), add(&streams, 2), add(&streams, 3)];
        assert_eq!(read(&streams, 3, Offset::ZERO, 9), ids[1..]);
    }
}
