//! The operator's loop: typed commands, signals, and the server that they drive. One command after the other, each with its answer.

use super::backend::Backend;
use super::chat::{self, Chat};
use super::config::Config;
use super::console::{self, Command, CommandError, HELP, Input};
use super::log::{Terminal, visible};
use super::pages::Site;
use super::report::{Report, age, seconds};
use crate::id::{Random, Time};
use crate::io;
use crate::server::entry::RemoteSocket;
use crate::server::namespace::Namespace;
use crate::server::socket::Socket;
use crate::server::{Log, Options, Server};
use std::collections::BTreeMap;
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

/// Rows of a list; what is beyond is counted.
const ROWS: usize = 1_000;

/// Characters of a name in a list; clients choose names, and one that is long would push everything else away.
const WIDEST: usize = 60;
/// For other servers to answer a question, in milliseconds, and for their answers to be here.
const PATIENCE: u64 = 2_000;
const ANSWER: Duration = Duration::from_secs(4);
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
    /// A signal has come.
    ending: Arc<AtomicBool>,
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
        if let Backend::Redis(redis) = &self.backend {
            let port = self.config.advertise.is_none().then_some(self.config.port);
            tokio::spawn(redis.clone().run(self.server.clone(), port));
        }
        if self.config.autostart && !self.start().await {
            return 1;
        }
        self.terminal.prompt();
        while let Some(input) = inputs.recv().await {
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
        match input {
            // A signal that came meanwhile does not wait for everything that was typed ahead.
            Input::Line(_) | Input::TooLong if self.ending.load(Ordering::Relaxed) => {}
            Input::Line(line) => {
                self.terminal.entered();
                if !self.obey(&line).await {
                    return false;
                }
                self.terminal.prompt();
            }
            Input::TooLong => {
                self.terminal.entered();
                self.terminal.line(&CommandError::TooLong.to_string());
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
            Ok(Some(Command::Rooms { all: false })) => self.print(&self.rooms()),
            Ok(Some(Command::Clients { all: false })) => self.print(&self.clients()),
            Ok(Some(Command::Rooms { all: true })) => self.print(&self.rooms_of_all().await),
            Ok(Some(Command::Clients { all: true })) => self.print(&self.clients_of_all().await),
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
        self.site.stopping.store(false, Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(io::run(listener, self.server.clone(), shutdown));
        self.running = Some(Running { stop, task, since: Instant::now() });
        let recovery = match self.config.recovery_window_ms {
            0 => "recovery off".to_owned(),
            ms => format!("recovery window {} s", seconds(ms)),
        };
        self.terminal
            .line(&format!("[SERVER] listening on http://{address} (adapter: {}, {recovery})", self.adapter()));
        true
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
        let mut lines = vec![("server", self.id.clone())];
        match &self.running {
            Some(running) => {
                lines.push(("state", "running".to_owned()));
                lines.push(("address", format!("http://{}", self.address())));
                let up = u64::try_from(running.since.elapsed().as_millis()).unwrap_or(0);
                lines.push(("uptime", age(up)));
            }
            None => lines.push(("state", "stopped".to_owned())),
        }
        lines.extend(Report::gather(&self.server, &self.backend).lines(self.server.metrics()));
        lines.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "  {name:<9} {value}");
            text
        })
    }

    fn rooms(&self) -> String {
        let mut rows = Vec::new();
        let mut total = 0;
        for namespace in self.server.namespaces() {
            let rooms = namespace.rooms();
            total += rooms.len();
            for (room, clients) in rooms.into_iter().take(ROWS - rows.len()) {
                let nsp = name(namespace.name().as_str());
                rows.push(vec![nsp, name(room.as_str()), count(clients, "client")]);
            }
        }
        list(&rows, total, "room")
    }

    fn clients(&self) -> String {
        let now = self.server.now();
        let sockets: Vec<Socket> =
            self.server.namespaces().iter().flat_map(|namespace| namespace.all().sockets()).collect();
        let row = |socket: &Socket| {
            let connection = socket.connection();
            vec![
                name(socket.namespace().name().as_str()),
                socket.id().to_string(),
                connection.transport().name().to_owned(),
                age(now.since(socket.joined())),
                count(socket.rooms().len().saturating_sub(1), "room"),
                format!("{} bytes unsent", connection.unsent()),
                connection.handshake.address.to_string(),
                if connection.pong_overdue(now) { "pong overdue".to_owned() } else { String::new() },
            ]
        };
        let rows: Vec<Vec<String>> = sockets.iter().take(ROWS).map(row).collect();
        list(&rows, sockets.len(), "client")
    }
}

