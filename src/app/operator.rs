//! The operator's loop: typed commands, signals, and the server that they drive. One command after the other, each with its answer.

use super::chat::{self, Chat};
use super::config::Config;
use super::console::{self, Command, CommandError, HELP, Input};
use super::log::{Terminal, visible};
use super::pages::Site;
use super::report::{Report, age, seconds};
use crate::io;
use crate::server::memory::MemoryStreams;
use crate::server::namespace::Namespace;
use crate::server::socket::Socket;
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

/// Rows of a list; what is beyond is counted.
const ROWS: usize = 1_000;

/// Characters of a name in a list; clients choose names, and one that is long would push everything else away.
const WIDEST: usize = 60;
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
    streams: Arc<MemoryStreams>,
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
        let streams = Arc::new(MemoryStreams::new(&options.limits));
        let server = Server::new(options, streams.clone(), io::clock(), io::random());
        let main = server.of("/").handle(Chat { log: config.development.then_some(log) });
        let _ = site.server.set(server.clone());
        let _ = site.streams.set(streams.clone());
        let id = config.server_id.clone().unwrap_or_else(|| format!("rill-{}", server.uid().get(..6).unwrap_or("")));
        Operator { config, id, server, main, streams, site, terminal, running: None, ending: Arc::default() }
    }

    /// Serves and obeys until `exit` or a signal; gives the exit status of the process.
    pub async fn run(mut self) -> u8 {
        let (sender, mut inputs) = mpsc::channel(64);
        if let Err(error) = console::read_lines(sender.clone()).and_then(|()| watch_signals(&sender, &self.ending)) {
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
            if !self.take(input).await {
                break;
            }
        }
        end_surely();
        self.stop().await;
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
        self.terminal.line(&format!("[SERVER] listening on http://{address} (adapter: memory, {recovery})"));
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
        let allowed = room.map_or(Ok(()), |room| chat::check_room(room, &self.server.options().limits));
        let from = format!("server:{}", self.id);
        match allowed.and_then(|()| chat::say(&self.main, room, &from, text)) {
            Ok(()) => self.terminal.line(&format!("[SERVER] sent to {}", count(reached, "client"))),
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
        lines.extend(Report::gather(&self.server, &self.streams).lines(self.server.metrics()));
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
