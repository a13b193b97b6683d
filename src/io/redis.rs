//! The log in Redis: one connection for commands, one that waits for entries, and the clock that tends the cluster.
//!
//! Both connections are made again for ever, with back-off; what waits meanwhile is kept in the `Pipeline`. The commands' connection is
//! given up only when Redis has hung up, or has not answered for a long time: what is on its way in an old connection could arrive after a
//! look-up in the new one.

use crate::id::{Clock, Time};
use crate::limits::Limits;
use crate::server::log::entry::Entry;
use crate::server::log::streams::{Command, Done, Item, Key, Reply, StreamError, Streams};
use crate::server::metrics::Metrics;
use crate::server::notice::Notice;
use crate::server::redis::commands::{self, Trouble};
use crate::server::redis::pipeline::{Pipeline, Settled};
use crate::server::redis::resp::{Decoder, Value};
use crate::server::redis::shelves::{QUIET_SHELVES, Shelves};
use crate::server::{Log, Server, lock};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// To connect, and for the answer to AUTH.
const CONNECT: Duration = Duration::from_secs(3);
/// Milliseconds without an answer after which Redis counts as away; heartbeats ask every two seconds.
const STALLED: u64 = 3_000;
/// Milliseconds between two reads after which the reader counts as late: far less than logs are kept.
const LATE: u64 = 30_000;
/// Bytes of commands that are written at once.
const BATCH: usize = 256 * 1024;
/// Bytes read at once, at most.
const CHUNK: usize = 64 * 1024;
/// Between two attempts to connect, at first; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Milliseconds between two lines about the same trouble.
const REPEAT: u64 = 30_000;
/// Milliseconds between two lines about different troubles: both connections break at once, and each in its own words.
const NEWS: u64 = 2_000;
/// Bytes of one reply to a command: a page of large entries takes fewer at once next time.
const REPLY: usize = 256 * 1024 * 1024;
/// Before a stream that was refused is asked for again.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);
/// Kinds of refusals that are told apart.
const KINDS: usize = 20;
/// Between two looks at the cluster.
const TICK: Duration = Duration::from_millis(500);

#[path = "redis_link.rs"]
mod link;
#[path = "redis_reader.rs"]
mod reader;
#[path = "redis_visit.rs"]
mod visit;

pub use link::RedisOptions;
use link::{Ended, From, Link, To, hear_some};

/// How the connection to Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// Both connections stand.
    pub connected: bool,
    /// Packets that wait, and their bytes.
    pub waiting: (usize, usize),
    /// Why it is away, if it is.
    pub trouble: Option<String>,
}

struct Queue {
    pipeline: Pipeline,
    /// The commands whose replies are awaited, oldest first, and when they were sent.
    awaited: VecDeque<(Command, Time)>,
}

/// What one of the connections knows of its state.
#[derive(Default)]
struct Line {
    up: bool,
    trouble: Option<String>,
    told: Option<Time>,
}

struct Shared {
    options: RedisOptions,
    limits: Limits,
    clock: Clock,
    queue: Mutex<Queue>,
    notify: Notify,
    lines: Mutex<Vec<Line>>,
    shelves: Mutex<Shelves>,
    /// There is work for the readers of quiet shelves.
    crowded: Notify,
    /// When a kind of refusal was told of, and how many there were since.
    refusals: Mutex<HashMap<String, (Time, u64)>>,
    ready: AtomicBool,
    log: Option<Log>,
}

/// The place of the commands' connection among the lines; the readers' follow.
const COMMANDS: usize = 0;

/// The line of the reader of this quiet shelf; without one, of the busy shelf.
fn line_of(shelf: Option<usize>) -> usize {
    shelf.map_or(1, |shelf| shelf + 2)
}

fn lines() -> Vec<Line> {
    (0..QUIET_SHELVES + 2).map(|_| Line::default()).collect()
}

/// A log in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisStreams(Arc<Shared>);

impl Streams for RedisStreams {
    fn submit(&self, now: Time, command: Command, done: Option<Done>) -> Result<(), StreamError> {
        if self.0.is_dropped(&command) {
            return Ok(());
        }
        let refused = match self.0.can_be_written(&command) {
            Ok(()) => {
                lock(&self.0.queue).pipeline.submit(now, command, done).map_err(|done| (done, StreamError::Unavailable))
            }
            Err(error) => Err((done, error)),
        };
        match refused {
            Ok(()) => {
                self.0.notify.notify_one();
                Ok(())
            }
            Err((done, error)) => {
                done.into_iter().for_each(|done| done(Reply::Failed(error)));
                Err(error)
            }
        }
    }

