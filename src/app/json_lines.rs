//! Log lines as JSON objects (RFC 8259), one a line, for programs that collect them: time, level, tag, message, and what is named in the
//! message as fields of its own.
//!
//! Levels and fields come from one table of the texts that the server prints; a test holds it against the sources. What is not in the table
//! is `info` and has no fields.

use crate::id::Time;
use serde_json::Value;

/// The tag of what answers the operator.
const CONSOLE: &str = "CONSOLE";

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Info,
    /// Somebody was not served as he should be; the server sees to it.
    Warn,
    /// Something has to be done, or is lost.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Texts, tag included, with their fields in braces.
const KNOWN: [(Level, &str); 22] = [
    (Level::Info, "[RECOVERY] Client reconnected (recovered): {id}"),
    (Level::Warn, "[RECOVERY] Client of {namespace} reconnected as new: {reason}"),
    (
        Level::Error,
        "[RECOVERY] the log of {namespace} lost entries (flushed, or trimmed before they were read): its {clients} clients come back as new ones",
    ),
    (Level::Info, "[CLIENT] {id} connected{} from {address}"),
    (Level::Info, "[CLIENT] {id} disconnected: {reason}"),
    (Level::Info, "[CLIENT] {id} joined {room}"),
    (Level::Info, "[CLIENT] {id} left {room}"),
    (Level::Warn, "[CLIENT] {session} cut: it did not read, and {bytes} bytes waited"),
    (Level::Warn, "[CLIENT] {session} closed: {reason}"),
    (Level::Error, "[REDIS] can't use {redis}: {reason}; trying again"),
    (Level::Error, "[REDIS] can't use {redis}: {reason}; `start` tries again"),
    (Level::Info, "[REDIS] connected to {redis} again"),
    (Level::Error, "[REDIS] a command on {key} was refused"),
    (Level::Error, "[REDIS] {packets} packets could not be written: Redis is away"),
    (Level::Warn, "[REDIS] {packets} packets wait for `start`: Redis is away"),
    (Level::Warn, "[SERVER] stood still for {seconds} s: its clients come back and recover"),
    (Level::Error, "[SERVER] not started: {reason}"),
    (Level::Warn, "[SERVER] open files are limited to {files}, so connections too (MAX_CONNECTIONS is {connections})"),
    (Level::Warn, "[SERVER] {lines} lines were dropped: nothing read the output"),
    (Level::Error, "[SERVER] can't listen on {address}: {reason}"),
    (Level::Error, "[SERVER] can't accept a connection: {reason}"),
    (Level::Warn, "[HTTP] the browser client can't be read: {file}: {reason}; scripts/client-files fetches it"),
];

/// The object for a line. What has no tag answers the operator.
#[must_use]
pub fn object(at: Time, line: &str) -> String {
    let (tag, message) = tagged(line).unwrap_or((CONSOLE, line));
    let found = KNOWN.iter().find_map(|(level, text)| Some((*level, fields(text, line)?)));
    let (level, fields) = found.unwrap_or((Level::Info, Vec::new()));
    let mut object = format!("{{\"time\":\"{}\",\"level\":\"{}\",\"tag\":{}", at.iso(), level.name(), Value::from(tag));
    for (name, value) in [("message", message)].into_iter().chain(fields) {
        object.extend([",", &Value::from(name).to_string(), ":", &Value::from(value).to_string()]);
    }
    object.push('}');
    object
}

/// Tag and message of a line such as `[SERVER] stopped`.
fn tagged(line: &str) -> Option<(&str, &str)> {
    let (tag, message) = line.strip_prefix('[')?.split_once("] ")?;
    let is_tag = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_uppercase());
    is_tag.then_some((tag, message))
}

