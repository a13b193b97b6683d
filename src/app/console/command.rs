//! What the operator types, read line by line on a thread of its own.
//!
//! The thread blocks in `read` for as long as nothing is typed, so that nothing ever waits for it: the process ends by `exit`.

use std::fmt;
use std::io::{BufRead, Read};
use tokio::sync::mpsc::Sender;

/// Bytes of a line; a longer one is refused whole, because its end must not be taken for a command.
const LONGEST: u64 = 64 * 1024;

/// What the operator can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin to serve.
    Start,
    /// Stop serving; sessions stay.
    Stop,
    /// How it is.
    Status,
    /// The rooms.
    Rooms {
        /// Of all servers.
        all: bool,
    },
    /// The clients.
    Clients {
        /// Of all servers.
        all: bool,
    },
    /// The numbers, each second anew.
    Top,
    /// The last returns that were refused.
    Refused,
    /// A message to everybody.
    Broadcast(String),
    /// A message to a room.
    SendRoom(String, String),
    /// The commands.
    Help,
    /// The end.
    Exit,
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// No command of this name.
    Unknown(String),
    /// Something is missing.
    Usage(&'static str),
    /// The line is longer than any command may be.
    TooLong,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Unknown(name) => write!(f, "Unknown command: {name} (type help)"),
            CommandError::Usage(usage) => write!(f, "Usage: {usage}"),
            CommandError::TooLong => write!(f, "Not done: a line has at most {LONGEST} bytes"),
        }
    }
}

impl std::error::Error for CommandError {}

/// The commands with what they do, for `help`.
pub const HELP: [(&str, &str); 11] = [
    ("start", "begin to serve"),
    ("stop", "stop serving; clients come back and recover after start"),
    ("status", "server, clients, recovery, log, cluster and errors on one screen"),
    ("top", "counts and rates, each second anew, until Enter"),
    ("refused", "the last returns of clients that were refused, with reasons"),
    ("rooms [all]", "the rooms and how many clients are in them, on this server or on all"),
    ("clients [all]", "the clients with age, rooms, unsent bytes and pong, of this server or of all"),
    ("broadcast <message>", "send a message to every client"),
    ("sendroom <roomId> <message>", "send a message to the clients of a room"),
    ("help", "this list"),
    ("exit", "say goodbye to the clients and end"),
];

/// The command in a line; `None` for an empty one.
///
/// # Errors
/// See [`CommandError`].
pub fn parse(line: &str) -> Result<Option<Command>, CommandError> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let command = match name {
        "" => return Ok(None),
        "start" => Command::Start,
        "stop" => Command::Stop,
        "status" => Command::Status,
        "top" => Command::Top,
        "refused" => Command::Refused,
        "rooms" | "clients" if !matches!(rest, "" | "all") => {
            return Err(CommandError::Usage(if name == "rooms" { "rooms [all]" } else { "clients [all]" }));
        }
        "rooms" => Command::Rooms { all: rest == "all" },
        "clients" => Command::Clients { all: rest == "all" },
        "broadcast" if !rest.is_empty() => Command::Broadcast(rest.to_owned()),
        "broadcast" => return Err(CommandError::Usage("broadcast <message>")),
        "sendroom" => match rest.split_once(char::is_whitespace) {
            Some((room, message)) => Command::SendRoom(room.to_owned(), message.trim_start().to_owned()),
            None => return Err(CommandError::Usage("sendroom <roomId> <message>")),
        },
        "help" => Command::Help,
        "exit" => Command::Exit,
        // The beginning will do to recognise it by.
        _ => return Err(CommandError::Unknown(name.chars().take(40).collect())),
    };
    Ok(Some(command))
}

