//! The operator's loop: typed commands, signals, and the server that they drive. One command after the other, each with its answer.

use super::chat::{self, Chat};
use super::config::Config;
use super::console::{self, Command, HELP, Input};
use super::log::{Terminal, visible};
use super::pages::Site;
use super::report::{Report, age, seconds};
use crate::io;
use crate::server::memory::MemoryStreams;
use crate::server::namespace::Namespace;
use crate::server::socket::Socket;
use crate::server::{Log, Options, Server};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Rows of a list; what is beyond is counted.
const ROWS: usize = 1_000;

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
    streams: Arc<MemoryStreams>,
    site: Arc<Site>,
    terminal: Arc<Terminal>,
    running: Option<Running>,
}

impl Operator {
    /// Makes the server that `config` describes; it does not serve yet.
    #[must_use]
    pub fn new(config: Config, terminal: Arc<Terminal>) -> Operator {
        let site = Arc::new(Site::default());
        let (pages, lines) = (site.clone(), terminal.clone());
        let log: Log = Arc::new(move |line| lines.line(line));
        let options = Options {
            pages: Some(Arc::new(move |head| pages.respond(head))),
            log: Some(log.clone()),
            ..config.options()
        };
        let streams = Arc::new(MemoryStreams::new(&options.limits));
        let server = Server::new(options, streams.clone(), io::clock(), io::random());
        let main = server.of("/").handle(Chat { log: config.development.then_some(log) });
        let _ = site.server.set(server.clone());
        let _ = site.streams.set(streams.clone());
        let id = config.server_id.clone().unwrap_or_else(|| format!("rill-{}", server.uid().get(..6).unwrap_or("")));
        Operator { config, id, server, main, streams, site, terminal, running: None }
    }

