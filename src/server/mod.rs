//! Floor 3: the server. Namespaces and rooms, the log, sessions and recovery, the cluster; plain functions and state, no sockets, no tokio.
//!
//! [`Server`] ties them together: it opens connections for the io floor and finds namespaces.
//!
//! | folder | what |
//! |---|---|
//! | [`client`] | connections, sockets, and what the application hears of them |
//! | [`namespace`] | clients and rooms of one namespace, and whom a packet is for |
//! | [`log`] | the seam to the log, what stands in it, and what happens when an entry is read back |
//! | [`recovery`] | sessions in the log, and the return of a client |
//! | [`cluster`] | the servers that share a log, and questions to all of them |
//! | [`redis`] | entries and commands as Redis has them, over connections that break |
//! | [`timers`], [`options`], [`metrics`] | deadlines, what is set, and what is counted |

#[cfg(test)]
mod application_tests;
pub mod changes;
pub mod client;
pub mod cluster;
pub mod log;
pub mod metrics;
pub mod namespace;
pub mod notice;
pub mod options;
pub mod pending;
pub(crate) mod rank;
pub mod recovery;
pub mod redis;
#[cfg(test)]
mod sim;
pub mod testing;
#[cfg(test)]
mod tests;
pub mod timers;

pub use cluster::requests::Gathered;
pub use options::{AllowRequest, Cors, EngineHandler, InitialHeaders, Log, Message, Options, Pages, Recovery, Trusts};

use crate::id::{Clock, Nsp, Random, Sid, Spawner, Task, Time};
use crate::proto::client::Client;
use crate::proto::handshake::{self as opening, Announced, Refusal, Transport};
use crate::proto::reason::Reason;
use crate::proto::session::{Input, Session, Settings};
use changes::{Change, Changes, Watchers};
use client::connection::Connection;
use client::door::{Door, NoPlace};
use client::handler::{self, Handler};
use client::handshake::Handshake;
use client::sessions::Sessions;
use cluster::Cluster;
use cluster::requests::Requests;
use log::streams::Streams;
use metrics::Metrics;
use namespace::Namespace;
use namespace::family::Family;
use namespace::hash::Keyed;
use notice::Notice;
use rank::{Held, Rank};
use recovery::keep::Away;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use timers::{Timer, Timers};

/// Milliseconds that the log is kept beyond what recovery needs, for clocks and timers that are late.
const MARGIN: u64 = 15_000;
/// Milliseconds between two lines that strangers can cause.
const SAY_EVERY: u64 = 60_000;
/// Milliseconds between two looks at what the logs may forget.
const TRIM_EVERY: u64 = 10_000;

/// Locks a mutex. Nothing of ours panics with a lock held; if a handler's own panic ever poisoned one, its data is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What namespaces, sockets and connections share.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    random: Random,
    pub(crate) uid: Arc<str>,
    /// Begins the Engine.IO ids that this server gives out; empty where there are no others.
    tag: String,
    pub(crate) streams: Arc<dyn Streams>,
    /// What is sent goes through a log: for recovery, for other servers, or for both.
    pub(crate) logged: bool,
    pub(crate) timers: Timers,
    spawner: RwLock<Option<Spawner>>,
    pub(crate) watchers: Watchers,
    pub(crate) metrics: Metrics,
    requests: Requests,
    cluster: Cluster,
    pub(crate) away: Away,
    #[cfg(test)]
    pub(crate) believes: AtomicBool,
    number: AtomicU64,
    next_claim: AtomicU64,
    next_namespace: AtomicU64,
    /// When it was last seen that time passes as it should, in milliseconds.
    looked: AtomicU64,
    /// What [`Server::now`] said last, in milliseconds.
    recent: AtomicU64,
    /// Hashes requests, to know them again.
    prints: Keyed,
    /// When a line was logged that comes as often as strangers like, in milliseconds.
    said: [AtomicU64; 3],
}

impl Core {
    /// The time as it was a moment ago, for what need not be exact: whoever serves connections asks the clock for each read, and the timers do
    /// every second. Looking at it costs next to nothing.
    fn recently(&self) -> Time {
        Time(self.recent.load(Ordering::Relaxed))
    }

    /// How long the log must remember: a client may come back at the end of the window with a position that was confirmed by the pong before
    /// the one that it failed to send.
    pub(crate) fn retention_ms(&self) -> u64 {
        let window = self.options.recovery.as_ref().map_or(0, |recovery| recovery.window_ms);
        window.saturating_add(self.options.heartbeat_ms().saturating_mul(2)).saturating_add(MARGIN)
    }

