//! How far a namespace's log has been read, what waits for that, and what is remembered of it. Pure; the hub holds it.
//!
//! ```text
//! Closed ──► Opening ──marker──► Open ──► Retired
//!    ▲                             │        (its last client went: another one may have its name by now)
//!    └────────── a hole ───────────┘
//! ```
//!
//! Invariants: positions ascend between two openings; `returned <= sent`; the tail holds every entry after `tail.from`,
//! and no more than its bounds; `commands` holds every room command after `commands.from`; `checked <= position`.

use crate::id::{Offset, Time};
use crate::limits::Limits;
use crate::server::log::budget::Budget;
use crate::server::log::entry::{Entry, Posted};
use crate::server::log::fate::{Fate, Settled};
use crate::server::log::held::{Held, HeldQueue};
use crate::server::log::seen::{Numbers, SENDERS};
use crate::server::log::streams::Item;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

/// Entries of a shared log's end that are kept here, so that most replays need no XREAD.
const TAIL_ENTRIES: usize = 2_000;
const TAIL_BYTES: usize = 2 * 1024 * 1024;
/// Room commands that are remembered, so that a return need not look for them among all entries.
const COMMAND_ENTRIES: usize = 20_000;
const COMMAND_BYTES: usize = 4 * 1024 * 1024;
/// Clients that wait for the log to be opened or read; more are not let in, and come again.
const WAITING: usize = 100_000;
/// Repeated entries that are remembered, so that no replay gives them twice.
const DOUBLES: usize = 1_000;

/// Something to be done when the log has been read up to a position, with no lock held.
pub(crate) type Action = Box<dyn FnOnce() + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Opening,
    Open,
    Retired,
}

/// The last entries of a kind, as far back as their bounds allow.
#[derive(Default)]
struct Memory {
    items: VecDeque<Item>,
    /// All of them after this one are here.
    from: Offset,
    bytes: usize,
}

impl Memory {
    fn begin(&mut self, from: Offset) {
        *self = Memory { from, ..Memory::default() };
    }

    fn keep(&mut self, id: Offset, posted: &Arc<Posted>, entries: usize, bytes: usize) {
        self.bytes += posted.entry.weight();
        self.items.push_back((id, posted.clone()));
        while self.items.len() > entries || self.bytes > bytes {
            let Some((id, posted)) = self.items.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(posted.entry.weight());
            self.from = id;
        }
        debug_assert!(self.items.len() <= entries && self.bytes <= bytes, "the tail keeps its bounds");
        debug_assert!(self.items.front().is_none_or(|(id, _)| *id > self.from), "what is kept lies after `from`");
    }

    fn after(&self, from: Offset) -> Option<impl Iterator<Item = &Item>> {
        let start = self.items.partition_point(|(id, _)| *id <= from);
        (from >= self.from).then(|| self.items.range(start..))
    }

    fn has(&self, id: Offset) -> bool {
        (id == self.from && id != Offset::ZERO) || self.items.binary_search_by_key(&id, |(id, _)| *id).is_ok()
    }
}

/// The reader of one log.
pub(crate) struct Reader {
    state: State,
    /// The last entry that was delivered.
    position: Offset,
    /// The numbers of this server's last entry, and of the last that came back.
    sent: u64,
    returned: u64,
    /// One of this server's entries under way, by its number, and since when: its time tells how long entries take.
    timed: Option<(u64, Time)>,
    seen: Numbers,
    /// Entries that were in the log before, under an earlier id.
    doubles: BTreeSet<Offset>,
    /// What must not overtake this server's own entries, by their number.
    held: HeldQueue,
    /// What becomes of this server's entries, the bytes of a shared log, and Redis's clock.
    fate: Fate,
    waiting: Vec<(Offset, Action)>,
    tail: Memory,
    commands: Memory,
    /// What comes before is not whole: sessions that began there can't be given back.
    whole_from: Offset,
    /// Where this server stood when it last made sure that the log is whole; and how far the control log was read then.
    checked: (Offset, Offset),
    /// The log is opened again because it had lost entries.
    lost: bool,
    /// Other servers that read this log.
    readers: HashSet<Arc<str>>,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new(0)
    }
}