/// What reaches the operator's loop.
#[derive(Debug)]
pub enum Input {
    /// A line was typed.
    Line(String),
    /// A line was typed that is longer than any command may be.
    TooLong,
    /// Nothing more will be typed.
    End,
    /// SIGUSR1: `start`, for where nobody can type it.
    Start,
    /// SIGINT or SIGTERM.
    Signal(&'static str),
}

/// Reads standard input on a thread of its own.
///
/// # Errors
/// The operating system gives no thread.
pub fn read_lines(inputs: Sender<Input>) -> std::io::Result<()> {
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while let Some(line) = next_line(&mut stdin) {
            if inputs.blocking_send(line).is_err() {
                return;
            }
        }
        let _ = inputs.blocking_send(Input::End);
    })?;
    Ok(())
}

/// The next line; `None` at the end, or when nothing can be read.
fn next_line(input: &mut impl BufRead) -> Option<Input> {
    let mut line = Vec::new();
    // With its line end.
    if input.by_ref().take(LONGEST + 1).read_until(b'\n', &mut line).ok()? == 0 {
        return None;
    }
    if line.len() as u64 > LONGEST && !line.ends_with(b"\n") {
        skip_line(input);
        return Some(Input::TooLong);
    }
    Some(Input::Line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()))
}

/// Reads to the end of the line and keeps nothing of it.
fn skip_line(input: &mut impl BufRead) {
    let mut part = Vec::new();
    while !part.ends_with(b"\n") {
        part.clear();
        match input.by_ref().take(LONGEST).read_until(b'\n', &mut part) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        use Command::*;
        let usage = |text| Err(CommandError::Usage(text));
        for (line, want) in [
            ("", Ok(None)),
            ("   \t ", Ok(None)),
            ("start", Ok(Some(Start))),
            ("  stop  ", Ok(Some(Stop))),
            ("status now", Ok(Some(Status))),
            ("top", Ok(Some(Top))),
            ("refused", Ok(Some(Refused))),
            ("rooms", Ok(Some(Rooms { all: false }))),
            ("rooms  all ", Ok(Some(Rooms { all: true }))),
            ("clients", Ok(Some(Clients { all: false }))),
            ("clients all", Ok(Some(Clients { all: true }))),
            ("clients here", Err(CommandError::Usage("clients [all]"))),
            ("help", Ok(Some(Help))),
            ("exit", Ok(Some(Exit))),
            ("broadcast", usage("broadcast <message>")),
            ("broadcast   ", usage("broadcast <message>")),
            ("broadcast hello  world", Ok(Some(Broadcast("hello  world".to_owned())))),
            ("sendroom", usage("sendroom <roomId> <message>")),
            ("sendroom blue", usage("sendroom <roomId> <message>")),
            ("sendroom blue  hi  there", Ok(Some(SendRoom("blue".to_owned(), "hi  there".to_owned())))),
            ("START", Err(CommandError::Unknown("START".to_owned()))),
            ("\u{1b}[A", Err(CommandError::Unknown("\u{1b}[A".to_owned()))),
            (&"é".repeat(99), Err(CommandError::Unknown("é".repeat(40)))),
        ] {
            assert_eq!(parse(line), want, "{line:?}");
        }
    }

    fn read(mut input: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input) {
            lines.push(match line {
                Input::Line(line) => line,
                other => format!("{other:?}"),
            });
        }
        lines
    }

    #[test]
    fn reading() {
        let (fits, long) = ("x".repeat(65_536), "x".repeat(65_537));
        for (text, want) in [
            (String::new(), vec![]),
            ("start\r\n\nstatus\nexit".to_owned(), vec!["start", "", "status", "exit"]),
            (format!("{fits}\nexit\n"), vec![&fits, "exit"]),
            (fits.clone(), vec![&fits]),
            (format!("{long}\nexit"), vec!["TooLong", "exit"]),
            (format!("{long}exit"), vec!["TooLong"]),
            (format!("{long}{long}{long}exit\n\nhelp\n"), vec!["TooLong", "", "help"]),
        ] {
            assert_eq!(read(text.as_bytes()), want, "{} bytes", text.len());
        }
        assert_eq!(read(b"\xff\n"), ["\u{fffd}"]);
    }
}
