//! The operator's loop: typed commands, signals, and the server that they drive. One command after the other, each with its answer.

use super::command::{self, Command, HELP, KEYS};
use super::drain::drain;
use super::input::{self, Input};
use super::lists;
use super::notice::{CLOSED_DOOR, OPEN_DOOR, Said};
use super::own::OwnCommands;
use super::signals;
use super::status::{self, Facts};
use super::terminal::Terminal;
use super::top::{self, Top};
use crate::app::backend::Backend;
use crate::app::chat::{self, Chat, Hears};
use crate::app::config::{Config, MetricsAt};
use crate::app::door;
use crate::app::files::{Client, Page};
use crate::app::monitor;
use crate::app::pages::Site;
use crate::app::report::{Report, seconds};
use crate::id::Random;
use crate::io;
use crate::io::workers::Workers;
use crate::server::namespace::Namespace;
use crate::server::notice::Level;
use crate::server::{Log, Options, Server};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For what waits for Redis to be written at the end.
const FLUSH: Duration = Duration::from_secs(2);
/// Why nothing can be sent.
const APART: &str = "not running, and so not connected to Redis (`start` connects)";
/// Characters of a command in the log.
const COMMAND: usize = 200;

/// A server that serves.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// Keeps the connections to Redis.
    redis: Option<JoinHandle<()>>,
    since: Instant,
    /// Sends the clients away.
    drain: Option<JoinHandle<()>>,
}

/// The operator's side of a server.
pub struct Operator {
    config: Config,
    id: String,
    pub(super) server: Server,
    main: Arc<Namespace>,
    backend: Backend,
    /// What is to be said of the log.
    choice: Option<Said>,
    site: Arc<Site>,
    terminal: Arc<Terminal>,
    running: Option<Running>,
    /// It is watched, each second.
    top: Option<Top>,
    /// Commands of a binary of one's own.
    pub(super) own: OwnCommands,
    /// It has served.
    started: bool,
    /// Something was typed.
    typed: bool,
    /// A signal has come.
    ending: Arc<AtomicBool>,
}

impl Operator {
    /// Makes the server that `config` describes; it does not serve yet.
    #[must_use]
    pub fn new(config: Config, terminal: Arc<Terminal>) -> Operator {
        let (client, trouble) = Client::find(config.client_dir.as_deref());
        if let Some(trouble) = trouble {
            terminal.line(Said::ClientUnreadable(trouble));
        }
        let (hides_page, hides_metrics) = (!config.page, config.metrics != MetricsAt::PublicPort);
        let (client, page) = (client.at(&config.path), Page::with_client_at(&config.path));
        let site = Arc::new(Site { client, page, hides_page, hides_metrics, ..Site::default() });
        let pages = site.clone();
        let log = log_to(&terminal, config.log_level);
        let options = Options {
            pages: Some(Arc::new(move |head| pages.respond(head))),
            log: Some(log.clone()),
            ..config.options()
        };
        let clock = io::clock();
        let (backend, choice) = Backend::choose(&config, &options, &clock, &log);
        let random = io::random();
        let name = config.server_id.clone().unwrap_or_else(|| made_up(&random));
        let options = Options { name: name.clone(), ..options };
        let server = Server::new(options, backend.streams(), clock, random);
        if let Some(address) = &config.advertise {
            server.set_address(address);
        }
        let lines = terminal.clone();
        let hears: Hears = Arc::new(move |said| lines.line(said));
        let main = server.of("/").handle(Chat { log: (config.log_level >= Level::Debug).then_some(hears) });
        if let Some(token) = config.auth_token.0.clone() {
            door::guard(&main, token);
        }
        let _ = site.server.set(server.clone());
        let _ = site.backend.set(backend.clone());
        Operator {
            config,
            id: name,
            server,
            main,
            backend,
            choice,
            site,
            terminal,
            running: None,
            top: None,
            own: OwnCommands::default(),
            started: false,
            typed: false,
            ending: Arc::default(),
        }
    }

    /// Serves and obeys until `exit` or a signal; gives the exit status of the process.
    pub async fn run(mut self) -> u8 {
        let (sender, mut inputs) = mpsc::channel(64);
        let listens = signals::watch(&sender, &self.ending)
            .and_then(|()| signals::watch_size(self.terminal.clone()))
            .and_then(|()| input::read_lines(sender));
        if let Err(error) = listens {
            self.terminal.line(Said::CantHear { reason: error.to_string() });
            return 1;
        }
        if let Some(said) = self.choice.take() {
            self.terminal.line(said);
        }
        if !self.serve_metrics().await {
            return 1;
        }
        if self.config.autostart {
            if !self.start().await {
                return 1;
            }
        } else if let Backend::Redis(redis) = &self.backend {
            // What is wrong with it is told before anybody types `start`.
            tokio::spawn(redis.clone().probe());
        }
        self.terminal.prompt();
        while let Some(input) = self.next(&mut inputs).await {
            if !self.take(input).await {
                break;
            }
        }
        signals::end_surely();
        self.stop(true).await;
        self.terminal.line(Said::Goodbye);
        0
    }

