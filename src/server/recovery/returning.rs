//! A client's CONNECT from its claim to the door, as a state machine. Pure: what it wants is an [`Output`], what became of
//! that comes back as an [`Input`]; `client/joining.rs` carries the outputs out.
//!
//! ```text
//!  begin ──pid──► Claiming ──refused──► ┐
//!    │               │ granted          │ Anew: a socket of its own
//!    │               ▼                  ▼
//!    │        Asking(session) ──►     Asking(new) ◄──────────── refused, from anywhere on the left
//!    └──no pid──────────────────────►   │ the middlewares say yes
//!                    │                  ▼
//!                    ▼               Opening ──offset ahead of us──► Settling ─┐ is it an entry?
//!                 Proving              │ ◄─────────────────────────────────────┘
//!   is the start an entry of           ▼
//!   the log, and the position        Enter (new)
//!   of the record's rooms?
//!                    │ both are, and the reader has come up to them
//!                    ▼
//!                 Replaying ◄─┐ page after page, others in between
//!                    │ └──────┘
//!                    ▼ the reader's own position
//!                 Enter (recovered)
//! ```
//!
//! The promise is decided here. A start counts only if it is an entry of this log, be it the client's offset or what its
//! pongs have proved, and so does the position from which its rooms must be told: a log that lost its tail, was restored or is another one altogether does not have them. An offset that is no entry
//! while it lies ahead of what the client's pongs have proved refuses the session. A client keeps such an offset and sends
//! it again with its new session's pid: so that session remembers it as `stale`, and it counts as absent.

use crate::id::Offset;
use crate::server::log::entry::Record;
use crate::server::log::fate::AHEAD;
use crate::server::log::streams::{Item, PAGE};
use crate::server::recovery::record::{Refused, Request, Session};
use crate::server::recovery::replay::{Bounds, Found, Replay, rooms_from};
use std::collections::BTreeSet;

/// How often a session is claimed for a client before it is told that it is new: a claim that a dead connection has left
/// behind may come later than the one that counts.
const CLAIMS: u8 = 3;

/// What is set for all returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Clients that recover don't see the middlewares again.
    pub(crate) skip_middlewares: bool,
    /// A client without a usable offset is new.
    pub(crate) needs_offset: bool,
    /// What one return may cost.
    pub(crate) bounds: Bounds,
}

/// How things stand in the namespace at one moment, its hub being held.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The last entry that was delivered; `None`: the log is not open.
    pub(crate) position: Option<Offset>,
    /// The log is whole from here on.
    pub(crate) whole_from: Offset,
    /// The claim by which this server holds the session, if it holds it still.
    pub(crate) held: Option<Offset>,
    /// Entries that repeat earlier ones.
    pub(crate) doubles: &'a BTreeSet<Offset>,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// The claim was judged.
    Claimed(Result<Box<Session>, Refused>),
    /// The middlewares have decided.
    Verdict(bool),
    /// An entry was looked up: it is in the log, or is not; `None`: the log did not answer.
    Found(Option<bool>),
    /// The reader has come as far as was wanted.
    Reached,
    /// The hub is held, and this is what it says. Outputs are carried out with it held until `Rest`, `Wait`, `Find`, `Anew` or `End`.
    View(View<'a>),
    /// Room commands between two positions, as far as they are remembered.
    Commands(Option<Vec<Item>>),
    /// Entries after the cursor, the cursor's own entry having been the first that was read, and where the reader stands;
    /// `None`: it was not there.
    Page(Option<Vec<Item>>, Offset),
    /// The log did not answer.
    Unanswered,
    /// Others have had their turn.
    Rested,
    /// The client was let in, or was gone.
    Entered,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Claim the session: [`Input::Claimed`].
    Claim,
    /// Ask the middlewares, about the client of this session or a new one: [`Input::Verdict`].
    Ask(Option<Box<Session>>),
    /// Make a socket for this session, which needs no middlewares: [`Input::Rested`].
    Restore(Box<Session>),
    /// The session is refused: count it, forget the socket, and go on: [`Input::Rested`].
    Anew(Refused),
    /// Is this an entry of the log? [`Input::Found`].
    Find(Offset),
    /// Say when the log is open and has been read up to here: [`Input::Reached`].
    Wait(Offset),
    /// Hold the hub: [`Input::View`].
    Look,
    /// Which room commands came after the first and up to the second? [`Input::Commands`].
    Commands(Offset, Offset),
    /// Read what follows: [`Input::Page`] or [`Input::Unanswered`].
    Read(Offset),
    /// Let others have a turn: [`Input::Rested`].
    Rest,
    /// Let the client in, with its session: [`Input::Entered`].
    Enter(Box<Entry>),
    /// Let the client in as a new one: [`Input::Entered`].
    EnterNew(New),
    /// Nothing more.
    End,
}

