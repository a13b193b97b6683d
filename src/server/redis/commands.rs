//! The four commands as Redis takes them, and its replies as ours: plain functions, no connection.
//!
//! Redis 6.2 or newer. Nothing but XADD, XREAD, XTRIM, EXPIRE, and AUTH at the beginning of a connection is ever sent.

use crate::id::{Nsp, Offset};
use crate::limits::Limits;
use crate::server::log::entry::{Entry, Posted};
use crate::server::log::streams::{Command, Item, Key, Reply, StreamError};
use crate::server::redis::resp::{self, Items, Value};
use crate::server::redis::wire;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// How the keys begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Of logs, inboxes and the control log: `socket.io`.
    pub streams: String,
    /// Of sessions: `sio:session:`.
    pub sessions: String,
}

impl Default for Names {
    fn default() -> Names {
        Names { streams: "socket.io".into(), sessions: "sio:session:".into() }
    }
}

impl Names {
    /// The key in Redis.
    #[must_use]
    pub(crate) fn of(&self, key: &Key) -> String {
        self.pieces(key).concat()
    }

    /// The key in pieces.
    fn pieces<'a>(&'a self, key: &'a Key) -> [&'a str; 4] {
        match key {
            Key::Log(nsp) => [&self.streams, "#", nsp.as_str(), "#"],
            Key::Inbox(uid) => [&self.streams, "#", uid, "#"],
            Key::Control => [&self.streams, "#", "", ""],
            Key::Session(pid) => [&self.sessions, pid.as_str(), "", ""],
        }
    }

    /// Whether this is the key's name in Redis.
    pub(crate) fn is(&self, key: &Key, name: &[u8]) -> bool {
        let rest = self.pieces(key).iter().try_fold(name, |rest, piece| rest.strip_prefix(piece.as_bytes()));
        rest == Some(b"")
    }

    /// Appends the key as a word of a command.
    fn push(&self, out: &mut Vec<u8>, key: &Key) {
        resp::word(out, &self.pieces(key).map(str::as_bytes));
    }
}

/// Why a connection to Redis can't go on as it is, with Redis's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It wants a password, and got none.
    NoPassword(String),
    /// The password or the user is not accepted.
    WrongPassword(String),
    /// A password was given, and none is set.
    NeedlessPassword(String),
    /// It does not know what Redis 6.2 knows.
    Old(String),
    /// It knows none of the four commands.
    Stranger(String),
    /// It is a node of a cluster that has not got these keys, or not all of them.
    Elsewhere(String),
    /// It is a replica.
    Replica(String),
    /// Its user may not do what is needed.
    NotPermitted(String),
    /// It can't carry out commands now: it loads its data, or may not write.
    Unwilling(String),
    /// What it said is no reply to what was asked.
    Nonsense,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoPassword(words) => write!(f, "it wants a password, set REDIS_PASSWORD: {words}"),
            Trouble::WrongPassword(words) => {
                write!(f, "the password is not accepted (see REDIS_PASSWORD and REDIS_USERNAME): {words}")
            }
            Trouble::NeedlessPassword(words) => {
                write!(f, "it has no password, and REDIS_PASSWORD is set: unset it, or give Redis one: {words}")
            }
            Trouble::Old(words) => write!(f, "it is too old, Rill needs Redis 6.2 or newer: {words}"),
            Trouble::Stranger(words) => {
                write!(f, "it has no streams: a Sentinel's port (give the master's), or Redis before 5: {words}")
            }
            Trouble::Elsewhere(words) => {
                f.write_str(
                    "it is a node of a Redis Cluster that has not got all keys (put one {tag} into STREAM_PREFIX ",
                )?;
                write!(f, "and SESSION_PREFIX, and give the address of the node that has it): {words}")
            }
            Trouble::Replica(words) => write!(f, "it is a replica, give the address of the master: {words}"),
            Trouble::NotPermitted(words) => {
                write!(f, "its user may not do what is needed (docs/operating.md has the ACL line): {words}")
            }
            Trouble::Unwilling(words) => write!(f, "it does not take commands: {words}"),
            Trouble::Nonsense => f.write_str("it does not speak as Redis does"),
        }
    }
}

