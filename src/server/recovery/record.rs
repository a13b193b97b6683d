//! Connection state recovery, the part that only computes: who owns a session, from where it goes on, what its client missed.
//!
//! The promise: a client that comes back gets its id, rooms and data and exactly the packets it missed, once each and
//! in order, or is told that it is new. Whatever can't be proved to be complete is refused, with a reason.

use crate::codec::socket_packet::{self, Frames};
use crate::id::{Nsp, Offset, Pid, Room};
use crate::proto::auth;
use crate::server::log::entry::{Entry, Record, Stay, Target};
use crate::server::log::seen::Numbers;
use crate::server::log::streams::Item;
use std::collections::BTreeSet;
use std::fmt;

/// Why a client that asked for its session gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No session of that pid: never there, expired, or ended on purpose.
    UnknownSession,
    /// The client sent no usable offset, and the server wants one.
    NoOffset,
    /// The log may not hold everything that the client missed.
    Gap,
    /// The client missed more than may wait for one client.
    TooMuch,
    /// The application disconnected the client while it was away.
    Disconnected,
    /// The log did not answer.
    LogUnavailable,
    /// Other connections claim the session at the same time, again and again.
    Contested,
}

impl Refused {
    /// All reasons, in the order of their counters.
    pub const ALL: [Refused; 7] = [
        Refused::UnknownSession,
        Refused::NoOffset,
        Refused::Gap,
        Refused::TooMuch,
        Refused::Disconnected,
        Refused::LogUnavailable,
        Refused::Contested,
    ];

    /// A short name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refused::UnknownSession => "unknown_session",
            Refused::NoOffset => "no_offset",
            Refused::Gap => "gap",
            Refused::TooMuch => "too_much",
            Refused::Disconnected => "disconnected",
            Refused::LogUnavailable => "log_unavailable",
            Refused::Contested => "contested",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::UnknownSession => "its session has expired or never was",
            Refused::NoOffset => "it sent no usable offset",
            Refused::Gap => "the log may not hold everything it missed",
            Refused::TooMuch => "it missed more than may wait for one client",
            Refused::Disconnected => "it was disconnected while it was away",
            Refused::LogUnavailable => "the log did not answer",
            Refused::Contested => "another connection took its session",
        })
    }
}

/// What a CONNECT asks for: the session of this pid, from this offset on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// The session.
    pub(crate) pid: Pid,
    /// The last packet that the client has got, if it knows.
    pub(crate) offset: Option<Offset>,
}

impl Request {
    /// Reads `pid` and `offset` out of a CONNECT's auth object. The client sends as `offset` whatever string an event ended with: what
    /// is no offset counts as absent. `None`: the client does not ask for a session.
    #[must_use]
    pub(crate) fn from_auth(auth: &str) -> Option<Request> {
        auth::session(auth).map(|(pid, offset)| Request { pid, offset })
    }
}

/// After every entry.
pub(crate) const END: Offset = Offset { ms: u64::MAX, seq: u64::MAX };

/// The record to restore from, with its place, out of a session's stream up to the restorer's own claim.
///
/// The last claim owns the session: a record that carries an older claim and comes after a newer one was written by a former owner who did
/// not know yet, and is ignored. So is all that speaks of another namespace.
#[must_use]
pub(crate) fn newest_record<'a>(items: &'a [Item], claim: Offset, nsp: &Nsp) -> Option<(Offset, &'a Record)> {
    let mut owner = Offset::ZERO;
    let mut newest = None;
    for (id, posted) in items.iter().take_while(|(id, _)| *id < claim) {
        match &posted.entry {
            Entry::Claim(of) if of == nsp => owner = *id,
            Entry::Ended(of, claim) if *claim >= owner && of == nsp => newest = None,
            // One that could not be read may have been the newest record.
            Entry::Wake => newest = None,
            Entry::Record(record) if record.claim >= owner && record.nsp == *nsp => {
                owner = record.claim;
                newest = Some((*id, &**record));
            }
            _ => {}
        }
    }
    newest
}

