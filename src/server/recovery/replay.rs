//! What a client missed: goes through the log after its record and collects what was meant for it, in order, once.
//!
//! The record says in which rooms the client was at the start, or at an earlier position. Room commands after that are
//! applied as they are met; events count from the start on, which is what the client has proved to have.

use crate::codec::socket_packet::{self, Frames};
use crate::id::{Nsp, Offset, Room};
use crate::server::log::entry::{Entry, Record, Target};
use crate::server::log::seen::Numbers;
use crate::server::log::streams::Item;
use crate::server::namespace::hash::Keyed;
use crate::server::recovery::record::Refused;
use std::collections::{BTreeSet, HashSet};

/// How much one return may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of what the client missed.
    pub(crate) bytes: usize,
    /// Entries that are looked at.
    pub(crate) entries: usize,
}

/// Rooms of a client, in the order in which it joined them.
#[derive(Debug, Default)]
struct Rooms {
    /// The entry of the last change.
    changed: Offset,
    order: Vec<Room>,
    names: HashSet<Room, Keyed>,
}

impl Rooms {
    fn new(rooms: &[Room], changed: Offset) -> Rooms {
        Rooms { changed, order: rooms.to_vec(), names: rooms.iter().cloned().collect() }
    }

    fn enter(&mut self, room: &Room, at: Offset) {
        if self.names.insert(room.clone()) {
            self.changed = at;
            self.order.push(room.clone());
        }
    }

    fn leave(&mut self, room: &Room, at: Offset) {
        if self.names.remove(room) {
            self.changed = at;
            self.order.retain(|other| other != room);
        }
    }
}

/// What a replay has found when it has come to its end.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What the client missed, in order.
    pub(crate) missed: Vec<Frames>,
    /// Its rooms now, and since which entry they have been the same.
    pub(crate) rooms: Vec<Room>,
    pub(crate) changed: Offset,
    /// Its rooms where the replay started.
    pub(crate) rooms_at_start: Vec<Room>,
}

/// From where on the log must be looked at so that the rooms at the start are known: from the start itself, if the record
/// knows them there.
pub(crate) fn rooms_from(record: &Record, start: Offset) -> Offset {
    match start < record.rooms_since {
        true => record.position,
        false => start.min(record.rooms_until),
    }
}

/// A replay under way.
#[derive(Debug)]
pub(crate) struct Replay {
    nsp: Nsp,
    own: Room,
    rooms: Rooms,
    /// The rooms at the start, once the cursor is there.
    rooms_at_start: Option<Vec<Room>>,
    start: Offset,
    cursor: Offset,
    missed: Vec<Frames>,
    left: Bounds,
    /// The last number of each sender that was met, and entries known to repeat others: neither is given twice.
    seen: Numbers,
    doubles: BTreeSet<Offset>,
}

impl Replay {
    /// A replay of `record`; events count after `start`.
    #[must_use]
    pub(crate) fn new(record: &Record, start: Offset, bounds: Bounds) -> Replay {
        debug_assert!(record.since <= record.position && record.position <= start, "since <= position <= start");
        let cursor = rooms_from(record, start);
        let rooms = match cursor < record.rooms_since {
            true => Rooms::new(record.base.as_ref().unwrap_or(&record.rooms), record.position),
            false => Rooms::new(&record.rooms, record.rooms_since),
        };
        Replay {
            nsp: record.nsp.clone(),
            own: record.sid.room(),
            rooms,
            rooms_at_start: None,
            start,
            cursor,
            missed: Vec::new(),
            left: bounds,
            seen: Numbers::default(),
            doubles: BTreeSet::new(),
        }
    }

    /// The last entry that was looked at.
    #[must_use]
    pub(crate) fn cursor(&self) -> Offset {
        self.cursor
    }

    /// Where events begin to count.
    #[must_use]
    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    /// Entries that repeat earlier ones, as far as the server knows.
    pub(crate) fn skip(&mut self, doubles: &BTreeSet<Offset>) {
        self.doubles.clone_from(doubles);
    }

    /// Applies all room commands after the cursor, up to the start: somebody remembers them without the rest.
    pub(crate) fn commands(&mut self, commands: &[Item]) -> Result<(), Refused> {
        for (id, posted) in commands {
            debug_assert!(*id > self.cursor && *id <= self.start, "commands lie between the cursor and the start");
            self.look_at(1)?;
            if !self.doubles.contains(id) && self.seen.is_new_here(posted) {
                self.entry(*id, &posted.entry)?;
            }
        }
        self.cursor = self.start.max(self.cursor);
        Ok(())
    }

