//! What a socket keeps of its session: rooms and data, what its client has proved to have, and what has not come back
//! from the log yet. Pure; the socket's lock holds it.
//!
//! Invariants: `since <= confirmed <= noted`; `recorded <= confirmed`; `base` are the rooms at `confirmed`; the names of all
//! rooms, those that are on their way among them, stay within the bound.

use crate::id::{Nsp, Offset, Pid, Room, SocketId, Time};
use crate::server::client::socket::EmitError;
use crate::server::log::entry::Record;
use crate::server::log::reader::Action;
use serde_json::Value;
use std::sync::Arc;

/// Hears whether changes are kept.
pub(crate) type OnSaved = Box<dyn FnOnce(Result<(), EmitError>) + Send>;

/// Rooms in the order in which they were joined. Copies share one list until one of them changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomList(Option<Arc<Vec<Room>>>);

impl RoomList {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Room> {
        self.0.iter().flat_map(|rooms| rooms.iter())
    }

    fn change(&mut self) -> &mut Vec<Room> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    fn has(&self, room: &Room) -> bool {
        self.iter().any(|other| other == room)
    }
}

impl From<Vec<Room>> for RoomList {
    fn from(rooms: Vec<Room>) -> RoomList {
        RoomList((!rooms.is_empty()).then(|| Arc::new(rooms)))
    }
}

/// Whether a client will be in a room when all that is on its way has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    In,
    /// It will be in so many others, whose names take so many bytes.
    Out {
        rooms: usize,
        bytes: usize,
    },
}

/// Rooms that were entered or left, and have not come back from the log.
#[derive(Default)]
struct Changes {
    /// By the number of this server's entry.
    under_way: Vec<(u64, Room, bool)>,
    /// Who waits for the changes up to a number, and for the data of a version.
    waiting: Vec<(u64, u64, Result<(), EmitError>, OnSaved)>,
    /// A change that nobody waited for was refused.
    refused: Option<EmitError>,
}

/// Where the client's session begins on this server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The log's position when the session was made.
    pub(crate) since: Offset,
    /// The client has got everything up to here, and its rooms were these.
    pub(crate) confirmed: Offset,
    pub(crate) base: RoomList,
    /// Its rooms now, and since which entry they have been the same.
    pub(crate) rooms: RoomList,
    pub(crate) changed: Offset,
    pub(crate) stale: Option<Offset>,
    pub(crate) doubtful: Option<Offset>,
    /// The claim by which this server has the session; zero if it made it.
    pub(crate) claim: Offset,
    pub(crate) taken: u8,
}

/// How the session stands in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stored {
    /// Not at all: the next record makes the stream.
    #[default]
    Not,
    /// A record is there, or on its way.
    Written,
}

/// What is kept.
#[derive(Default)]
pub(crate) struct Kept {
    place: Place,
    data: Arc<Value>,
    /// How often the data were changed, and the version that is known to be in the stream.
    version: u64,
    saved: u64,
    room_bytes: usize,
    /// Where the log stood when the last ping was sent, with the rooms then.
    noted: Option<(Offset, RoomList)>,
    /// What the newest record says is confirmed.
    recorded: Offset,
    stored: Stored,
    /// This server has written a record since it has the session.
    owned: bool,
    /// The session has lasted, or has rooms or data.
    worth: bool,
    /// A record is on its way; a newer one waits for it.
    writing: bool,
    stale_record: bool,
    written_at: Time,
    /// Records that stand in the stream besides the newest.
    untidy: usize,
    /// The session's time to live is being renewed.
    refreshing: bool,
    changes: Option<Box<Changes>>,
}

impl Kept {
    pub(crate) fn new(data: Arc<Value>) -> Kept {
        Kept { data, ..Kept::default() }
    }

    /// The session begins here, or goes on.
    pub(crate) fn begin(&mut self, place: Place, is_stored: bool) {
        debug_assert!(place.since <= place.confirmed, "since <= confirmed: {} {}", place.since, place.confirmed);
        self.room_bytes = place.rooms.iter().map(|room| room.as_str().len()).sum();
        self.stored = if is_stored { Stored::Written } else { Stored::Not };
        self.recorded = place.since;
        self.place = place;
    }

    // ---- rooms and data

    pub(crate) fn rooms(&self) -> &RoomList {
        &self.place.rooms
    }

    /// The rooms when all that is on its way has come back.
    pub(crate) fn planned_rooms(&self) -> Vec<Room> {
        let mut rooms: Vec<Room> = self.place.rooms.iter().cloned().collect();
        for (_, room, enters) in self.changes.iter().flat_map(|changes| &changes.under_way) {
            match enters {
                true if !rooms.contains(room) => rooms.push(room.clone()),
                true => {}
                false => rooms.retain(|other| other != room),
            }
        }
        rooms
    }

