//! The commands: what a line of the console means.
//!
//! A line is a command's name and what it needs. Where a name may have spaces it stands in double quotes, `\"` and `\\` inside; a message is
//! the rest of its line, as it is. What a command does not need is refused, because who typed it meant something.

use std::fmt;

/// Bytes of a line; a longer one is refused whole, because its end must not be taken for a command.
pub const LONGEST: usize = 64 * 1024;
/// Bytes of a line that a terminal hands on (`N_TTY_BUF_SIZE` of Linux, less the line end); what is typed beyond is lost.
pub const LONGEST_TYPED: usize = 4_095;
/// Seconds that a drain takes when it is not said.
pub const DRAIN: u64 = 30;
/// Seconds that a drain may take.
const LONGEST_DRAIN: u64 = 86_400;

/// What the operator can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin to serve, or to take clients again.
    Start,
    /// Stop serving; sessions stay.
    Stop,
    /// Take no new clients, and let those who are here go, over so many seconds.
    Drain(u64),
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
    /// The end of clients' sessions, wherever they are.
    Disconnect {
        /// A room or a client's id; `None`: everybody.
        room: Option<String>,
        /// What the clients are told before.
        reason: String,
    },
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
    /// Something is missing, or is not what it should be.
    Usage(&'static str),
    /// There is more than the command needs.
    TooMuch {
        /// What it needs.
        usage: &'static str,
        /// The rest.
        more: String,
    },
    /// The line has what an arrow key sends.
    Escape,
    /// The terminal has handed on the beginning of a line, and lost its end.
    Cut,
    /// The line is longer than any command may be.
    TooLong,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Unknown(name) => write!(f, "Unknown command: {name} (type help)"),
            CommandError::Usage(usage) => write!(f, "Usage: {usage}"),
            CommandError::TooMuch { usage, more } => write!(f, "Not done: \"{more}\" is too much. Usage: {usage}"),
            CommandError::Escape => f.write_str(
                "Not done: the line has an escape sequence, as arrow keys send them. The console edits no lines: Backspace, Ctrl-U (all of it) and \
                 Ctrl-W (a word) take back; `rlwrap -A scripts/run` and `rlwrap -aAn docker attach …` give arrow keys and a history",
            ),
            CommandError::Cut => write!(
                f,
                "Not done: a terminal hands on {LONGEST_TYPED} bytes of a line, and the rest of this one is lost. A pipe takes lines of up to \
                 {LONGEST} bytes (docs/operating.md, \"A console for programs\")"
            ),
            CommandError::TooLong => write!(f, "Not done: a line has at most {LONGEST} bytes"),
        }
    }
}

impl std::error::Error for CommandError {}

/// The commands with what they do, for `help`.
pub const HELP: [(&str, &str); 13] = [
    ("start", "begin to serve; after drain: take clients again"),
    ("stop", "stop serving; clients come back and recover after start"),
    ("drain [seconds]", "take no new clients, send those who are here to the other servers bit by bit (30 s)"),
    ("status", "server, clients, recovery, log, cluster and errors on one screen"),
    ("top", "counts and rates, each second anew, until Enter"),
    ("refused", "the last returns of clients that were refused, with reasons"),
    ("rooms [all]", "the rooms and how many clients are in them, on this server or on all"),
    ("clients [all]", "the clients with age, rooms, unsent bytes and pong, of this server or of all"),
    ("broadcast <message>", "send a message to every client"),
    ("sendroom <roomId> <message>", "send a message to the clients of a room; \"a room\" with spaces in quotes"),
    (
        "disconnect <id|room|all> [reason]",
        "end sessions on all servers, also of clients that are away; they are told the reason",
    ),
    ("help", "this list (also: ?)"),
    ("exit", "say goodbye to the clients and end (also: quit)"),
];

/// What stands below the list.
pub const KEYS: &str = "  A log line takes what is half-typed off the screen, not off the line: Ctrl-R shows it again.";

/// The command in a line; `None` for an empty one.
///
/// # Errors
/// See [`CommandError`].
pub fn parse(line: &str) -> Result<Option<Command>, CommandError> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = match name {
        "?" => "help",
        "quit" => "exit",
        name => name,
    };
    let usage = HELP.iter().map(|(usage, _)| *usage).find(|usage| usage.split(' ').next() == Some(name));
    let rest = rest.trim_start();
    let Some(usage) = usage else {
        return match (name, line.contains('\u{1b}')) {
            ("", _) => Ok(None),
            (_, true) => Err(CommandError::Escape),
            // The beginning will do to recognise it by.
            (_, false) => Err(CommandError::Unknown(name.chars().take(40).collect())),
        };
    };
    let wrong = Err(CommandError::Usage(usage));
    let alone = |command| match rest {
        "" => Ok(Some(command)),
        more => Err(CommandError::TooMuch { usage, more: more.chars().take(40).collect() }),
    };
    match name {
        "start" => alone(Command::Start),
        "stop" => alone(Command::Stop),
        "drain" => match rest {
            "" => Ok(Some(Command::Drain(DRAIN))),
            seconds => match seconds.parse() {
                Ok(seconds) if seconds <= LONGEST_DRAIN => Ok(Some(Command::Drain(seconds))),
                _ => wrong,
            },
        },
        "status" => alone(Command::Status),
        "top" => alone(Command::Top),
        "refused" => alone(Command::Refused),
        "rooms" | "clients" if !matches!(rest, "" | "all") => wrong,
        "rooms" => Ok(Some(Command::Rooms { all: rest == "all" })),
        "clients" => Ok(Some(Command::Clients { all: rest == "all" })),
        "broadcast" if rest.is_empty() => wrong,
        "broadcast" => Ok(Some(Command::Broadcast(rest.to_owned()))),
        "sendroom" => match first(rest) {
            Some(First { word, rest, .. }) if !word.is_empty() && !rest.is_empty() => {
                Ok(Some(Command::SendRoom(word, rest.to_owned())))
            }
            _ => wrong,
        },
        "disconnect" => match first(rest) {
            Some(First { word, .. }) if word.is_empty() => wrong,
            Some(First { word, quoted, rest }) => {
                let room = (quoted || word != "all").then_some(word);
                Ok(Some(Command::Disconnect { room, reason: rest.to_owned() }))
            }
            None => wrong,
        },
        "exit" => alone(Command::Exit),
        // Whatever stands behind it, who asks for help shall have it.
        _ => Ok(Some(Command::Help)),
    }
}

