//! What a reader remembers of what it has read: entries that may come again, and how far it was at what time.

use crate::id::{Offset, Time};
use crate::server::log::entry::Posted;
use crate::server::log::streams::Item;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Senders that are remembered: far more than there are servers, but any program may make names up.
pub(crate) const SENDERS: usize = 10_000;

/// Numbers of a sender that are remembered because they were jumped over.
const JUMPED: u64 = 1_000;

/// The number of the last entry of each sender: an append whose answer was lost is repeated, and known again by its number. A log that refuses
/// one append and takes the next gets the first one again, late: so numbers that were jumped over are remembered too.
#[derive(Debug, Default)]
pub(crate) struct Numbers(HashMap<Arc<str>, Sender>);

#[derive(Debug, Default)]
struct Sender {
    first: u64,
    last: u64,
    jumped: BTreeSet<u64>,
    /// Numbers before the first that came behind it.
    late: BTreeSet<u64>,
}

impl Numbers {
    /// Whether this is the first time that the entry comes by.
    pub(crate) fn is_new(&mut self, posted: &Posted) -> bool {
        if posted.seq == 0 {
            return true;
        }
        if self.0.len() >= SENDERS {
            self.0.clear();
        }
        let Some(sender) = self.0.get_mut(&posted.uid) else {
            self.0.insert(posted.uid.clone(), Sender { first: posted.seq, last: posted.seq, ..Sender::default() });
            return true;
        };
        if posted.seq <= sender.last {
            return sender.jumped.remove(&posted.seq);
        }
        let first = sender.last.saturating_add(1).max(posted.seq.saturating_sub(JUMPED));
        sender.jumped.extend(first..posted.seq);
        while sender.jumped.len() as u64 > JUMPED {
            sender.jumped.pop_first();
        }
        sender.last = posted.seq;
        true
    }

    /// The same for a reader that begins in the middle of the log and is told by others what repeats an entry from before: what comes behind
    /// entries with higher numbers may be late.
    pub(crate) fn is_new_here(&mut self, posted: &Posted) -> bool {
        if self.is_new(posted) {
            return true;
        }
        match self.0.get_mut(&posted.uid) {
            Some(sender) if posted.seq < sender.first && (sender.late.len() as u64) < JUMPED => {
                sender.late.insert(posted.seq)
            }
            _ => false,
        }
    }
}

/// Where the reader was some time ago.
#[derive(Default)]
pub(crate) struct Samples(VecDeque<(Time, Offset)>);

impl Samples {
    pub(crate) fn add(&mut self, now: Time, position: Offset) {
        self.0.push_back((now, position));
    }

    /// The last position of at least `age` milliseconds ago, once: what is older may be forgotten.
    pub(crate) fn take_older(&mut self, now: Time, age: u64) -> Option<Offset> {
        let mut oldest = None;
        while self.0.front().is_some_and(|(at, _)| now.since(*at) >= age) {
            oldest = self.0.pop_front().map(|(_, position)| position);
        }
        oldest
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What follows the first item, which must be `from`: else something may be missing.
pub(crate) fn after_first(mut items: Vec<Item>, from: Offset) -> Option<Vec<Item>> {
    match items.first() {
        Some((id, _)) if *id == from => {
            items.remove(0);
            Some(items)
        }
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::log::entry::Entry;

    #[test]
    fn what_comes_again_and_what_comes_late() {
        let mut numbers = Numbers::default();
        let mut news = |seqs: &[u64]| -> Vec<bool> {
            let post = |seq| Posted { uid: "a".into(), seq, entry: Entry::Marker };
            seqs.iter().map(|seq| numbers.is_new(&post(*seq))).collect()
        };
        // 3 was refused and 4 taken: 3 comes late, once. What came before the first is not known.
        assert_eq!(news(&[2, 4, 5, 3, 3, 4, 1, 6]), [true, true, true, true, false, false, false, true]);
        // Numbers without a sender's count are always new; far jumps don't cost memory.
        assert_eq!(news(&[0, 0, 1 << 40, (1 << 40) - 1, 7]), [true, true, true, true, false]);
    }
}
