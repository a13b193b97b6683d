//! Redis before and after: one look at it before the server starts, and the end of its connections when it stops.

use super::link::{Ended, Link, hear_reply};
use super::{CONNECT, REPLY, RedisStreams, lines};
use crate::id::Offset;
use crate::server::lock;
use crate::server::log::streams::{Command, Key};
use crate::server::notice::Notice;
use crate::server::redis::commands;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

impl RedisStreams {
    /// Connects, reads one entry, and hangs up: what is wrong (no Redis, another password, a user who may not) is said before the server
    /// needs it.
    pub async fn probe(self) {
        if let Err(ended) = self.look().await {
            self.0.say(&Notice::RedisNotUsable { redis: self.0.place(), reason: ended.to_string() });
        }
    }

    async fn look(&self) -> Result<(), Ended> {
        let mut link = Link::open(&self.0.options, &self.0.limits, REPLY).await?;
        let read = Command::XRead { key: Key::Control, after: Offset::ZERO, count: 1 };
        let mut command = Vec::new();
        // A read can always be encoded.
        let _ = commands::encode(&mut command, &self.0.options.names, &self.0.limits, &read);
        link.to.write_all(&command).await?;
        let answer = timeout(CONNECT, hear_reply(&mut link.from, &mut Vec::new(), &mut link.decoder)).await;
        commands::read_reply(answer.map_err(|_| Ended::Silent)??)?;
        Ok(())
    }

    /// Waits until all that was sent is in the log, for at most `time`; tells how many packets are not.
    pub async fn flush(&self, time: Duration) -> usize {
        let empty = async {
            while !lock(&self.0.queue).pipeline.is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(time, empty).await;
        lock(&self.0.queue).pipeline.waiting().0
    }

    /// The connections that [`RedisStreams::run`] kept are gone, as it was asked: that is no trouble. What still waits goes out over the next.
    pub fn hang_up(&self) {
        self.0.forget_awaited(&Ended::Silent);
        *lock(&self.0.lines) = lines();
        self.0.ready.store(false, Ordering::Relaxed);
    }
}