/// The first word of what a command needs, and what stands behind it.
struct First<'a> {
    word: String,
    quoted: bool,
    rest: &'a str,
}

/// `None`: a quote that is not closed, or closed in the middle of a word.
fn first(text: &str) -> Option<First<'_>> {
    let Some(inside) = text.strip_prefix('"') else {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        return Some(First { word: word.to_owned(), quoted: false, rest: rest.trim_start() });
    };
    let mut word = String::new();
    let mut chars = inside.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => word.push(chars.next()?),
            other => word.push(other),
        }
    }
    let rest = chars.as_str();
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
    ends.then(|| First { word, quoted: true, rest: rest.trim_start() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        use Command::*;
        let usage = |text| Err(CommandError::Usage(text));
        let (broadcast, sendroom) = ("broadcast <message>", "sendroom <roomId> <message>");
        let disconnect = "disconnect <id|room|all> [reason]";
        let send = |room: &str, text: &str| Ok(Some(SendRoom(room.to_owned(), text.to_owned())));
        let leave = |room: Option<&str>, reason: &str| {
            Ok(Some(Disconnect { room: room.map(str::to_owned), reason: reason.to_owned() }))
        };
        for (line, want) in [
            ("", Ok(None)),
            ("   \t ", Ok(None)),
            ("start", Ok(Some(Start))),
            ("  stop  ", Ok(Some(Stop))),
            ("status", Ok(Some(Status))),
            ("top", Ok(Some(Top))),
            ("refused", Ok(Some(Refused))),
            ("rooms", Ok(Some(Rooms { all: false }))),
            ("rooms  all ", Ok(Some(Rooms { all: true }))),
            ("clients", Ok(Some(Clients { all: false }))),
            ("clients all", Ok(Some(Clients { all: true }))),
            ("clients here", usage("clients [all]")),
            ("help", Ok(Some(Help))),
            ("?", Ok(Some(Help))),
            ("help me", Ok(Some(Help))),
            ("exit", Ok(Some(Exit))),
            ("quit", Ok(Some(Exit))),
            ("broadcast", usage(broadcast)),
            ("broadcast   ", usage(broadcast)),
            ("broadcast hello  world", Ok(Some(Broadcast("hello  world".to_owned())))),
            ("broadcast \"as \\ it is\"", Ok(Some(Broadcast("\"as \\ it is\"".to_owned())))),
            ("broadcast \u{1b}[1mbold", Ok(Some(Broadcast("\u{1b}[1mbold".to_owned())))),
            ("sendroom", usage(sendroom)),
            ("sendroom blue", usage(sendroom)),
            ("sendroom blue  hi  there", send("blue", "hi  there")),
            ("sendroom \"the blue room\" hi  \"there\"", send("the blue room", "hi  \"there\"")),
            ("sendroom \"a \\\"b\\\" \\\\\"  x", send("a \"b\" \\", "x")),
            ("sendroom it's fine", send("it's", "fine")),
            ("sendroom \"blue hi", usage(sendroom)),
            ("sendroom \"blue\"hi there", usage(sendroom)),
            ("sendroom \"\" hi", usage(sendroom)),
            ("sendroom \"blue\"", usage(sendroom)),
            ("disconnect", usage(disconnect)),
            ("disconnect all", leave(None, "")),
            ("disconnect \"all\"", leave(Some("all"), "")),
            ("disconnect the rest", leave(Some("the"), "rest")),
            ("disconnect \"the rest\" out  now", leave(Some("the rest"), "out  now")),
            ("disconnect \"\"", usage(disconnect)),
            ("disconnect \"x", usage(disconnect)),
            ("drain", Ok(Some(Drain(30)))),
            ("drain 0", Ok(Some(Drain(0)))),
            ("drain 86400", Ok(Some(Drain(86_400)))),
            ("drain 86401", usage("drain [seconds]")),
            ("drain -1", usage("drain [seconds]")),
            ("drain now", usage("drain [seconds]")),
            ("START", Err(CommandError::Unknown("START".to_owned()))),
            ("\u{1b}[A", Err(CommandError::Escape)),
            ("sta\u{1b}[D\u{1b}[Crt", Err(CommandError::Escape)),
            (&"é".repeat(99), Err(CommandError::Unknown("é".repeat(40)))),
        ] {
            assert_eq!(parse(line), want, "{line:?}");
        }
    }

    /// Whoever typed more meant something by it.
    #[test]
    fn what_a_command_does_not_need_is_refused() {
        for name in ["start", "stop", "status", "top", "refused", "exit", "quit"] {
            let refused = parse(&format!("{name} now")).unwrap_err().to_string();
            assert!(refused.starts_with("Not done: \"now\" is too much. Usage: "), "{name}: {refused}");
        }
    }

    #[test]
    fn each_command_of_the_list_is_one() {
        for (usage, what) in HELP {
            let name = usage.split(' ').next().unwrap();
            assert!(!matches!(parse(name), Ok(None) | Err(CommandError::Unknown(_))), "{name}");
            assert!(!what.is_empty());
        }
    }
}
