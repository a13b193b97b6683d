//! Session records, the part that only computes: what a CONNECT asks for, who owns a session, and why one is refused.
//!
//! A session's stream holds records and claims. A record is a snapshot: the client's rooms and data at a position of the
//! namespace's log that the client is known to have reached; the log after it is applied on return. The last claim owns.

use crate::id::{Nsp, Offset, Pid};
use crate::proto::auth;
use crate::server::log::entry::{Entry, Record};
use crate::server::log::streams::Item;
use std::fmt;

/// Entries of a session's stream that one return looks at: far more than there ever are, because they are tidied.
pub(crate) const RECORDS: usize = 256;
/// After every entry.
pub(crate) const END: Offset = Offset { ms: u64::MAX, seq: u64::MAX };
/// How often in a row a session may be taken from a connection that looks alive, and how soon after one
/// another, in milliseconds: two tabs with one session would take it from each other for ever.
const TAKEN: u8 = 2;
const TAKEN_WITHIN: u64 = 10_000;

/// Why a client that asked for its session gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No session of that pid: never there, expired, or ended on purpose.
    UnknownSession,
    /// The client sent no usable offset, and the server wants one.
    NoOffset,
    /// The log may not hold everything that the client missed.
    Gap,
    /// The client missed more than may wait for one client, or the log grew by more than one return may look at.
    TooMuch,
    /// The application disconnected the client while it was away.
    Disconnected,
    /// The log did not answer.
    LogUnavailable,
    /// Other connections claim the session at the same time, again and again.
    Contested,
    /// Two live connections took the session from each other, again and again.
    Shared,
}

impl Refused {
    /// All reasons, in the order of their counters.
    pub const ALL: [Refused; 8] = [
        Refused::UnknownSession,
        Refused::NoOffset,
        Refused::Gap,
        Refused::TooMuch,
        Refused::Disconnected,
        Refused::LogUnavailable,
        Refused::Contested,
        Refused::Shared,
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
            Refused::Shared => "shared",
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
            Refused::Shared => "another connection has its session and is alive",
        })
    }
}

/// What a CONNECT says of an earlier session.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Request {
    /// The session that the client asks for.
    pub(crate) pid: Option<Pid>,
    /// The last packet that the client has got, if it knows: an id in the log, or so it says.
    pub(crate) offset: Option<Offset>,
}

impl Request {
    /// Reads `pid` and `offset` out of a CONNECT's auth object. The client sends as `offset` whatever string an event
    /// ended with: what is no offset counts as absent.
    #[must_use]
    pub(crate) fn from_auth(auth: &str) -> Request {
        let (pid, offset) = auth::session(auth);
        Request { pid, offset }
    }
}

/// A session that may be restored: its newest record, and the claim by which this server has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) record: Record,
    pub(crate) claim: Offset,
    /// How often it was taken from a connection that looked alive, each time soon after the time before.
    pub(crate) taken: u8,
}

/// What became of a claim.
#[derive(Debug, PartialEq)]
pub(crate) enum Claim {
    /// The session is this server's. Records before the one at this id say nothing more.
    Granted(Box<Session>, Offset),
    /// Nobody may have it.
    Refused(Refused),
    /// More claims than one return looks at came at once: those before this id say nothing more, and who comes next gets on.
    Crowded(Offset),
    /// Its owner is alive and was robbed of it a moment ago, again and again: the claim is to be taken back.
    Withdrawn(Offset),
}

/// Judges a claim by what stands in the session's stream, our own claim among it.
pub(crate) fn judge(items: &[Item], nsp: &Nsp, ours: impl Fn(&Item) -> bool) -> Claim {
    // A claim that was repeated, because its first answer was lost, counts where it stands last.
    let Some((claim, _)) = items.iter().rev().find(|item| ours(item)) else {
        return match items.len() >= RECORDS {
            true => Claim::Crowded(newest_record(items, END, nsp).map_or(Offset::ZERO, |(id, _)| id)),
            false => Claim::Refused(Refused::UnknownSession),
        };
    };
    let Some((newest, record)) = newest_record(items, *claim, nsp) else {
        return Claim::Refused(Refused::UnknownSession);
    };
    if owner(items, nsp) > *claim {
        return Claim::Refused(Refused::Contested);
    }
    // A claim behind the newest record is of an owner that had no time to write: it looks alive too.
    let robbed = !record.away || owner(before(items, *claim), nsp) > record.claim;
    let soon = claim.ms.saturating_sub(record.claim.ms) < TAKEN_WITHIN;
    let taken = match (robbed, soon) {
        (true, true) => record.taken.saturating_add(1),
        (true, false) => 1,
        (false, _) => 0,
    };
    match taken > TAKEN {
        true => Claim::Withdrawn(*claim),
        false => Claim::Granted(Box::new(Session { record: record.clone(), claim: *claim, taken }), newest),
    }
}

