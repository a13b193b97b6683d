//! A connection to Redis: TCP or a Unix socket, with who this is and whether that Redis can be used at all.

use super::{CHUNK, CONNECT};
use crate::limits::Limits;
use crate::server::redis::commands::{self, Names, Trouble};
use crate::server::redis::resp::{Bounds, Decoder, RespError, Value};
use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// For the answer to any command; after that the connection is given up.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// Arrays in one another: the streams of an XREAD have five, with a few to spare.
const DEPTH: usize = 8;
/// Elements of one reply: a page of each log, with all its fields.
pub(super) const ELEMENTS: usize = 10_000_000;

/// Where Redis is, and how to speak to it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// Its host, a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its Unix socket; then host and port mean nothing.
    pub socket: Option<PathBuf>,
    /// The user; empty: the default one.
    pub username: String,
    /// The password; where this and the user are empty, no AUTH is sent.
    pub password: String,
    /// How keys begin.
    pub names: Names,
}

impl RedisOptions {
    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix:{}", path.display()),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Default for RedisOptions {
    fn default() -> RedisOptions {
        RedisOptions {
            host: "localhost".into(),
            port: 6379,
            socket: None,
            username: String::new(),
            password: String::new(),
            names: Names::default(),
        }
    }
}

/// The password is never printed.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} {:?}", self.username, self.place(), self.names)
    }
}

/// Why a connection ended.
pub(super) enum Ended {
    Io(std::io::Error),
    /// What came is no reply, or larger than a reply may be.
    Resp(RespError),
    Redis(Trouble),
    Silent,
    /// It hung up before it had said anything.
    Mute,
    /// There is nothing to be read here now.
    Idle,
}

impl std::convert::From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Ended {
        Ended::Io(error)
    }
}

impl std::convert::From<RespError> for Ended {
    fn from(error: RespError) -> Ended {
        Ended::Resp(error)
    }
}

impl std::convert::From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Ended {
        Ended::Redis(trouble)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Io(error) => error.fmt(f),
            Ended::Resp(error) => error.fmt(f),
            Ended::Redis(trouble) => trouble.fmt(f),
            Ended::Silent => f.write_str("it does not answer"),
            Ended::Mute => f.write_str("it hung up without a word: does it want TLS (docs/operating.md has a recipe)?"),
            Ended::Idle => f.write_str("nothing to read"),
        }
    }
}

/// What is read from, of either kind.
pub(super) type From = Box<dyn AsyncRead + Send + Unpin>;
/// What is written to.
pub(super) type To = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection that stands, to a Redis that can be used.
pub(super) struct Link {
    pub(super) from: From,
    pub(super) to: To,
    pub(super) decoder: Decoder,
    /// This server's address on it; a Unix socket has none.
    pub(super) local: Option<IpAddr>,
}

impl Link {
    /// Connects, says who this is, and asks what only Redis 6.2 understands. A reply may have `reply` bytes.
    pub(super) async fn open(options: &RedisOptions, limits: &Limits, reply: usize) -> Result<Link, Ended> {
        let late = |_| Ended::Io(ErrorKind::TimedOut.into());
        let (from, to, local): (From, To, _) = match &options.socket {
            Some(path) => {
                let (from, to) = timeout(CONNECT, UnixStream::connect(path)).await.map_err(late)??.into_split();
                (Box::new(from), Box::new(to), None)
            }
            None => {
                let place = (options.host.as_str(), options.port);
                let stream = timeout(CONNECT, TcpStream::connect(place)).await.map_err(late)??;
                stream.set_nodelay(true)?;
                let local = stream.local_addr().ok().map(|address| address.ip());
                let (from, to) = stream.into_split();
                (Box::new(from), Box::new(to), local)
            }
        };
        let bounds = Bounds { bulk: limits.entry_bytes(), reply, depth: DEPTH, elements: ELEMENTS };
        let mut link = Link { from, to, decoder: Decoder::new(bounds), local };
        let mut command = Vec::new();
        if !options.password.is_empty() || !options.username.is_empty() {
            commands::encode_auth(&mut command, &options.username, &options.password);
            commands::auth_reply(link.ask(&command).await?)?;
            command.clear();
        }
        commands::encode_question(&mut command, &options.names);
        commands::question_reply(link.ask(&command).await?)?;
        Ok(link)
    }

    /// One of the first questions and its answer.
    async fn ask(&mut self, command: &[u8]) -> Result<Value<'_>, Ended> {
        let answer = async {
            self.to.write_all(command).await?;
            hear_reply(&mut self.from, &mut Vec::new(), &mut self.decoder).await
        };
        match timeout(CONNECT, answer).await.unwrap_or(Err(Ended::Silent)) {
            Err(Ended::Io(error)) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Err(Ended::Mute)
            }
            answer => answer,
        }
    }
}

/// Reads the one reply that is awaited.
pub(super) async fn hear_reply<'a>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    decoder: &'a mut Decoder,
) -> Result<Value<'a>, Ended> {
    loop {
        hear_some(stream, bytes).await?;
        if decoder.next(bytes, &mut 0)? {
            return Ok(decoder.reply());
        }
    }
}

/// Reads what there is, at least a byte, in the place of what was read before.
pub(super) async fn hear_some(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<(), Ended> {
    bytes.clear();
    bytes.reserve(CHUNK);
    match timeout(ANSWER, stream.read_buf(bytes)).await {
        Ok(Ok(0)) => Err(Ended::Io(std::io::ErrorKind::ConnectionReset.into())),
        Ok(read) => read.map(|_| ()).map_err(Ended::Io),
        Err(_) => Err(Ended::Silent),
    }
}