impl Reader {
    /// Nothing read yet; this server's entries will be numbered from `first` on.
    pub(crate) fn new(first: u64) -> Reader {
        Reader {
            state: State::Closed,
            position: Offset::ZERO,
            sent: first,
            returned: first,
            timed: None,
            fate: Fate::default(),
            seen: Numbers::default(),
            doubles: BTreeSet::new(),
            held: HeldQueue::default(),
            waiting: Vec::new(),
            tail: Memory::default(),
            commands: Memory::default(),
            whole_from: Offset::ZERO,
            checked: (Offset::ZERO, Offset::ZERO),
            lost: false,
            readers: HashSet::new(),
        }
    }

    // ---- what it says

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.state == State::Retired
    }

    /// The last entry that was delivered.
    pub(crate) fn position(&self) -> Offset {
        self.position
    }

    /// The same, while the log is open.
    pub(crate) fn cursor(&self) -> Option<Offset> {
        self.is_open().then_some(self.position)
    }

    pub(crate) fn whole_from(&self) -> Offset {
        self.whole_from
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn returned(&self) -> u64 {
        self.returned
    }

    pub(crate) fn doubles(&self) -> &BTreeSet<Offset> {
        &self.doubles
    }

    pub(crate) fn readers(&self) -> &HashSet<Arc<str>> {
        &self.readers
    }

    // ---- opening and closing

    /// Whether somebody must open the log now: it is closed, and nobody does.
    pub(crate) fn begins_opening(&mut self) -> bool {
        let closed = self.state == State::Closed;
        if closed {
            self.state = State::Opening;
        }
        closed
    }

    /// The marker was not taken: the next one opens.
    pub(crate) fn opening_failed(&mut self) {
        if self.state == State::Opening {
            self.state = State::Closed;
        }
    }

    /// The marker stands in the log: reading begins behind it, the control log having been read up to `control`. Gives back what waited for that.
    pub(crate) fn opened(&mut self, now: Time, marker: Offset, control: Offset) -> Vec<Action> {
        match self.state {
            State::Closed | State::Opening => self.state = State::Open,
            State::Open | State::Retired => return Vec::new(),
        }
        self.position = marker;
        self.checked = (marker, control);
        self.timed = None;
        self.fate.begin(marker, now);
        if std::mem::take(&mut self.lost) {
            self.whole_from = marker;
            // What was flushed with its answer under way is appended again, and new to those who begin here.
            self.seen = Numbers::default();
        }
        self.tail.begin(marker);
        self.commands.begin(marker);
        std::mem::take(&mut self.waiting).into_iter().map(|(_, action)| action).collect()
    }

    /// The log has lost entries. What waits goes on when it is open again, and finds out; those who will never hear of their
    /// entries are given back.
    pub(crate) fn lose(&mut self) -> Vec<Settled> {
        debug_assert!(self.is_open(), "only an open log is found to have a hole");
        self.state = State::Closed;
        self.lost = true;
        self.tail.begin(Offset::ZERO);
        self.commands.begin(Offset::ZERO);
        self.fate.forget_asked()
    }

    pub(crate) fn retire(&mut self) {
        self.state = State::Retired;
    }

    // ---- reading

    /// Moves on to an entry. The position moves first: one that can't be handled is never met again.
    pub(crate) fn advance(&mut self, id: Offset) {
        debug_assert!(id > self.position, "positions ascend: {id} after {}", self.position);
        self.position = id;
    }

    /// Takes note of an entry of a shared log that is about to be delivered; false: it came by before.
    pub(crate) fn read(&mut self, id: Offset, posted: &Arc<Posted>) -> bool {
        if !self.seen.is_new(posted) {
            self.doubles.insert(id);
            if self.doubles.len() > DOUBLES {
                self.doubles.pop_first();
            }
            return false;
        }
        self.tail.keep(id, posted, TAIL_ENTRIES, TAIL_BYTES);
        true
    }

    /// Remembers a command that changes rooms or ends sessions.
    pub(crate) fn keep_command(&mut self, id: Offset, posted: &Arc<Posted>) {
        debug_assert!(matches!(posted.entry, Entry::Join { .. } | Entry::Leave { .. } | Entry::Disconnect { .. }));
        self.commands.keep(id, posted, COMMAND_ENTRIES, COMMAND_BYTES);
    }

    pub(crate) fn note_reader(&mut self, uid: &Arc<str>) {
        if self.readers.len() < SENDERS {
            self.readers.insert(uid.clone());
        }
    }

    pub(crate) fn forget_reader(&mut self, uid: &Arc<str>) {
        self.readers.remove(uid);
    }

    /// Up to `count` entries after `from`, if all of them are here.
    pub(crate) fn tail_after(&self, from: Offset, count: usize) -> Option<Vec<Item>> {
        if !self.is_open() {
            return None;
        }
        self.tail.after(from).map(|items| items.take(count).cloned().collect())
    }

    /// Whether an entry is known to be in the log. What is not remembered may be there too: entries that repeat others are skipped, and
    /// so are those that can't be true, but a client's position may be one of them.
    pub(crate) fn has(&self, id: Offset) -> bool {
        self.is_open() && (self.tail.has(id) || self.doubles.contains(&id))
    }

    /// The room commands after `from`, up to `to`, if all of them are remembered.
    pub(crate) fn commands(&self, from: Offset, to: Offset) -> Option<Vec<Item>> {
        let commands = self.commands.after(from).filter(|_| self.is_open() && to <= self.position)?;
        Some(commands.take_while(|(id, _)| *id <= to).cloned().collect())
    }

    // ---- this server's own entries

    /// The number for this server's next entry, if it is one that others wait for.
    pub(crate) fn next_number(&self) -> u64 {
        self.sent + 1
    }

    pub(crate) fn was_sent(&mut self, now: Time, seq: u64) {
        self.sent = self.sent.max(seq);
        if seq > 0 && self.timed.is_none() {
            self.timed = Some((seq, now));
        }
    }

    /// Milliseconds that an entry took which has come back, now and then.
    pub(crate) fn take_time(&mut self, now: Time) -> Option<u64> {
        let returned = self.returned;
        self.timed.take_if(|(seq, _)| *seq <= returned).map(|(_, since)| now.since(since))
    }

    /// This server's entry number `seq` has come back; gives who wanted to know. What this server has not sent is not its own, whatever name
    /// stands at it.
    pub(crate) fn came_back(&mut self, seq: u64) -> Option<Settled> {
        if !(1..=self.sent).contains(&seq) {
            return None;
        }
        self.returned = self.returned.max(seq);
        self.pass_refused();
        self.fate.take_asked(seq)
    }

    /// The log refused this server's entry number `seq`: it counts as come back once those before it have. Gives who wanted to know.
    pub(crate) fn was_refused(&mut self, seq: u64) -> Option<Settled> {
        if (self.returned + 1..=self.sent).contains(&seq) {
            self.fate.refuse(seq);
        }
        self.pass_refused();
        self.fate.take_asked(seq)
    }

    fn pass_refused(&mut self) {
        self.returned = self.fate.pass_refused(self.returned);
        debug_assert!(self.returned <= self.sent, "returned <= sent: {} {}", self.returned, self.sent);
    }

    /// `settled` wants to know what becomes of this server's entry number `seq`.
    pub(crate) fn ask(&mut self, seq: u64, settled: Settled) {
        self.fate.ask(seq, settled);
    }

    /// Takes out what was held for entries that have come back.
    pub(crate) fn take_released(&mut self) -> Vec<Held> {
        self.held.release(self.returned).collect()
    }

    /// Holds something until this server's entry number `seq` has come back; gives it back if too much is held.
    pub(crate) fn hold(&mut self, seq: u64, held: Held, limits: &Limits) -> Option<Held> {
        self.held.hold(seq, held, limits)
    }

    // ---- its bytes, and its clock

    pub(crate) fn budget(&mut self) -> &mut Budget {
        self.fate.budget()
    }

    /// Whether another's entry has an id that Redis's clock can't have given to it; and whether that is news.
    pub(crate) fn is_from_far_ahead(&mut self, now: Time, id: Offset, own: bool) -> Option<bool> {
        self.fate.is_from_far_ahead(now, id, own)
    }

    /// Before which entry the log may be cut, because of its bytes: never where this server still has to look.
    pub(crate) fn may_cut(&self, min: Offset) -> Offset {
        min.min(self.checked.0)
    }

    // ---- those who wait

    /// Lets an action wait for a position, and for the log to be open; gives it back if that is so already, or too many wait.
    pub(crate) fn wait_for(&mut self, position: Offset, action: Action) -> Result<(), Waits> {
        if self.is_open() && self.position >= position {
            return Err(Waits::Now(action));
        }
        if self.waiting.len() >= WAITING || self.is_retired() {
            return Err(Waits::Never(action));
        }
        self.waiting.push((position, action));
        Ok(())
    }

    /// Takes out what has waited for the position that is reached.
    pub(crate) fn take_ready(&mut self) -> Vec<Action> {
        if !self.is_open() || self.waiting.iter().all(|(at, _)| *at > self.position) {
            return Vec::new();
        }
        let position = self.position;
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(at, _)| *at <= position);
        self.waiting = waiting;
        ready.into_iter().map(|(_, action)| action).collect()
    }

    // ---- holes

    /// What to look for in a check: the last position that was seen to be there, and how far the control log was read then.
    pub(crate) fn to_check(&self) -> Option<(Offset, Offset)> {
        debug_assert!(!self.is_open() || self.checked.0 <= self.position, "checked <= position");
        self.is_open().then_some(self.checked)
    }

    /// The log is whole: the next check looks for what was read when this one began.
    pub(crate) fn was_checked(&mut self, checked: (Offset, Offset)) {
        // Of a quiet log, too: what stood in the control log then is forgotten after a while.
        if self.is_open() && checked > self.checked {
            self.checked = checked;
        }
    }
}

