//! What a server says to the people who run it: values with a level, a tag, a text and named fields. Whoever prints them chooses the form,
//! text or JSON; nobody reads a printed line to find out what it said.

use super::recovery::record::Refused;
use crate::codec::opening::Foreign;
use crate::id::{Nsp, Offset, SocketId};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// How much a notice matters; the first matters most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something has to be done, or is lost.
    Error,
    /// Somebody was not served as they should be; the server sees to it.
    Warn,
    /// The course of things.
    Info,
    /// Every single client.
    Debug,
}

impl Level {
    /// All levels, the one that matters most first.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// In lower case, as programs that collect logs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// A notice in words: what a line of text or an object in JSON is made of. Displayed, it is `[TAG] message`, with everything escaped that a
/// terminal would obey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it is about, in capitals: `SERVER`, `REDIS`, `RECOVERY`, `CLIENT` and so on.
    pub tag: &'static str,
    /// The sentence, without its tag.
    pub message: String,
    /// What the sentence names, each by its name.
    pub fields: Vec<(&'static str, String)>,
}

impl Line {
    /// A line with these fields.
    pub fn new(level: Level, tag: &'static str, message: String, fields: &[(&'static str, &dyn fmt::Display)]) -> Line {
        let fields = fields.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Line { level, tag, message, fields }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.tag, visible(&self.message))
    }
}

/// What the library says by [`Options::log`](super::Options::log). More kinds may come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A client came back as who it was, with its rooms and what it missed.
    Recovered {
        /// Its id, before and after.
        id: SocketId,
    },
    /// A client asked for its session and got a new one.
    ReturnedAsNew {
        /// Where it came back to.
        namespace: Nsp,
        /// Why.
        reason: Refused,
    },
    /// A log lost entries before this server read them: its clients can't be told what they missed, and come back as new ones.
    LogLost {
        /// Whose log.
        namespace: Nsp,
        /// How many clients it had here.
        clients: usize,
    },
    /// A client did not read what it was sent, and was cut.
    ClientCut {
        /// The beginning of its Engine.IO id; the rest is private.
        session: String,
        /// What waited for it.
        bytes: usize,
    },
    /// A client broke the protocol, or its handler broke off, and it was closed.
    ClientClosed {
        /// The beginning of its Engine.IO id; the rest is private.
        session: String,
        /// What was wrong.
        reason: String,
    },
    /// A request was refused.
    HandshakeRefused {
        /// Where it came from.
        address: String,
        /// Why.
        reason: String,
    },
    /// A client was not let into a namespace.
    JoinRefused {
        /// Where it comes from.
        address: String,
        /// The namespace; its beginning, if its name is long.
        namespace: String,
        /// What the client was told.
        reason: String,
    },
    /// A request of long-polling was refused; its session lives.
    RequestRefused {
        /// The beginning of its Engine.IO id; the rest is private.
        session: String,
        /// What was wrong.
        reason: String,
    },
    /// A request of long-polling came again, because a proxy or a browser had lost the answer to it, or its connection.
    RequestRepeated {
        /// The beginning of its Engine.IO id; the rest is private.
        session: String,
        /// What came, and what was done.
        what: &'static str,
    },
    /// A connection spoke something else than HTTP/1. Said once a minute for each.
    RefusedForeign {
        /// Where it came from.
        address: IpAddr,
        /// What it spoke.
        what: Foreign,
    },
    /// The process got no time for longer than a client may be silent; its clients are closed, and recover.
    StoodStill {
        /// For how long.
        seconds: u64,
    },
    /// A handler that waits can't be run, because the server was given nothing to run it on.
    NothingRuns,
    /// The operating system gave no connection.
    CantAccept {
        /// What it said.
        reason: String,
    },
    /// Another server that lives has this one's name.
    SameName {
        /// The name.
        name: String,
        /// Where the other server is reached.
        address: String,
    },
    /// Redis is not there, or does not do what is needed. Said again now and then while it lasts.
    RedisTrouble {
        /// Its host and port.
        redis: String,
        /// What is wrong.
        reason: String,
    },
    /// Redis is not there, or does not do what is needed, at a look before the server is started.
    RedisNotUsable {
        /// Its host and port.
        redis: String,
        /// What is wrong.
        reason: String,
    },
    /// Redis is there again.
    RedisBack {
        /// Its host and port.
        redis: String,
    },
    /// Redis refused one command and goes on.
    RedisRefused {
        /// The key that the command was for.
        key: String,
        /// Redis's words.
        words: String,
        /// How many of this kind there were since it was last told of.
        more: u64,
    },
    /// Redis is reached, and everything that must be read is being read.
    RedisReady,
    /// Somebody wrote an entry whose id is far ahead of the log's clock; it is passed over. Said once.
    EntryAhead {
        /// Whose log.
        namespace: Nsp,
        /// The entry's id.
        id: Offset,
    },
    /// Somebody wrote the last possible id, behind which nobody can append; the log is deleted and begins anew.
    LogExhausted {
        /// Whose log.
        namespace: Nsp,
    },
    /// Another server can't be reached at the address that it announces. Said once a minute while requests for its clients come.
    Unreachable {
        /// Its name.
        server: String,
        /// Its address.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// Another server announces what can't be right beside what this one announces.
    AddressUnlikely {
        /// Its name.
        server: String,
        /// Its address.
        address: String,
        /// This server's address.
        own: String,
    },
    /// A heartbeat was not signed with this cluster's secret, or is not of now, and does not count.
    HeartbeatUnproved {
        /// The name that it gives.
        server: String,
    },
}

