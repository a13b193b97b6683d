//! The log in Redis: one connection for commands, one that waits for entries, and the clock that tends the cluster.
//!
//! Both connections are made again for ever, with back-off; what waits meanwhile is kept in the `Pipeline`. The commands' connection is
//! given up only when Redis has hung up, or has not answered for a long time: what is on its way in an old connection could arrive after a
//! look-up in the new one.

use crate::id::{Clock, Offset, Time};
use crate::limits::Limits;
use crate::server::log::entry::Entry;
use crate::server::log::streams::{Command, Done, Item, Key, PAGE, Reply, StreamError, Streams};
use crate::server::metrics::Metrics;
use crate::server::notice::Notice;
use crate::server::redis::commands::{self, Names, Page, Trouble};
use crate::server::redis::pipeline::{Pipeline, Settled};
use crate::server::redis::resp::{Bounds, Decoder, RespError, Value};
use crate::server::{Log, Server, lock};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// To connect, and for the answer to AUTH.
const CONNECT: Duration = Duration::from_secs(3);
/// For the answer to any command; after that the connection is given up.
const ANSWER: Duration = Duration::from_secs(15);
/// Milliseconds without an answer after which Redis counts as away; heartbeats ask every two seconds.
const STALLED: u64 = 3_000;
/// Milliseconds that an XREAD waits for entries.
const BLOCK: u64 = 5_000;
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
/// Bytes of one reply: a page of large entries takes fewer at once next time.
const REPLY: usize = 512 * 1024 * 1024;
/// Arrays in one another: the streams of an XREAD have five, with a few to spare.
const DEPTH: usize = 8;
/// Elements of one reply: a page of each log, with all its fields.
const ELEMENTS: usize = 10_000_000;
/// Between two looks at the cluster.
const TICK: Duration = Duration::from_millis(500);

/// Where Redis is, and how to speak to it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// Its host, a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user; empty: the default one.
    pub username: String,
    /// The password; empty: none, and no AUTH is sent.
    pub password: String,
    /// How keys begin.
    pub names: Names,
}

/// The password is never printed.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{} {:?}", self.username, self.host, self.port, self.names)
    }
}

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
    lines: Mutex<[Line; 2]>,
    ready: AtomicBool,
    log: Option<Log>,
}

/// Which of the two connections.
#[derive(Clone, Copy)]
enum Role {
    Commands,
    Reader,
}

/// A log in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisStreams(Arc<Shared>);

/// Why a connection ended.
enum Ended {
    Io(std::io::Error),
    /// What came is no reply, or larger than a reply may be.
    Resp(RespError),
    Redis(Trouble),
    Silent,
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        Ended::Io(error)
    }
}

