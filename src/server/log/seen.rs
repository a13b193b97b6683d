//! What a reader remembers of what it has read: entries that may come again, and how far it was at what time.

use crate::id::{Offset, Time};
use crate::server::log::entry::Posted;
use crate::server::log::streams::Item;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Senders that are remembered: far more than there are servers, but any program may make names up.
pub(crate) const SENDERS: usize = 10_000;

/// Numbers of a run that are remembered because they were jumped over; a larger jump begins another run.
const JUMPED: u64 = 1_000;
/// How far below the first number of a run what is repeated from before may lie: more appends than that are never under way.
const BEHIND: u64 = 20_000;
/// The numbers of a namespace's entries begin behind a multiple of this, higher each time that a server makes it.
pub(crate) const BEGIN: u64 = 1 << 20;
/// Runs of a sender. It has one; a namespace that is made again begins another.
const RUNS: usize = 4;

/// The numbers of each sender's entries: an append whose answer was lost is repeated, and known again by its number. A log that refuses one
/// append and takes the next gets the first one again, late: so numbers that were jumped over are remembered too.
///
/// Any program may write any number under any name. So a number says something about those near it only: one far away begins a run of its
/// own, and silences nobody.
#[derive(Debug, Default)]
pub(crate) struct Numbers(HashMap<Arc<str>, Vec<Run>>);

/// Numbers that follow one another, with small holes. The run that was used last stands last.
#[derive(Debug, Default)]
struct Run {
    first: u64,
    last: u64,
    jumped: BTreeSet<u64>,
    /// Numbers before the first that came behind it.
    late: BTreeSet<u64>,
}

impl Run {
    /// A run whose first number came by. Servers begin each with a multiple of [`BEGIN`] and one: if that is near, what lies between has
    /// been jumped over, and may come late, too. (Or it came before this reader began: nobody here has got it then.)
    fn new(seq: u64) -> Run {
        let begin = seq / BEGIN * BEGIN;
        let near = begin > 0 && seq - begin <= JUMPED;
        let jumped = if near { (begin + 1..seq).collect() } else { BTreeSet::new() };
        Run { first: seq, last: seq, jumped, ..Run::default() }
    }

    fn has_place_for(&self, seq: u64) -> bool {
        (self.first.saturating_sub(BEHIND)..=self.last.saturating_add(JUMPED)).contains(&seq)
    }

    fn is_new(&mut self, seq: u64) -> bool {
        if seq <= self.last {
            return self.jumped.remove(&seq);
        }
        self.jumped.extend(self.last.saturating_add(1)..seq);
        while self.jumped.len() as u64 > JUMPED {
            self.jumped.pop_first();
        }
        self.last = seq;
        true
    }
}

impl Numbers {
    /// Whether this is the first time that the entry comes by.
    pub(crate) fn is_new(&mut self, posted: &Posted) -> bool {
        if posted.seq == 0 {
            return true;
        }
        if self.0.len() >= SENDERS && !self.0.contains_key(&posted.uid) {
            self.0.clear();
        }
        let Some(runs) = self.0.get_mut(&posted.uid) else {
            self.0.insert(posted.uid.clone(), vec![Run::new(posted.seq)]);
            return true;
        };
        // Nearly always the last one.
        let found = runs.iter().rposition(|run| run.has_place_for(posted.seq));
        match found.filter(|at| at + 1 < runs.len()) {
            None => {}
            Some(at) => {
                let run = runs.remove(at);
                runs.push(run);
            }
        }
        if let (Some(_), Some(run)) = (found, runs.last_mut()) {
            return run.is_new(posted.seq);
        }
        if runs.len() >= RUNS {
            runs.remove(0);
        }
        runs.push(Run::new(posted.seq));
        true
    }

    /// The same for a reader that begins in the middle of the log and is told by others what repeats an entry from before: what comes behind
    /// entries with higher numbers may be late.
    pub(crate) fn is_new_here(&mut self, posted: &Posted) -> bool {
        if self.is_new(posted) {
            return true;
        }
        // The run that was just asked stands last.
        match self.0.get_mut(&posted.uid).and_then(|runs| runs.last_mut()) {
            Some(run) if posted.seq < run.first && (run.late.len() as u64) < JUMPED => run.late.insert(posted.seq),
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
        // A run that has just begun: its first ones were refused, and come late.
        let begin = 7 * BEGIN;
        assert_eq!(
            news(&[begin + 3, begin + 2, begin + 2, begin + 4, begin + 1, begin]),
            [true, true, false, true, true, false]
        );
        // Numbers without a sender's count are always new.
        assert_eq!(news(&[0, 0, 7]), [true, true, true]);
    }

    /// Whatever stands in the log under a server's name, what that server sends afterwards is new, and known again when it is repeated.
    #[test]
    fn a_number_far_away_silences_nobody() {
        let post = |seq| Posted { uid: "a".into(), seq, entry: Entry::Marker };
        for strange in [[u64::MAX; 4], [1 << 40, 1 << 50, 1 << 60, u64::MAX], [1, 100_000, 300_000, 500_000]] {
            let mut numbers = Numbers::default();
            assert!(numbers.is_new(&post(1_000_000)));
            for (n, seq) in strange.into_iter().enumerate() {
                numbers.is_new(&post(seq));
                assert!(numbers.is_new(&post(1_000_001 + n as u64)), "{strange:?}");
            }
            assert_eq!([3, 4, 5].map(|n| numbers.is_new(&post(1_000_000 + n))), [false, false, true], "{strange:?}");
        }
        // Jumps don't cost memory, wherever they lead.
        let mut numbers = Numbers::default();
        for n in 0..10_000 {
            numbers.is_new(&post(1 + n * 1_000));
            numbers.is_new(&post(n << 40));
        }
        let runs = &numbers.0["a"];
        assert!(runs.len() <= RUNS && runs.iter().all(|run| run.jumped.len() <= 1_000));
    }
}
