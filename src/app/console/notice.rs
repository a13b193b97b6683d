//! What the program says to its operator beside the library's [`Notice`](crate::server::notice::Notice)s, as values too.

use super::lists::count;
use crate::app::files::ClientError;
use crate::id::SocketId;
use crate::proto::reason::Reason;
use crate::server::notice::{Level, Line};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};

/// The tag of what answers the operator.
pub const CONSOLE: &str = "CONSOLE";

/// What the start and `status` say of who may join.
pub const OPEN_DOOR: &str = "everybody may join (AUTH_TOKEN is not set)";
/// The same where that is not so.
pub const CLOSED_DOOR: &str = "who has the token may join (AUTH_TOKEN)";
/// What the first Ctrl-C says.
const INTERRUPT: &str = "Ctrl-C once more within 10 s ends the server: its clients come back and recover. To leave it running and detach from a \
                         container: Ctrl-P Ctrl-Q";
/// What to do where nobody could type anything.
const NO_INPUT: &str = "there is no input to type `start` into. AUTOSTART=1 starts without; `docker run -it`, or stdin_open and tty in a compose \
    file, give one; SIGUSR1 starts it now, SIGTERM ends it";

/// What the program says.
#[derive(Debug)]
pub enum Said {
    /// Fewer files may be open than clients may connect.
    FileLimit {
        /// How many may be open.
        files: usize,
        /// How many may connect.
        connections: usize,
    },
    /// A variable of the environment that nobody reads.
    UnknownVariable {
        /// Its name; its value may be a secret.
        name: String,
        /// The name that is read.
        meant: &'static str,
    },
    /// A value of `NODE_ENV` that means nothing here.
    OddNodeEnv {
        /// The value.
        value: String,
    },
    /// Clients need no token.
    OpenDoor,
    /// Clients need a token.
    ClosedDoor,
    /// A file of the browser client is missing or broken.
    ClientUnreadable(ClientError),
    /// Neither keys nor signals can be waited for.
    CantHear {
        /// What the operating system said.
        reason: String,
    },
    /// Redis was not asked for, and one is there.
    RedisFound {
        /// Its host and port.
        redis: String,
    },
    /// Redis is on this container's host, whose name has no address here.
    Gateway {
        /// The name.
        name: &'static str,
        /// The address that is used.
        gateway: Ipv4Addr,
    },
    /// Redis was not asked for, and none is there.
    NoRedis {
        /// Where it was looked for.
        redis: String,
    },
    /// A command of the operator's has been carried out, or not. The last line of each answer.
    Command {
        /// As it was typed; its beginning, if it is long.
        command: String,
        /// It was.
        done: bool,
    },
    /// A signal has come.
    Signal {
        /// Its name.
        name: &'static str,
    },
    /// The first SIGINT at a terminal.
    Interrupt,
    /// SIGHUP: the terminal is gone, or somebody wants the configuration read again.
    HangUp,
    /// Nothing more will be typed.
    EndOfInput {
        /// A server runs.
        goes_on: bool,
    },
    /// There never was anything to type into, and nothing runs.
    NoInput,
    /// `start`, where it has been started.
    AlreadyRunning,
    /// `stop`, where nothing runs.
    NotRunning,
    /// The port is taken, or not this machine's.
    CantListen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said, and what sets the address.
        reason: String,
    },
    /// The operating system gives no threads.
    CantStartThreads {
        /// What it said.
        reason: String,
    },
    /// It serves.
    Listening {
        /// Where.
        url: String,
        /// Where the log is.
        adapter: String,
        /// What holds for those who come back.
        recovery: String,
    },
    /// The metrics have an address of their own.
    MetricsOn {
        /// Where.
        address: SocketAddr,
    },
    /// The end came before Redis had everything.
    PacketsLost {
        /// How many are lost.
        packets: usize,
    },
    /// Redis does not have everything, and the server is stopped.
    PacketsWait {
        /// How many wait.
        packets: usize,
    },
    /// What is asked for needs Redis, and so a server that runs.
    Apart,
    /// It does not serve any more.
    Stopped,
    /// The end.
    Goodbye,
    /// A message of the operator's is on its way.
    Sent {
        /// How many it reaches here.
        clients: usize,
        /// There are other servers.
        others: bool,
    },
    /// A message of the operator's waits until Redis is back.
    SentLater {
        /// How much waits there.
        packets: usize,
    },
    /// Nobody is in the room that a message of the operator's went to.
    NobodyThere {
        /// The room.
        room: String,
        /// There are other servers, which have not been asked.
        others: bool,
    },
    /// Sessions end.
    Disconnecting {
        /// A room or an id; `None`: all.
        room: Option<String>,
        /// How many are here.
        clients: usize,
        /// There are other servers.
        others: bool,
        /// What the clients were told.
        reason: String,
    },
    /// Clients are being sent away.
    Draining {
        /// How many were here when it began.
        clients: usize,
        /// How long it will take.
        seconds: u64,
        /// Other servers that can take them.
        others: usize,
    },
    /// So many have been sent away by now.
    Drained {
        /// How many are still here.
        left: usize,
        /// How many were here when it began.
        clients: usize,
        /// How long it will take.
        seconds: u64,
    },
    /// Nobody is here any more.
    DrainEnded,
    /// Clients may come again.
    DrainCancelled,
    /// A message of the operator's was refused.
    NotSent {
        /// Why.
        reason: String,
    },
    /// The output stood still for so long that lines are missing.
    LinesDropped {
        /// How many.
        lines: u64,
    },
    /// A client has come.
    Connected {
        /// Its id.
        id: SocketId,
        /// It has recovered.
        again: bool,
        /// Where it comes from.
        address: String,
    },
    /// A client has gone.
    Disconnected {
        /// Its id.
        id: SocketId,
        /// Why.
        reason: Reason,
    },
    /// A client is in a room.
    Joined {
        /// Its id.
        id: SocketId,
        /// The room.
        room: String,
    },
    /// A client has left a room.
    Left {
        /// Its id.
        id: SocketId,
        /// The room.
        room: String,
    },
}

