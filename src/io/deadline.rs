//! The one timer of a connection: set when the connection is about to wait, and left alone as long as it fires soon enough.
//!
//! Time limits begin anew with every request, and hardly any is ever reached: most requests are there at once, and wait for nothing. So the
//! timer is not taken back when a wait ends. If it fires too soon for what is waited for by then, it is set again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// Tells when a moment has come, one moment after the other.
#[derive(Default)]
pub(super) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Whether `due` has come. If not, the task is woken then, and maybe before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::time::Duration;
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
}
