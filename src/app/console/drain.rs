//! `drain`: nobody new is let in, and those who are here go in even portions, so that the other servers get them bit by bit.
//!
//! Their transports close without a DISCONNECT packet, as for `stop`: they come back by themselves, elsewhere, and recover.

use super::notice::Said;
use super::terminal::Terminal;
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::Server;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Portions in a second.
const STEPS: u64 = 10;
/// Between two lines about how far it is, at least, and how many lines there are, at most.
const TELL: Duration = Duration::from_secs(1);
const LINES: u64 = 10;

/// How many of `clients` are gone when `step` of `steps` are done.
fn gone(clients: usize, step: u64, steps: u64) -> usize {
    let whole = u128::try_from(clients).unwrap_or(u128::MAX).saturating_mul(u128::from(step));
    usize::try_from(whole / u128::from(steps.max(1))).unwrap_or(clients)
}

/// Sends everybody away over `seconds`. Dropping it ends that; the server must have been told to let nobody in.
pub async fn drain(server: Server, terminal: Arc<Terminal>, seconds: u64) {
    let connections = server.connections();
    let (all, steps) = (connections.len(), (seconds * STEPS).max(1));
    let begin = Instant::now();
    let total = Duration::from_secs(seconds);
    let pause = TELL.max(total / u32::try_from(LINES).unwrap_or(1));
    let mut next = begin + pause;
    let mut left = connections.into_iter();
    for step in 1..=steps {
        sleep_until(begin + total.mul_f64(step as f64 / steps as f64)).await;
        let due = gone(all, step, steps) - gone(all, step - 1, steps);
        let now = server.now();
        for connection in left.by_ref().take(due) {
            connection.handle(now, Input::Close(Reason::ServerShuttingDown));
        }
        if Instant::now() >= next && step < steps {
            next += pause;
            let seconds = (total.saturating_sub(begin.elapsed())).as_secs();
            terminal.line(Said::Drained { left: server.connection_count(), clients: all, seconds });
        }
    }
    // Who came in the moment before the door was closed.
    for connection in server.connections() {
        connection.handle(server.now(), Input::Close(Reason::ServerShuttingDown));
    }
    terminal.line(Said::DrainEnded);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_even_and_nobody_is_left() {
        for (clients, steps) in [(0, 1), (1, 300), (7, 3), (100_000, 300), (3, 864_000)] {
            assert_eq!((gone(clients, 0, steps), gone(clients, steps, steps)), (0, clients));
            let portion = |step| gone(clients, step, steps) - gone(clients, step - 1, steps);
            let portions: Vec<usize> = (1..=steps).map(portion).collect();
            let (least, most) = (portions.iter().min().unwrap(), portions.iter().max().unwrap());
            assert!(most - least <= 1, "{clients} in {steps}: {least} to {most}");
        }
    }
}
