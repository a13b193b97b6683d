//! Counters that `/metrics`, `status` and the tests read. They only grow; gauges are asked of the server itself.

use super::lock;
use super::recovery::record::Refused;
use crate::id::{Nsp, SocketId, Time};
use crate::proto::handshake::Refusal;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Refused returns that are remembered: enough to see a pattern.
const REMEMBERED: usize = 10;
/// Places of a counter. With more threads than that some share one.
const PLACES: usize = 8;

thread_local! {
    /// Where this thread counts.
    static PLACE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % PLACES
    };
}

/// A line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

/// A counter that any thread may raise. Each has a place of its own: two threads that raise the same number for every packet would wait for
/// each other's caches.
#[derive(Debug, Default)]
pub struct Counter([Line; PLACES]);

impl Counter {
    /// One more.
    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub(crate) fn add(&self, n: usize) {
        let place = PLACE.with(|place| *place);
        self.0[place].0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(Ordering::Relaxed)).sum()
    }
}

/// How long something took, in milliseconds: how many took at most each of [`Histogram::BOUNDS_MS`], or longer than all of them.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; Histogram::BOUNDS_MS.len() + 1],
    sum_ms: Counter,
}

impl Histogram {
    /// The bounds, in milliseconds: from what a log nearby takes to what clients do not wait for.
    pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

    /// Counts one that took so long.
    pub(crate) fn add(&self, ms: u64) {
        let place = Histogram::BOUNDS_MS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.counts.get(place) {
            count.one();
        }
        self.sum_ms.add(usize::try_from(ms).unwrap_or(usize::MAX));
    }

    /// How many took at most each of the bounds, as many as all before it and its own; at last all there are.
    #[must_use]
    pub fn cumulative(&self) -> Vec<u64> {
        let sum = |sum: &mut u64, count: &Counter| {
            *sum += count.get();
            Some(*sum)
        };
        self.counts.iter().scan(0, sum).collect()
    }

    /// Of all together.
    #[must_use]
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.get()
    }
}

/// A client that asked for its session and got a new one. What it asked with, the private id of the session, is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedReturn {
    /// When.
    pub at: Time,
    /// In which namespace.
    pub nsp: Nsp,
    /// The client's public id before, where the session was found.
    pub id: Option<SocketId>,
    /// The address that it came from.
    pub address: Box<str>,
    /// Why.
    pub reason: Refused,
}

/// What has happened since the server was made.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Engine.IO sessions opened.
    pub sessions_opened: Counter,
    /// Polling sessions that moved to WebSocket.
    pub upgrades: Counter,
    /// Packets from clients.
    pub messages_in: Counter,
    /// Packets to clients, one for each receiver.
    pub messages_out: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Sessions given back whole.
    pub recoveries_granted: Counter,
    /// Clients that asked for their session and got a new one, by reason: see [`Refused`].
    pub recoveries_refused: [Counter; 7],
    last_refused: Mutex<VecDeque<RefusedReturn>>,
    /// Requests refused, by the official code.
    pub refused: [Counter; 6],
    /// Requests refused by a limit of HTTP: 408, 411, 413, 431 and the like.
    pub refused_http: Counter,
    /// Requests that a proxy sent again when its connection broke: not taken for new ones.
    pub requests_repeated: Counter,
    /// Requests passed on to the server that has the session.
    pub forwarded: Counter,
    /// Requests that could not be passed on, because the server that has the session was not reached.
    pub unreachable: Counter,
    /// Connections refused because there are too many.
    pub refused_full: Counter,
    /// Sessions and connections refused because their address has too many, or opens them too quickly.
    pub refused_address: Counter,
    /// Sessions without a namespace whose place was given to another.
    pub evicted: Counter,
    /// Times that a client was read more slowly, because it sends more events than it may.
    pub slowed: Counter,
    /// Sessions closed because of a packet that breaks the protocol.
    pub protocol_errors: Counter,
    /// Sessions closed because no pong came.
    pub ping_timeouts: Counter,
    /// Sessions cut because their client did not read.
    pub overflows: Counter,
    /// Times that a client was read no further, because as many of its events waited for handlers as may.
    pub readings_paused: Counter,
    /// Volatile packets dropped because their client was busy.
    pub volatile_dropped: Counter,
    /// Entries appended to logs.
    pub log_appends: Counter,
    /// Appends that the log did not take, and commands that it refused.
    pub log_failures: Counter,
    /// Entries read from a shared log that repeat earlier ones.
    pub log_repeats: Counter,
    /// Entries of a shared log that could not be read.
    pub log_unreadable: Counter,
    /// Times that a shared log had lost entries before they were read.
    pub log_holes: Counter,
    /// Times that a shared log was cut off by others behind what was read here.
    pub log_cuts: Counter,
    /// Sessions of clients that are away which were forgotten before their time, or not kept at all.
    pub sessions_forgotten: Counter,
    /// From appending an entry to a shared log to delivering it here, of one entry at a time.
    pub delivery: Histogram,
    /// From a session that was found to its client let in with all that it missed.
    pub replay: Histogram,
}

impl Metrics {
    /// Counts a return that was refused, and remembers the last ones.
    pub(crate) fn refuse_return(&self, refused: RefusedReturn) {
        let index = Refused::ALL.iter().position(|known| *known == refused.reason);
        if let Some(counter) = index.and_then(|index| self.recoveries_refused.get(index)) {
            counter.one();
        }
        let mut last = lock(&self.last_refused);
        last.truncate(REMEMBERED - 1);
        last.push_front(refused);
    }

    /// The last returns that were refused, the newest first; at most ten.
    #[must_use]
    pub fn last_refused(&self) -> Vec<RefusedReturn> {
        lock(&self.last_refused).iter().cloned().collect()
    }

    /// Counts a refused request.
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(counter) = self.refused.get(usize::from(refusal.code())) {
            counter.one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_more_threads_count_than_there_are_places() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * PLACES {
                scope.spawn(|| (0..1_000).for_each(|_| counter.one()));
            }
        });
        assert_eq!(counter.get(), 3_000 * PLACES as u64);
    }

    #[test]
    fn a_time_counts_at_its_bound_and_at_all_above() {
        let histogram = Histogram::default();
        for ms in [0, 1, 2, 3, 10_000, 10_001, 1 << 40] {
            histogram.add(ms);
        }
        assert_eq!(histogram.cumulative(), [2, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 7]);
        assert_eq!(histogram.sum_ms(), 20_007 + (1 << 40));
    }

    #[test]
    fn the_last_refused_returns() {
        let metrics = Metrics::default();
        let refused = |ms| RefusedReturn {
            at: Time(ms),
            nsp: Nsp::new("/"),
            id: None,
            address: "192.0.2.1".into(),
            reason: Refused::Gap,
        };
        assert_eq!(metrics.last_refused(), []);
        for ms in 1..=25 {
            metrics.refuse_return(refused(ms));
        }
        assert_eq!(metrics.last_refused(), (16..=25).rev().map(refused).collect::<Vec<_>>());
        assert_eq!(metrics.recoveries_refused[2].get(), 25);
    }
}