impl From<RespError> for Ended {
    fn from(error: RespError) -> Ended {
        Ended::Resp(error)
    }
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Ended {
        Ended::Redis(trouble)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Io(error) => error.fmt(f),
            Ended::Resp(error) => error.fmt(f),
            Ended::Redis(trouble) => trouble.fmt(f),
            Ended::Silent => f.write_str("it does not answer"),
        }
    }
}

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
            lines: Mutex::default(),
            ready: AtomicBool::new(false),
            log,
        }))
    }

    /// Keeps the connections and the cluster of `server` going, until it is dropped. `port` is where other servers reach this one, at the
    /// address that it has on its connection to Redis, unless it has been told another.
    pub async fn run(self, server: Server, port: Option<u16>) {
        let mut commands = pin!(self.clone().keep_commands(server.clone(), port));
        let mut reader = pin!(self.clone().keep_reading(server.clone()));
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
        let up = lines.iter().all(|line| line.up);
        drop(lines);
        let now = (self.0.clock)();
        let queue = lock(&self.0.queue);
        let stalled = queue.awaited.front().is_some_and(|(_, sent)| now.since(*sent) > STALLED);
        let trouble = trouble.or_else(|| stalled.then(|| Ended::Silent.to_string()));
        RedisStatus { connected: up && !stalled, waiting: queue.pipeline.waiting(), trouble }
    }

    // ---- commands

    async fn keep_commands(self, server: Server, port: Option<u16>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = match self.0.connect().await {
                Ok((stream, decoder)) => {
                    if let (Some(port), Ok(local)) = (port, stream.local_addr()) {
                        server.set_address(&SocketAddr::new(local.ip(), port).to_string());
                    }
                    self.serve(stream, decoder, &server).await
                }
                Err(ended) => ended,
            };
            self.0.forget_awaited(&ended);
            if self.0.is_down(Role::Commands, &ended) {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends what waits and hears the replies until the connection ends.
    async fn serve(&self, stream: TcpStream, decoder: Decoder, server: &Server) -> Ended {
        let (read, write) = stream.into_split();
        let mut hearing = pin!(self.hear(read, decoder, server));
        let mut speaking = pin!(self.speak(write));
        poll_fn(|cx| match hearing.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => speaking.as_mut().poll(cx),
        })
        .await
    }

    async fn speak(&self, mut write: OwnedWriteHalf) -> Ended {
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
            match timeout(ANSWER, write.write_all(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return Ended::Silent,
            }
        }
    }

    async fn hear(&self, mut read: OwnedReadHalf, mut decoder: Decoder, server: &Server) -> Ended {
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
                    Ok(true) => match self.0.answered(decoder.reply(), server.metrics()) {
                        Ok((settled, appended)) => {
                            // Redis may take a connection and refuse everything, or give answers and refuse to write.
                            if appended && !std::mem::replace(&mut up, true) {
                                self.0.is_up(Role::Commands, server);
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

    // ---- reading

    async fn keep_reading(self, server: Server) {
        let mut pause = FIRST_PAUSE;
        let mut count = PAGE;
        loop {
            let ended = match self.0.connect().await {
                Ok((stream, decoder)) => self.follow(stream, decoder, &server, &mut count).await,
                Err(ended) => ended,
            };
            if self.0.is_down(Role::Reader, &ended) {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&self, mut stream: TcpStream, mut decoder: Decoder, server: &Server, count: &mut usize) -> Ended {
        let mut bytes = Vec::new();
        let mut command = Vec::new();
        let mut up = false;
        // A reader that is late could jump over what was trimmed meanwhile: it first sees the last entry that it knows.
        let (mut late, mut sent) = (true, (self.0.clock)());
        loop {
            let cursors = server.cursors(late);
            if cursors.is_empty() {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            command.clear();
            let most = *count + usize::from(late);
            commands::encode_read(&mut command, &self.0.options.names, &cursors, most, BLOCK);
            let before = std::mem::replace(&mut sent, (self.0.clock)());
            if let Err(error) = stream.write_all(&command).await {
                return error.into();
            }
            let value = match hear_reply(&mut stream, &mut bytes, &mut decoder).await {
                Ok(value) => value,
                Err(ended) => {
                    if let Ended::Resp(_) = ended {
                        // So many large entries at once are too much: fewer next time.
                        *count = (*count / 2).max(1);
                    }
                    return ended;
                }
            };
            let pages = match commands::read_reply(value) {
                Ok(pages) => pages,
                Err(trouble) => return trouble.into(),
            };
            let was_late = late;
            late = (self.0.clock)().since(before) > LATE || pages.iter().any(|(_, entries)| entries.len() >= *count);
            *count = (*count * 2).min(PAGE);
            if late && !was_late {
                continue;
            }
            if let Err(trouble) = self.hand_over(pages, &cursors, server) {
                return trouble.into();
            }
            if !std::mem::replace(&mut up, true) {
                self.0.is_up(Role::Reader, server);
            }
        }
    }

    fn hand_over(&self, pages: Vec<Page<'_>>, cursors: &[(Key, Offset)], server: &Server) -> Result<(), Trouble> {
        // Redis keeps to the order in which it was asked.
        let mut cursors = cursors.iter();
        for (name, entries) in pages {
            let cursor = cursors.find(|(key, _)| self.0.options.names.is(key, name));
            let (key, after) = cursor.ok_or(Trouble::Nonsense)?;
            let items = commands::items(key, entries, &self.0.limits)?;
            count_unreadable(&items, server.metrics());
            server.feed((self.0.clock)(), key, *after, items);
        }
        Ok(())
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

/// Reads the one reply that is awaited.
async fn hear_reply<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    decoder: &'a mut Decoder,
) -> Result<Value<'a>, Ended> {
    loop {
        hear_some(stream, bytes).await?;
        if decoder.next(bytes, &mut 0)? {
            return Ok(decoder.reply());
        }
    }
}

/// Reads what there is, at least a byte, in the place of what was read before.
async fn hear_some(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<(), Ended> {
    bytes.clear();
    bytes.reserve(CHUNK);
    match timeout(ANSWER, stream.read_buf(bytes)).await {
        Ok(Ok(0)) => Err(Ended::Io(std::io::ErrorKind::ConnectionReset.into())),
        Ok(read) => read.map(|_| ()).map_err(Ended::Io),
        Err(_) => Err(Ended::Silent),
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
        matches!(posted.entry, Entry::Passing { .. }) && !lock(&self.lines)[Role::Commands as usize].up
    }

    async fn connect(&self) -> Result<(TcpStream, Decoder), Ended> {
        let RedisOptions { host, port, username, password, .. } = &self.options;
        let late = |_| Ended::Io(std::io::ErrorKind::TimedOut.into());
        let mut stream = timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await.map_err(late)??;
        stream.set_nodelay(true)?;
        let mut decoder =
            Decoder::new(Bounds { bulk: self.limits.entry_bytes(), reply: REPLY, depth: DEPTH, elements: ELEMENTS });
        if !password.is_empty() {
            let mut command = Vec::new();
            commands::encode_auth(&mut command, username, password);
            stream.write_all(&command).await?;
            let answer = timeout(CONNECT, hear_reply(&mut stream, &mut Vec::new(), &mut decoder)).await;
            match answer.unwrap_or(Err(Ended::Silent)) {
                Ok(value) => commands::auth_reply(value)?,
                Err(Ended::Resp(_)) => return Err(Trouble::Nonsense.into()),
                Err(ended) => return Err(ended),
            }
        }
        Ok((stream, decoder))
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

    /// What a reply settles, and whether it is the one to an append.
    fn answered(&self, value: Value<'_>, metrics: &Metrics) -> Result<(Settled, bool), Trouble> {
        let Some((command, _)) = lock(&self.queue).awaited.pop_front() else { return Err(commands::unasked(value)) };
        let reply = commands::reply(&command, value, &self.limits)?;
        match &reply {
            Reply::Entries(items) => count_unreadable(items, metrics),
            Reply::Failed(_) => {
                metrics.log_failures.one();
                let key = match command.key() {
                    // Its name is the private id.
                    Key::Session(_) => format!("{}…", self.options.names.sessions),
                    key => self.options.names.of(key),
                };
                self.say(&Notice::RedisRefused { key });
            }
            _ => {}
        }
        let appended = matches!(reply, Reply::Added(_));
        let mut queue = lock(&self.queue);
        // What waits for a look-up may go out then.
        if queue.pipeline.is_looking() {
            self.notify.notify_one();
        }
        Ok((queue.pipeline.answered(reply), appended))
    }

    fn place(&self) -> String {
        format!("{}:{}", self.options.host, self.options.port)
    }

    fn say(&self, notice: &Notice) {
        if let Some(log) = &self.log {
            log(notice);
        }
    }

    /// A connection stands. Redis may still refuse every command; that it was away is forgotten when the cluster is seen to.
    fn is_up(&self, role: Role, server: &Server) {
        let mut lines = lock(&self.lines);
        let line = &mut lines[role as usize];
        line.up = true;
        let again = line.trouble.take().is_some() && lines.iter().all(|line| line.up);
        drop(lines);
        if again && self.ready.load(Ordering::Relaxed) {
            self.say(&Notice::RedisBack { redis: self.place() });
        }
        self.tell_ready(server);
    }

    /// True: the connection had stood.
    fn is_down(&self, role: Role, ended: &Ended) -> bool {
        let now = (self.clock)();
        let mut lines = lock(&self.lines);
        let told = lines.iter().filter_map(|line| line.told).max();
        let line = &mut lines[role as usize];
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
        let ready = || lock(&self.lines).iter().all(|line| line.up) && server.is_ready();
        if !self.ready.load(Ordering::Relaxed) && ready() && !self.ready.swap(true, Ordering::Relaxed) {
            self.say(&Notice::RedisReady);
        }
    }
}

#[path = "redis_visit.rs"]
mod visit;

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