    /// Takes one input; false: it was the last.
    async fn take(&mut self, input: Input) -> bool {
        self.top = None;
        match input {
            // A signal that came meanwhile does not wait for everything that was typed ahead.
            Input::Line(_) | Input::Unusable(_) | Input::Start if self.ending.load(Ordering::Relaxed) => {}
            Input::HangUp => self.terminal.line(Said::HangUp),
            Input::Interrupt => {
                self.terminal.abandoned();
                self.terminal.line(Said::Interrupt);
                self.terminal.prompt();
            }
            Input::Start => {
                self.terminal.line(Said::Signal { name: "SIGUSR1" });
                self.start().await;
            }
            Input::Line(line) => {
                self.typed = true;
                self.terminal.entered();
                if !self.obey(&line).await {
                    return false;
                }
                if self.top.is_none() {
                    self.terminal.prompt();
                }
            }
            Input::Unusable(error) => {
                self.typed = true;
                self.terminal.entered();
                self.terminal.answer(&error.to_string());
                self.terminal.line(Said::Command { command: "a line".to_owned(), done: false });
                self.terminal.prompt();
            }
            Input::End => {
                self.terminal.abandoned();
                let (runs, typed) = (self.running.is_some(), self.typed);
                self.terminal.line(match (runs, typed) {
                    (true, _) => Said::EndOfInput { goes_on: true },
                    (false, true) => Said::EndOfInput { goes_on: false },
                    (false, false) => Said::NoInput,
                });
                // Where there never was an input, as in a container, an end would only be a beginning for whoever starts it again.
                return runs || !typed;
            }
            Input::Signal(name) => {
                self.terminal.abandoned();
                self.terminal.line(Said::Signal { name });
                return false;
            }
        }
        true
    }

    /// Carries out a line; false: it was the last. What was asked and whether it was done is the last line of each answer, and of the log.
    async fn obey(&mut self, line: &str) -> bool {
        let (ends, done) = match command::parse(line) {
            Ok(None) => return true,
            Ok(Some(command)) => (command == Command::Exit, self.carry_out(command).await),
            Err(error) => (false, self.obey_own(line, &error).await),
        };
        let mut command: String = line.trim().chars().take(COMMAND).collect();
        if command.len() < line.trim().len() {
            command.push('…');
        }
        self.terminal.line(Said::Command { command, done });
        !ends
    }

    /// Carries out a command; false: that was not possible.
    async fn carry_out(&mut self, command: Command) -> bool {
        match command {
            Command::Exit => {}
            Command::Start => return self.start().await,
            Command::Stop if self.running.is_none() => return self.refuse(Said::NotRunning),
            Command::Stop => self.stop(false).await,
            Command::Drain(seconds) => return self.drain(seconds),
            Command::Status => self.print(&self.status()),
            Command::Top => {
                self.top = Some(Top::new(self.server.now(), &self.report(), self.server.metrics()));
                if self.terminal.can_draw() {
                    self.terminal.draw(top::HINT);
                }
            }
            Command::Refused => self.print(&status::refused(self.server.metrics())),
            Command::Rooms { all: false } => self.print(&lists::rooms(&self.server)),
            Command::Clients { all: false } => self.print(&lists::clients(&self.server)),
            Command::Rooms { all: true } | Command::Clients { all: true } if self.is_apart() => {
                return self.refuse(Said::Apart);
            }
            Command::Rooms { all: true } => self.print(&lists::rooms_of_all(&self.server).await),
            Command::Clients { all: true } => self.print(&lists::clients_of_all(&self.server).await),
            Command::Broadcast(text) => return self.say(None, &text),
            Command::SendRoom(room, text) => return self.say(Some(&room), &text),
            Command::Disconnect { room, reason } => return self.disconnect(room, reason),
            Command::Help => self.print(&help(&self.own)),
        }
        true
    }

    /// Says why something is not done.
    fn refuse(&self, said: Said) -> bool {
        self.terminal.line(said);
        false
    }

