//! What each session must get: the oracle. It knows nothing of logs, positions and records: an event belongs to the sessions that were in its
//! rooms when it was emitted.

use std::collections::BTreeSet;

/// Who is meant by an emit: like `Target`, but by number of session.
#[derive(Clone, Debug, Default)]
pub struct Aim {
    pub rooms: Vec<String>,
    pub except: Vec<String>,
}

/// A session, from its first CONNECT to its end.
#[derive(Debug)]
pub struct Session {
    pub sid: String,
    pub rooms: BTreeSet<String>,
    pub data: u64,
    /// Logged events that it must get, in order.
    pub expected: Vec<u64>,
    /// How many of them its client has handled.
    pub handled: usize,
    /// When the client was made, or last answered a ping: it had got everything not long before.
    pub proved: u64,
    /// Since when the server knows that the client is away.
    pub away: Option<u64>,
    /// Either side ended it on purpose, or the client was told that it is new.
    pub over: bool,
}

impl Session {
    pub fn new(sid: &str, now: u64) -> Session {
        Session {
            sid: sid.to_owned(),
            rooms: BTreeSet::new(),
            data: 0,
            expected: Vec::new(),
            handled: 0,
            proved: now,
            away: None,
            over: false,
        }
    }

    /// It can be recovered at `now`, and hears what is emitted.
    pub fn lives(&self, now: u64, window: u64) -> bool {
        !self.over && self.away.is_none_or(|since| now < since + window)
    }

    pub fn is_meant(&self, aim: &Aim) -> bool {
        let is_in = |room: &String| *room == self.sid || self.rooms.contains(room);
        (aim.rooms.is_empty() || aim.rooms.iter().any(is_in)) && !aim.except.iter().any(is_in)
    }

    /// Its client handles logged event `n`: it must be the next one.
    pub fn handle(&mut self, n: u64) -> Result<(), String> {
        match self.expected.get(self.handled) {
            Some(next) if *next == n => {
                self.handled += 1;
                Ok(())
            }
            next => Err(format!("{}: got {n}, should get {next:?}; all: {:?}", self.sid, self.expected)),
        }
    }

    /// Everything must have come.
    pub fn check_complete(&self) -> Result<(), String> {
        match self.handled == self.expected.len() {
            true => Ok(()),
            false => Err(format!("{}: handled {} of {:?}", self.sid, self.handled, self.expected)),
        }
    }
}