/// A client that has its session back.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    /// The client has got everything up to here.
    pub(crate) start: Offset,
    pub(crate) found: Found,
}

/// What a new session must remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct New {
    /// The offset that the client had and that is no entry of the log.
    pub(crate) stale: Option<Offset>,
    /// The offset that the client had, and of which nobody could tell.
    pub(crate) doubtful: Option<Offset>,
}

/// What is looked up of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Where events begin to count.
    Start,
    /// Where the record knows the rooms.
    Rooms,
}

#[derive(Debug)]
enum Stage {
    Claiming,
    Asking(Option<Box<Session>>),
    /// A socket is being made for the session, or for nobody's.
    Making(Option<Box<Session>>),
    Proving(Box<Session>, Offset, Proof),
    /// The reader must come up to what was proved.
    Catching(Box<Session>, Offset),
    Replaying(Box<Session>, Box<Replay>),
    /// A new session: the log must be open.
    Opening,
    /// Its client's offset lies ahead of the reader: is it an entry?
    Settling(Offset),
    /// All that is known of a new session.
    New(New),
    Ended,
}

/// A CONNECT under way.
#[derive(Debug)]
pub(crate) struct Returning {
    rules: Rules,
    offset: Option<Offset>,
    /// Claims that may still be made.
    claims: u8,
    stage: Stage,
}

impl Returning {
    /// A client asks for a session, or for none.
    #[must_use]
    pub(crate) fn begin(rules: Rules, request: &Request) -> (Returning, Output) {
        let (stage, output) = match request.pid {
            Some(_) => (Stage::Claiming, Output::Claim),
            None => (Stage::Asking(None), Output::Ask(None)),
        };
        (Returning { rules, offset: request.offset, claims: CLAIMS - 1, stage }, output)
    }

    /// Takes what became of the last output, and says what is next.
    pub(crate) fn handle(&mut self, input: Input<'_>) -> Output {
        match (std::mem::replace(&mut self.stage, Stage::Ended), input) {
            (Stage::Claiming, Input::Claimed(Ok(session))) if self.rules.skip_middlewares => {
                self.go(Stage::Making(Some(session.clone())), Output::Restore(session))
            }
            (Stage::Claiming, Input::Claimed(Ok(session))) => {
                self.go(Stage::Asking(Some(session.clone())), Output::Ask(Some(session)))
            }
            (Stage::Claiming, Input::Claimed(Err(refused))) => self.refuse(refused),
            (Stage::Making(Some(session)), Input::Rested) => self.prove(session),
            (Stage::Making(None), Input::Rested) => self.go(Stage::Asking(None), Output::Ask(None)),
            (Stage::Asking(_), Input::Verdict(false)) => Output::End,
            (Stage::Asking(Some(session)), Input::Verdict(true)) => self.prove(session),
            (Stage::Asking(None), Input::Verdict(true)) => self.go(Stage::Opening, Output::Wait(Offset::ZERO)),
            (Stage::Proving(session, start, proof), Input::Found(found)) => self.proved(session, start, proof, found),
            (Stage::Catching(session, start), Input::Reached) => {
                let replay = Box::new(Replay::new(&session.record, start, self.rules.bounds));
                self.go(Stage::Replaying(session, replay), Output::Look)
            }
            (Stage::Replaying(session, replay), input) => self.replaying(session, replay, input),
            (Stage::Opening, Input::Reached) => self.go(Stage::Opening, Output::Look),
            (Stage::Opening, Input::View(view)) => self.opened(&view),
            (Stage::Settling(offset), Input::Found(Some(true))) => self.go(Stage::Opening, Output::Wait(offset)),
            (Stage::Settling(offset), Input::Found(Some(false))) => {
                let new = New { stale: Some(offset), ..New::default() };
                self.go(Stage::New(new), Output::Look)
            }
            // If it comes again, nobody can say whether it is of this session: the client may have got that very entry.
            (Stage::Settling(offset), Input::Found(None)) => {
                let new = New { doubtful: Some(offset), stale: None };
                self.go(Stage::New(new), Output::Look)
            }
            (Stage::New(new), Input::Reached) => self.go(Stage::New(new), Output::Look),
            (Stage::New(new), Input::View(view)) => match view.position {
                Some(_) => Output::EnterNew(new),
                None => self.go(Stage::New(new), Output::Wait(Offset::ZERO)),
            },
            (stage, input) => {
                debug_assert!(matches!(stage, Stage::Ended), "{input:?} does not belong to {stage:?}");
                Output::End
            }
        }
    }

    fn go(&mut self, stage: Stage, output: Output) -> Output {
        self.stage = stage;
        output
    }