impl Notice {
    /// The notice in words.
    #[must_use]
    pub fn line(&self) -> Line {
        use Level::{Debug, Error, Info, Warn};
        match self {
            Notice::Recovered { id } => {
                Line::new(Info, "RECOVERY", format!("Client reconnected (recovered): {id}"), &[("id", id)])
            }
            Notice::ReturnedAsNew { namespace, reason } => Line::new(
                Warn,
                "RECOVERY",
                format!("Client of {namespace} reconnected as new: {reason}"),
                &[("namespace", namespace), ("reason", reason)],
            ),
            Notice::LogLost { namespace, clients } => Line::new(
                Error,
                "RECOVERY",
                format!(
                    "the log of {namespace} lost entries (flushed, or trimmed before they were read): its {clients} clients come back as new ones"
                ),
                &[("namespace", namespace), ("clients", clients)],
            ),
            Notice::ClientCut { session, bytes } => Line::new(
                Warn,
                "CLIENT",
                format!("{session} cut: it did not read, and {bytes} bytes waited"),
                &[("session", session), ("bytes", bytes)],
            ),
            Notice::ClientClosed { session, reason } => Line::new(
                Warn,
                "CLIENT",
                format!("{session} closed: {reason}"),
                &[("session", session), ("reason", reason)],
            ),
            Notice::HandshakeRefused { address, reason } => Line::new(
                Debug,
                "HTTP",
                format!("a request from {address} refused: {reason}"),
                &[("address", address), ("reason", reason)],
            ),
            Notice::JoinRefused { address, namespace, reason } => Line::new(
                Debug,
                "CLIENT",
                format!("from {address} refused at {namespace}: {reason}"),
                &[("address", address), ("namespace", namespace), ("reason", reason)],
            ),
            Notice::RequestRefused { session, reason } => Line::new(
                Warn,
                "HTTP",
                format!("{session}: refused, {reason}"),
                &[("session", session), ("reason", reason)],
            ),
            Notice::RequestRepeated { session, what } => {
                Line::new(Info, "HTTP", format!("{session}: {what}"), &[("session", session)])
            }
            Notice::RefusedForeign { address, what } => {
                Line::new(Warn, "HTTP", format!("refused {address}: {what}"), &[("address", address)])
            }
            Notice::StoodStill { seconds } => Line::new(
                Warn,
                "SERVER",
                format!("stood still for {seconds} s: its clients come back and recover"),
                &[("seconds", seconds)],
            ),
            Notice::NothingRuns => {
                let message = "a handler that waits is not run: the server was given nothing to run it on";
                Line::new(Error, "SERVER", message.to_owned(), &[])
            }
            Notice::SameName { name, address } => Line::new(
                Warn,
                "CLUSTER",
                format!("another server, on {address}, is called {name} too: give each its own name (SERVER_ID)"),
                &[("name", name), ("address", address)],
            ),
            Notice::CantAccept { reason } => {
                Line::new(Error, "SERVER", format!("can't accept a connection: {reason}"), &[("reason", reason)])
            }
            Notice::RedisTrouble { redis, reason } => Line::new(
                Error,
                "REDIS",
                format!("can't use {redis}: {reason}; trying again"),
                &[("redis", redis), ("reason", reason)],
            ),
            Notice::RedisNotUsable { redis, reason } => Line::new(
                Error,
                "REDIS",
                format!("can't use {redis}: {reason}; `start` tries again"),
                &[("redis", redis), ("reason", reason)],
            ),
            Notice::RedisBack { redis } => {
                Line::new(Info, "REDIS", format!("connected to {redis} again"), &[("redis", redis)])
            }
            Notice::RedisRefused { key, words, more } => Line::new(
                Error,
                "REDIS",
                match more {
                    0 => format!("a command on {key} was refused: {words}"),
                    _ => format!("a command on {key} was refused: {words} ({more} like it since the last line)"),
                },
                &[("key", key), ("words", words), ("more", more)],
            ),
            Notice::EntryAhead { namespace, id } => Line::new(
                Warn,
                "RECOVERY",
                format!(
                    "an entry of the log of {namespace} has the id {id}, over an hour ahead of Redis's clock: skipped"
                ),
                &[("namespace", namespace), ("id", id)],
            ),
            Notice::LogExhausted { namespace } => Line::new(
                Error,
                "RECOVERY",
                format!("the log of {namespace} holds the last possible id, nobody can append to it: it is begun anew"),
                &[("namespace", namespace)],
            ),
            Notice::Unreachable { server, address, reason } => Line::new(
                Error,
                "CLUSTER",
                format!(
                    "can't reach {server} at {address} ({reason}): its clients' requests that come here fail; see HOST and ADVERTISE_ADDR there"
                ),
                &[("server", server), ("address", address), ("reason", reason)],
            ),
            Notice::AddressUnlikely { server, address, own } => Line::new(
                Warn,
                "CLUSTER",
                format!(
                    "{server} announces {address}, and this server {own}: one can't reach the other, set ADVERTISE_ADDR"
                ),
                &[("server", server), ("address", address), ("own", own)],
            ),
            Notice::HeartbeatUnproved { server } => Line::new(
                Error,
                "CLUSTER",
                format!("{server} has not proved that it is of this cluster: it does not count; see CLUSTER_SECRET"),
                &[("server", server)],
            ),
            Notice::RedisReady => Line::new(Info, "REDIS", "Redis Streams adapter initialized".to_owned(), &[]),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line().fmt(f)
    }
}

impl From<&Notice> for Line {
    fn from(notice: &Notice) -> Line {
        notice.line()
    }
}

/// The text with everything escaped that a terminal would obey or that hides or turns text around.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_dangerous(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn is_dangerous(c: char) -> bool {
    let hides = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
    );
    let fills = matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    let tags = matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    c.is_control() || hides || fills || tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_is_left() {
        for (text, want) in [
            ("plain, wörld 😀", "plain, wörld 😀"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{1b}[2J\u{0}\u{7f}", "\\u{1b}[2J\\u{0}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("\u{2066}x\u{2069}\u{61c}", "\\u{2066}x\\u{2069}\\u{61c}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("\u{3164}\u{180e}\u{e0041}\u{e0100}", "\\u{3164}\\u{180e}\\u{e0041}\\u{e0100}"),
        ] {
            assert_eq!(visible(text), want);
        }
    }

    /// The texts that others wait for, whole.
    #[test]
    fn fixed_texts_and_their_fields() {
        let id = SocketId::new(&(std::sync::Arc::new(|bytes: &mut [u8]| bytes.fill(0)) as crate::id::Random));
        let as_new = Notice::ReturnedAsNew { namespace: Nsp::new("/\u{1b}"), reason: Refused::NoOffset };
        let trouble = Notice::RedisTrouble { redis: "localhost:6379".into(), reason: "OOM x".into() };
        for (notice, level, text, fields) in [
            (
                Notice::Recovered { id },
                Level::Info,
                "[RECOVERY] Client reconnected (recovered): AAAAAAAAAAAAAAAAAAAA",
                vec![("id", "AAAAAAAAAAAAAAAAAAAA")],
            ),
            (Notice::RedisReady, Level::Info, "[REDIS] Redis Streams adapter initialized", vec![]),
            (
                as_new,
                Level::Warn,
                "[RECOVERY] Client of /\\u{1b} reconnected as new: it sent no usable offset",
                vec![("namespace", "/\u{1b}"), ("reason", "it sent no usable offset")],
            ),
            (
                trouble,
                Level::Error,
                "[REDIS] can't use localhost:6379: OOM x; trying again",
                vec![("redis", "localhost:6379"), ("reason", "OOM x")],
            ),
        ] {
            assert_eq!(notice.to_string(), text);
            let line = notice.line();
            let named: Vec<(&str, &str)> = line.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!((line.level, named), (level, fields), "{text}");
        }
    }
}