    pub(crate) fn plans(&self, room: &Room) -> Planned {
        let under_way = self.changes.as_ref().map_or(&[][..], |changes| &changes.under_way);
        let last = under_way.iter().rev().find(|(_, other, _)| other == room);
        if last.map_or_else(|| self.place.rooms.has(room), |(_, _, enters)| *enters) {
            return Planned::In;
        }
        // What is left meanwhile counts until it is.
        let coming = under_way.iter().filter(|(_, _, enters)| *enters);
        let (count, bytes) =
            coming.fold((0, 0), |(count, bytes), (_, room, _)| (count + 1, bytes + room.as_str().len()));
        let rooms = self.place.rooms.iter().count() + count;
        Planned::Out { rooms, bytes: self.room_bytes + bytes }
    }

    /// It enters a room with the entry at a position.
    pub(crate) fn enter(&mut self, room: &Room, at: Offset) {
        debug_assert!(at >= self.place.changed, "rooms change in the order of the log");
        self.place.changed = at;
        debug_assert!(!self.place.rooms.has(room), "is_in says what the hub holds");
        self.room_bytes += room.as_str().len();
        self.place.rooms.change().push(room.clone());
    }

    pub(crate) fn leave(&mut self, room: &Room, at: Offset) {
        debug_assert!(at >= self.place.changed, "rooms change in the order of the log");
        self.place.changed = at;
        debug_assert!(self.place.rooms.has(room), "is_in says what the hub holds");
        self.room_bytes = self.room_bytes.saturating_sub(room.as_str().len());
        self.place.rooms.change().retain(|other| other != room);
    }

    pub(crate) fn data(&self) -> &Arc<Value> {
        &self.data
    }

    pub(crate) fn set_data(&mut self, data: Arc<Value>) {
        self.data = data;
        self.version += 1;
    }

    // ---- what the client has

    /// A ping is sent: its pong will prove that the client got everything up to here.
    pub(crate) fn note(&mut self, position: Offset) {
        if position >= self.place.confirmed {
            self.noted = Some((position, self.place.rooms.clone()));
        }
    }

    /// The pong has come.
    pub(crate) fn confirm(&mut self) {
        if let Some((position, rooms)) = self.noted.take() {
            debug_assert!(self.place.confirmed <= position, "confirmed <= noted");
            (self.place.confirmed, self.place.base) = (position, rooms);
        }
    }

    pub(crate) fn claim(&self) -> Offset {
        self.place.claim
    }

    // ---- the record

    /// Whether no record has been written yet.
    pub(crate) fn is_new(&self) -> bool {
        self.stored == Stored::Not
    }

    /// The session is worth keeping from now on.
    pub(crate) fn be_worth(&mut self) {
        self.worth = true;
    }

    pub(crate) fn is_worth(&self) -> bool {
        self.worth
    }

    /// Whether a record would say more than the newest does.
    pub(crate) fn has_news(&self) -> bool {
        !self.owned || self.is_new() || self.place.confirmed > self.recorded || self.version > self.saved
    }

    /// The session's stream is gone: the next record makes it anew.
    pub(crate) fn forget_records(&mut self) {
        self.stored = Stored::Not;
        self.writing = false;
    }

    /// When the data may be written that were changed: a second after the last record.
    pub(crate) fn data_due(&self) -> Time {
        self.written_at.plus(1_000)
    }

    /// Whether a record may be written now; else one is on its way, and a newer one follows it.
    pub(crate) fn may_write(&mut self) -> bool {
        self.stale_record |= self.writing;
        !self.writing
    }

    /// What is written, whether it makes the stream, and the version of the data in it.
    ///
    /// `until`: the last entry that was delivered, the hub being held.
    pub(crate) fn record(
        &mut self,
        now: Time,
        until: Offset,
        (nsp, sid, pid): (&Nsp, &SocketId, &Pid),
        away: bool,
    ) -> (Record, bool, u64) {
        let Place { since, confirmed, base, rooms, changed, stale, doubtful, claim, taken } = &self.place;
        debug_assert!(self.recorded <= *confirmed, "recorded <= confirmed");
        debug_assert!(*changed <= until && *confirmed <= until, "nothing is known of what was not delivered");
        let record = Record {
            nsp: nsp.clone(),
            sid: sid.clone(),
            pid: pid.clone(),
            claim: *claim,
            since: *since,
            position: *confirmed,
            stale: *stale,
            doubtful: *doubtful,
            taken: *taken,
            away,
            rooms: rooms.iter().cloned().collect(),
            rooms_since: *changed,
            rooms_until: until,
            base: (changed > confirmed).then(|| base.iter().cloned().collect()),
            data: self.data.clone(),
        };
        self.recorded = *confirmed;
        self.owned = true;
        self.written_at = now;
        self.writing = true;
        self.untidy += 1;
        let first = std::mem::replace(&mut self.stored, Stored::Written) == Stored::Not;
        (record, first, self.version)
    }