fn before(items: &[Item], id: Offset) -> &[Item] {
    items.get(..items.partition_point(|(other, _)| *other < id)).unwrap_or_default()
}

/// Whether a claim was taken back.
fn is_withdrawn(items: &[Item], claim: Offset) -> bool {
    items.iter().any(|(_, posted)| matches!(posted.entry, Entry::Withdrawn(_, of) if of == claim))
}

/// The record to restore from, with its place, out of a session's stream up to the restorer's own claim.
///
/// The last claim owns the session: a record that carries an older claim and comes after a newer one was written by a
/// former owner who did not know yet, and is ignored. So is all that speaks of another namespace.
#[must_use]
pub(crate) fn newest_record<'a>(items: &'a [Item], claim: Offset, nsp: &Nsp) -> Option<(Offset, &'a Record)> {
    let mut owner = Offset::ZERO;
    let mut newest = None;
    for (id, posted) in before(items, claim) {
        match &posted.entry {
            Entry::Claim(of) if of == nsp && !is_withdrawn(items, *id) => owner = *id,
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

/// The claim that owns a session by what its stream says: the last one, or that of a record whose claim has been tidied
/// away.
#[must_use]
pub(crate) fn owner(items: &[Item], nsp: &Nsp) -> Offset {
    let claims = items.iter().filter_map(|(id, posted)| match &posted.entry {
        Entry::Claim(of) if of == nsp && !is_withdrawn(items, *id) => Some(*id),
        Entry::Record(record) if record.nsp == *nsp => Some(record.claim),
        Entry::Ended(of, claim) if of == nsp => Some(*claim),
        _ => None,
    });
    claims.max().unwrap_or_default()
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

    fn item(ms: u64, entry: Entry) -> Item {
        (at(ms), Arc::new(Posted { uid: "a".into(), seq: ms, entry }))
    }

    fn record(ms: u64, claim: u64, taken: u8, away: bool) -> Item {
        let record = Record {
            nsp: Nsp::new("/"),
            sid: SocketId::from_record("sid"),
            pid: Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap(),
            claim: at(claim),
            since: Offset::ZERO,
            position: Offset::ZERO,
            stale: None,
            doubtful: None,
            taken,
            away,
            rooms: Vec::new(),
            rooms_since: Offset::ZERO,
            rooms_until: Offset::ZERO,
            base: None,
            data: Arc::new(Value::Null),
        };
        item(ms, Entry::Record(Box::new(record)))
    }

    fn claim(ms: u64) -> Item {
        item(ms, Entry::Claim(Nsp::new("/")))
    }

    fn judged(items: &[Item], ours: u64) -> String {
        match judge(items, &Nsp::new("/"), |(id, _)| *id == at(ours)) {
            Claim::Granted(session, newest) => format!("granted {} taken {}", newest.ms, session.taken),
            Claim::Refused(refused) => format!("refused {}", refused.name()),
            Claim::Crowded(min) => format!("crowded {}", min.ms),
            Claim::Withdrawn(claim) => format!("withdrawn {}", claim.ms),
        }
    }

    #[test]
    fn who_takes_a_session_a_third_time_within_seconds_from_a_live_owner_takes_the_claim_back() {
        let soon = 100_000 + TAKEN_WITHIN - 1;
        for (what, items, ours, want) in [
            ("nothing", vec![claim(5)], 5, "refused unknown_session"),
            ("one that is away", vec![record(1, 0, 2, true), claim(5)], 5, "granted 1 taken 0"),
            ("from a live one", vec![record(1, 0, 0, false), claim(100_000)], 100_000, "granted 1 taken 1"),
            ("again", vec![record(1, 100_000, 1, false), claim(soon)], soon, "granted 1 taken 2"),
            ("a third time", vec![record(1, 100_000, 2, false), claim(soon)], soon, "withdrawn 109999"),
            ("later", vec![record(1, 100_000, 2, false), claim(soon + 1)], soon + 1, "granted 1 taken 1"),
            ("another claim behind", vec![record(1, 0, 0, true), claim(5), claim(6)], 5, "refused contested"),
        ] {
            assert_eq!(judged(&items, ours), want, "{what}");
        }
        // A claim that was taken back counts for nothing: its owner's records go on counting.
        let taken_back = item(7, Entry::Withdrawn(Nsp::new("/"), at(6)));
        let stream = [claim(4), record(5, 4, 2, false), claim(6), taken_back, record(8, 4, 2, true), claim(9)];
        assert_eq!(judged(&stream, 9), "granted 8 taken 0");
        assert_eq!(owner(&stream[..5], &Nsp::new("/")), at(4));
    }

    #[test]
    fn a_crowd_of_claims_ends_no_session() {
        let mut items = vec![record(1, 0, 0, true)];
        items.extend((2..).map(claim).take(RECORDS - 1));
        assert_eq!(judged(&items, 9_999), "crowded 1");
        assert_eq!(judged(&items[..9], 9_999), "refused unknown_session");
    }
}