/// Appends a command.
///
/// # Errors
/// [`StreamError::Refused`]: no entry can be made of this one, and nothing is appended.
pub(crate) fn encode(out: &mut Vec<u8>, names: &Names, limits: &Limits, command: &Command) -> Result<(), StreamError> {
    match command {
        Command::XAdd { key, posted, create } => {
            let nsp = nsp_of(key);
            let fields = wire::encode(&nsp, posted).map_err(|_| StreamError::Refused)?;
            let capped = matches!(key, Key::Log(_));
            resp::begin(out, 3 + usize::from(!create) + 3 * usize::from(capped) + 2 * fields.len());
            resp::word(out, &[b"XADD"]);
            names.push(out, key);
            if !create {
                resp::word(out, &[b"NOMKSTREAM"]);
            }
            if capped {
                resp::word(out, &[b"MAXLEN"]);
                resp::word(out, &[b"~"]);
                resp::number(out, limits.log_entries as u64);
            }
            resp::word(out, &[b"*"]);
            for (field, value) in &fields {
                resp::word(out, &[field.as_bytes()]);
                resp::word(out, &[value.as_bytes()]);
            }
        }
        Command::XRead { key, after, count } => {
            resp::begin(out, 6);
            resp::word(out, &[b"XREAD"]);
            resp::word(out, &[b"COUNT"]);
            resp::number(out, *count as u64);
            resp::word(out, &[b"STREAMS"]);
            names.push(out, key);
            push_offset(out, *after);
        }
        Command::XTrim { key, min } => {
            resp::begin(out, 4);
            resp::word(out, &[b"XTRIM"]);
            names.push(out, key);
            resp::word(out, &[b"MINID"]);
            push_offset(out, *min);
        }
        Command::Expire { key, ms } => {
            resp::begin(out, 3);
            resp::word(out, &[b"EXPIRE"]);
            names.push(out, key);
            // Whole seconds, rounded up: a session must not die early. 0 deletes.
            resp::number(out, ms.div_ceil(1_000));
        }
    }
    Ok(())
}

fn push_offset(out: &mut Vec<u8>, Offset { ms, seq }: Offset) {
    let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
    resp::word(out, &[first.format(ms).as_bytes(), b"-", second.format(seq).as_bytes()]);
}

/// A read of several streams, for the reader's own connection; with `block_ms` it waits so long for entries.
pub(crate) fn encode_read(
    out: &mut Vec<u8>,
    names: &Names,
    cursors: &[(Key, Offset)],
    count: usize,
    block_ms: Option<u64>,
) {
    resp::begin(out, 4 + 2 * usize::from(block_ms.is_some()) + 2 * cursors.len());
    resp::word(out, &[b"XREAD"]);
    resp::word(out, &[b"COUNT"]);
    resp::number(out, count as u64);
    if let Some(block_ms) = block_ms {
        resp::word(out, &[b"BLOCK"]);
        resp::number(out, block_ms);
    }
    resp::word(out, &[b"STREAMS"]);
    cursors.iter().for_each(|(key, _)| names.push(out, key));
    cursors.iter().for_each(|(_, after)| push_offset(out, *after));
}

/// Appends what begins a connection, where a user or a password is set. Who needs no password is let in with any.
pub(crate) fn encode_auth(out: &mut Vec<u8>, username: &str, password: &str) {
    match username {
        "" => resp::command(out, &[b"AUTH", password.as_bytes()]),
        name => resp::command(out, &[b"AUTH", name.as_bytes(), password.as_bytes()]),
    }
}

/// The reply to `command`.
///
/// # Errors
/// Redis does not take commands: the same command is to be given again later. What concerns this command alone is [`Reply::Failed`].
pub(crate) fn reply(command: &Command, value: Value<'_>, limits: &Limits) -> Result<Reply, Trouble> {
    match (command, value) {
        (_, Value::Error(error)) => refusal(&words(error)),
        (Command::XAdd { .. }, Value::Bulk(id)) => Ok(Reply::Added(Some(offset(id)?))),
        (Command::XAdd { create: false, .. }, Value::Null) => Ok(Reply::Added(None)),
        (Command::XRead { key, .. }, value) => {
            let mut streams = read_reply(value)?;
            match streams.pop() {
                Some((_, entries)) => Ok(Reply::Entries(items(key, entries, limits)?)),
                None => Ok(Reply::Entries(Vec::new())),
            }
        }
        (Command::XTrim { .. }, Value::Integer(n)) => Ok(Reply::Trimmed(usize::try_from(n).unwrap_or(0))),
        (Command::Expire { .. }, Value::Integer(n)) => Ok(Reply::Existed(n > 0)),
        _ => Err(Trouble::Nonsense),
    }
}