    /// Looks at the entries that follow the cursor, up to `end`. A page that leads no further shows that the log has lost some.
    pub(crate) fn page(&mut self, items: Vec<Item>, end: Offset) -> Result<(), Refused> {
        let before = self.cursor;
        for (id, posted) in items.into_iter().take_while(|(id, _)| *id <= end) {
            debug_assert!(id > self.cursor, "positions ascend: {id} after {}", self.cursor);
            if id > self.start && self.rooms_at_start.is_none() {
                self.rooms_at_start = Some(self.rooms.order.clone());
            }
            self.cursor = id;
            self.look_at(1)?;
            if !self.doubles.contains(&id) && self.seen.is_new_here(&posted) {
                self.entry(id, &posted.entry)?;
            }
        }
        if self.cursor > before { Ok(()) } else { Err(Refused::Gap) }
    }

    fn look_at(&mut self, entries: usize) -> Result<(), Refused> {
        self.left.entries = self.left.entries.checked_sub(entries).ok_or(Refused::TooMuch)?;
        Ok(())
    }

    fn entry(&mut self, id: Offset, entry: &Entry) -> Result<(), Refused> {
        match entry {
            Entry::Broadcast { to, name, args } if id > self.start && self.is_meant(to) => {
                let frames = socket_packet::event(self.nsp.as_str(), None, name, args, Some(id));
                let all = std::iter::once(&frames.first).chain(&frames.rest);
                let bytes = all.map(|frame| frame.websocket().len()).sum::<usize>() + size_of::<Frames>();
                self.left.bytes = self.left.bytes.checked_sub(bytes).ok_or(Refused::TooMuch)?;
                self.missed.push(frames);
            }
            Entry::Join { to, rooms } if self.is_meant(to) => {
                rooms.iter().filter(|room| **room != self.own).for_each(|room| self.rooms.enter(room, id));
            }
            Entry::Leave { to, rooms } if self.is_meant(to) => rooms.iter().for_each(|room| self.rooms.leave(room, id)),
            Entry::Disconnect { to, .. } if self.is_meant(to) => return Err(Refused::Disconnected),
            _ => {}
        }
        Ok(())
    }

    fn is_meant(&self, to: &Target) -> bool {
        to.matches(|room| *room == self.own || self.rooms.names.contains(room))
    }