/// Why an action does not wait.
pub(crate) enum Waits {
    /// There is nothing to wait for.
    Now(Action),
    /// Too many wait, or the log will never be read. The action is dropped, outside of the hub.
    Never(Action),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Offset {
        Offset { ms, seq: 0 }
    }

    fn open() -> Reader {
        let mut reader = Reader::new(0);
        assert!(reader.begins_opening() && !reader.begins_opening());
        assert!(reader.opened(Time(0), at(10), Offset::ZERO).is_empty());
        reader
    }

    fn read(reader: &mut Reader, ms: u64) {
        let posted = Arc::new(Posted { uid: "a".into(), seq: ms, entry: Entry::Wake });
        reader.advance(at(ms));
        assert!(reader.read(at(ms), &posted));
    }

    #[test]
    fn what_is_remembered_tells_what_is_an_entry() {
        let mut reader = open();
        read(&mut reader, 12);
        read(&mut reader, 14);
        // Another entry of that number, which is skipped: still an entry.
        let again = Arc::new(Posted { uid: "a".into(), seq: 14, entry: Entry::Wake });
        reader.advance(at(16));
        assert!(!reader.read(at(16), &again));
        for (ms, want) in [(9, false), (10, true), (11, false), (12, true), (14, true), (15, false), (16, true)] {
            assert_eq!(reader.has(at(ms)), want, "{ms}");
        }
        reader.lose();
        assert!(!reader.has(at(12)));
        assert!(reader.tail_after(at(12), 9).is_none());
    }

    #[test]
    fn the_tail_forgets_its_oldest() {
        let mut reader = open();
        for n in 0..=TAIL_ENTRIES as u64 {
            read(&mut reader, 11 + n);
        }
        assert!(reader.tail_after(at(10), 1).is_none());
        assert_eq!(reader.tail_after(at(11), 9_999).map(|items| items.len()), Some(TAIL_ENTRIES));
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_broken_relation_is_caught() {
        let caught = |act: fn(&mut Reader)| std::panic::catch_unwind(|| act(&mut open())).is_err();
        assert!(caught(|reader| reader.advance(at(10))), "positions ascend");
        let more_than_was_sent = |reader: &mut Reader| {
            reader.returned = reader.sent + 1;
            reader.pass_refused();
        };
        assert!(caught(more_than_was_sent), "returned <= sent");
        assert!(!caught(|reader| reader.advance(at(11))));
    }
}
