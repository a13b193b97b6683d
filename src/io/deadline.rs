//! The one timer of a connection: set when the connection is about to wait, and left alone as long as it fires soon enough.
//!
//! Time limits begin anew with every request, and hardly any is ever reached: most requests are there at once, and wait for nothing. So the
//! timer is not taken back when a wait ends. If it fires too soon for what is waited for by then, it is set again.

use super::workers;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Tells when a moment has come, one moment after the other.
#[derive(Default)]
pub(super) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Whether `due` has come. If not, the task is woken then, and maybe before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(workers::own(|| sleep_until(due))));
        if timer.is_elapsed() || timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// What a body, or an answer, that does not go through at once is judged by: not by its whole time, which is long on a slow line, but by what
/// moves. It ends when nothing does for a while, or when it is slower than so many bytes a second on the whole.
pub(super) struct Pace {
    rest: Duration,
    rate: u64,
    begun: Instant,
    moved_at: Instant,
    moved: u64,
}

impl Pace {
    pub(super) fn new(now: Instant, rest_ms: u64, bytes_per_second: usize) -> Pace {
        let rate = u64::try_from(bytes_per_second).unwrap_or(u64::MAX).max(1);
        Pace { rest: Duration::from_millis(rest_ms), rate, begun: now, moved_at: now, moved: 0 }
    }

    /// So many bytes more have gone through.
    pub(super) fn moves(&mut self, now: Instant, bytes: usize) {
        self.moved_at = now;
        self.moved = self.moved.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// When it ends, if nothing moves until then.
    pub(super) fn due(&self) -> Instant {
        let earned = Duration::from_secs(self.moved / self.rate)
            + Duration::from_millis(self.moved % self.rate * 1_000 / self.rate);
        let whole = self.rest.saturating_add(earned);
        let [at_rest, on_the_whole] =
            [(self.moved_at, self.rest), (self.begun, whole)].map(|(at, time)| at.checked_add(time));
        // A moment beyond the end of the clock never comes.
        at_rest.into_iter().chain(on_the_whole).min().unwrap_or(self.moved_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::runtime::Builder;

    const SECOND: Duration = Duration::from_secs(1);

    /// What the deadline says to each moment, seconds from now, and for which one its timer is set then. No time passes.
    fn check(mut deadline: Deadline, now: Instant, moments: &[(i32, Poll<()>, i32)]) {
        let at = |seconds: i32| match u32::try_from(seconds) {
            Ok(seconds) => now + SECOND * seconds,
            Err(_) => now - SECOND * seconds.unsigned_abs(),
        };
        for (due, want, set) in moments {
            let answer = deadline.poll(&mut Context::from_waker(Waker::noop()), at(*due));
            let timer = deadline.timer.as_ref().map(|timer| timer.deadline());
            assert_eq!((answer, timer), (*want, Some(at(*set))), "{due}");
        }
    }

    #[test]
    fn the_timer_is_set_when_it_must_be() {
        let (ready, pending) = (Poll::Ready(()), Poll::Pending);
        Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let now = Instant::now();
            // A later moment leaves the timer alone, a sooner one does not.
            check(
                Deadline::default(),
                now,
                &[(60, pending, 60), (61, pending, 60), (10, pending, 10), (70, pending, 10)],
            );
            // It has come; the next one has not.
            check(Deadline::default(), now, &[(-5, ready, -5), (60, pending, 60), (-1, ready, -1), (-1, ready, -1)]);
            // The timer fires for a wait that has ended: it is set for the one that is on.
            let fires = Deadline { timer: Some(Box::pin(sleep_until(now - SECOND))) };
            check(fires, now, &[(60, pending, 60)]);
        });
    }

    /// How many milliseconds a sender lasts that sends `bytes` every `every` milliseconds, `total` in all; `None`: as long as it needs.
    fn lasts(every: u64, bytes: usize, total: usize) -> Option<u64> {
        let begin = Instant::now();
        let (mut pace, mut ms, mut sent) = (Pace::new(begin, 10_000, 1_000), 0, 0);
        while sent < total {
            let next = begin + Duration::from_millis(ms + every);
            if pace.due() <= next {
                return Some(u64::try_from(pace.due().duration_since(begin).as_millis()).unwrap());
            }
            ms += every;
            sent += bytes;
            pace.moves(next, bytes);
        }
        None
    }

    #[test]
    fn what_moves_has_time_and_what_drips_has_not() {
        for (name, every, bytes, total, want) in [
            ("600 kB over 48 kB/s", 100, 4_800, 600_000, None),
            ("1 MB over GPRS", 1_000, 4_000, 1_000_000, None),
            ("a pause of nine seconds, again and again", 9_000, 10_000, 200_000, None),
            ("a pause of ten", 10_000, 100_000, 200_000, Some(10_000)),
            ("one byte a second", 1_000, 1, 1_000, Some(10_010)),
            ("a byte every nine seconds", 9_000, 1, 1_000, Some(10_001)),
            ("half of the rate", 1_000, 500, 1_000_000, Some(19_000)),
            ("just below it", 1_000, 990, 1_000_000, Some(901_000)),
            ("just it", 1_000, 1_000, 1_000_000, None),
        ] {
            assert_eq!(lasts(every, bytes, total), want, "{name}");
        }
        let now = Instant::now();
        let mut pace = Pace::new(now, u64::MAX, 0);
        pace.moves(now, usize::MAX);
        assert!(pace.due() >= now);
    }
}