    /// Serves and obeys until `exit` or a signal; gives the exit status of the process.
    pub async fn run(mut self) -> u8 {
        let (sender, mut inputs) = mpsc::channel(64);
        if let Err(error) = console::read_lines(sender.clone()).and_then(|()| watch_signals(&sender)) {
            self.terminal.line(&format!("[SERVER] can't listen to the operator: {error}"));
            return 1;
        }
        if self.config.chose_memory {
            self.terminal.line("[SERVER] REDIS_HOST is not set: the log is in memory, for this server alone");
        }
        if self.config.autostart && !self.start().await {
            return 1;
        }
        self.terminal.prompt();
        while let Some(input) = inputs.recv().await {
            self.terminal.entered();
            match input {
                Input::Line(line) => {
                    if !self.obey(&line).await {
                        break;
                    }
                    self.terminal.prompt();
                }
                Input::End if self.running.is_some() => {
                    self.terminal.line("[SERVER] end of input: the server goes on; SIGTERM ends it");
                }
                Input::End => {
                    self.terminal.line("[SERVER] end of input, and no server runs: the end");
                    break;
                }
                Input::Signal(name) => {
                    self.terminal.line(&format!("[SERVER] {name}"));
                    break;
                }
            }
        }
        self.stop().await;
        self.terminal.line("[SERVER] goodbye");
        0
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
            Ok(Some(Command::Rooms)) => self.print(&self.rooms()),
            Ok(Some(Command::Clients)) => self.print(&self.clients()),
            Ok(Some(Command::Broadcast(text))) => self.say(None, &text),
            Ok(Some(Command::SendRoom(room, text))) => self.say(Some(&room), &text),
            Ok(Some(Command::Help)) => self.print(&help()),
            Err(error) => self.terminal.line(&error.to_string()),
        }
        true
    }

    fn print(&self, text: &str) {
        text.lines().for_each(|line| self.terminal.line(line));
    }

    /// Begins to serve; false if that is not possible.
    async fn start(&mut self) -> bool {
        if self.running.is_some() {
            self.terminal.line("[SERVER] already running");
            return true;
        }
        let (host, port) = (self.config.host, self.config.port);
        let listener = match TcpListener::bind((host, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                self.terminal.line(&format!("[SERVER] can't listen on {host}:{port}: {error}"));
                return false;
            }
        };
        self.site.stopping.store(false, Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(io::run(listener, self.server.clone(), shutdown));
        self.running = Some(Running { stop, task, since: Instant::now() });
        let recovery = match self.config.recovery_window_ms {
            0 => "no recovery".to_owned(),
            ms => format!("recovery window {} s", seconds(ms)),
        };
        self.terminal
            .line(&format!("[SERVER] {} listens on http://{host}:{port} (log in memory, {recovery})", self.id));
        true
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
        match chat::say(&self.main, room, &format!("server:{}", self.id), text) {
            Ok(()) => self.terminal.line(&format!("[SERVER] sent to {}", count(reached, "client"))),
            Err(error) => self.terminal.line(&format!("[SERVER] not sent: {error}")),
        }
    }

    fn status(&self) -> String {
        let mut lines = vec![("server", self.id.clone())];
        match &self.running {
            Some(running) => {
                lines.push(("state", "running".to_owned()));
                lines.push(("address", format!("http://{}:{}", self.config.host, self.config.port)));
                let up = u64::try_from(running.since.elapsed().as_millis()).unwrap_or(0);
                lines.push(("uptime", age(up)));
            }
            None => lines.push(("state", "stopped".to_owned())),
        }
        lines.extend(Report::gather(&self.server, &self.streams).lines(self.server.metrics()));
        lines.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "  {name:<9} {value}");
            text
        })
    }

    fn rooms(&self) -> String {
        let all: Vec<(String, usize)> =
            self.server.namespaces().iter().flat_map(|namespace| rooms_of(namespace)).collect();
        let width = all.iter().take(ROWS).map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(60);
        let rows = all.iter().map(|(name, clients)| format!("  {name:<width$}  {}", count(*clients, "client")));
        list(rows, all.len(), "room")
    }

    fn clients(&self) -> String {
        let now = self.server.now();
        let sockets: Vec<Socket> =
            self.server.namespaces().iter().flat_map(|namespace| namespace.all().sockets()).collect();
        let rows = sockets.iter().map(|socket| {
            let connection = socket.connection();
            let nsp = visible(socket.namespace().name().as_str()).into_owned();
            let overdue = if connection.pong_overdue(now) { "  pong overdue" } else { "" };
            format!(
                "  {}  {nsp}  {:<9}  {}  {}  {} unsent  {}{overdue}",
                socket.id(),
                connection.transport().name(),
                age(now.since(socket.joined())),
                count(socket.rooms().len() - 1, "room"),
                connection.unsent(),
                connection.handshake.address,
            )
        });
        list(rows, sockets.len(), "client")
    }
}

fn rooms_of(namespace: &Namespace) -> Vec<(String, usize)> {
    let prefix = match namespace.name().as_str() {
        "/" => String::new(),
        name => format!("{} ", visible(name)),
    };
    let row = |(room, clients): (crate::id::Room, usize)| (format!("{prefix}{}", visible(room.as_str())), clients);
    namespace.rooms().into_iter().map(row).collect()
}

/// Rows with their number; what is beyond a screenful of screens is only counted.
fn list(rows: impl Iterator<Item = String>, total: usize, what: &str) -> String {
    let mut text = format!("{}\n", count(total, what));
    for row in rows.take(ROWS) {
        let _ = writeln!(text, "{row}");
    }
    if total > ROWS {
        let _ = writeln!(text, "  and {} more", total - ROWS);
    }
    text
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn help() -> String {
    HELP.iter().fold(String::new(), |mut text, (command, what)| {
        let _ = writeln!(text, "  {command:<29} {what}");
        text
    })
}

/// SIGINT and SIGTERM end the server as `exit` does.
fn watch_signals(inputs: &mpsc::Sender<Input>) -> std::io::Result<()> {
    for (kind, name) in [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM")] {
        let mut signal = signal(kind)?;
        let inputs = inputs.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let _ = inputs.send(Input::Signal(name)).await;
            }
        });
    }
    Ok(())
}
