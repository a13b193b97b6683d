//! The server `rill`: reads the environment, then hands over to the operator. `rill help` tells the rest.

use rill::operator::{
    Config, Form, LogFormat, Operator, Said, Terminal, VARIABLES, file_limit, meant, reachable, table,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

const HELP: &str = "rill                starts the server's console; AUTOSTART=1 serves at once
rill health         asks the server on HOST:PORT whether it lives; exit status 0 or 1
rill help           this text
rill help env       the environment variables, as a table
rill --version      the version

In the console, `help` lists the commands.";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => serve(),
        ["health"] => health(),
        ["help", "env"] => say(table().trim_end()),
        ["help" | "--help" | "-h"] => say(HELP),
        ["--version" | "-V"] => say(concat!("rill ", env!("CARGO_PKG_VERSION"))),
        _ => fail(2, HELP),
    }
}

/// Not `println!`, which panics when nobody reads, as in `rill help env | head -1`.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn fail(status: i32, text: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "{text}");
    exit(status)
}

fn configuration() -> Result<Config, String> {
    Config::parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<String>>().join("\n"))
}

fn serve() {
    let config = configuration().unwrap_or_else(|errors| fail(2, &errors));
    let terminal = Terminal::open(form(config.log_format))
        .map(Arc::new)
        .unwrap_or_else(|error| fail(1, &format!("[SERVER] can't start: {error}")));
    warn_of_file_limit(config.max_connections, &terminal);
    warn_of_environment(&config, &terminal);
    let runtime = rill::runtime().unwrap_or_else(|error| fail(1, &format!("[SERVER] can't start: {error}")));
    let status = runtime.block_on(Operator::new(config, terminal.clone()).run());
    terminal.finish(Duration::from_secs(1));
    // Not by returning: the thread that reads standard input may wait there for ever.
    exit(i32::from(status));
}

fn form(format: LogFormat) -> Form {
    match format {
        LogFormat::Text => Form::Text(rill::clock()),
        LogFormat::Plain => Form::Plain,
        LogFormat::Json => Form::Json(rill::clock()),
    }
}

/// Variables that nobody reads, and values that mean nothing.
fn warn_of_environment(config: &Config, terminal: &Terminal) {
    let known: Vec<&'static str> = VARIABLES.iter().map(|variable| variable.name).collect();
    let mut names: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        if let Some(meant) = meant(&name, &known) {
            terminal.line(Said::UnknownVariable { name, meant });
        }
    }
    if let Some(value) = &config.odd_node_env {
        terminal.line(Said::OddNodeEnv { value: value.clone() });
    }
}

/// Each connection is an open file.
fn warn_of_file_limit(connections: usize, terminal: &Terminal) {
    if let Some(soft) = file_limit().filter(|soft| *soft < connections) {
        terminal.line(Said::FileLimit { files: soft, connections });
    }
}

/// For a container's health check, which knows the statuses 0 and 1 only.
fn health() {
    let address = configuration().map(|config| reachable(config.host, config.port));
    match address.and_then(|at| ask(at).map_err(|error| format!("[SERVER] not healthy on {at}: {error}"))) {
        Ok(()) => exit(0),
        Err(error) => fail(1, &error),
    }
}

fn ask(address: SocketAddr) -> std::io::Result<()> {
    let most = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, most)?;
    stream.set_read_timeout(Some(most))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    match &status == b"HTTP/1.1 200" {
        true => Ok(()),
        false => Err(std::io::Error::other(String::from_utf8_lossy(&status).escape_default().to_string())),
    }
}
