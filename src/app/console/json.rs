//! Log lines as JSON objects (RFC 8259), one a line, for programs that collect them: time, level, tag, message, and what is named in the
//! message as fields of its own.

use crate::id::Time;
use crate::server::notice::{Line, visible};
use serde_json::Value;

/// The object for a line. What hides or turns text around is written visibly here too, because people read these as well.
#[must_use]
pub fn object(at: Time, line: &Line) -> String {
    let Line { level, tag, message, fields } = line;
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    let mut object =
        format!("{{\"time\":\"{}\",\"level\":\"{}\",\"tag\":{}", at.iso(), level.name(), Value::from(*tag));
    for (name, value) in [("message", message.as_str())].into_iter().chain(fields) {
        object.extend([",", &Value::from(name).to_string(), ":", &Value::from(visible(value)).to_string()]);
    }
    object.push('}');
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::notice::Level;
    use serde_json::json;

    #[test]
    fn objects() {
        for (message, fields, want) in [
            ("stopped", vec![], json!({"message": "stopped"})),
            ("", vec![], json!({"message": ""})),
            ("\"x\\\u{1b}\u{202e}", vec![], json!({"message": "\"x\\\\u{1b}\\u{202e}"})),
            (
                "abc joined [SERVER] \n",
                vec![("id", "abc".to_owned()), ("room", "[SERVER] \n".to_owned())],
                json!({"message": "abc joined [SERVER] \\n", "id": "abc", "room": "[SERVER] \\n"}),
            ),
        ] {
            let line = Line { level: Level::Warn, tag: "SERVER", message: message.to_owned(), fields };
            let text = object(Time(1_700_000_000_123), &line);
            let start = "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\",\"tag\":\"SERVER\",\"message\":";
            assert!(text.starts_with(start), "{text}");
            let mut value: Value = serde_json::from_str(&text).unwrap();
            for name in ["time", "level", "tag"] {
                value.as_object_mut().unwrap().remove(name);
            }
            assert_eq!(value, want);
        }
    }
}
