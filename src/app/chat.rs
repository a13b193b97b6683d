//! The room application: clients join rooms and send messages to them; the console speaks in the same words.
//!
//! Events: `join(room)`, `leave(room)`, `rooms()`, `message({room?, text})`, each with an optional acknowledgement `{ok, …}` or
//! `{ok: false, error}`. The server sends `message({room, from, text, at})`.

use crate::codec::args::Args;
use crate::id::Room;
use crate::proto::reason::Reason;
use crate::server::Log;
use crate::server::handler::{Event, Handler};
use crate::server::namespace::Namespace;
use crate::server::socket::{EmitError, Socket};
use serde_json::{Value, json};
use std::sync::Arc;

/// The application's handler.
pub struct Chat {
    /// Hears of connects, disconnects and joins; `None` in production.
    pub log: Option<Log>,
}

impl Handler for Chat {
    fn connect(&self, socket: &Socket) {
        let again = if socket.recovered() { " again" } else { "" };
        self.note(&format!("{} connected{again} from {}", socket.id(), socket.connection().handshake.address));
    }

    fn event(&self, socket: &Socket, event: Event<'_>) {
        let answer = match event.name {
            "join" => self.join(socket, &event.args),
            "leave" => self.leave(socket, &event.args),
            "rooms" => Ok(json!({"ok": true, "rooms": rooms(socket)})),
            "message" => message(socket, &event.args),
            _ => Err("unknown event".to_owned()),
        };
        if let Some(ack) = event.ack {
            ack.send(answer.unwrap_or_else(|error| json!({"ok": false, "error": error})));
        }
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.note(&format!("{} disconnected: {reason}", socket.id()));
    }
}

impl Chat {
    fn note(&self, line: &str) {
        if let Some(log) = &self.log {
            log(&format!("[CLIENT] {line}"));
        }
    }

    /// The change is in the client's session record when `join` returns: only then the client hears of it.
    fn join(&self, socket: &Socket, args: &Args) -> Result<Value, String> {
        let room = room(args.value(0))?;
        socket.join(room.as_str()).map_err(|error| error.to_string())?;
        self.note(&format!("{} joined {room}", socket.id()));
        Ok(json!({"ok": true, "room": room}))
    }

    fn leave(&self, socket: &Socket, args: &Args) -> Result<Value, String> {
        let room = room(args.value(0))?;
        socket.leave(room.as_str());
        self.note(&format!("{} left {room}", socket.id()));
        Ok(json!({"ok": true, "room": room}))
    }
}

/// A room's name as a client gives it.
fn room(value: Option<Value>) -> Result<String, String> {
    match value {
        Some(Value::String(room)) if !room.is_empty() => Ok(room),
        Some(_) | None => Err("the room must be a string that is not empty".to_owned()),
    }
}

/// The client's rooms, without the one that is its id.
fn rooms(socket: &Socket) -> Vec<String> {
    socket.rooms().iter().skip(1).map(|room| room.as_str().to_owned()).collect()
}

fn message(socket: &Socket, args: &Args) -> Result<Value, String> {
    let Some(Value::Object(mut message)) = args.value(0) else {
        return Err("the message must be an object {room?, text}".to_owned());
    };
    let Some(Value::String(text)) = message.remove("text") else {
        return Err("the text must be a string".to_owned());
    };
    let room = match message.remove("room") {
        None | Some(Value::Null) => None,
        given => Some(room(given)?),
    };
    say(socket.namespace(), room.as_deref(), socket.id().as_str(), &text).map_err(|error| error.to_string())?;
    Ok(json!({"ok": true}))
}

/// Sends a message to a room, or to everybody.
pub fn say(namespace: &Arc<Namespace>, room: Option<&str>, from: &str, text: &str) -> Result<(), EmitError> {
    let message = json!({"room": room, "from": from, "text": text, "at": namespace.now().0});
    match room {
        Some(room) => namespace.to(Room::from(room)).emit("message", message),
        None => namespace.emit_all("message", message),
    }
}
