//! Which connection reads which log. An XREAD of many streams costs both sides as much as it has names, each time, however quiet they are.
//!
//! So the logs in which something happens stand on one shelf, together with the control log and the inbox, and the quiet ones on others, whose
//! reads stay blocked. A log changes its shelf when the reader that takes it asks what to read next, so nobody has to be woken for it; what
//! both have asked for meanwhile is delivered once, because [`Server::feed`](crate::server::Server::feed) knows where each log stands.

use crate::id::Time;
use crate::server::log::streams::Key;
use std::collections::{HashMap, HashSet};

/// Logs on the busy shelf that are let stay there however quiet they are.
const BUSY: usize = 64;
/// Milliseconds without an entry after which a log may leave it.
const QUIET: u64 = 1_000;
/// Shelves for quiet logs. They are filled one after the other.
pub(crate) const QUIET_SHELVES: usize = 16;
/// Logs on one of them, until all are full.
const FULL: usize = 128;

/// The logs, by shelf.
#[derive(Default)]
pub(crate) struct Shelves {
    /// With the time of their last entry.
    busy: HashMap<Key, Time>,
    quiet: [HashSet<Key>; QUIET_SHELVES],
    /// Those of the quiet ones that had an entry: they go to the busy shelf next.
    rising: HashSet<Key>,
}

impl Shelves {
    /// Logs that were opened.
    pub(crate) fn add(&mut self, now: Time, keys: Vec<Key>) {
        for key in keys {
            for shelf in &mut self.quiet {
                shelf.remove(&key);
            }
            self.busy.insert(key, now);
        }
    }

    /// What the busy shelf's reader reads next.
    pub(crate) fn busy(&mut self, now: Time) -> Vec<Key> {
        let rising: Vec<Key> = self.rising.drain().collect();
        self.add(now, rising);
        self.busy.keys().cloned().collect()
    }

    /// Whether another reader should ask what there is for it.
    pub(crate) fn is_crowded(&self) -> bool {
        self.busy.len() > BUSY
    }

    /// What the reader of a quiet shelf reads next.
    pub(crate) fn quiet(&mut self, shelf: usize, now: Time) -> Vec<Key> {
        let all = self.quiet.iter().map(HashSet::len).sum::<usize>() + self.busy.len();
        let Some(own) = self.quiet.get_mut(shelf) else { return Vec::new() };
        let room = FULL.max(all.div_ceil(QUIET_SHELVES)).saturating_sub(own.len());
        let take = room.min(self.busy.len().saturating_sub(BUSY));
        if take > 0 {
            let mut oldest: Vec<(Time, Key)> = self.busy.iter().map(|(key, at)| (*at, key.clone())).collect();
            oldest.retain(|(at, _)| now.since(*at) >= QUIET);
            oldest.sort_by_key(|(at, _)| *at);
            for (_, key) in oldest.into_iter().take(take) {
                self.busy.remove(&key);
                own.insert(key);
            }
        }
        own.iter().cloned().collect()
    }

    /// Entries of this log were read.
    pub(crate) fn had_entries(&mut self, key: &Key, now: Time) {
        match self.busy.get_mut(key) {
            Some(at) => *at = now,
            None if self.quiet.iter().any(|shelf| shelf.contains(key)) => drop(self.rising.insert(key.clone())),
            None => {}
        }
    }

    /// The log is not read any more, or not now: it is added again when it is opened again.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.busy.remove(key);
        self.rising.remove(key);
        for shelf in &mut self.quiet {
            shelf.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Nsp;
    use proptest::prelude::*;

    fn log(n: usize) -> Key {
        Key::Log(Nsp::new(&format!("/{n}")))
    }

    #[test]
    fn the_busy_shelf_stays_small_however_many_logs_there_are() {
        let mut shelves = Shelves::default();
        shelves.add(Time(0), (0..5_000).map(log).collect());
        assert_eq!(shelves.busy(Time(1)).len(), 5_000);
        let taken: usize = (0..QUIET_SHELVES).map(|n| shelves.quiet(n, Time(1_001)).len()).sum();
        assert_eq!((taken, shelves.busy(Time(1_001)).len()), (5_000 - BUSY, BUSY));
        // One of them wakes up, and falls asleep again.
        let one = shelves.quiet(3, Time(1_002)).pop().unwrap();
        shelves.had_entries(&one, Time(1_100));
        assert!(shelves.quiet(3, Time(1_100)).contains(&one), "until the other reader takes it");
        assert!(shelves.busy(Time(1_200)).contains(&one));
        assert!(!shelves.quiet(3, Time(1_200)).contains(&one));
        (0..QUIET_SHELVES).for_each(|n| drop(shelves.quiet(n, Time(9_000))));
        assert_eq!(shelves.busy(Time(9_000)).len(), BUSY);
    }

    proptest! {
        /// Each log that was added and not removed stands on exactly one shelf, whatever happens in between.
        #[test]
        fn no_log_is_lost_and_none_is_on_two_shelves(steps in prop::collection::vec((0_u8..5, 0_usize..300, 0_u64..900), 1..400)) {
            let (mut shelves, mut there, mut now) = (Shelves::default(), HashSet::new(), 0);
            for (what, n, pause) in steps {
                now += pause;
                match what {
                    0 => {
                        shelves.add(Time(now), (n..n + 40).map(log).collect());
                        there.extend((n..n + 40).map(log));
                    }
                    1 => {
                        shelves.remove(&log(n));
                        there.remove(&log(n));
                    }
                    2 => shelves.had_entries(&log(n), Time(now)),
                    3 => drop(shelves.busy(Time(now))),
                    _ => drop(shelves.quiet(n % QUIET_SHELVES, Time(now))),
                }
                let mut all: Vec<Key> = shelves.busy.keys().cloned().collect();
                all.extend(shelves.quiet.iter().flatten().cloned());
                let once: HashSet<Key> = all.iter().cloned().collect();
                prop_assert_eq!(all.len(), once.len());
                prop_assert_eq!(&once, &there);
            }
        }
    }
}
