//! What a reader remembers of what it has read: entries that may come again, and how far it was at what time.

use super::entry::Posted;
use super::streams::Item;
use crate::id::{Offset, Time};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Senders that are remembered: far more than there are servers, but any program may make names up.
pub(super) const SENDERS: usize = 10_000;

/// The number of the last entry of each sender: an append whose answer was lost is repeated, and known again by its number.
#[derive(Default)]
pub(super) struct Numbers(HashMap<Arc<str>, u64>);

impl Numbers {
    /// Whether this is the first time that the entry comes by.
    pub(super) fn is_new(&mut self, posted: &Posted) -> bool {
        if posted.seq == 0 {
            return true;
        }
        if self.0.len() >= SENDERS {
            self.0.clear();
        }
        match self.0.get_mut(&posted.uid) {
            Some(seen) if *seen >= posted.seq => return false,
            Some(seen) => *seen = posted.seq,
            None => drop(self.0.insert(posted.uid.clone(), posted.seq)),
        }
        true
    }
}

/// Where the reader was some time ago.
#[derive(Default)]
pub(super) struct Samples(VecDeque<(Time, Offset)>);

impl Samples {
    pub(super) fn add(&mut self, now: Time, position: Offset) {
        self.0.push_back((now, position));
    }

    /// The last position of at least `age` milliseconds ago, once: what is older may be forgotten.
    pub(super) fn take_older(&mut self, now: Time, age: u64) -> Option<Offset> {
        let mut oldest = None;
        while self.0.front().is_some_and(|(at, _)| now.since(*at) >= age) {
            oldest = self.0.pop_front().map(|(_, position)| position);
        }
        oldest
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What follows the first item, which must be `from`: else something may be missing.
pub(super) fn after_first(mut items: Vec<Item>, from: Offset) -> Option<Vec<Item>> {
    match items.first() {
        Some((id, _)) if *id == from => {
            items.remove(0);
            Some(items)
        }
        Some(_) | None => None,
    }
}