/// What Redis says without being asked, before it hangs up.
#[must_use]
pub(crate) fn unasked(value: Value<'_>) -> Trouble {
    match value {
        Value::Error(error) => trouble(&words(error)),
        _ => Trouble::Nonsense,
    }
}

/// Appends a question that only Redis 6.2 understands, and that changes nothing: an entry for a stream that is not there. It has few words: a
/// Redis that wants a password answers a longer command of somebody unknown with a protocol error.
pub(crate) fn encode_question(out: &mut Vec<u8>, names: &Names) {
    let key = names.of(&Key::Inbox("question".into()));
    resp::command(out, &[b"XADD", key.as_bytes(), b"NOMKSTREAM", b"*", b"type", b"24"]);
}

/// The answer to it: whether this Redis can be used.
pub(crate) fn question_reply(value: Value<'_>) -> Result<(), Trouble> {
    let words = match value {
        Value::Null | Value::Bulk(_) => return Ok(()),
        Value::Error(error) => words(error),
        _ => return Err(Trouble::Nonsense),
    };
    match own_fault(&words) {
        // It would, if it had the memory, or if this key were a stream.
        Some(_) if words.starts_with("OOM") || words.starts_with("WRONGTYPE") => Ok(()),
        Some(_) if words.starts_with("NOPERM") => Err(Trouble::NotPermitted(short(&words))),
        Some(_) if words.starts_with("ERR unknown command") => Err(Trouble::Stranger(short(&words))),
        // NOMKSTREAM was taken for an id.
        Some(_) => Err(Trouble::Old(short(&words))),
        None => Err(trouble(&words)),
    }
}

/// What Redis says of a command that it can never carry out. Other errors, such as `ERR max number of clients reached`, pass.
const COMMANDS_OWN: [(&str, StreamError); 10] = [
    ("WRONGTYPE", StreamError::Refused),
    ("NOPERM", StreamError::Refused),
    ("OOM", StreamError::Full),
    ("ERR The stream has exhausted", StreamError::Exhausted),
    ("ERR Protocol error: invalid bulk length", StreamError::TooLarge),
    ("ERR Protocol error: invalid multibulk length", StreamError::TooLarge),
    ("ERR unknown", StreamError::Refused),
    ("ERR wrong number", StreamError::Refused),
    ("ERR syntax", StreamError::Refused),
    ("ERR Invalid stream ID", StreamError::Refused),
];

/// Errors that tell of this command alone; all others are the server's state, and may pass.
fn own_fault(words: &str) -> Option<StreamError> {
    COMMANDS_OWN.iter().find(|(fault, _)| words.starts_with(fault)).map(|(_, error)| *error)
}

fn refusal(words: &str) -> Result<Reply, Trouble> {
    own_fault(words).map(Reply::Failed).ok_or_else(|| trouble(words))
}

/// What Redis's words say of the connection.
fn trouble(words: &str) -> Trouble {
    let said = short(words);
    match words.split(' ').next() {
        Some("NOAUTH") => Trouble::NoPassword(said),
        _ if words.starts_with("ERR Protocol error: unauthenticated") => Trouble::NoPassword(said),
        Some("WRONGPASS") => Trouble::WrongPassword(said),
        Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => Trouble::Elsewhere(said),
        Some("READONLY") => Trouble::Replica(said),
        Some("NOPERM") => Trouble::NotPermitted(said),
        _ => Trouble::Unwilling(said),
    }
}

/// The words of a refusal, for people.
#[must_use]
pub(crate) fn refused_words(value: &Value<'_>) -> Option<String> {
    if let Value::Error(error) = value { Some(short(&words(error))) } else { None }
}

fn words(error: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(error)
}

/// Redis explains some errors at length: the beginning will do.
fn short(words: &str) -> String {
    let first = words.split_inclusive(". ").next().unwrap_or(words);
    first.chars().take(160).collect::<String>().trim_end().to_owned()
}