    /// Has a task polled to its end, with no lock held.
    pub(crate) fn spawn(&self, task: Task) {
        let spawner = self.spawner.read().unwrap_or_else(PoisonError::into_inner).clone();
        match spawner {
            Some(spawn) => spawn(task),
            None => self.log(&Notice::NothingRuns),
        }
    }

    pub(crate) fn log(&self, notice: &Notice) {
        if let Some(log) = &self.options.log {
            log(notice);
        }
    }
}

struct Inner {
    core: Arc<Core>,
    sessions: Sessions,
    door: Door,
    namespaces: RwLock<HashMap<Nsp, Arc<Namespace>>>,
    families: RwLock<Vec<Arc<Family>>>,
    trimmed: Mutex<Time>,
    closed: AtomicBool,
    begun: AtomicBool,
}

/// A Socket.IO server, as `io` is in the official one. Cloning is cheap and gives the same server.
///
/// ```
/// use rill::{Events, Options, Server};
///
/// let server = Server::in_memory(Options::default());
/// server.of("/").handle(Events::new().on("hello", |socket, event| {
///     let _ = socket.emit("hello", event.args);
/// }));
/// # assert_eq!(server.of("/").len(), 0);
/// ```
#[derive(Clone)]
pub struct Server(Arc<Inner>);

impl Server {
    /// A server over `streams`, with its clock and its source of randomness. Most want [`Server::in_memory`].
    #[must_use]
    pub(crate) fn new(options: Options, streams: Arc<dyn Streams>, clock: Clock, random: Random) -> Server {
        let mut bytes = [0; 8];
        random(&mut bytes);
        let uid = bytes.iter().fold(String::new(), |mut uid, byte| {
            let _ = write!(uid, "{byte:02x}");
            uid
        });
        let shared = streams.shared();
        let core = Core {
            logged: shared || options.recovery.is_some(),
            options,
            clock,
            random,
            tag: if shared { uid.chars().take(6).collect() } else { String::new() },
            uid: uid.into(),
            streams,
            timers: Timers::default(),
            spawner: RwLock::default(),
            watchers: Watchers::default(),
            metrics: Metrics::default(),
            requests: Requests::default(),
            cluster: Cluster::default(),
            away: Away::default(),
            #[cfg(test)]
            believes: AtomicBool::new(false),
            number: AtomicU64::new(0),
            next_claim: AtomicU64::new(1),
            next_namespace: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            recent: AtomicU64::new(0),
            prints: Keyed::default(),
            said: Default::default(),
        };
        core.recent.store((core.clock)().0, Ordering::Relaxed);
        Server(Arc::new(Inner {
            core: Arc::new(core),
            sessions: Sessions::default(),
            door: Door::default(),
            namespaces: RwLock::default(),
            families: RwLock::default(),
            trimmed: Mutex::default(),
            closed: AtomicBool::new(false),
            begun: AtomicBool::new(false),
        }))
    }

    // ---- namespaces

