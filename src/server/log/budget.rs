//! How many bytes a shared log holds, by what was read of it, and where to cut it when that is too much.
//!
//! Redis bounds a stream by its entries or by an id, not by its bytes. So a reader sums up what it reads and remembers at which entry which
//! sum stood, in steps: the log is cut there. What stood in the log before the reader began is not known to it, and is the business of those
//! who had read it.

use crate::id::Offset;
use std::collections::VecDeque;

/// Into so many parts the budget is divided: the log is cut after each, and holds at most one more than it should.
const PARTS: u64 = 32;
/// A log is not cut to less, however full Redis may be: nothing would be won.
const LEAST: u64 = 1024 * 1024;

/// The bytes of one log.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Bytes that it may have; `None`: nothing was said yet.
    most: Option<u64>,
    /// All bytes that were read, and those of them that are gone again.
    read: u64,
    gone: u64,
    /// Entries, and the bytes before each.
    marks: VecDeque<(Offset, u64)>,
    /// Where the log was last cut because of its bytes.
    cut: Option<Offset>,
    /// What stood in the log before it was read was cut off.
    bare: bool,
}

impl Budget {
    /// An entry was read. Gives the entry before which the log is to be cut, if it has too much.
    pub(crate) fn note(&mut self, id: Offset, bytes: usize, most: usize) -> Option<Offset> {
        let most = *self.most.get_or_insert(most as u64);
        if self.marks.back().is_none_or(|(_, before)| self.read.saturating_sub(*before) >= most / PARTS) {
            self.marks.push_back((id, self.read));
        }
        self.read = self.read.saturating_add(bytes as u64);
        (self.held() > most).then(|| self.cut_to(most)).flatten()
    }

    /// About how many bytes the log holds.
    pub(crate) fn held(&self) -> u64 {
        self.read.saturating_sub(self.gone)
    }

    /// Where the log was last cut because of its bytes.
    pub(crate) fn cut(&self) -> Option<Offset> {
        self.cut
    }

    /// Redis has no more memory: the log gives up a quarter. Gives the entry before which it is to be cut.
    pub(crate) fn shrink(&mut self) -> Option<Offset> {
        let most = (self.held() / 4 * 3).max(LEAST);
        self.most = Some(self.most.map_or(most, |now| now.min(most)));
        let first = self.marks.front().map(|(id, _)| *id);
        if !std::mem::replace(&mut self.bare, true) && self.held() <= most {
            // Nobody knows how much that is, and there is nothing else to be given up.
            self.cut = first;
            return first;
        }
        (self.held() > most).then(|| self.cut_to(most)).flatten()
    }

    /// Some time has passed: a log that had given up something may have a little more again.
    pub(crate) fn grow(&mut self, most: usize) {
        let most = most as u64;
        self.most = self.most.map(|now| now.saturating_add(most / PARTS).min(most));
    }

    /// What is older than `min` was cut for its age.
    pub(crate) fn forget(&mut self, min: Offset) {
        while self.marks.get(1).is_some_and(|(id, _)| *id <= min) {
            self.drop_mark();
        }
        if self.cut.is_some_and(|cut| cut <= min) {
            self.cut = None;
        }
    }

    /// The log is another one.
    pub(crate) fn clear(&mut self) {
        *self = Budget { most: self.most, ..Budget::default() };
    }

    /// The last mark stays: what follows it is the newest, and there must be something to be read.
    fn cut_to(&mut self, most: u64) -> Option<Offset> {
        let before = self.marks.front()?.0;
        while self.held() > most && self.marks.len() > 1 {
            self.drop_mark();
        }
        let cut = self.marks.front()?.0;
        (cut > before).then(|| *self.cut.insert(cut))
    }

    fn drop_mark(&mut self) {
        self.marks.pop_front();
        self.gone = self.marks.front().map_or(self.read, |(_, before)| *before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn at(ms: u64) -> Offset {
        Offset { ms, seq: 0 }
    }

    /// A log that is cut when it is told to.
    fn fill(budget: &mut Budget, log: &mut VecDeque<(u64, usize)>, sizes: impl Iterator<Item = usize>, most: usize) {
        for bytes in sizes {
            let ms = log.back().map_or(1, |(ms, _)| ms + 1);
            log.push_back((ms, bytes));
            if let Some(min) = budget.note(at(ms), bytes, most) {
                log.retain(|(ms, _)| at(*ms) >= min);
            }
        }
    }

    fn bytes(log: &VecDeque<(u64, usize)>) -> usize {
        log.iter().map(|(_, bytes)| bytes).sum()
    }

    #[test]
    fn a_log_keeps_to_its_bytes_whatever_its_entries() {
        for (count, size) in [(500_000, 200), (300, 900_000), (3, 40 * MIB), (1, 100 * MIB)] {
            let (mut budget, mut log) = (Budget::default(), VecDeque::new());
            fill(&mut budget, &mut log, std::iter::repeat_n(size, count), 32 * MIB);
            assert_eq!(bytes(&log) as u64, budget.held(), "{size}");
            assert!(bytes(&log) <= 32 * MIB + 2 * MIB || log.len() == 1, "{size}: {}", bytes(&log));
            assert!(bytes(&log) >= 30 * MIB.min(size * count / 32), "{size}: {}", bytes(&log));
            assert!(budget.marks.len() <= 34, "{size}: {}", budget.marks.len());
        }
    }

    #[test]
    fn a_log_that_is_cut_for_its_age_has_room_again() {
        let (mut budget, mut log) = (Budget::default(), VecDeque::new());
        fill(&mut budget, &mut log, std::iter::repeat_n(MIB, 40), 32 * MIB);
        assert_eq!(budget.cut(), Some(at(log[0].0)));
        log.retain(|(ms, _)| *ms >= 30);
        budget.forget(at(30));
        assert_eq!((budget.held(), budget.cut()), (bytes(&log) as u64, None));
    }

    #[test]
    fn a_full_redis_first_gets_back_what_stood_in_the_log_before() {
        let mut budget = Budget::default();
        assert_eq!(budget.shrink(), None);
        let mut budget = Budget::default();
        budget.note(at(500), 100, 32 * MIB);
        assert_eq!((budget.shrink(), budget.shrink()), (Some(at(500)), None));
    }

    #[test]
    fn a_log_in_a_full_redis_gives_up_a_quarter_at_a_time_and_gets_it_back() {
        let (mut budget, mut log) = (Budget::default(), VecDeque::new());
        fill(&mut budget, &mut log, std::iter::repeat_n(100_000, 200), 32 * MIB);
        let mut before = bytes(&log);
        for _ in 0..20 {
            if let Some(min) = budget.shrink() {
                log.retain(|(ms, _)| at(*ms) >= min);
            }
            assert!(bytes(&log) <= (before / 4 * 3).max(MIB) + 2 * MIB, "{} of {before}", bytes(&log));
            before = bytes(&log);
        }
        fill(&mut budget, &mut log, std::iter::repeat_n(100_000, 200), 32 * MIB);
        assert!(bytes(&log) <= 3 * MIB, "{}", bytes(&log));
        (0..32).for_each(|_| budget.grow(32 * MIB));
        fill(&mut budget, &mut log, std::iter::repeat_n(100_000, 500), 32 * MIB);
        assert!(bytes(&log) > 30 * MIB, "{}", bytes(&log));
    }
}