/// A line about the server.
fn server(level: Level, message: impl Into<String>, fields: &[(&'static str, &dyn Display)]) -> Line {
    Line::new(level, "SERVER", message.into(), fields)
}

/// A line about a client.
fn client(id: &SocketId, what: &str, field: Option<(&'static str, &dyn Display)>) -> Line {
    let fields: Vec<(&'static str, &dyn Display)> = [("id", id as &dyn Display)].into_iter().chain(field).collect();
    Line::new(Level::Debug, "CLIENT", format!("{id} {what}"), &fields)
}

impl From<Said> for Line {
    fn from(said: Said) -> Line {
        use Level::{Error, Info, Warn};
        match &said {
            Said::FileLimit { files, connections } => server(
                Warn,
                format!("open files are limited to {files}, so connections too (MAX_CONNECTIONS is {connections})"),
                &[("files", files), ("connections", connections)],
            ),
            Said::UnknownVariable { name, meant } => server(
                Warn,
                format!("the variable {name} is not read: did you mean {meant}?"),
                &[("variable", name), ("meant", meant)],
            ),
            Said::OddNodeEnv { value } => {
                server(Info, format!("NODE_ENV={value} is taken as production"), &[("value", value)])
            }
            Said::OpenDoor => server(Info, OPEN_DOOR, &[]),
            Said::ClosedDoor => server(Info, CLOSED_DOOR, &[]),
            Said::ClientUnreadable(trouble) => Line::new(
                Warn,
                "HTTP",
                trouble.to_string(),
                &[("file", &trouble.path.display()), ("reason", &trouble.error)],
            ),
            Said::CantHear { reason } => {
                server(Error, format!("can't listen to the operator: {reason}"), &[("reason", reason)])
            }
            Said::RedisFound { redis } => {
                server(Info, format!("REDIS_HOST is not set: using Redis on {redis}"), &[("redis", redis)])
            }
            Said::Gateway { name, gateway } => server(
                Info,
                format!("{name} has no address here: using Redis on {gateway}, the gateway"),
                &[("redis", &gateway.to_string())],
            ),
            Said::NoRedis { redis } => server(
                Info,
                format!(
                    "REDIS_HOST is not set, and no Redis listens on {redis}: the log is in memory, for this server alone"
                ),
                &[("redis", redis)],
            ),
            Said::Command { command, done } => {
                let (level, result) = if *done { (Info, "done") } else { (Warn, "not done") };
                let fields: [(&'static str, &dyn Display); 2] = [("command", command), ("result", &result)];
                Line::new(level, CONSOLE, format!("{command}: {result}"), &fields)
            }
            Said::Interrupt => server(Info, INTERRUPT, &[]),
            Said::HangUp => {
                server(Info, "SIGHUP: the server goes on; `drain`, `exit` and SIGTERM end it in order", &[])
            }
            Said::Signal { name } => server(Info, *name, &[]),
            Said::EndOfInput { goes_on: true } => {
                server(Info, "end of input: the server goes on; SIGTERM ends it", &[])
            }
            Said::EndOfInput { goes_on: false } => server(Info, "end of input, and no server runs: the end", &[]),
            Said::NoInput => server(Error, format!("not started: {NO_INPUT}"), &[("reason", &NO_INPUT)]),
            Said::AlreadyRunning => server(Info, "already running", &[]),
            Said::NotRunning => server(Info, "not running", &[]),
            Said::CantListen { address, reason } => server(
                Error,
                format!("can't listen on {address}: {reason}"),
                &[("address", address), ("reason", reason)],
            ),
            Said::CantStartThreads { reason } => {
                server(Error, format!("can't start threads: {reason}"), &[("reason", reason)])
            }
            Said::Listening { url, adapter, recovery } => server(
                Info,
                format!("listening on {url} (adapter: {adapter}, {recovery})"),
                &[("url", url), ("adapter", adapter), ("recovery", recovery)],
            ),
            Said::MetricsOn { address } => {
                server(Info, format!("metrics on http://{address}/metrics"), &[("address", address)])
            }
            Said::PacketsLost { packets } => Line::new(
                Error,
                "REDIS",
                format!("{packets} packets could not be written: Redis is away"),
                &[("packets", packets)],
            ),
            Said::PacketsWait { packets } => Line::new(
                Warn,
                "REDIS",
                format!("{packets} packets wait for `start`: Redis is away"),
                &[("packets", packets)],
            ),
            Said::Apart => {
                server(Warn, "not running: the others are asked over Redis, and `start` connects to it", &[])
            }
            Said::Stopped => server(Info, "stopped", &[]),
            Said::Goodbye => server(Info, "goodbye", &[]),
            Said::Sent { clients, others } => {
                let elsewhere = if *others { " here, and to those of the other servers" } else { "" };
                let to = count(*clients, "client");
                server(Info, format!("sent to {to}{elsewhere}"), &[("clients", clients)])
            }
            Said::SentLater { packets } => {
                let wait = format!("Redis is away: it waits with {packets} others, and goes out when Redis is back");
                server(Warn, wait, &[("packets", packets)])
            }
            Said::NobodyThere { room, others } => {
                let (elsewhere, here) = match others {
                    true => (" here, and to those of the other servers", " here (`rooms all` asks them all)"),
                    false => ("", ""),
                };
                let message = format!("sent to 0 clients{elsewhere}: nobody is in \"{room}\"{here}");
                server(Warn, message, &[("clients", &0), ("room", room)])
            }
            Said::Disconnecting { room, clients, others, reason } => {
                let whom = room.as_deref().map_or("all".to_owned(), |room| format!("those of {room}"));
                let elsewhere = if *others { ", and those on other servers" } else { "" };
                let told = if reason.is_empty() { "" } else { "; they were told: " };
                server(
                    Info,
                    format!(
                        "disconnected {whom}: {} here{elsewhere}, and who is away comes back as new{told}{reason}",
                        count(*clients, "client")
                    ),
                    &[("whom", &whom), ("clients", clients), ("reason", reason)],
                )
            }
            Said::Draining { clients, seconds, others } => {
                let to = match others {
                    0 => "but no other server is there to take them: they come back after `start`".to_owned(),
                    n => format!("to {}", count(*n, "other server")),
                };
                let message = format!(
                    "draining: no new clients; {} here go within {seconds} s, {to}. `start` ends it",
                    count(*clients, "client")
                );
                let level = if *others == 0 { Warn } else { Info };
                server(level, message, &[("clients", clients), ("seconds", seconds), ("others", others)])
            }
            Said::Drained { left, clients, seconds } => server(
                Info,
                format!("draining: {left} of {clients} clients are left, {seconds} s to go"),
                &[("left", left), ("clients", clients), ("seconds", seconds)],
            ),
            Said::DrainEnded => {
                server(Info, "drained: no client is here. `start` takes clients again, `stop` or `exit` ends", &[])
            }
            Said::DrainCancelled => server(Info, "takes clients again", &[]),
            Said::NotSent { reason } => server(Warn, format!("not sent: {reason}"), &[("reason", reason)]),
            Said::LinesDropped { lines } => {
                let were = if *lines == 1 { "line was" } else { "lines were" };
                server(Warn, format!("{lines} {were} dropped: nothing read the output"), &[("lines", lines)])
            }
            Said::Connected { id, again, address } => {
                let again = if *again { " again" } else { "" };
                client(id, &format!("connected{again} from {address}"), Some(("address", address)))
            }
            Said::Disconnected { id, reason } => {
                client(id, &format!("disconnected: {reason}"), Some(("reason", reason)))
            }
            Said::Joined { id, room } => client(id, &format!("joined {room}"), Some(("room", room))),
            Said::Left { id, room } => client(id, &format!("left {room}"), Some(("room", room))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn texts_that_others_read_and_their_fields() {
        let id = || SocketId::new(&(Arc::new(|bytes: &mut [u8]| bytes.fill(0)) as crate::id::Random));
        for (said, level, text, fields) in [
            (Said::Stopped, Level::Info, "[SERVER] stopped", vec![]),
            (
                Said::Sent { clients: 1, others: false },
                Level::Info,
                "[SERVER] sent to 1 client",
                vec![("clients", "1")],
            ),
            (
                Said::Sent { clients: 2, others: true },
                Level::Info,
                "[SERVER] sent to 2 clients here, and to those of the other servers",
                vec![("clients", "2")],
            ),
            (
                Said::LinesDropped { lines: 1 },
                Level::Warn,
                "[SERVER] 1 line was dropped: nothing read the output",
                vec![("lines", "1")],
            ),
            (
                Said::CantListen { address: ([127, 0, 0, 1], 80).into(), reason: "denied".into() },
                Level::Error,
                "[SERVER] can't listen on 127.0.0.1:80: denied",
                vec![("address", "127.0.0.1:80"), ("reason", "denied")],
            ),
            (
                Said::Connected { id: id(), again: true, address: "::1".into() },
                Level::Debug,
                "[CLIENT] AAAAAAAAAAAAAAAAAAAA connected again from ::1",
                vec![("id", "AAAAAAAAAAAAAAAAAAAA"), ("address", "::1")],
            ),
            // Another text inside a name changes nothing: nobody reads it back.
            (
                Said::Joined { id: id(), room: "x\n[SERVER] stopped".into() },
                Level::Debug,
                "[CLIENT] AAAAAAAAAAAAAAAAAAAA joined x\\n[SERVER] stopped",
                vec![("id", "AAAAAAAAAAAAAAAAAAAA"), ("room", "x\n[SERVER] stopped")],
            ),
        ] {
            let line = Line::from(said);
            let named: Vec<(&str, &str)> = line.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!((line.to_string().as_str(), line.level, named), (text, level, fields));
        }
    }
}