    fn shared(&self) -> bool {
        true
    }
}

impl RedisStreams {
    /// A log that is not connected yet: [`RedisStreams::run`] does that.
    #[must_use]
    pub(crate) fn new(options: RedisOptions, limits: &Limits, clock: Clock, log: Option<Log>) -> RedisStreams {
        let pipeline = Pipeline::new(limits.log_waiting, limits.log_waiting_bytes);
        RedisStreams(Arc::new(Shared {
            options,
            limits: limits.clone(),
            clock,
            queue: Mutex::new(Queue { pipeline, awaited: VecDeque::new() }),
            notify: Notify::new(),
            lines: Mutex::new(lines()),
            shelves: Mutex::default(),
            crowded: Notify::new(),
            refusals: Mutex::default(),
            ready: AtomicBool::new(false),
            log,
        }))
    }

    /// Keeps the connections and the cluster of `server` going, until it is dropped. `listens` is where it listens: other servers reach it there,
    /// or, where that is every address, at the one that it has on its connection to Redis; `None`: it has been told another.
    pub async fn run(self, server: Server, listens: Option<SocketAddr>) {
        *lock(&self.0.shelves) = Shelves::default();
        lock(&self.0.shelves).add((self.0.clock)(), server.namespaces().iter().map(|nsp| nsp.log_key()).collect());
        // Apart, because most servers never need them.
        let mut quiet = JoinSet::new();
        for shelf in 0..QUIET_SHELVES {
            quiet.spawn(self.clone().keep_reading(server.clone(), Some(shelf)));
        }
        let mut commands = pin!(self.clone().keep_commands(server.clone(), listens));
        let mut reader = pin!(self.clone().keep_reading(server.clone(), None));
        let mut tending = pin!(self.tend(server));
        poll_fn(|cx| {
            let _ = (commands.as_mut().poll(cx), reader.as_mut().poll(cx), tending.as_mut().poll(cx));
            Poll::<()>::Pending
        })
        .await;
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> RedisStatus {
        let lines = lock(&self.0.lines);
        let trouble = lines.iter().find_map(|line| line.trouble.clone());
        let up = all_up(&lines);
        drop(lines);
        let now = (self.0.clock)();
        let queue = lock(&self.0.queue);
        let stalled = queue.awaited.front().is_some_and(|(_, sent)| now.since(*sent) > STALLED);
        let trouble = trouble.or_else(|| stalled.then(|| Ended::Silent.to_string()));
        RedisStatus { connected: up && !stalled, waiting: queue.pipeline.waiting(), trouble }
    }

    // ---- commands

    async fn keep_commands(self, server: Server, listens: Option<SocketAddr>) {
        let mut pause = FIRST_PAUSE;
        let reply = REPLY.max(self.0.limits.entry_bytes().saturating_mul(2));
        loop {
            let ended = match Link::open(&self.0.options, &self.0.limits, reply).await {
                Ok(link) => {
                    if let Some(listens) = listens {
                        server.set_address(&announced(listens, link.local).to_string());
                    }
                    self.serve(link, &server).await
                }
                Err(ended) => ended,
            };
            self.0.forget_awaited(&ended);
            if self.0.is_down(COMMANDS, &ended) {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends what waits and hears the replies until the connection ends.
    async fn serve(&self, link: Link, server: &Server) -> Ended {
        let mut hearing = pin!(self.hear(link.from, link.decoder, server));
        let mut speaking = pin!(self.speak(link.to));
        poll_fn(|cx| match hearing.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => speaking.as_mut().poll(cx),
        })
        .await
    }

    async fn speak(&self, mut write: To) -> Ended {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            self.0.gather(&mut bytes);
            if bytes.is_empty() {
                // Room stays for the next few.
                bytes.shrink_to(CHUNK);
                self.0.notify.notified().await;
                continue;
            }
            match timeout(link::ANSWER, write.write_all(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return Ended::Silent,
            }
        }
    }

    async fn hear(&self, mut read: From, mut decoder: Decoder, server: &Server) -> Ended {
        let mut up = false;
        let mut bytes = Vec::new();
        let mut asked = false;
        loop {
            match hear_some(&mut read, &mut bytes).await {
                Ok(()) => {}
                // Silence is in order while nothing is asked; what was asked in one silence must be answered in the next.
                Err(Ended::Silent) if !asked => {
                    asked = !lock(&self.0.queue).awaited.is_empty();
                    continue;
                }
                Err(ended) => return ended,
            }
            asked = false;
            let mut at = 0;
            loop {
                match decoder.next(&bytes, &mut at) {
                    Ok(true) => match self.0.answered(decoder.reply(), server) {
                        Ok((settled, appended)) => {
                            // Redis may take a connection and refuse everything, or give answers and refuse to write.
                            if appended && !std::mem::replace(&mut up, true) {
                                self.0.is_up(COMMANDS, server);
                            }
                            settle(settled);
                        }
                        Err(trouble) => return trouble.into(),
                    },
                    Ok(false) => break,
                    Err(error) => return error.into(),
                }
            }
        }
    }

    // ---- time

    async fn tend(&self, server: Server) {
        loop {
            let now = (self.0.clock)();
            server.handle_timeouts(now);
            server.tend_cluster(now);
            let given_up = lock(&self.0.queue).pipeline.give_up(now);
            settle(given_up);
            self.0.tell_ready(&server);
            sleep(TICK).await;
        }
    }
}

/// The connections that every server needs stand, and no other one is in trouble.
fn all_up(lines: &[Line]) -> bool {
    lines.iter().take(2).all(|line| line.up) && lines.iter().all(|line| line.trouble.is_none())
}

/// Where others reach a server that listens there: where that is every address, at the one that it has towards Redis; one on the same machine,
/// where it has none.
fn announced(listens: SocketAddr, local: Option<IpAddr>) -> SocketAddr {
    match listens.ip().is_unspecified() {
        true => SocketAddr::new(local.unwrap_or(Ipv4Addr::LOCALHOST.into()), listens.port()),
        false => listens,
    }
}

fn settle(settled: Settled) {
    settled.into_iter().for_each(|(done, reply)| done(reply));
}

fn count_unreadable(items: &[Item], metrics: &Metrics) {
    let unreadable = items.iter().filter(|(_, posted)| commands::is_unreadable(posted)).count();
    metrics.log_unreadable.add(unreadable);
}

impl Shared {
    /// Binary arguments may be such that no entry can be made of them; and what readers would refuse for its size is not sent.
    fn can_be_written(&self, command: &Command) -> Result<(), StreamError> {
        let Command::XAdd { posted, .. } = command else { return Ok(()) };
        // Binary grows by a third on its way, and what a weight can't see is small.
        if posted.entry.weight() > self.limits.entry_bytes() / 2 {
            return Err(StreamError::Refused);
        }
        match posted.entry.attachments().is_empty() {
            true => Ok(()),
            false => commands::encode(&mut Vec::new(), &self.options.names, &self.limits, command),
        }
    }

    /// Volatile events don't wait for a Redis that is away.
    fn is_dropped(&self, command: &Command) -> bool {
        let Command::XAdd { posted, .. } = command else { return false };
        matches!(posted.entry, Entry::Passing { .. }) && !lock(&self.lines)[COMMANDS].up
    }

    /// Puts the next commands into `bytes`.
    fn gather(&self, bytes: &mut Vec<u8>) {
        let now = (self.clock)();
        let mut queue = lock(&self.queue);
        while bytes.len() < BATCH {
            let Some(command) = queue.pipeline.next_command() else { return };
            // Whether it can be encoded was seen when it was taken.
            let _ = commands::encode(bytes, &self.options.names, &self.limits, &command);
            queue.awaited.push_back((command, now));
        }
    }

    fn forget_awaited(&self, ended: &Ended) {
        let mut queue = lock(&self.queue);
        let mut given_up = queue.pipeline.give_up((self.clock)());
        if let Ended::Resp(_) = ended {
            given_up.extend(queue.pipeline.too_large());
        }
        queue.pipeline.broken();
        queue.awaited.clear();
        drop(queue);
        settle(given_up);
    }

    /// What a reply settles, and whether it is the one to an append that was taken.
    fn answered(&self, value: Value<'_>, server: &Server) -> Result<(Settled, bool), Trouble> {
        let Some((command, _)) = lock(&self.queue).awaited.pop_front() else { return Err(commands::unasked(value)) };
        let words = value.clone();
        let reply = commands::reply(&command, value, &self.limits)?;
        let (mut appended, mut failed) = (false, None);
        match &reply {
            Reply::Entries(items) => count_unreadable(items, server.metrics()),
            Reply::Added(_) => appended = true,
            Reply::Failed(error) => {
                self.say_refused(Some(&command), &words);
                failed = Some(*error);
            }
            Reply::Trimmed(_) | Reply::Existed(_) => {}
        }
        let mut queue = lock(&self.queue);
        // What waits for a look-up, or for everything to be answered, may go out then.
        if queue.pipeline.holds_back() {
            self.notify.notify_one();
        }
        let waiting = queue.pipeline.waits_again();
        let settled = queue.pipeline.answered(reply);
        let (takes_room, goes_again) = (queue.pipeline.takes_room(), queue.pipeline.waits_again() > waiting);
        drop(queue);
        if takes_room {
            let room = server.make_room();
            lock(&self.queue).pipeline.make_room((self.clock)(), room);
        }
        if let Some(error) = failed.filter(|_| !goes_again) {
            server.metrics().log_failures.one();
            server.refused(&command, error);
        }
        if failed.is_some() {
            self.notify.notify_one();
        }
        Ok((settled, appended))
    }

    /// Says in Redis's own words what it refuses, once in a while for each kind. Without a command it was a read.
    fn say_refused(&self, command: Option<&Command>, value: &Value<'_>) {
        let Some(words) = commands::refused_words(value) else { return };
        let now = (self.clock)();
        let mut refusals = lock(&self.refusals);
        if refusals.len() >= KINDS {
            refusals.clear();
        }
        let kind = words.split(' ').next().unwrap_or_default().to_owned();
        let (told, since) = refusals.get(&kind).copied().map_or((None, 0), |(told, since)| (Some(told), since));
        let tell = told.is_none_or(|told| now.since(told) >= REPEAT);
        refusals.insert(kind, if tell { (now, 0) } else { (told.unwrap_or(now), since + 1) });
        drop(refusals);
        if !tell {
            return;
        }
        let key = match command.map(Command::key) {
            // Its name is the private id.
            Some(Key::Session(_)) => format!("{}…", self.options.names.sessions),
            Some(key) => self.options.names.of(key),
            None => "one of what is read".to_owned(),
        };
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.first_mut().filter(|line| !line.up && line.trouble.is_none()) {
            line.trouble = Some(format!("it refuses what is needed: {words}"));
        }
        drop(lines);
        self.say(&Notice::RedisRefused { key, words, more: since });
    }

    fn place(&self) -> String {
        self.options.place()
    }

    fn say(&self, notice: &Notice) {
        if let Some(log) = &self.log {
            log(notice);
        }
    }

    /// A connection stands. Redis may still refuse every command; that it was away is forgotten when the cluster is seen to.
    fn is_up(&self, role: usize, server: &Server) {
        let mut lines = lock(&self.lines);
        let line = &mut lines[role];
        line.up = true;
        let again = line.trouble.take().is_some() && all_up(&lines);
        drop(lines);
        if again && self.ready.load(Ordering::Relaxed) {
            self.say(&Notice::RedisBack { redis: self.place() });
        }
        self.tell_ready(server);
    }

    /// A connection is not needed now.
    fn rests(&self, role: usize) {
        if let Some(line) = lock(&self.lines).get_mut(role) {
            (line.up, line.trouble) = (false, None);
        }
    }

    /// True: the connection had stood.
    fn is_down(&self, role: usize, ended: &Ended) -> bool {
        let now = (self.clock)();
        let mut lines = lock(&self.lines);
        let told = lines.iter().filter_map(|line| line.told).max();
        let line = &mut lines[role];
        let was_up = std::mem::take(&mut line.up);
        let trouble = ended.to_string();
        let news = line.trouble.as_ref() != Some(&trouble);
        line.trouble = Some(trouble.clone());
        // One line for both connections, and one now and then while it lasts.
        let tell = told.is_none_or(|told| now.since(told) >= if news { NEWS } else { REPEAT });
        if tell {
            line.told = Some(now);
        }
        drop(lines);
        if tell {
            self.say(&Notice::RedisTrouble { redis: self.place(), reason: trouble });
        }
        was_up
    }

    /// Says once that all is connected and read.
    fn tell_ready(&self, server: &Server) {
        let ready = || all_up(&lock(&self.lines)) && server.is_ready();
        if !self.ready.load(Ordering::Relaxed) && ready() && !self.ready.swap(true, Ordering::Relaxed) {
            self.say(&Notice::RedisReady);
        }
    }
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