    /// The namespace of this name; made if it is not there.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<Namespace> {
        let name = Nsp::new(name);
        let _held = Held::take(Rank::Namespaces);
        let mut namespaces = self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Namespace::new(name.clone(), self.0.core.clone(), false);
        let namespace = namespaces.entry(name.clone()).or_insert_with(make).clone();
        // One that a rule made stays from now on: the application may keep what it gets here.
        namespace.dynamic.store(false, Ordering::SeqCst);
        drop(namespaces);
        namespace.open();
        namespace
    }

    /// Namespaces made when a client asks for a name that `rule` accepts, all with this handler. Each is gone again with its last client;
    /// what its clients missed is kept for their return. Rules are asked in order, after the fixed namespaces. What is given back takes
    /// middlewares, which see the client's `auth` and may wait.
    pub fn of_rule(&self, rule: impl Fn(&str) -> bool + Send + Sync + 'static, handler: impl Handler) -> Arc<Family> {
        let family = Arc::new(Family::new(Box::new(rule), Arc::new(handler)));
        self.0.families.write().unwrap_or_else(PoisonError::into_inner).push(family.clone());
        family
    }

    /// All namespaces, by name.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let _held = Held::take(Rank::Namespaces);
        let namespaces = self.0.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = namespaces.values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(super) fn namespace(&self, name: &Nsp) -> Option<Arc<Namespace>> {
        let _held = Held::take(Rank::Namespaces);
        self.0.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The namespace that a client asks for, with a user more: give it back with [`Server::release`].
    fn resolve(&self, name: &str) -> Option<Arc<Namespace>> {
        let found = {
            let _held = Held::take(Rank::Namespaces);
            let namespaces = self.0.namespaces.read().unwrap_or_else(PoisonError::into_inner);
            let found = namespaces.get(name).cloned();
            found.inspect(|namespace| self.retain(namespace))
        };
        found.or_else(|| {
            let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner).clone();
            let family = families.into_iter().find(|family| family.accepts(name))?;
            let name = Nsp::new(name);
            let _held = Held::take(Rank::Namespaces);
            let mut namespaces = self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner);
            let make = || {
                let namespace = Namespace::new(name.clone(), self.0.core.clone(), true);
                namespace.set_handler(family.handler());
                family.middlewares().into_iter().for_each(|middleware| namespace.add_middleware(middleware));
                namespace
            };
            let namespace = namespaces.entry(name.clone()).or_insert_with(make).clone();
            self.retain(&namespace);
            drop(namespaces);
            namespace.open();
            Some(namespace)
        })
    }

    pub(super) fn retain(&self, namespace: &Namespace) {
        namespace.users.fetch_add(1, Ordering::SeqCst);
    }

    /// One user of a namespace less; one that a rule made goes with the last.
    pub(super) fn release(&self, namespace: &Arc<Namespace>) {
        if namespace.users.fetch_sub(1, Ordering::SeqCst) > 1 || !namespace.dynamic.load(Ordering::SeqCst) {
            return;
        }
        let _held = Held::take(Rank::Namespaces);
        let mut namespaces = self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner);
        let same = namespaces.get(namespace.name()).is_some_and(|known| Arc::ptr_eq(known, namespace));
        let dynamic = namespace.dynamic.load(Ordering::SeqCst);
        if same && dynamic && namespace.users.load(Ordering::SeqCst) == 0 {
            namespaces.remove(namespace.name());
            namespace.retire(self.core().retention_ms());
        }
    }

    /// Breaks a rule on purpose: every offset passes for an entry.
    #[cfg(test)]
    fn believe_offsets(&self) {
        self.core().believes.store(true, Ordering::Relaxed);
    }

    /// Breaks the circle of a server whose simulation is over.
    #[cfg(test)]
    fn forget_namespaces(&self) {
        self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    // ---- connections

    /// Opens a session for a handshake request.
    ///
    /// # Errors
    /// There is no place for it.
    pub(crate) fn open(
        &self,
        now: Time,
        transport: Transport,
        base64: bool,
        handshake: Handshake,
    ) -> Result<Arc<Connection>, NoPlace> {
        let options = self.options();
        if self.0.closed.load(Ordering::Relaxed) || !self.has_begun() {
            return Err(NoPlace::Closed);
        }
        let sid = Sid::new(&self.core().tag, self.random());
        let entrance = self.enter(now, handshake.site(), &sid)?;
        let announced = Announced {
            ping_interval: options.ping_interval_ms,
            ping_timeout: options.ping_timeout_ms,
            max_payload: options.limits.max_payload,
        };
        let settings = Settings {
            ping_interval: options.ping_interval_ms,
            ping_timeout: options.ping_timeout_ms,
            upgrade: options.limits.upgrade_ms,
            unsent: options.limits.unsent_bytes,
            base64,
        };
        let packet = opening::open_packet(sid.as_str(), transport, options.offered, announced);
        let session = Session::new(now, transport, settings, &packet);
        let client = options.engine.is_none().then(|| Client::new(now, &options.limits));
        let connection = Connection::new(self.clone(), sid, handshake, entrance, session, client);
        self.0.sessions.insert(connection.clone());
        self.metrics().sessions_opened.one();
        let address = || connection.handshake.address.clone();
        self.core().watchers.tell(|| Change::Opened { address: address(), transport });
        self.engine_message(&connection, Message::Opened);
        Ok(connection)
    }

    /// A shared log has been reached once; before that nobody knows from where on clients would get its events.
    pub(crate) fn has_begun(&self) -> bool {
        if self.0.begun.load(Ordering::Relaxed) {
            return true;
        }
        let ready = self.is_ready();
        self.0.begun.fetch_or(ready, Ordering::Relaxed) || ready
    }

    /// The session of this id.
    #[must_use]
    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        self.0.sessions.get(sid)
    }

    pub(super) fn forget(&self, connection: &Connection) {
        self.0.sessions.remove(&connection.sid);
        self.0.door.left(self.core().recently(), connection.entrance);
    }

    pub(crate) fn door(&self) -> &Door {
        &self.0.door
    }

    /// All connections.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.0.sessions.all()
    }

    /// About how many bytes the sessions take that are kept for clients that are away.
    #[must_use]
    pub fn away_bytes(&self) -> usize {
        self.core().away.bytes()
    }

    /// How many connections there are.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.0.sessions.len()
    }

    pub(super) fn engine_message(&self, connection: &Arc<Connection>, message: Message<'_>) {
        if let Some(engine) = &self.options().engine {
            engine(connection, message);
        }
    }

    /// A request is refused.
    pub(crate) fn request_refused(&self, refusal: Refusal, url: &str, address: impl FnOnce() -> Box<str>) {
        self.metrics().refuse(refusal);
        self.core().watchers.tell(|| Change::Refused { address: address(), url: url.into(), refusal });
    }

    /// Lets clients in again after [`Server::close`].
    pub(crate) fn open_again(&self) {
        self.0.closed.store(false, Ordering::Relaxed);
    }

    /// Opens no sessions until `Server::open_again`; those that are open stay.
    pub(crate) fn let_nobody_in(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Closes every connection without a DISCONNECT packet, and lets nobody in: the official client comes back, to this server or another,
    /// and recovers.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        let now = self.now();
        for connection in self.connections() {
            connection.handle(now, Input::Close(Reason::ServerShuttingDown));
        }
    }

    // ---- time

    /// Sees to everything that is due at `now`.
    pub(crate) fn handle_timeouts(&self, now: Time) {
        self.watch_clock(now);
        for timer in self.timers().due(now) {
            match timer {
                Timer::Connection(connection) => {
                    if let Some(connection) = connection.upgrade() {
                        connection.handle(now, Input::Timeout);
                    }
                }
                Timer::Pace(connection) => connection.upgrade().into_iter().for_each(|paced| paced.read_on()),
                Timer::Ack(socket, id) => {
                    if let Some(socket) = socket.upgrade() {
                        socket.acked(id, Err(handler::AckError::Timeout));
                    }
                }
                Timer::Keep(namespace, id) => {
                    if let Some(namespace) = namespace.upgrade()
                        && let Some(socket) = namespace.socket(&id)
                    {
                        namespace.keep_session(&socket);
                    }
                }
                Timer::Run(action) => action(),
                Timer::Request(request) => {
                    self.core().requests.expire(request, |uid| self.core().server_name(uid));
                }
            }
        }
        self.trim(now);
    }

    fn trim(&self, now: Time) {
        let mut trimmed = lock(&self.0.trimmed);
        if !self.core().logged || now.since(*trimmed) < TRIM_EVERY {
            return;
        }
        *trimmed = now;
        drop(trimmed);
        for namespace in self.namespaces() {
            namespace.trim(now, self.core().retention_ms());
        }
    }

    /// Watches what happens on this server from now on; what an admin page shows.
    #[must_use]
    pub fn watch(&self) -> Changes {
        self.core().watchers.add()
    }

    /// What runs the futures of handlers from now on; [`run`](crate::run) sees to it.
    pub fn set_spawner(&self, spawner: Spawner) {
        *self.core().spawner.write().unwrap_or_else(PoisonError::into_inner) = Some(spawner);
    }

    // ---- what the other rooms use

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    /// The server's options.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.core.options
    }

    /// What has happened so far.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.core.metrics
    }

    /// The server's deadlines.
    #[must_use]
    pub(crate) fn timers(&self) -> &Timers {
        &self.0.core.timers
    }

    /// The present moment on the server's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        let now = (self.0.core.clock)();
        // Only when it changes: the threads would take the number out of each other's caches for each read.
        if self.0.core.recent.load(Ordering::Relaxed) != now.0 {
            self.0.core.recent.store(now.0, Ordering::Relaxed);
        }
        now
    }

    /// As [`Server::now`], a moment ago, for next to nothing.
    pub(crate) fn recently(&self) -> Time {
        self.core().recently()
    }

    /// The server's unique name in the log.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.core.uid
    }

    pub(crate) fn log(&self, notice: &Notice) {
        self.core().log(notice);
    }

    /// Logs a line that strangers can cause, once a minute for each `kind`.
    pub(crate) fn log_rarely(&self, kind: usize, notice: &Notice) {
        let now = self.now();
        let Some(said) = self.core().said.get(kind) else { return };
        let before = said.load(Ordering::Relaxed);
        let due = before == 0 || now.since(Time(before)) >= SAY_EVERY;
        if due && said.compare_exchange(before, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.log(notice);
        }
    }

    fn random(&self) -> &Random {
        &self.0.core.random
    }

    fn prints(&self) -> &Keyed {
        &self.0.core.prints
    }

    fn next_number(&self) -> u64 {
        self.0.core.number.fetch_add(1, Ordering::Relaxed)
    }
}
