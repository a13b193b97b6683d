//! What a CONNECT's `auth` says of the session that its client wants back.
//!
//! Socket.IO protocol 5, "Connection to a namespace"; `pid` and `offset` are the official client's, as it adds them to what the application gives.
//! The object is the client's own, with any keys and values beside those two; it may be written with escapes anywhere.

use crate::codec::{json, validate};
use crate::id::{Offset, Pid};

/// The private session id in an auth object, and the offset of the last packet that the client has got, each if it is there. The client sends
/// as `offset` whatever string an event ended with: what is no offset counts as absent. Without a pid it does not ask for a session, but its
/// offset may still be of an earlier one.
#[must_use]
pub fn session(auth: &str) -> (Option<Pid>, Option<Offset>) {
    let Some([pid, offset]) = validate::object(auth, ["pid", "offset"]) else { return (None, None) };
    let pid = pid.and_then(json::read_string);
    let offset = offset.and_then(json::read_string);
    (pid.as_deref().and_then(Pid::from_wire), offset.as_deref().and_then(Offset::from_wire))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const PID: &str = "abcdefghijklmnopqrst";

    #[test]
    fn keys_and_values_may_be_written_in_any_way() {
        let both = Some((PID, Some("17-3")));
        let new = Some((PID, None));
        for (name, auth, want) in [
            ("as the official client writes it", json!({"pid": PID, "offset": "17-3"}).to_string(), both),
            (
                "beside what the application gives",
                json!({"token": "t", "pid": PID, "offset": "17-3"}).to_string(),
                both,
            ),
            ("a key with a quote", json!({"a\"b": 1, "pid": PID, "offset": "17-3"}).to_string(), both),
            ("a key with a backslash", json!({"C:\\x": 1, "pid": PID, "offset": "17-3"}).to_string(), both),
            (
                "a key with a line end, a value too",
                json!({"a\n": "b\t", "pid": PID, "offset": "17-3"}).to_string(),
                both,
            ),
            ("a key with half an emoji", format!(r#"{{"\ud83d":"\udc4d","pid":"{PID}","offset":"17-3"}}"#), both),
            ("an empty key", json!({"": "", "pid": PID, "offset": "17-3"}).to_string(), both),
            ("its keys with escapes", format!(r#"{{"\u0070id":"{PID}","off\u0073et":"17\u002d3"}}"#), both),
            ("its value with an escape", format!(r#"{{"pid":"\u0061{}","offset":"17-3"}}"#, &PID[1..]), both),
            ("with space", format!("\n{{ \"pid\" : \"{PID}\" ,\t\"offset\":\"17-3\" }} "), both),
            ("the last of repeated keys", format!(r#"{{"pid":1,"pid":"{PID}","offset":null,"offset":"17-3"}}"#), both),
            ("no offset", json!({"pid": PID}).to_string(), new),
            ("an offset that is none", json!({"pid": PID, "offset": "hello"}).to_string(), new),
            ("an offset with half an emoji", format!(r#"{{"pid":"{PID}","offset":"17-3\ud83d"}}"#), new),
            ("an offset that is no string", json!({"pid": PID, "offset": 17}).to_string(), new),
            ("no pid, an offset from before", json!({"offset": "17-3"}).to_string(), None),
            ("a pid that is no string", json!({"pid": [PID]}).to_string(), None),
            ("a pid that is too short", json!({"pid": &PID[1..]}).to_string(), None),
            ("a pid with a character that it can't have", json!({"pid": "abcdefghijklmnopqr\"t"}).to_string(), None),
            ("a pid further inside", json!({"a": {"pid": PID}}).to_string(), None),
            ("nothing", "{}".to_owned(), None),
            ("no object", "[]".to_owned(), None),
        ] {
            let (pid, offset) = session(&auth);
            let found = pid.as_ref().map(|pid| (pid.as_str(), offset.map(|offset| offset.to_string())));
            let want = want.map(|(pid, offset)| (pid, offset.map(str::to_owned)));
            assert_eq!(found, want, "{name}: {auth}");
        }
    }

    proptest! {
        /// As serde_json finds them, whatever stands beside them.
        #[test]
        fn beside_anything(keys in prop::collection::btree_map(".{0,6}", ".{0,6}", 0..5), escaped in any::<bool>()) {
            let mut auth: serde_json::Map<String, Value> = keys.into_iter().map(|(key, value)| (key, value.into())).collect();
            auth.insert("pid".to_owned(), PID.into());
            auth.insert("offset".to_owned(), "17-3".into());
            let mut text = Value::from(auth).to_string();
            if escaped {
                text = text.chars().map(|c| match c {
                    c if c.is_alphanumeric() && !text.contains('\\') => {
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
                    }
                    c => c.to_string(),
                }).collect();
            }
            let (pid, offset) = session(&text);
            prop_assert_eq!(pid.as_ref().map(Pid::as_str), Some(PID), "{}", text);
            prop_assert_eq!(offset, Some(Offset { ms: 17, seq: 3 }), "{}", text);
        }
    }
}