    pub(super) fn print(&self, text: &str) {
        text.lines().for_each(|line| self.terminal.answer(line));
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.config.host, self.config.port)
    }

    /// Begins to serve; false if that is not possible.
    async fn start(&mut self) -> bool {
        if let Some(running) = &mut self.running {
            let drain = running.drain.take();
            let Some(drain) = drain else { return self.refuse(Said::AlreadyRunning) };
            drain.abort();
            self.server.open_again();
            self.site.stopping.store(false, Ordering::Relaxed);
            self.terminal.line(Said::DrainCancelled);
            return true;
        }
        let address = self.address();
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                self.terminal.line(Said::CantListen { address, reason: error.to_string() });
                return false;
            }
        };
        let workers = match Workers::for_all_processors() {
            Ok(workers) => workers,
            Err(error) => {
                self.terminal.line(Said::CantStartThreads { reason: error.to_string() });
                return false;
            }
        };
        self.site.stopping.store(false, Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(io::run_on(workers, listener, self.server.clone(), shutdown));
        let redis = self.connect_redis();
        self.started = true;
        self.running = Some(Running { stop, task, redis, since: Instant::now(), drain: None });
        let recovery = match self.config.recovery_window_ms {
            0 => "recovery off".to_owned(),
            ms => format!("recovery window {} s", seconds(ms)),
        };
        self.terminal.line(Said::Listening { url: format!("http://{address}"), adapter: self.adapter(), recovery });
        self.terminal.line(if self.config.auth_token.0.is_some() { Said::ClosedDoor } else { Said::OpenDoor });
        true
    }

    /// From the start to the end of the process, whether it serves clients or not; false if that is not possible.
    async fn serve_metrics(&self) -> bool {
        let MetricsAt::Address(address) = self.config.metrics else { return true };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tokio::spawn(monitor::serve(
                    listener,
                    self.site.clone(),
                    log_to(&self.terminal, self.config.log_level),
                ));
                self.terminal.line(Said::MetricsOn { address });
                true
            }
            Err(error) => {
                self.terminal.line(Said::CantListen { address, reason: format!("{error} (METRICS_ADDR)") });
                false
            }
        }
    }

    fn adapter(&self) -> String {
        match &self.backend {
            Backend::Memory(_) => "memory".to_owned(),
            Backend::Redis(_) => format!("Redis {}", self.config.redis.place()),
        }
    }

    fn connect_redis(&self) -> Option<JoinHandle<()>> {
        let Backend::Redis(redis) = &self.backend else { return None };
        let listens = self.config.advertise.is_none().then(|| self.address());
        Some(tokio::spawn(redis.clone().run(self.server.clone(), listens)))
    }

    /// Stopped, and so without the others.
    fn is_apart(&self) -> bool {
        self.running.is_none() && matches!(self.backend, Backend::Redis(_))
    }

    /// What waits for Redis still goes there, if it is reached soon; then the connections are closed.
    async fn leave(&self, connections: &JoinHandle<()>, for_ever: bool) {
        let Backend::Redis(redis) = &self.backend else { return };
        self.server.leave_cluster();
        let packets = redis.flush(FLUSH).await;
        connections.abort();
        redis.hang_up();
        if packets > 0 {
            self.terminal.line(match for_ever {
                true => Said::PacketsLost { packets },
                false => Said::PacketsWait { packets },
            });
        }
    }

    /// Lets nobody in, and sends those who are here to the other servers.
    fn drain(&mut self, seconds: u64) -> bool {
        let others = self.server.neighbours().len();
        let Some(running) = &mut self.running else { return self.refuse(Said::NotRunning) };
        self.site.stopping.store(true, Ordering::Relaxed);
        self.server.let_nobody_in();
        let clients = self.server.connection_count();
        self.terminal.line(Said::Draining { clients, seconds, others });
        let task = tokio::spawn(drain(self.server.clone(), self.terminal.clone(), seconds));
        if let Some(before) = running.drain.replace(task) {
            before.abort();
        }
        true
    }

    /// Says goodbye to the clients: their transports close, and they may come back and recover.
    async fn stop(&mut self, for_ever: bool) {
        if let Some(running) = self.running.take() {
            running.drain.iter().for_each(JoinHandle::abort);
            self.site.stopping.store(true, Ordering::Relaxed);
            let _ = running.stop.send(());
            let _ = running.task.await;
            if let Some(connections) = &running.redis {
                self.leave(connections, for_ever).await;
            }
            self.terminal.line(Said::Stopped);
        }
    }

    /// Whether there are other servers that this one can't see into.
    fn has_others(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) => false,
            Backend::Redis(_) => true,
        }
    }

    /// What waits for Redis, if that is away.
    fn waiting(&self) -> Option<usize> {
        match &self.backend {
            Backend::Memory(_) => None,
            Backend::Redis(redis) => {
                Some(redis.status()).filter(|status| !status.connected).map(|status| status.waiting.0)
            }
        }
    }

    fn say(&self, room: Option<&str>, text: &str) -> bool {
        if self.is_apart() {
            return self.refuse(Said::NotSent { reason: APART.to_owned() });
        }
        let clients = match room {
            Some(room) => self.main.to(room).sockets().len(),
            None => self.main.len(),
        };
        let others = self.has_others();
        let allowed = room.map_or(Ok(()), |room| chat::check_room(room, &self.server.options().limits));
        let from = format!("server:{}", self.id);
        if let Err(error) = allowed.and_then(|()| chat::say(&self.main, room, &from, text)) {
            return self.refuse(Said::NotSent { reason: error.to_string() });
        }
        self.terminal.line(match (self.waiting(), room) {
            (Some(packets), _) => Said::SentLater { packets },
            (None, Some(room)) if clients == 0 => Said::NobodyThere { room: room.to_owned(), others },
            (None, _) => Said::Sent { clients, others },
        });
        true
    }

    /// Ends sessions, wherever their clients are: who is away comes back as new. They are told the reason as a message.
    fn disconnect(&self, room: Option<String>, reason: String) -> bool {
        if self.is_apart() {
            return self.refuse(Said::NotSent { reason: APART.to_owned() });
        }
        let meant = || match &room {
            Some(room) => self.main.to(room.as_str()),
            None => self.main.all(),
        };
        let clients = meant().sockets().len();
        let told = match reason.is_empty() {
            true => Ok(()),
            false => chat::say(&self.main, room.as_deref(), &format!("server:{}", self.id), &reason),
        };
        match told.and_then(|()| meant().disconnect_sockets(true)) {
            Ok(()) => {
                self.terminal.line(Said::Disconnecting { room, clients, others: self.has_others(), reason });
                if let Some(packets) = self.waiting() {
                    self.terminal.line(Said::SentLater { packets });
                }
                true
            }
            Err(error) => self.refuse(Said::NotSent { reason: error.to_string() }),
        }
    }

    fn status(&self) -> String {
        let facts = Facts {
            name: self.id.clone(),
            url: format!("http://{}", self.address()),
            up_ms: self.running.as_ref().map(|running| u64::try_from(running.since.elapsed().as_millis()).unwrap_or(0)),
            log: self.adapter(),
            started: self.started,
            draining: self.running.as_ref().is_some_and(|running| running.drain.is_some()),
            door: if self.config.auth_token.0.is_some() { CLOSED_DOOR } else { OPEN_DOOR },
        };
        status::screen(&facts, &self.report(), self.server.metrics())
    }

    fn report(&self) -> Report {
        Report::gather(&self.server, &self.backend)
    }

    /// The next input; while `top` runs, it shows its numbers until one comes.
    async fn next(&mut self, inputs: &mut mpsc::Receiver<Input>) -> Option<Input> {
        loop {
            let Some(top) = &self.top else { return inputs.recv().await };
            let wait = Duration::from_millis(top.due().since(self.server.now()));
            match timeout(wait, inputs.recv()).await {
                Ok(input) => return input,
                Err(_) => self.show(),
            }
        }
    }

    fn show(&mut self) {
        let (now, report) = (self.server.now(), self.report());
        let Some(top) = &mut self.top else { return };
        match self.terminal.can_draw() {
            true => self.terminal.draw(&top.rows(now, &report, self.server.metrics())),
            false => {
                for line in top.lines(now, &report, self.server.metrics()) {
                    self.terminal.answer(&line);
                }
            }
        }
    }
}

/// What the library says goes to the terminal, if it matters enough.
fn log_to(terminal: &Arc<Terminal>, level: Level) -> Log {
    let terminal = terminal.clone();
    Arc::new(move |notice| {
        let line = notice.line();
        if line.level <= level {
            terminal.line(line);
        }
    })
}

fn made_up(random: &Random) -> String {
    let mut bytes = [0; 3];
    random(&mut bytes);
    format!("rill-{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2])
}

fn help(own: &OwnCommands) -> String {
    let list = HELP.iter().fold(String::new(), |mut text, (command, what)| {
        let _ = writeln!(text, "  {command:<33} {what}");
        text
    });
    list + &own.help() + KEYS
}