/// What stands in `line` where `text` has its fields; `None` if it is another text. Ids have no spaces, so that no client can make one text
/// look like another. What has no name is not told.
fn fields<'a>(text: &'static str, line: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let (start, mut text) = text.split_once('{')?;
    let mut line = line.strip_prefix(start)?;
    let mut fields = Vec::new();
    loop {
        let (name, rest) = text.split_once('}')?;
        let (literal, next) = match rest.split_once('{') {
            Some((literal, next)) => (literal, Some(next)),
            None => (rest, None),
        };
        let (value, after) = match (literal, next) {
            ("", None) => (line, ""),
            // The last text ends the line.
            (literal, None) => (line.strip_suffix(literal)?, ""),
            (literal, Some(_)) => line.split_once(literal)?,
        };
        if matches!(name, "id" | "session") && value.contains(' ') {
            return None;
        }
        if !name.is_empty() {
            fields.push((name, value));
        }
        let Some(next) = next else { return Some(fields) };
        (text, line) = (next, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(line: &str) -> Value {
        let text = object(Time(1_700_000_000_123), line);
        assert!(text.starts_with("{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\""), "{text}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value.as_object_mut().unwrap().remove("time");
        value
    }

    #[test]
    fn objects() {
        for (line, want) in [
            ("[SERVER] stopped", json!({"level": "info", "tag": "SERVER", "message": "stopped"})),
            ("  2 rooms", json!({"level": "info", "tag": "CONSOLE", "message": "  2 rooms"})),
            ("", json!({"level": "info", "tag": "CONSOLE", "message": ""})),
            ("[x] \"y\\", json!({"level": "info", "tag": "CONSOLE", "message": "[x] \"y\\"})),
            (
                "[RECOVERY] Client reconnected (recovered): abc",
                json!({"level": "info", "tag": "RECOVERY", "message": "Client reconnected (recovered): abc", "id": "abc"}),
            ),
            (
                "[RECOVERY] Client of / reconnected as new: it sent no usable offset",
                json!({"level": "warn", "tag": "RECOVERY", "namespace": "/", "reason": "it sent no usable offset",
                    "message": "Client of / reconnected as new: it sent no usable offset"}),
            ),
            (
                "[CLIENT] abc connected again from ::1",
                json!({"level": "info", "tag": "CLIENT", "id": "abc", "address": "::1",
                    "message": "abc connected again from ::1"}),
            ),
            (
                "[CLIENT] abc joined a closed: room",
                json!({"level": "info", "tag": "CLIENT", "id": "abc", "room": "a closed: room",
                    "message": "abc joined a closed: room"}),
            ),
            (
                "[CLIENT] abc… closed: x joined y",
                json!({"level": "warn", "tag": "CLIENT", "session": "abc…", "reason": "x joined y",
                    "message": "abc… closed: x joined y"}),
            ),
            (
                "[REDIS] can't use localhost:6379: OOM x; trying again",
                json!({"level": "error", "tag": "REDIS", "redis": "localhost:6379", "reason": "OOM x",
                    "message": "can't use localhost:6379: OOM x; trying again"}),
            ),
        ] {
            assert_eq!(parsed(line), want, "{line}");
        }
    }

    /// A text that is changed where it is printed must be changed here too.
    #[test]
    fn the_sources_print_these_texts() {
        let blank = |text: &str| {
            let mut parts = text.split('{');
            let mut blank = parts.next().unwrap_or("").to_owned();
            for part in parts {
                blank.extend(["{}", part.split_once('}').map_or(part, |(_, rest)| rest)]);
            }
            blank
        };
        let sources = blank(concat!(
            include_str!("../server/cluster/mod.rs"),
            include_str!("../server/client/connection.rs"),
            include_str!("../server/client/joining.rs"),
            include_str!("../server/log/mod.rs"),
            include_str!("../io/redis.rs"),
            include_str!("../io/redis_visit.rs"),
            include_str!("../io/mod.rs"),
            include_str!("../main.rs"),
            include_str!("log.rs"),
            include_str!("operator.rs"),
            include_str!("chat.rs"),
            include_str!("files.rs"),
        ));
        for (_, text) in KNOWN {
            // The room application puts the tag before its lines itself.
            let printed = blank(text.strip_prefix("[CLIENT] ").unwrap_or(text));
            assert!(sources.contains(&format!("{printed}\"")), "{printed}");
        }
    }
}