/// The answer to AUTH.
pub(crate) fn auth_reply(value: Value<'_>) -> Result<(), Trouble> {
    let words = match value {
        Value::Simple(_) => return Ok(()),
        Value::Error(error) => words(error),
        _ => return Err(Trouble::Nonsense),
    };
    let said = short(&words);
    match words.split(' ').next() {
        _ if words.starts_with("ERR AUTH") || words.starts_with("ERR Client sent AUTH") => {
            Err(Trouble::NeedlessPassword(said))
        }
        _ if words.starts_with("ERR invalid password") => Err(Trouble::WrongPassword(said)),
        // Before Redis 6 there were no users.
        _ if words.starts_with("ERR wrong number of arguments") => Err(Trouble::Old(said)),
        // A Sentinel without a password, or one of long ago.
        _ if words.starts_with("ERR unknown command") => Err(Trouble::Stranger(said)),
        Some("WRONGPASS" | "NOAUTH") => Err(Trouble::WrongPassword(said)),
        _ => Err(trouble(&words)),
    }
}

/// What an XREAD brings of one stream: its name and entries.
pub(crate) type Page<'a> = (&'a [u8], Items<'a>);

/// The streams of an XREAD's reply.
pub(crate) fn read_reply(value: Value<'_>) -> Result<Vec<Page<'_>>, Trouble> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(streams) => streams.map(page).collect(),
        Value::Error(error) => Err(trouble(&words(error))),
        _ => Err(Trouble::Nonsense),
    }
}

/// Whether an XREAD was refused for one of its streams: the others can be read without it.
#[must_use]
pub(crate) fn is_refused_for_a_stream(value: &Value<'_>) -> bool {
    matches!(value, Value::Error(error) if own_fault(&words(error)) == Some(StreamError::Refused))
}

