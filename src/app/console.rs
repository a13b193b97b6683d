//! What the operator types, read line by line on a thread of its own.
//!
//! The thread blocks in `read` for as long as nothing is typed, so that nothing ever waits for it: the process ends by `exit`.

use std::fmt;
use std::io::{BufRead, Read};
use tokio::sync::mpsc::Sender;

/// Bytes of a line; what is longer is refused.
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
    Rooms,
    /// The clients.
    Clients,
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
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Unknown(name) => write!(f, "Unknown command: {name} (type help)"),
            CommandError::Usage(usage) => write!(f, "Usage: {usage}"),
        }
    }
}

impl std::error::Error for CommandError {}

/// The commands with what they do, for `help`.
pub const HELP: [(&str, &str); 9] = [
    ("start", "begin to serve"),
    ("stop", "stop serving; clients come back and recover after start"),
    ("status", "address, uptime, clients, rooms, log, recovery"),
    ("rooms", "the rooms and how many clients are in them"),
    ("clients", "the clients with transport, age and rooms"),
    ("broadcast <message>", "send a message to every client"),
    ("sendroom <roomId> <message>", "send a message to the clients of a room"),
    ("help", "this list"),
    ("exit", "say goodbye to the clients and end"),
];

/// The command in a line; `None` for an empty one.
pub fn parse(line: &str) -> Result<Option<Command>, CommandError> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let command = match name {
        "" => return Ok(None),
        "start" => Command::Start,
        "stop" => Command::Stop,
        "status" => Command::Status,
        "rooms" => Command::Rooms,
        "clients" => Command::Clients,
        "broadcast" if !rest.is_empty() => Command::Broadcast(rest.to_owned()),
        "broadcast" => return Err(CommandError::Usage("broadcast <message>")),
        "sendroom" => match rest.split_once(char::is_whitespace) {
            Some((room, message)) => Command::SendRoom(room.to_owned(), message.trim_start().to_owned()),
            None => return Err(CommandError::Usage("sendroom <roomId> <message>")),
        },
        "help" => Command::Help,
        "exit" => Command::Exit,
        _ => return Err(CommandError::Unknown(name.to_owned())),
    };
    Ok(Some(command))
}

/// What reaches the operator's loop.
#[derive(Debug)]
pub enum Input {
    /// A line was typed.
    Line(String),
    /// Nothing more will be typed.
    End,
    /// SIGINT or SIGTERM.
    Signal(&'static str),
}

/// Reads standard input on a thread of its own.
pub fn read_lines(inputs: Sender<Input>) -> std::io::Result<()> {
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while let Some(line) = next_line(&mut stdin) {
            if inputs.blocking_send(Input::Line(line)).is_err() {
                return;
            }
        }
        let _ = inputs.blocking_send(Input::End);
    })?;
    Ok(())
}

/// The next line; one that is too long is cut there, and its rest is the next line. `None` at the end, or when nothing can be read.
fn next_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LONGEST).read_until(b'\n', &mut line).ok()?;
    (read > 0).then(|| String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned())
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
            ("rooms", Ok(Some(Rooms))),
            ("clients", Ok(Some(Clients))),
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
        ] {
            assert_eq!(parse(line), want, "{line:?}");
        }
    }

    #[test]
    fn reading() {
        let long = "x".repeat(70_000);
        let text = format!("start\r\n\nbad \u{fffd}\n{long}\nexit");
        let mut input = text.as_bytes();
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input) {
            lines.push(line);
        }
        assert_eq!(lines[..3], ["start", "", "bad \u{fffd}"]);
        assert_eq!((lines[3].len(), lines[4].len(), lines[5].as_str()), (65_536, 4_464, "exit"));
        assert_eq!(next_line(&mut &b"\xff\n"[..]), Some("\u{fffd}".to_owned()));
    }
}