    /// The record's append was answered. Whether a newer one is to follow.
    pub(crate) fn was_written(&mut self, ok: bool, was_first: bool) -> bool {
        self.writing = false;
        if !ok && was_first {
            self.stored = Stored::Not;
        }
        std::mem::take(&mut self.stale_record)
    }

    /// Whether at least `records` stand in the stream; they count as tidied then.
    pub(crate) fn take_untidy(&mut self, records: usize) -> bool {
        let many = self.untidy >= records;
        if many {
            self.untidy = 1;
        }
        many
    }

    /// False: there is nothing to renew, or the last renewal is not answered yet.
    pub(crate) fn begins_refresh(&mut self) -> bool {
        self.stored == Stored::Written && !std::mem::replace(&mut self.refreshing, true)
    }

    pub(crate) fn ends_refresh(&mut self) {
        self.refreshing = false;
    }

    // ---- changes that have not come back

    /// A room change goes out as this server's entry number `seq`.
    pub(crate) fn change_begun(&mut self, seq: u64, room: Room, enters: bool) {
        self.changes.get_or_insert_default().under_way.push((seq, room, enters));
    }

    /// An entry of this server's has been applied. Gives who waited for that.
    pub(crate) fn change_kept(&mut self, seq: u64) -> Vec<Action> {
        let Some(changes) = &mut self.changes else { return Vec::new() };
        changes.under_way.retain(|(other, ..)| *other != seq);
        self.ready()
    }

    /// The log refused one.
    pub(crate) fn change_failed(&mut self, seq: u64, error: EmitError) -> Vec<Action> {
        let Some(changes) = &mut self.changes else { return Vec::new() };
        let before = changes.under_way.len();
        changes.under_way.retain(|(other, ..)| *other != seq);
        if changes.under_way.len() == before {
            return Vec::new();
        }
        let mut heard = false;
        for (upto, _, result, _) in changes.waiting.iter_mut().filter(|(upto, ..)| *upto >= seq) {
            debug_assert!(*upto >= seq);
            (*result, heard) = (Err(error), true);
        }
        if !heard {
            changes.refused = Some(error);
        }
        self.ready()
    }

    /// The data of this version are in the stream, and the session is this server's.
    pub(crate) fn data_saved(&mut self, version: u64) -> Vec<Action> {
        self.saved = self.saved.max(version);
        debug_assert!(self.saved <= self.version, "saved <= version");
        self.ready()
    }

    /// The record with the data of this version was refused: who waits for them hears that, and the next record has them again.
    pub(crate) fn data_refused(&mut self, version: u64, error: EmitError) -> Vec<Action> {
        let saved = self.saved;
        let waiting = self.changes.iter_mut().flat_map(|changes| &mut changes.waiting);
        for (_, wanted, result, _) in waiting.filter(|(_, wanted, ..)| (saved + 1..=version).contains(wanted)) {
            (*wanted, *result) = (saved, Err(error));
        }
        self.ready()
    }

    /// Whether somebody waits for data to be in the stream.
    pub(crate) fn awaits_data(&self) -> bool {
        self.changes.iter().flat_map(|changes| &changes.waiting).any(|(_, version, ..)| *version > self.saved)
    }

    /// Calls back when all changes so far are kept: at once, where there are none.
    pub(crate) fn when_saved(&mut self, saved: OnSaved) -> Vec<Action> {
        let version = self.version;
        let changes = self.changes.get_or_insert_default();
        let upto = changes.under_way.last().map_or(0, |(seq, ..)| *seq);
        let result = changes.refused.take().map_or(Ok(()), Err);
        changes.waiting.push((upto, version, result, saved));
        self.ready()
    }

    fn ready(&mut self) -> Vec<Action> {
        let saved = self.saved;
        let Some(changes) = &mut self.changes else { return Vec::new() };
        let first = changes.under_way.first().map_or(u64::MAX, |(seq, ..)| *seq);
        let done =
            |(upto, version, ..): &(u64, u64, Result<(), EmitError>, OnSaved)| *upto < first && *version <= saved;
        let ready = changes.waiting.extract_if(.., |waits| done(waits));
        let ready = ready.map(|(_, _, result, saved)| Box::new(move || saved(result)) as Action).collect();
        if changes.under_way.is_empty() && changes.waiting.is_empty() && changes.refused.is_none() {
            self.changes = None;
        }
        ready
    }

    /// The client is gone from here: nobody knows any more what becomes of its changes.
    pub(crate) fn give_up(&mut self) -> Vec<Action> {
        let waiting = self.changes.take().map(|changes| changes.waiting).unwrap_or_default();
        waiting.into_iter().map(|(.., saved)| Box::new(move || saved(Err(EmitError::Moved))) as Action).collect()
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
