//! The operator's loop: typed commands, signals, and the server that they drive. One command after the other, each with its answer.

use super::backend::Backend;
use super::chat::{self, Chat};
use super::config::{Config, MetricsAt};
use super::console::{self, Command, CommandError, HELP, Input};
use super::files::Client;
use super::lists::{self, count};
use super::log::Terminal;
use super::monitor;
use super::pages::Site;
use super::report::{Report, seconds};
use super::status::{self, Facts};
use super::top::{self, Top};
use crate::id::Random;
use crate::io;
use crate::io::workers::Workers;
use crate::server::namespace::Namespace;
use crate::server::{Log, Options, Server};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For what waits for Redis to be written at the end.
const FLUSH: Duration = Duration::from_secs(2);
/// How long the end may take, whatever holds it up.
const END: Duration = Duration::from_secs(9);

/// A server that serves.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    since: Instant,
}

/// The operator's side of a server.
pub struct Operator {
    config: Config,
    id: String,
    server: Server,
    main: Arc<Namespace>,
    backend: Backend,
    /// What is to be said of the log.
    choice: Option<String>,
    site: Arc<Site>,
    terminal: Arc<Terminal>,
    running: Option<Running>,
    /// It is watched, each second.
    top: Option<Top>,
    /// A signal has come.
    ending: Arc<AtomicBool>,
}