/// The claim that owns a session by what its stream says: the last one, or that of a record whose claim has been tidied away.
#[must_use]
pub(crate) fn owner(items: &[Item], nsp: &Nsp) -> Offset {
    let claims = items.iter().filter_map(|(id, posted)| match &posted.entry {
        Entry::Claim(of) if of == nsp => Some(*id),
        Entry::Record(record) if record.nsp == *nsp => Some(record.claim),
        Entry::Ended(of, claim) if of == nsp => Some(*claim),
        _ => None,
    });
    claims.max().unwrap_or_default()
}

/// Where the replay starts: the later of what the client says and what its pongs have proved.
///
/// An offset from before the session, or one that the log has not reached, belongs to something else and counts as absent.
pub(crate) fn start(
    record: &Record,
    offset: Option<Offset>,
    log_end: Offset,
    needs_offset: bool,
) -> Result<Offset, Refused> {
    let offset = offset.filter(|offset| (record.since..=log_end).contains(offset));
    if offset.is_none() && needs_offset {
        return Err(Refused::NoOffset);
    }
    let start = offset.unwrap_or_default().max(record.position);
    match start >= record.floor {
        true => Ok(start),
        false => Err(Refused::Gap),
    }
}

/// Goes through the log after the start and collects what the client missed, with the rooms it was in at each entry.
pub(crate) struct Replay {
    nsp: Nsp,
    own: Room,
    stays: Vec<Stay>,
    applied: Offset,
    start: Offset,
    cursor: Offset,
    missed: Vec<Frames>,
    bytes: usize,
    limit: usize,
    /// The last number of each sender that was met, and entries known to repeat others: neither is given twice.
    seen: Numbers,
    doubles: BTreeSet<Offset>,
}

impl Replay {
    /// A replay of `record` from `start`, of at most `limit` bytes.
    #[must_use]
    pub(crate) fn new(record: &Record, start: Offset, limit: usize) -> Replay {
        Replay {
            nsp: record.nsp.clone(),
            own: record.sid.room(),
            stays: record.stays.clone(),
            applied: record.applied,
            start,
            // Commands that the record does not know yet count, however far the client says it is.
            cursor: start.min(record.applied),
            missed: Vec::new(),
            bytes: 0,
            limit,
            seen: Numbers::default(),
            doubles: BTreeSet::new(),
        }
    }

    /// The last entry that was looked at.
    #[must_use]
    pub(crate) fn cursor(&self) -> Offset {
        self.cursor
    }

    /// Entries that repeat earlier ones, as far as the server knows.
    pub(crate) fn skip(&mut self, doubles: &BTreeSet<Offset>) {
        self.doubles.clone_from(doubles);
    }

    /// Looks at the entries that follow the cursor, up to `end`. A page that leads no further shows that the log has lost some.
    pub(crate) fn page(&mut self, items: Vec<Item>, end: Offset) -> Result<(), Refused> {
        let before = self.cursor;
        for (id, posted) in items.into_iter().take_while(|(id, _)| *id <= end) {
            self.cursor = id;
            if !self.doubles.contains(&id) && self.seen.is_new_here(&posted) {
                self.entry(id, &posted.entry)?;
            }
        }
        if self.cursor > before { Ok(()) } else { Err(Refused::Gap) }
    }

    fn entry(&mut self, id: Offset, entry: &Entry) -> Result<(), Refused> {
        // What the record already tells of is not applied again.
        let news = id > self.applied;
        match entry {
            Entry::Broadcast { to, name, args } if id > self.start && self.is_meant(to, id) => {
                let frames = socket_packet::event(self.nsp.as_str(), None, name, args, Some(id));
                self.bytes += size_of::<Frames>();
                self.bytes +=
                    std::iter::once(&frames.first).chain(&frames.rest).map(|f| f.websocket().len()).sum::<usize>();
                if self.bytes > self.limit {
                    return Err(Refused::TooMuch);
                }
                self.missed.push(frames);
            }
            Entry::Join { to, rooms } if news && self.is_meant(to, id) => {
                for room in rooms.iter().filter(|room| **room != self.own) {
                    enter(&mut self.stays, room, id);
                }
            }
            Entry::Leave { to, rooms } if news && self.is_meant(to, id) => {
                for room in rooms {
                    leave(&mut self.stays, room, id);
                }
            }
            Entry::Disconnect { to, .. } if news && self.is_meant(to, id) => return Err(Refused::Disconnected),
            _ => {}
        }
        Ok(())
    }

