//! The server `rill`: reads the environment, then hands over to the operator. `rill help` tells the rest.

use rill::app::config::{Config, table};
use rill::app::log::Terminal;
use rill::app::operator::Operator;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

const HELP: &str = "rill                starts the server's console; AUTOSTART=1 serves at once
rill health         asks the server on 127.0.0.1:PORT whether it lives; exit status 0 or 1
rill help           this text
rill help env       the environment variables, as a table
rill --version      the version

In the console, `help` lists the commands.";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => serve(),
        ["health"] => exit(i32::from(!is_healthy())),
        ["help", "env"] => println!("{}", table().trim_end()),
        ["help" | "--help" | "-h"] => println!("{HELP}"),
        ["--version" | "-V"] => println!("rill {}", env!("CARGO_PKG_VERSION")),
        _ => {
            eprintln!("{HELP}");
            exit(2);
        }
    }
}

fn configuration() -> Config {
    Config::parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())).unwrap_or_else(
        |errors| {
            errors.iter().for_each(|error| eprintln!("{error}"));
            exit(2)
        },
    )
}

fn serve() {
    let config = configuration();
    if config.wants_redis {
        eprintln!("[REDIS] this version has no Redis adapter yet: set ADAPTER=memory, or unset REDIS_HOST and ADAPTER");
        exit(2);
    }
    let terminal = Arc::new(Terminal::default());
    warn_of_file_limit(config.max_connections, &terminal);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap_or_else(|error| {
        eprintln!("[SERVER] can't start: {error}");
        exit(1)
    });
    let status = runtime.block_on(Operator::new(config, terminal).run());
    // Not by returning: the thread that reads standard input may wait there for ever.
    exit(i32::from(status));
}

/// Each connection is an open file.
fn warn_of_file_limit(connections: usize, terminal: &Terminal) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<usize>().ok());
    if let Some(soft) = soft.filter(|soft| *soft < connections) {
        terminal.line(&format!(
            "[SERVER] open files are limited to {soft}, so connections too (MAX_CONNECTIONS is {connections})"
        ));
    }
}

fn is_healthy() -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, configuration().port))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