impl Operator {
    /// The clients of all servers, in all namespaces of this one, and the servers that did not answer.
    async fn fetch(&self) -> (Vec<(String, RemoteSocket)>, Vec<String>) {
        let (mut all, mut silent) = (Vec::new(), Vec::new());
        for namespace in self.server.namespaces() {
            let (sender, receiver) = oneshot::channel();
            let asked = namespace.all().timeout(PATIENCE).fetch_sockets(|found| drop(sender.send(found)));
            let found = match asked {
                Ok(()) => timeout(ANSWER, receiver).await.ok().and_then(Result::ok),
                Err(_) => None,
            };
            let Some(found) = found else {
                silent.push("all servers (Redis is away)".to_owned());
                continue;
            };
            let nsp = namespace.name().as_str();
            all.extend(found.sockets.into_iter().map(|socket| (nsp.to_owned(), socket)));
            silent.extend(found.silent);
        }
        silent.sort();
        silent.dedup();
        (all, silent)
    }

    async fn clients_of_all(&self) -> String {
        let (all, silent) = self.fetch().await;
        let now = self.server.now();
        let row = |(nsp, socket): &(String, RemoteSocket)| {
            let issued = socket.handshake.get("issued").and_then(serde_json::Value::as_u64).unwrap_or(now.0);
            let address = socket.handshake.get("address").and_then(serde_json::Value::as_str).unwrap_or("");
            vec![
                name(nsp),
                name(socket.id.as_str()),
                age(now.since(Time(issued))),
                count(socket.rooms.len().saturating_sub(1), "room"),
                name(address),
            ]
        };
        let rows: Vec<Vec<String>> = all.iter().take(ROWS).map(row).collect();
        with_silent(list(&rows, all.len(), "client"), &silent)
    }

    async fn rooms_of_all(&self) -> String {
        let (all, silent) = self.fetch().await;
        let mut rooms: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (nsp, socket) in all {
            for room in socket.rooms.iter().filter(|room| room.as_str() != socket.id.as_str()) {
                *rooms.entry((nsp.clone(), room.as_str().to_owned())).or_default() += 1;
            }
        }
        let row = |((nsp, room), clients): (&(String, String), &usize)| {
            vec![name(nsp), name(room), count(*clients, "client")]
        };
        let rows: Vec<Vec<String>> = rooms.iter().take(ROWS).map(row).collect();
        with_silent(list(&rows, rooms.len(), "room"), &silent)
    }
}

fn with_silent(text: String, silent: &[String]) -> String {
    match silent {
        [] => text,
        names => format!("{text}  without those of {}: no answer in time\n", names.join(", ")),
    }
}

fn made_up(random: &Random) -> String {
    let mut bytes = [0; 3];
    random(&mut bytes);
    format!("rill-{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2])
}

/// A name as it stands in a list.
fn name(text: &str) -> String {
    let mut short: String = text.chars().take(WIDEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    visible(&short).into_owned()
}

/// Rows in columns, after their number; rows that are left out are counted.
fn list(rows: &[Vec<String>], total: usize, what: &str) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = format!("{}\n", count(total, what));
    for row in rows {
        let line = row.iter().zip(&widths).fold(String::new(), |line, (cell, width)| format!("{line}  {cell:<width$}"));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if total > rows.len() {
        let _ = writeln!(text, "  and {} more", total - rows.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<String>>();
        assert_eq!(list(&[], 0, "room"), "0 rooms\n");
        assert_eq!(list(&[row(&["/", "lobby", "1 client"])], 1, "room"), "1 room\n  /  lobby  1 client\n");
        let rows = [row(&["/", "lobby", "2 clients"]), row(&["/x", "wörld 😀", ""])];
        assert_eq!(
            list(&rows, 1_002, "room"),
            "1002 rooms\n  /   lobby    2 clients\n  /x  wörld 😀\n  and 1000 more\n"
        );
    }

    #[test]
    fn names() {
        assert_eq!([name("lobby"), name("a\nb")], ["lobby", "a\\nb"]);
        let sixty = "é".repeat(60);
        assert_eq!(name(&sixty), sixty);
        assert_eq!(name(&format!("{sixty}!")), format!("{sixty}…"));
        assert!(name(&"\u{e0041}".repeat(1_000)).len() < 1_000);
    }
}