    fn is_meant(&self, to: &Target, id: Offset) -> bool {
        to.matches(|room| *room == self.own || is_in(&self.stays, room, id))
    }

    /// What the client missed, in order, and its rooms.
    #[must_use]
    pub(crate) fn finish(self) -> (Vec<Frames>, Vec<Stay>) {
        (self.missed, self.stays)
    }
}

/// Whether a client with these stays was in `room` when entry `id` was delivered.
fn is_in(stays: &[Stay], room: &Room, id: Offset) -> bool {
    stays.iter().any(|stay| stay.room == *room && stay.from < id && stay.until.is_none_or(|until| id <= until))
}

/// Enters `room` after entry `at`; false if the client is in it already.
pub(crate) fn enter(stays: &mut Vec<Stay>, room: &Room, at: Offset) -> bool {
    if stays.iter().any(|stay| stay.room == *room && stay.until.is_none()) {
        return false;
    }
    stays.push(Stay { room: room.clone(), from: at, until: None });
    true
}

/// Leaves `room` after entry `at`; false if the client is not in it. A stay in which nothing happened leaves no trace.
pub(crate) fn leave(stays: &mut Vec<Stay>, room: &Room, at: Offset) -> bool {
    let Some(i) = stays.iter().position(|stay| stay.room == *room && stay.until.is_none()) else {
        return false;
    };
    match stays.get_mut(i) {
        Some(stay) if stay.from < at => stay.until = Some(at),
        _ => {
            stays.remove(i);
        }
    }
    true
}

/// Forgets ended stays that no replay can need: those before `position`, and the oldest beyond `most`. Returns the position from which on
/// the stays are complete.
pub(crate) fn prune(stays: &mut Vec<Stay>, position: Offset, floor: Offset, most: usize) -> Offset {
    stays.retain(|stay| stay.until.is_none_or(|until| until > position));
    let mut floor = floor;
    let mut ended = stays.iter().filter(|stay| stay.until.is_some()).count();
    while ended > most {
        let oldest = stays.iter().enumerate().filter_map(|(i, stay)| stay.until.map(|until| (until, i))).min();
        let Some((until, i)) = oldest else { break };
        stays.remove(i);
        floor = floor.max(until);
        ended -= 1;
    }
    floor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SocketId;
    use crate::server::log::entry::Posted;
    use serde_json::Value;
    use std::sync::Arc;

    fn at(ms: u64) -> Offset {
        Offset { ms, seq: 0 }
    }

    fn event(ms: u64, seq: u64) -> Item {
        let entry = Entry::Broadcast { to: Target::default(), name: "x".into(), args: seq.into() };
        (at(ms), Arc::new(Posted { uid: "a".into(), seq, entry }))
    }

    /// What a client missed that got everything up to `start`, by the numbers of its events.
    fn missed(start: u64, items: Vec<Item>, doubles: &[u64]) -> Vec<String> {
        let record = Record {
            nsp: Nsp::new("/"),
            sid: SocketId::from_record("sid"),
            pid: Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap(),
            claim: Offset::ZERO,
            since: at(1),
            position: at(start),
            applied: at(start),
            floor: Offset::ZERO,
            stays: Vec::new(),
            data: Arc::new(Value::Null),
        };
        let mut replay = Replay::new(&record, at(start), 10_000);
        replay.skip(&doubles.iter().map(|ms| at(*ms)).collect());
        replay.page(items, END).unwrap();
        let text = |frames: &Frames| String::from_utf8_lossy(frames.first.packet()).into_owned();
        replay.finish().0.iter().map(text).collect()
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
}
