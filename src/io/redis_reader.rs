//! What comes out of the log in Redis: one connection that waits for entries of the busy logs, and more for the quiet ones where there are
//! very many. A reply is bounded in bytes: how many entries are asked for follows from how large and how many the last ones were.

use super::link::{Ended, Link, hear_reply};
use super::{FIRST_PAUSE, LATE, LONGEST_PAUSE, REFUSED_PAUSE, RedisStreams, count_unreadable};
use crate::id::{Offset, Time};
use crate::server::log::streams::{Key, PAGE};
use crate::server::redis::commands::{self, Page, Trouble};
use crate::server::{Server, lock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

/// Milliseconds that an XREAD waits for entries.
const BLOCK: u64 = 5_000;
/// Bytes of a reply that are aimed at.
const AIM: usize = 4 * 1024 * 1024;
/// Bytes of a reply, unless one entry alone may have more. One that would be larger is not read to its end, and fewer entries are asked for.
const REPLY: usize = 32 * 1024 * 1024;
/// Milliseconds without having read everything after which a reader counts as late: logs are not cut so soon.
const BEHIND: u64 = 1_000;
/// Entries of a stream that are asked for while nothing is known.
const FIRST: usize = 16;

/// How many entries of each stream to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(usize);

impl Count {
    /// From a reply of so many bytes: all its entries, and those of its longest page.
    fn learn(&mut self, bytes: usize, entries: usize, longest: usize) {
        let fit = (AIM / (bytes / entries.max(1)).max(1)).clamp(1, PAGE);
        // As many again as there were, because more are coming; a full page asks for twice as many.
        self.0 = longest.saturating_mul(2).max(FIRST).min(fit);
    }

    /// A reply was too large to be read.
    fn shrink(&mut self) {
        self.0 = (self.0 / 4).max(1);
    }
}

/// When a reader may have missed what was cut off in front of it.
struct Pace {
    /// It was late, or read nothing but full pages for a while: what it reads begins with what it knows.
    late: bool,
    sent: Time,
    /// When it had last read all that there was.
    level: Time,
}

/// What one reader keeps between its connections.
struct Reader {
    /// A quiet shelf; without, the reader of the busy one.
    shelf: Option<usize>,
    count: Count,
    /// Streams are read one by one, without waiting: one of them is refused, or all together are too large.
    alone: bool,
}

impl RedisStreams {
    /// Reads what stands on a shelf, until the server is dropped.
    pub(super) async fn keep_reading(self, server: Server, shelf: Option<usize>) {
        let mut reader = Reader { shelf, count: Count(FIRST), alone: false };
        let reply = REPLY.max(self.0.limits.entry_bytes().saturating_add(REPLY / 8));
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(shelf) = shelf {
                while lock(&self.0.shelves).quiet(shelf, (self.0.clock)()).is_empty() {
                    self.0.crowded.notified().await;
                }
            }
            let ended = match Link::open(&self.0.options, &self.0.limits, reply).await {
                Ok(link) => self.follow(link, &server, &mut reader).await,
                Err(ended) => ended,
            };
            if let Ended::Idle = ended {
                self.0.rests(super::line_of(shelf));
                continue;
            }
            if self.0.is_down(super::line_of(shelf), &ended) {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&self, mut link: Link, server: &Server, reader: &mut Reader) -> Ended {
        let mut up = false;
        // A reader that is late could jump over what was trimmed meanwhile: it first sees the last entry that it knows.
        let now = (self.0.clock)();
        let mut pace = Pace { late: true, sent: now, level: now };
        loop {
            let cursors = self.next_cursors(server, reader.shelf, pace.late);
            if cursors.is_empty() {
                if reader.shelf.is_some() {
                    return Ended::Idle;
                }
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            let read = match std::mem::take(&mut reader.alone) {
                true => self.read_alone(&mut link, server, &cursors, reader).await,
                false => self.read_together(&mut link, server, &cursors, reader, &mut pace).await,
            };
            match read {
                Ok(()) => {}
                Err(Ended::Resp(error)) => {
                    // So many large entries at once are too much: fewer next time, of one stream.
                    reader.count.shrink();
                    reader.alone = true;
                    return error.into();
                }
                Err(ended) => return ended,
            }
            if !std::mem::replace(&mut up, true) {
                self.0.is_up(super::line_of(reader.shelf), server);
            }
        }
    }

    fn next_cursors(&self, server: &Server, shelf: Option<usize>, late: bool) -> Vec<(Key, Offset)> {
        let now = (self.0.clock)();
        let mut shelves = lock(&self.0.shelves);
        let keys = match shelf {
            Some(shelf) => shelves.quiet(shelf, now),
            None => {
                shelves.add(now, server.fresh_logs());
                let mut keys = server.side_keys().to_vec();
                keys.extend(shelves.busy(now));
                if shelves.is_crowded() {
                    self.0.crowded.notify_waiters();
                }
                keys
            }
        };
        let cursor = |key: Key| match server.cursor(&key, late) {
            Some(after) => Some((key, after)),
            None => {
                shelves.remove(&key);
                None
            }
        };
        keys.into_iter().filter_map(cursor).collect()
    }

    /// Waits for entries of any of the streams.
    async fn read_together(
        &self,
        link: &mut Link,
        server: &Server,
        cursors: &[(Key, Offset)],
        reader: &mut Reader,
        pace: &mut Pace,
    ) -> Result<(), Ended> {
        let most = reader.count.0 + usize::from(pace.late);
        let before = std::mem::replace(&mut pace.sent, (self.0.clock)());
        let mut command = Vec::new();
        commands::encode_read(&mut command, &self.0.options.names, cursors, most, Some(BLOCK));
        link.to.write_all(&command).await?;
        let value = hear_reply(&mut link.from, &mut Vec::new(), &mut link.decoder).await?;
        if commands::is_refused_for_a_stream(&value) {
            self.0.say_refused(None, &value);
            reader.alone = true;
            return Ok(());
        }
        let pages = commands::read_reply(value)?;
        let longest = pages.iter().map(|(_, entries)| entries.len()).max().unwrap_or(0);
        let entries = pages.iter().map(|(_, entries)| entries.len()).sum();
        let now = (self.0.clock)();
        if longest < most {
            pace.level = now;
        }
        let is_late = now.since(before) > LATE || now.since(pace.level) > BEHIND;
        let was_late = std::mem::replace(&mut pace.late, is_late);
        if is_late && !was_late {
            // What came may lie behind a hole: it is read again, with what must stand before it.
            reader.count.learn(link.decoder.reply_bytes(), entries, longest);
            return Ok(());
        }
        self.hand_over(pages, cursors, server, was_late)?;
        reader.count.learn(link.decoder.reply_bytes(), entries, longest);
        Ok(())
    }

    /// Reads one stream after the other, each from the last entry that is known, and gives up those that can't be read.
    async fn read_alone(
        &self,
        link: &mut Link,
        server: &Server,
        cursors: &[(Key, Offset)],
        reader: &mut Reader,
    ) -> Result<(), Ended> {
        let mut refused = false;
        let mut command = Vec::new();
        for (key, _) in cursors {
            let Some(after) = server.cursor(key, true) else { continue };
            command.clear();
            let one = [(key.clone(), after)];
            commands::encode_read(&mut command, &self.0.options.names, &one, reader.count.0 + 1, None);
            link.to.write_all(&command).await?;
            let value = hear_reply(&mut link.from, &mut Vec::new(), &mut link.decoder).await?;
            if commands::is_refused_for_a_stream(&value) {
                refused = true;
                server.unreadable(key);
                continue;
            }
            let pages = commands::read_reply(value)?;
            self.hand_over(pages, &one, server, true)?;
        }
        if refused {
            sleep(REFUSED_PAUSE).await;
        }
        Ok(())
    }

    /// What was read `again` begins with an entry that is known.
    fn hand_over(
        &self,
        pages: Vec<Page<'_>>,
        cursors: &[(Key, Offset)],
        server: &Server,
        again: bool,
    ) -> Result<(), Trouble> {
        // Redis keeps to the order in which it was asked.
        let mut cursors = cursors.iter();
        for (name, entries) in pages {
            let cursor = cursors.find(|(key, _)| self.0.options.names.is(key, name));
            let (key, after) = cursor.ok_or(Trouble::Nonsense)?;
            let is_news = entries.len() > usize::from(again);
            let items = commands::items(key, entries, &self.0.limits)?;
            count_unreadable(&items, server.metrics());
            let now = (self.0.clock)();
            server.feed(now, key, *after, items);
            if is_news {
                lock(&self.0.shelves).had_entries(key, now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However large the entries and whatever came before, the next reply has about as many bytes as are aimed at, unless one entry has more.
    #[test]
    fn what_is_asked_for_follows_the_size_of_what_came() {
        for (size, longest, want) in [
            (100, 3, 16),
            (100, 16, 32),
            (100, 600, PAGE),
            (900_000, 16, 4),
            (900_000, 4, 4),
            (90_000_000, 1, 1),
            (0, 0, 16),
        ] {
            let mut count = Count(longest);
            count.learn(size * longest, longest, longest);
            assert_eq!(count.0, want, "{size} {longest}");
            assert!(size * count.0 <= AIM.max(size));
        }
        let mut count = Count(PAGE);
        (0..9).for_each(|_| count.shrink());
        assert_eq!(count.0, 1);
    }
}