impl Operator {
    /// Makes the server that `config` describes; it does not serve yet.
    #[must_use]
    pub fn new(config: Config, terminal: Arc<Terminal>) -> Operator {
        let (client, trouble) = Client::find(config.client_dir.as_deref());
        if let Some(trouble) = trouble {
            terminal.line(&trouble.to_string());
        }
        let (hides_page, hides_metrics) = (!config.page, config.metrics != MetricsAt::PublicPort);
        let site = Arc::new(Site { client, hides_page, hides_metrics, ..Site::default() });
        let (pages, lines) = (site.clone(), terminal.clone());
        let log: Log = Arc::new(move |line| lines.line(line));
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
        let main = server.of("/").handle(Chat { log: config.development.then_some(log) });
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
            ending: Arc::default(),
        }
    }

    /// Serves and obeys until `exit` or a signal; gives the exit status of the process.
    pub async fn run(mut self) -> u8 {
        let (sender, mut inputs) = mpsc::channel(64);
        if let Err(error) = console::read_lines(sender.clone()).and_then(|()| watch_signals(&sender, &self.ending)) {
            self.terminal.line(&format!("[SERVER] can't listen to the operator: {error}"));
            return 1;
        }
        if let Some(line) = &self.choice {
            self.terminal.line(line);
        }
        if !self.serve_metrics().await {
            return 1;
        }
        if let Backend::Redis(redis) = &self.backend {
            let port = self.config.advertise.is_none().then_some(self.config.port);
            tokio::spawn(redis.clone().run(self.server.clone(), port));
        }
        if self.config.autostart && !self.start().await {
            return 1;
        }
        self.terminal.prompt();
        while let Some(input) = self.next(&mut inputs).await {
            if !self.take(input).await {
                break;
            }
        }
        end_surely();
        self.stop().await;
        self.leave().await;
        self.terminal.line("[SERVER] goodbye");
        0
    }

    /// Takes one input; false: it was the last.
    async fn take(&mut self, input: Input) -> bool {
        self.top = None;
        match input {
            // A signal that came meanwhile does not wait for everything that was typed ahead.
            Input::Line(_) | Input::TooLong if self.ending.load(Ordering::Relaxed) => {}
            Input::Line(line) => {
                self.terminal.entered();
                if !self.obey(&line).await {
                    return false;
                }
                if self.top.is_none() {
                    self.terminal.prompt();
                }
            }
            Input::TooLong => {
                self.terminal.entered();
                self.terminal.answer(&CommandError::TooLong.to_string());
                self.terminal.prompt();
            }
            Input::End => {
                self.terminal.abandoned();
                let goes_on = self.running.is_some();
                self.terminal.line(match goes_on {
                    true => "[SERVER] end of input: the server goes on; SIGTERM ends it",
                    false => "[SERVER] end of input, and no server runs: the end",
                });
                return goes_on;
            }
            Input::Signal(name) => {
                self.terminal.abandoned();
                self.terminal.line(&format!("[SERVER] {name}"));
                return false;
            }
        }
        true
    }

    /// Carries out a line; false: it was the last.
    async fn obey(&mut self, line: &str) -> bool {
        match console::parse(line) {
            Ok(None) => {}
            Ok(Some(Command::Exit)) => return false,
            Ok(Some(Command::Start)) => {
                self.start().await;
            }
            Ok(Some(Command::Stop)) => self.stop_aloud().await,
            Ok(Some(Command::Status)) => self.print(&self.status()),
            Ok(Some(Command::Top)) => {
                self.top = Some(Top::new(self.server.now(), &self.report(), self.server.metrics()));
                if self.terminal.can_draw() {
                    self.terminal.draw(top::HINT);
                }
            }
            Ok(Some(Command::Refused)) => self.print(&status::refused(self.server.metrics())),
            Ok(Some(Command::Rooms { all: false })) => self.print(&lists::rooms(&self.server)),
            Ok(Some(Command::Clients { all: false })) => self.print(&lists::clients(&self.server)),
            Ok(Some(Command::Rooms { all: true })) => self.print(&lists::rooms_of_all(&self.server).await),
            Ok(Some(Command::Clients { all: true })) => self.print(&lists::clients_of_all(&self.server).await),
            Ok(Some(Command::Broadcast(text))) => self.say(None, &text),
            Ok(Some(Command::SendRoom(room, text))) => self.say(Some(&room), &text),
            Ok(Some(Command::Help)) => self.print(&help()),
            Err(error) => self.terminal.answer(&error.to_string()),
        }
        true
    }

    fn print(&self, text: &str) {
        text.lines().for_each(|line| self.terminal.answer(line));
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.config.host, self.config.port)
    }

    /// Begins to serve; false if that is not possible.
    async fn start(&mut self) -> bool {
        if self.running.is_some() {
            self.terminal.line("[SERVER] already running");
            return true;
        }
        let address = self.address();
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                self.terminal.line(&format!("[SERVER] can't listen on {address}: {error}"));
                return false;
            }
        };
        let workers = match Workers::for_all_processors() {
            Ok(workers) => workers,
            Err(error) => {
                self.terminal.line(&format!("[SERVER] can't start threads: {error}"));
                return false;
            }
        };
        self.site.stopping.store(false, Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(io::run_on(workers, listener, self.server.clone(), shutdown));
        self.running = Some(Running { stop, task, since: Instant::now() });
        let recovery = match self.config.recovery_window_ms {
            0 => "recovery off".to_owned(),
            ms => format!("recovery window {} s", seconds(ms)),
        };
        self.terminal
            .line(&format!("[SERVER] listening on http://{address} (adapter: {}, {recovery})", self.adapter()));
        true
    }

    /// From the start to the end of the process, whether it serves clients or not; false if that is not possible.
    async fn serve_metrics(&self) -> bool {
        let MetricsAt::Address(address) = self.config.metrics else { return true };
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tokio::spawn(monitor::serve(listener, self.site.clone()));
                self.terminal.line(&format!("[SERVER] metrics on http://{address}/metrics"));
                true
            }
            Err(error) => {
                self.terminal.line(&format!("[SERVER] can't listen on {address}: {error} (METRICS_ADDR)"));
                false
            }
        }
    }

    fn adapter(&self) -> String {
        match &self.backend {
            Backend::Memory(_) => "memory".to_owned(),
            Backend::Redis(_) => format!("Redis {}:{}", self.config.redis.host, self.config.redis.port),
        }
    }

    /// What waits for Redis still goes there, if it is reached soon.
    async fn leave(&self) {
        self.server.leave_cluster();
        if let Backend::Redis(redis) = &self.backend {
            let lost = redis.flush(FLUSH).await;
            if lost > 0 {
                self.terminal.line(&format!("[REDIS] {lost} packets could not be written: Redis is away"));
            }
        }
    }

    async fn stop_aloud(&mut self) {
        match self.running.is_some() {
            true => self.stop().await,
            false => self.terminal.line("[SERVER] not running"),
        }
    }

    /// Says goodbye to the clients: their transports close, and they may come back and recover.
    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.site.stopping.store(true, Ordering::Relaxed);
            let _ = running.stop.send(());
            let _ = running.task.await;
            self.terminal.line("[SERVER] stopped");
        }
    }

    fn say(&self, room: Option<&str>, text: &str) {
        let reached = match room {
            Some(room) => self.main.to(room).sockets().len(),
            None => self.main.len(),
        };
        let allowed = room.map_or(Ok(()), |room| chat::check_room(room, &self.server.options().limits));
        let from = format!("server:{}", self.id);
        match allowed.and_then(|()| chat::say(&self.main, room, &from, text)) {
            Ok(()) => {
                let elsewhere = match &self.backend {
                    Backend::Memory(_) => "",
                    Backend::Redis(_) => " here, and to those of the other servers",
                };
                self.terminal.line(&format!("[SERVER] sent to {}{elsewhere}", count(reached, "client")));
            }
            Err(error) => self.terminal.line(&format!("[SERVER] not sent: {error}")),
        }
    }

    fn status(&self) -> String {
        let facts = Facts {
            name: self.id.clone(),
            url: format!("http://{}", self.address()),
            up_ms: self.running.as_ref().map(|running| u64::try_from(running.since.elapsed().as_millis()).unwrap_or(0)),
            log: self.adapter(),
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

fn made_up(random: &Random) -> String {
    let mut bytes = [0; 3];
    random(&mut bytes);
    format!("rill-{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2])
}

fn help() -> String {
    HELP.iter().fold(String::new(), |mut text, (command, what)| {
        let _ = writeln!(text, "  {command:<29} {what}");
        text
    })
}

/// SIGINT and SIGTERM end the server as `exit` does.
fn watch_signals(inputs: &mpsc::Sender<Input>, ending: &Arc<AtomicBool>) -> std::io::Result<()> {
    for (kind, name) in [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM")] {
        let mut signal = signal(kind)?;
        let (inputs, ending) = (inputs.clone(), ending.clone());
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if !ending.swap(true, Ordering::Relaxed) {
                    end_surely();
                }
                let _ = inputs.send(Input::Signal(name)).await;
            }
        });
    }
    Ok(())
}

/// The process ends in time, whatever may still hold its goodbye up: supervisors kill what takes longer.
fn end_surely() {
    let end = || {
        std::thread::sleep(END);
        std::process::exit(0);
    };
    // Without a thread there is only the goodbye's own time limit.
    let _ = std::thread::Builder::new().name("end".to_owned()).spawn(end);
}