fn page(stream: Value<'_>) -> Result<Page<'_>, Trouble> {
    let Value::Array(mut pair) = stream else { return Err(Trouble::Nonsense) };
    match (pair.next(), pair.next(), pair.next()) {
        (Some(Value::Bulk(name)), Some(Value::Array(entries)), None) => Ok((name, entries)),
        _ => Err(Trouble::Nonsense),
    }
}

/// The entries of one stream. One that can't be read still has its place, so that the reader moves past it: it says nothing.
pub(crate) fn items(key: &Key, entries: Items<'_>, limits: &Limits) -> Result<Vec<Item>, Trouble> {
    let nothing = || Posted { uid: "".into(), seq: 0, entry: Entry::Wake };
    // Entries that follow one another are often from one server, and share its name.
    let mut sender: Arc<str> = Arc::default();
    let nsp = nsp_of(key);
    let item = |entry| {
        let Value::Array(mut pair) = entry else { return Err(Trouble::Nonsense) };
        let Some(Value::Bulk(id)) = pair.next() else { return Err(Trouble::Nonsense) };
        let posted = pair.next().and_then(|fields| posted(key, fields, &nsp, &sender, limits)).unwrap_or_else(nothing);
        if !Arc::ptr_eq(&posted.uid, &sender) {
            sender = posted.uid.clone();
        }
        Ok((offset(id)?, Arc::new(posted)))
    };
    entries.map(item).collect()
}

/// Whether an item of a reply could not be read.
#[must_use]
pub(crate) fn is_unreadable(posted: &Posted) -> bool {
    posted.uid.is_empty()
}

fn posted(key: &Key, fields: Value<'_>, nsp: &Nsp, sender: &Arc<str>, limits: &Limits) -> Option<Posted> {
    let Value::Array(mut fields) = fields else { return None };
    let mut missing = fields.len();
    let pairs = std::iter::from_fn(|| match (fields.next(), fields.next()) {
        (Some(Value::Bulk(field)), Some(Value::Bulk(value))) => {
            missing -= 2;
            Some((field, value))
        }
        _ => None,
    });
    let decoded = wire::decode_next(pairs, nsp, sender, limits);
    // What is no pair of strings ended the pairs.
    let (nsp, posted) = decoded.ok().filter(|_| missing == 0)?;
    match key {
        // An entry of another namespace has nothing to say here.
        Key::Log(own) if *own != *nsp => None,
        _ => Some(posted),
    }
}

fn offset(id: &[u8]) -> Result<Offset, Trouble> {
    std::str::from_utf8(id).ok().and_then(Offset::from_wire).ok_or(Trouble::Nonsense)
}

/// Inboxes and the control log belong to no namespace; the field must not be empty.
fn nsp_of(key: &Key) -> Nsp {
    match key {
        Key::Log(nsp) => nsp.clone(),
        Key::Session(_) | Key::Inbox(_) | Key::Control => Nsp::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Pid;
    use crate::server::redis::resp::{Bounds, Decoder};

    fn names() -> Names {
        Names { streams: "socket.io".into(), sessions: "sio:session:".into() }
    }

    /// The words of a command.
    fn words(command: &Command) -> String {
        let mut out = Vec::new();
        encode(&mut out, &names(), &Limits::default(), command).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commands() {
        let log = Key::Log(Nsp::new("/"));
        let session = Key::Session(Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap());
        let post = |entry| Arc::new(Posted { uid: "u".into(), seq: 7, entry });
        let at = Offset { ms: 5, seq: 1 };
        for (command, want) in [
            (
                Command::XAdd { key: log.clone(), posted: post(Entry::Marker), create: true },
                "XADD socket.io#/# MAXLEN ~ 1000000 * uid u nsp / type 1 seq 7",
            ),
            (
                Command::XAdd { key: session.clone(), posted: post(Entry::Claim(Nsp::new("/x"))), create: false },
                "XADD sio:session:AAAAAAAAAAAAAAAAAAAA NOMKSTREAM * uid u nsp /x type 21 seq 7",
            ),
            (
                Command::XAdd { key: Key::Control, posted: post(Entry::Closed), create: true },
                "XADD socket.io# * uid u nsp / type 13 seq 7",
            ),
            (
                Command::XRead { key: Key::Inbox("ab".into()), after: at, count: 9 },
                "XREAD COUNT 9 STREAMS socket.io#ab# 5-1",
            ),
            (Command::XTrim { key: log, min: at }, "XTRIM socket.io#/# MINID 5-1"),
            (Command::Expire { key: session, ms: 1_001 }, "EXPIRE sio:session:AAAAAAAAAAAAAAAAAAAA 2"),
        ] {
            assert_eq!(words(&command).trim_end(), want);
        }
    }

    /// What Redis's answer is to a command.
    fn answer(command: &Command, text: &str) -> Result<Reply, Trouble> {
        let mut decoder = Decoder::new(Bounds { bulk: 99, reply: 1_000, depth: 5, elements: 99 });
        assert_eq!(decoder.next(text.as_bytes(), &mut 0), Ok(true));
        reply(command, decoder.reply(), &Limits::default())
    }

    #[test]
    fn replies() {
        let key = Key::Log(Nsp::new("/"));
        let add = Command::XAdd {
            key: key.clone(),
            posted: Arc::new(Posted { uid: "u".into(), seq: 1, entry: Entry::Marker }),
            create: false,
        };
        let read = Command::XRead { key, after: Offset::ZERO, count: 9 };
        let mut entries = String::from("*1\r\n*2\r\n$12\r\nsocket.io#/#\r\n*7\r\n");
        for (id, fields) in [
            ("1-1", "*6\r\n$3\r\nuid\r\n$1\r\nu\r\n$3\r\nnsp\r\n$1\r\n/\r\n$4\r\ntype\r\n$1\r\n1\r\n"),
            ("1-2", "*2\r\n$4\r\ntype\r\n$1\r\n1\r\n"),
            ("1-3", "*4\r\n$3\r\nnsp\r\n$2\r\n/x\r\n$4\r\ntype\r\n$1\r\n1\r\n"),
            ("1-4", "*-1\r\n"),
            ("1-5", "*6\r\n$3\r\nnsp\r\n$1\r\n/\r\n$4\r\ntype\r\n$1\r\n1\r\n$1\r\nx\r\n$100\r\n"),
            ("1-6", "*5\r\n$3\r\nnsp\r\n$1\r\n/\r\n$4\r\ntype\r\n$1\r\n1\r\n$1\r\nx\r\n"),
            ("1-7", "*4\r\n$3\r\nnsp\r\n$1\r\n/\r\n$4\r\ntype\r\n$1\r\n1\r\n"),
        ] {
            entries += &format!("*2\r\n$3\r\n{id}\r\n{fields}");
            if id == "1-5" {
                entries += &format!("{}\r\n", "x".repeat(100));
            }
        }
        let Ok(Reply::Entries(items)) = answer(&read, &entries) else { panic!() };
        let seen: Vec<_> = items.iter().map(|(id, posted)| (id.to_string(), is_unreadable(posted))).collect();
        assert_eq!(
            seen,
            [("1-1", false), ("1-2", true), ("1-3", true), ("1-4", true), ("1-5", true), ("1-6", true), ("1-7", false)]
                .map(|(id, bad)| (id.to_owned(), bad))
        );
        assert!(matches!(answer(&read, "*-1\r\n"), Ok(Reply::Entries(items)) if items.is_empty()));
        assert!(matches!(answer(&add, "$-1\r\n"), Ok(Reply::Added(None))));
        assert!(matches!(answer(&add, "$3\r\n3-4\r\n"), Ok(Reply::Added(Some(Offset { ms: 3, seq: 4 })))));
        for nonsense in [
            "+OK\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*1\r\n$1\r\na\r\n",
            "*1\r\n*3\r\n$1\r\na\r\n*0\r\n*0\r\n",
            "*1\r\n*2\r\n$1\r\na\r\n*1\r\n$3\r\n1-1\r\n",
            "*1\r\n*2\r\n$1\r\na\r\n*1\r\n*1\r\n$3\r\n1_1\r\n",
            "*1\r\n*2\r\n$1\r\na\r\n*1\r\n*0\r\n",
        ] {
            assert!(matches!(answer(&read, nonsense), Err(Trouble::Nonsense)), "{nonsense}");
        }
    }

    /// What each word of Redis means to a command, to the question that begins a connection, and to AUTH.
    #[test]
    fn what_redis_says() {
        let post = Arc::new(Posted { uid: "u".into(), seq: 1, entry: Entry::Marker });
        let add = Command::XAdd { key: Key::Log(Nsp::new("/")), posted: post, create: false };
        let kind = |trouble: Trouble| format!("{trouble:?}").split('(').next().unwrap_or("").to_owned();
        let own = |error: StreamError| format!("{error:?}");
        for (words, command, question, auth) in [
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "Refused", "", "Unwilling"),
            (
                "NOPERM this user has no permissions to run the 'xadd' command",
                "Refused",
                "NotPermitted",
                "NotPermitted",
            ),
            ("OOM command not allowed when used memory > 'maxmemory'.", "Full", "", "Unwilling"),
            (
                "ERR The stream has exhausted the last possible ID, unable to add more items",
                "Exhausted",
                "Old",
                "Unwilling",
            ),
            ("ERR Protocol error: invalid bulk length", "TooLarge", "Old", "Unwilling"),
            ("ERR Invalid stream ID specified as stream command argument", "Refused", "Old", "Unwilling"),
            ("ERR syntax error", "Refused", "Old", "Unwilling"),
            ("ERR unknown command 'XADD', with args beginning with: 'x'", "Refused", "Stranger", "Stranger"),
            ("ERR wrong number of arguments for 'auth' command", "Refused", "Old", "Old"),
            ("NOAUTH Authentication required.", "NoPassword", "NoPassword", "WrongPassword"),
            ("ERR Protocol error: unauthenticated multibulk length", "NoPassword", "NoPassword", "NoPassword"),
            ("WRONGPASS invalid username-password pair", "WrongPassword", "WrongPassword", "WrongPassword"),
            ("ERR invalid password", "Unwilling", "Unwilling", "WrongPassword"),
            (
                "ERR AUTH <password> called without any password configured",
                "Unwilling",
                "Unwilling",
                "NeedlessPassword",
            ),
            ("ERR Client sent AUTH, but no password is set", "Unwilling", "Unwilling", "NeedlessPassword"),
            ("MOVED 3999 127.0.0.1:6381", "Elsewhere", "Elsewhere", "Elsewhere"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "Elsewhere", "Elsewhere", "Elsewhere"),
            ("READONLY You can't write against a read only replica.", "Replica", "Replica", "Replica"),
            ("LOADING Redis is loading the dataset in memory", "Unwilling", "Unwilling", "Unwilling"),
            ("MISCONF Redis is configured to save RDB snapshots", "Unwilling", "Unwilling", "Unwilling"),
            ("ERR max number of clients reached", "Unwilling", "Unwilling", "Unwilling"),
        ] {
            let line = format!("-{words}\r\n");
            let of_command = match answer(&add, &line) {
                Ok(Reply::Failed(error)) => own(error),
                Ok(other) => panic!("{other:?}"),
                Err(trouble) => kind(trouble),
            };
            let error = || Value::Error(words.as_bytes());
            let of_question = question_reply(error()).err();
            assert!(of_question.iter().all(|trouble| trouble.to_string().contains(&short(words))), "{of_question:?}");
            assert_eq!(of_command, command, "{words}");
            assert_eq!(of_question.map(kind).unwrap_or_default(), question, "{words}");
            assert_eq!(auth_reply(error()).err().map(kind).unwrap_or_default(), auth, "{words}");
        }
    }
}