    /// The session can't be given back; another claim may do better where others claimed it at the same time.
    fn refuse(&mut self, refused: Refused) -> Output {
        if let (Refused::Contested, Some(left)) = (refused, self.claims.checked_sub(1)) {
            self.claims = left;
            return self.go(Stage::Claiming, Output::Claim);
        }
        self.go(Stage::Making(None), Output::Anew(refused))
    }

    /// The client's offset, as far as it may mean something in this session. One from far ahead was made up: no client has ever
    /// got it from a log.
    fn usable(&self, record: &Record) -> Option<Offset> {
        let last = record.position.ms.saturating_add(AHEAD);
        self.offset.filter(|offset| *offset >= record.since && offset.ms < last && record.stale != Some(*offset))
    }

    fn prove(&mut self, session: Box<Session>) -> Output {
        if self.rules.needs_offset && self.usable(&session.record).is_none() {
            return self.refuse(Refused::NoOffset);
        }
        if session.record.doubtful.is_some() && session.record.doubtful == self.usable(&session.record) {
            return self.refuse(Refused::Gap);
        }
        // What the client's pongs have proved needs no offset; one ahead of that counts if it is an entry.
        let position = session.record.position;
        let start = self.usable(&session.record).map_or(position, |offset| offset.max(position));
        self.go(Stage::Proving(session, start, Proof::Start), Output::Find(start))
    }

    fn proved(&mut self, session: Box<Session>, start: Offset, proof: Proof, found: Option<bool>) -> Output {
        match found {
            None => return self.refuse(Refused::LogUnavailable),
            Some(false) => return self.refuse(Refused::Gap),
            Some(true) => {}
        }
        let from = rooms_from(&session.record, start);
        match proof {
            Proof::Start if from != start => self.go(Stage::Proving(session, start, Proof::Rooms), Output::Find(from)),
            Proof::Start | Proof::Rooms => self.go(Stage::Catching(session, start), Output::Wait(start)),
        }
    }

    fn replaying(&mut self, session: Box<Session>, mut replay: Box<Replay>, input: Input<'_>) -> Output {
        let went_on = match input {
            Input::View(view) => return self.viewed(session, replay, &view),
            Input::Rested | Input::Reached => return self.go(Stage::Replaying(session, replay), Output::Look),
            Input::Unanswered => return self.refuse(Refused::LogUnavailable),
            Input::Commands(Some(commands)) => replay.commands(&commands).map(|()| Output::Look),
            // They are found among all entries.
            Input::Commands(None) => Ok(Output::Read(replay.cursor())),
            Input::Page(None, _) => Err(Refused::Gap),
            Input::Page(Some(items), end) => {
                let next = if items.len() >= PAGE { Output::Rest } else { Output::Look };
                replay.page(items, end).map(|()| next)
            }
            Input::Claimed(_) | Input::Verdict(_) | Input::Found(_) | Input::Entered => {
                debug_assert!(false, "{input:?} does not belong to a replay");
                return Output::End;
            }
        };
        match went_on {
            Ok(output) => self.go(Stage::Replaying(session, replay), output),
            Err(refused) => self.refuse(refused),
        }
    }

    /// With the hub held: what comes next of a replay.
    fn viewed(&mut self, session: Box<Session>, mut replay: Box<Replay>, view: &View<'_>) -> Output {
        // The log has lost entries: what is still true is seen when it is open again.
        let Some(position) = view.position else {
            return self.go(Stage::Catching(session, replay.start()), Output::Wait(Offset::ZERO));
        };
        if session.record.since < view.whole_from {
            return self.refuse(Refused::Gap);
        }
        // Claimed by somebody else since.
        if view.held != Some(session.claim) {
            return self.refuse(Refused::Contested);
        }
        replay.skip(view.doubles);
        let (cursor, start) = (replay.cursor(), replay.start());
        if cursor >= position {
            debug_assert!(cursor == position, "nobody replays further than the reader: {cursor} {position}");
            let found = replay.finish();
            return Output::Enter(Box::new(Entry { session: *session, start, found }));
        }
        let next = if cursor < start { Output::Commands(cursor, start) } else { Output::Read(cursor) };
        self.go(Stage::Replaying(session, replay), next)
    }

    /// With the hub held: a new session begins at the reader's position, and no offset of its client's may pass for one of
    /// the session that is not.
    fn opened(&mut self, view: &View<'_>) -> Output {
        let Some(position) = view.position else { return self.go(Stage::Opening, Output::Wait(Offset::ZERO)) };
        match self.offset.filter(|offset| *offset > position) {
            Some(offset) => self.go(Stage::Settling(offset), Output::Find(offset)),
            None => Output::EnterNew(New::default()),
        }
    }
}

#[cfg(test)]
#[path = "returning_tests.rs"]
mod tests;
