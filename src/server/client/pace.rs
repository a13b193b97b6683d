//! How quickly one client may send: whoever sends more events a second than it may is read more slowly. Nothing is lost or refused; the client
//! feels it as a slow network, and others do not feel the client.

use crate::id::Time;
use crate::server::client::connection::Connection;
use crate::server::timers::Timer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Microseconds of events that a client may send at once.
const SAVED: u64 = 10_000_000;
/// Milliseconds more that it rests, so that it does not go on event by event.
const REST: u64 = 100;

/// What one client has sent, against the clock.
#[derive(Default)]
pub(super) struct Pace {
    /// Until when its events would have lasted at the rate that is allowed, in microseconds.
    due: AtomicU64,
    /// It is not read at present.
    rests: AtomicBool,
    /// It has sent a message.
    spoken: AtomicBool,
}

impl Pace {
    /// Whether this is the client's first message.
    pub(super) fn is_first(&self) -> bool {
        !self.spoken.load(Ordering::Relaxed) && !self.spoken.swap(true, Ordering::Relaxed)
    }
}

impl Connection {
    /// The client is to be read no further: as many of its events wait for handlers as may, or it sends more than it may.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire) > 0
    }

    /// As many of its events wait for a handler as may.
    pub(crate) fn pause_reading(&self) {
        self.full.fetch_add(1, Ordering::AcqRel);
        self.server.metrics().readings_paused.one();
    }

    /// An event has come from the client.
    pub(super) fn keep_pace(&self) {
        let rate = u64::try_from(self.server.options().limits.events_per_second).unwrap_or(u64::MAX);
        let Some(token) = 1_000_000_u64.checked_div(rate) else { return };
        let now = self.server.recently().0.saturating_mul(1_000);
        let due = self.pace.due.load(Ordering::Relaxed).max(now).saturating_add(token);
        self.pace.due.store(due, Ordering::Relaxed);
        let over = due.saturating_sub(now).saturating_sub(SAVED);
        if over > 0 && !self.pace.rests.swap(true, Ordering::AcqRel) {
            self.full.fetch_add(1, Ordering::AcqRel);
            self.server.metrics().slowed.one();
            let until = Time((now + over) / 1_000 + REST);
            self.server.timers().add(until, Timer::Pace(self.me.clone()));
        }
    }

    /// It has rested long enough.
    pub(crate) fn read_on(&self) {
        if self.pace.rests.swap(false, Ordering::AcqRel) {
            self.resume_reading();
        }
    }
}
