//! The door of the room application: with `AUTH_TOKEN` set, who does not bring that token may not join.
//!
//! It is asked for again at each return: the token may have been changed meanwhile. How long a comparison takes says nothing of the token.

use crate::server::client::handler::ConnectError;
use crate::server::namespace::Namespace;
use serde_json::{Value, json};

/// What a client without the token gets as `connect_error`; its `data.code` is `auth`.
const REFUSAL: &str = "not authorized";

/// Lets clients into the namespace that bring the token as `auth.token`, and no others.
pub fn guard(namespace: &Namespace, token: String) {
    namespace.use_middleware(move |socket, next| match brings(socket.auth(), &token) {
        true => next.accept(),
        false => next.refuse(ConnectError::new(REFUSAL).with_data(json!({"code": "auth"}))),
    });
}

/// Whether this `auth` has the token.
fn brings(auth: &str, token: &str) -> bool {
    let auth: Value = serde_json::from_str(auth).unwrap_or_default();
    let given = auth.get("token").and_then(Value::as_str).unwrap_or_default().as_bytes();
    // The loop goes over the token and not over what was given, and looks at all of it.
    let mut differences = usize::from(given.len() != token.len());
    for (i, byte) in token.bytes().enumerate() {
        differences |= usize::from(byte ^ given.get(i).copied().unwrap_or(0));
    }
    differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_nothing_else_opens_it() {
        let token = "héllo".to_owned();
        assert!(brings(r#"{"token":"h\u00e9llo","more":1}"#, &token));
        for auth in [
            "{}",
            "",
            "[]",
            "null",
            "{",
            r#"{"token":null}"#,
            r#"{"token":""}"#,
            r#"{"token":["héllo"]}"#,
            r#"{"token":"héll"}"#,
            r#"{"token":"hélloo"}"#,
            r#"{"token":"hellooo"}"#,
            r#"{"token":"héllo\u0000"}"#,
            r#"{"Token":"héllo"}"#,
        ] {
            assert!(!brings(auth, &token), "{auth}");
        }
        assert!(!brings(r#"{"token":"\u0000"}"#, "\0\0"));
    }
}