    /// What the client missed, in order, and its rooms.
    #[must_use]
    pub(crate) fn finish(self) -> Found {
        debug_assert!(self.cursor >= self.start, "a replay ends behind its start");
        let rooms_at_start = self.rooms_at_start.unwrap_or_else(|| self.rooms.order.clone());
        let Rooms { changed, order: rooms, .. } = self.rooms;
        Found { missed: self.missed, rooms, changed, rooms_at_start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Pid, SocketId};
    use crate::server::log::entry::Posted;
    use crate::server::recovery::record::END;
    use serde_json::Value;
    use std::sync::Arc;

    const ENOUGH: Bounds = Bounds { bytes: 10_000, entries: 100 };

    fn at(ms: u64) -> Offset {
        Offset { ms, seq: 0 }
    }

    fn item(ms: u64, seq: u64, entry: Entry) -> Item {
        (at(ms), Arc::new(Posted { uid: "a".into(), seq, entry }))
    }

    fn to(room: &str) -> Target {
        Target { rooms: Room::from(room).into(), except: Vec::new() }
    }

    fn event(ms: u64, seq: u64) -> Item {
        item(ms, seq, Entry::Broadcast { to: Target::default(), name: "x".into(), args: seq.into() })
    }

    fn in_room(ms: u64, room: &str) -> Item {
        item(ms, 0, Entry::Broadcast { to: to(room), name: "x".into(), args: ms.into() })
    }

    fn join(ms: u64, whom: &str, room: &str) -> Item {
        item(ms, 0, Entry::Join { to: to(whom), rooms: vec![room.into()] })
    }

    fn leave(ms: u64, whom: &str, room: &str) -> Item {
        item(ms, 0, Entry::Leave { to: to(whom), rooms: vec![room.into()] })
    }

    fn record(position: u64, rooms: &[&str]) -> Record {
        Record {
            nsp: Nsp::new("/"),
            sid: SocketId::from_record("sid"),
            pid: Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap(),
            claim: Offset::ZERO,
            since: at(1),
            position: at(position),
            stale: None,
            doubtful: None,
            taken: 0,
            away: false,
            rooms: vec!["later".into()],
            rooms_since: at(99),
            rooms_until: at(99),
            base: Some(rooms.iter().map(|room| Room::from(*room)).collect()),
            data: Arc::new(Value::Null),
        }
    }

    fn texts(found: &Found) -> Vec<String> {
        let text = |frames: &Frames| String::from_utf8_lossy(frames.first.packet()).into_owned();
        found.missed.iter().map(text).collect()
    }

    /// What a client missed that got everything up to `start`, by the numbers of its events.
    fn missed(start: u64, items: Vec<Item>, doubles: &[u64]) -> Vec<String> {
        let mut replay = Replay::new(&record(start, &[]), at(start), ENOUGH);
        replay.skip(&doubles.iter().map(|ms| at(*ms)).collect());
        replay.page(items, END).unwrap();
        texts(&replay.finish())
    }

    #[test]
    fn what_came_late_is_given_once() {
        // The log refused 9 and took 10; 9 was appended again behind it, and later once more.
        let late = vec![event(10, 10), event(11, 9), event(12, 9), event(13, 11), event(14, 10)];
        let want = [r#"42["x",10,"10-0"]"#, r#"42["x",9,"11-0"]"#, r#"42["x",11,"13-0"]"#];
        assert_eq!(missed(8, late, &[]), want);
        // 9 was there before the client went.
        assert_eq!(missed(9, vec![event(10, 10), event(11, 9)], &[11]), want[..1]);
    }

    #[test]
    fn rooms_are_told_by_the_log() {
        let log = || {
            vec![
                in_room(11, "b"), // not in b yet
                join(12, "sid", "b"),
                in_room(13, "b"),
                join(14, "other", "c"),
                in_room(15, "c"),
                leave(16, "b", "a"), // everybody in b leaves a
                in_room(17, "a"),
                in_room(18, "sid"),
            ]
        };
        let ids = |found: &Found| texts(found).iter().map(|text| text[7..9].to_owned()).collect::<Vec<_>>();
        let mut replay = Replay::new(&record(10, &["a"]), at(10), ENOUGH);
        replay.page(log(), END).unwrap();
        let found = replay.finish();
        assert_eq!(ids(&found), ["13", "18"]);
        assert_eq!((&found.rooms[..], &found.rooms_at_start[..]), (&["b".into()][..], &["a".into()][..]));
        // A client that has got 13: what lies before counts for its rooms only, read as entries or remembered as commands.
        for remembered in [false, true] {
            let mut replay = Replay::new(&record(10, &["a"]), at(13), ENOUGH);
            match remembered {
                true => {
                    replay.commands(&log()[1..2]).unwrap();
                    replay.page(log().split_off(3), END).unwrap();
                }
                false => replay.page(log(), END).unwrap(),
            }
            let found = replay.finish();
            assert_eq!(ids(&found), ["18"]);
            assert_eq!(found.rooms_at_start, ["a".into(), "b".into()]);
        }
    }

    #[test]
    fn rooms_that_have_not_changed_need_no_look_back() {
        let record = Record { rooms: vec!["a".into()], rooms_since: at(12), rooms_until: at(14), ..record(10, &[]) };
        for (start, cursor) in [(11, 10), (12, 12), (13, 13), (14, 14), (15, 14)] {
            let replay = Replay::new(&record, at(start), ENOUGH);
            assert_eq!(replay.cursor(), at(cursor), "{start}");
        }
        let mut replay = Replay::new(&record, at(13), ENOUGH);
        replay.page(vec![in_room(14, "a"), leave(15, "sid", "a"), in_room(16, "a")], END).unwrap();
        let found = replay.finish();
        assert_eq!((found.missed.len(), found.rooms.len(), found.changed), (1, 0, at(15)));
    }

    #[test]
    fn each_bound_is_one_too_few() {
        let replay = |bounds| {
            let mut replay = Replay::new(&record(1, &[]), at(1), bounds);
            replay.page(vec![event(2, 2), event(3, 3)], END)
        };
        assert_eq!(replay(ENOUGH), Ok(()));
        assert_eq!(replay(Bounds { entries: 1, ..ENOUGH }), Err(Refused::TooMuch));
        assert_eq!(replay(Bounds { bytes: size_of::<Frames>() + 40, ..ENOUGH }), Err(Refused::TooMuch));
    }
}
