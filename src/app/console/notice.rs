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
    /// A signal has come.
    Signal {
        /// Its name.
        name: &'static str,
    },
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
    Line::new(Level::Info, "CLIENT", format!("{id} {what}"), &fields)
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
                Level::Info,
                "[CLIENT] AAAAAAAAAAAAAAAAAAAA connected again from ::1",
                vec![("id", "AAAAAAAAAAAAAAAAAAAA"), ("address", "::1")],
            ),
            // Another text inside a name changes nothing: nobody reads it back.
            (
                Said::Joined { id: id(), room: "x\n[SERVER] stopped".into() },
                Level::Info,
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
