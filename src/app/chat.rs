//! The room application: clients join rooms and send messages to them; the console speaks in the same words.
//!
//! Events: `join(room)`, `leave(room)`, `rooms()`, `message({room?, text})`, `whoami()`, each with an optional acknowledgement `{ok, …}` or
//! `{ok: false, error}`. The server sends `message({room, from, text, at})`.

use super::console::notice::Said;
use crate::codec::args::Args;
use crate::id::{Room, SocketId};
use crate::limits::Limits;
use crate::proto::reason::Reason;
use crate::server::client::handler::{Ack, Event, Handler};
use crate::server::client::socket::{EmitError, Socket};
use crate::server::namespace::Namespace;
use crate::server::namespace::broadcast::Broadcast;
use serde_json::{Value, json};
use std::sync::Arc;

/// Hears what happens to clients.
pub type Hears = Arc<dyn Fn(Said) + Send + Sync>;

/// The application's handler.
pub struct Chat {
    /// Hears of connects, disconnects and joins; `None` in production.
    pub log: Option<Hears>,
}

impl Handler for Chat {
    fn connect(&self, socket: &Socket) {
        self.note(|| Said::Connected {
            id: socket.id().clone(),
            again: socket.recovered(),
            address: socket.connection().handshake.address.to_string(),
        });
    }

    fn event(&self, socket: &Socket, event: Event<'_>) {
        let answer = match event.name {
            "message" => return message(socket, &event.args, event.ack),
            "join" => self.join(socket, &event.args),
            "leave" => self.leave(socket, &event.args),
            "rooms" => Ok(json!({"ok": true, "rooms": rooms(socket)})),
            "whoami" => Ok(whoami(socket)),
            _ => Err("unknown event".to_owned()),
        };
        let Some(ack) = event.ack else { return };
        match answer {
            // Only what survives this server is answered.
            Ok(answer) if matches!(event.name, "join" | "leave") => socket.when_saved(move |saved| {
                ack.send(saved.map_or_else(|error| refused(&error.to_string()), |()| answer));
            }),
            answer => ack.send(answer.unwrap_or_else(|error| refused(&error))),
        }
    }

    fn disconnect(&self, socket: &Socket, reason: Reason) {
        self.note(|| Said::Disconnected { id: socket.id().clone(), reason });
    }
}

impl Chat {
    fn note(&self, said: impl FnOnce() -> Said) {
        if let Some(log) = &self.log {
            log(said());
        }
    }

    fn join(&self, socket: &Socket, args: &Args) -> Result<Value, String> {
        let room = room(socket, args.value(0))?;
        // A client's id is a room, and everybody knows it from `message`: who joined it would read what is meant for that client alone.
        // Whoever it belongs to, on whichever server, and whether it is away: rooms that look like an id are refused.
        if room != socket.id().as_str() && SocketId::looks_like(&room) {
            return Err("this room is another client's own".to_owned());
        }
        socket.join(room.as_str()).map_err(|error| error.to_string())?;
        self.note(|| Said::Joined { id: socket.id().clone(), room: room.clone() });
        Ok(json!({"ok": true, "room": room}))
    }

    fn leave(&self, socket: &Socket, args: &Args) -> Result<Value, String> {
        let room = room(socket, args.value(0))?;
        socket.leave(room.as_str()).map_err(|error| error.to_string())?;
        self.note(|| Said::Left { id: socket.id().clone(), room: room.clone() });
        Ok(json!({"ok": true, "room": room}))
    }
}

/// A room's name as a client gives it.
fn room(socket: &Socket, value: Option<Value>) -> Result<String, String> {
    match value {
        Some(Value::String(room)) if !room.is_empty() => {
            check_room(&room, &socket.connection().server().options().limits).map_err(|error| error.to_string())?;
            Ok(room)
        }
        Some(_) | None => Err("the room must be a string that is not empty".to_owned()),
    }
}

/// Also a room that nobody joins costs its name: a message to it is kept in the log, and lines name it.
///
/// # Errors
/// [`EmitError::NameTooLong`].
pub fn check_room(room: &str, limits: &Limits) -> Result<(), EmitError> {
    if room.len() > limits.name_bytes { Err(EmitError::NameTooLong) } else { Ok(()) }
}

/// The client's rooms, without the one that is its id.
fn rooms(socket: &Socket) -> Vec<String> {
    socket.rooms().iter().skip(1).map(|room| room.as_str().to_owned()).collect()
}

/// Who the client is, and which server it is on: after a return that may be another one.
fn whoami(socket: &Socket) -> Value {
    json!({"ok": true, "id": socket.id().as_str(), "server": socket.connection().server().options().name})
}

/// A client's message. What the log refuses is refused to it: so the answer waits until the log has taken the message.
fn message(socket: &Socket, args: &Args, ack: Option<Ack>) {
    let asked = asked(socket, args);
    let Some(ack) = ack else {
        if let Ok((room, text)) = asked {
            let _ = say(socket.namespace(), room.as_deref(), socket.id().as_str(), &text);
        }
        return;
    };
    match asked {
        Ok((room, text)) => {
            let message = said(socket.namespace(), room.as_deref(), socket.id().as_str(), &text);
            let answer = |result: Result<(), EmitError>| match result {
                Ok(()) => ack.send(json!({"ok": true})),
                Err(error) => ack.send(refused(&error.to_string())),
            };
            audience(socket.namespace(), room.as_deref()).emit_then("message", message, answer);
        }
        Err(error) => ack.send(refused(&error)),
    }
}

/// The room and the text of a message.
fn asked(socket: &Socket, args: &Args) -> Result<(Option<String>, String), String> {
    let Some(Value::Object(mut message)) = args.value(0) else {
        return Err("the message must be an object {room?, text}".to_owned());
    };
    let Some(Value::String(text)) = message.remove("text") else {
        return Err("the text must be a string".to_owned());
    };
    let room = match message.remove("room") {
        None | Some(Value::Null) => None,
        given => Some(room(socket, given)?),
    };
    Ok((room, text))
}

fn refused(error: &str) -> Value {
    json!({"ok": false, "error": error})
}

fn said(namespace: &Namespace, room: Option<&str>, from: &str, text: &str) -> Value {
    json!({"room": room, "from": from, "text": text, "at": namespace.now().0})
}

fn audience(namespace: &Arc<Namespace>, room: Option<&str>) -> Broadcast {
    room.map_or_else(|| namespace.all(), |room| namespace.to(Room::from(room)))
}

/// Sends a message to a room, or to everybody.
///
/// # Errors
/// As [`Broadcast::emit`](crate::Broadcast::emit).
pub fn say(namespace: &Arc<Namespace>, room: Option<&str>, from: &str, text: &str) -> Result<(), EmitError> {
    audience(namespace, room).emit("message", said(namespace, room, from, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::engine_packet::EnginePacket;
    use crate::codec::http;
    use crate::id::{Clock, Random, Time};
    use crate::proto::handshake::Transport;
    use crate::proto::session::{Input, Via};
    use crate::server::client::connection::{Connection, Write};
    use crate::server::client::handshake::Handshake;
    use crate::server::log::memory::MemoryStreams;
    use crate::server::notice::Line;
    use crate::server::{Options, Server};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// A server whose clock stands still, whose ids are AAAA…, BBBB… and so on, and what its handler logs.
    fn server() -> (Server, Arc<Mutex<Vec<String>>>) {
        let options = Options { name: "tokyo".to_owned(), recovery: None, ..Options::default() };
        let clock: Clock = Arc::new(|| Time(1_000));
        let calls = AtomicU8::new(0);
        let random: Random = Arc::new(move |bytes: &mut [u8]| bytes.fill(calls.fetch_add(1, Ordering::Relaxed)));
        let streams = Arc::new(MemoryStreams::new(&options.limits));
        let server = Server::new(options, streams, clock, random);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let log: Hears = Arc::new(move |said| kept.lock().unwrap().push(Line::from(said).to_string()));
        server.of("/").handle(Chat { log: Some(log) });
        (server, lines)
    }

    fn client(server: &Server) -> Arc<Connection> {
        let head = http::parse(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 9).unwrap();
        let handshake = Handshake { headers: head.headers, url: head.target, address: "10.0.0.1".into() };
        let connection = server.open(Time(1_000), Transport::WebSocket, false, handshake).unwrap();
        say(&connection, "0");
        heard(&connection);
        connection
    }

    fn say(connection: &Arc<Connection>, packet: &str) {
        connection.handle(Time(1_000), Input::Packet(Via::WebSocket, EnginePacket::Text(packet)));
    }

    /// All that the client was sent.
    fn heard(connection: &Connection) -> Vec<String> {
        match connection.take_frames(0, None) {
            Write::Frames(frames) => {
                frames.iter().map(|frame| String::from_utf8_lossy(frame.packet()).into_owned()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_and_answers() {
        let (server, _) = server();
        let client = client(&server);
        let id = client.sockets()[0].id().to_string();
        let (fits, long) = ("x".repeat(1_024), "x".repeat(1_025));
        let too_long = r#"[{"error":"the room's name is too long","ok":false}]"#;
        let no_room = r#"[{"error":"the room must be a string that is not empty","ok":false}]"#;
        let no_text = r#"[{"error":"the text must be a string","ok":false}]"#;
        let no_message = r#"[{"error":"the message must be an object {room?, text}","ok":false}]"#;
        for (event, want) in [
            (r#"["rooms"]"#, r#"[{"ok":true,"rooms":[]}]"#),
            (r#"["join","blue"]"#, r#"[{"ok":true,"room":"blue"}]"#),
            (r#"["join","blue"]"#, r#"[{"ok":true,"room":"blue"}]"#),
            (r#"["join","AAAAAAAAAAAAAAAAAAAA"]"#, r#"[{"error":"this room is another client's own","ok":false}]"#),
            (r#"["rooms"]"#, r#"[{"ok":true,"rooms":["blue"]}]"#),
            (r#"["join"]"#, no_room),
            (r#"["join",""]"#, no_room),
            (r#"["join",["blue"]]"#, no_room),
            (r#"["leave",5]"#, no_room),
            (r#"["message"]"#, no_message),
            (r#"["message","x"]"#, no_message),
            (r#"["message",{"text":5}]"#, no_text),
            (r#"["message",{"room":{},"text":"x"}]"#, no_room),
            (r#"["message",{"room":"","text":"x"}]"#, no_room),
            (r#"["message",{"room":"nobody is here","text":"x"}]"#, r#"[{"ok":true}]"#),
            (&format!(r#"["join","{long}"]"#), too_long),
            (&format!(r#"["leave","{long}"]"#), too_long),
            (&format!(r#"["message",{{"room":"{long}","text":"x"}}]"#), too_long),
            (&format!(r#"["message",{{"room":"{fits}","text":"x"}}]"#), r#"[{"ok":true}]"#),
            (r#"["leave","blue"]"#, r#"[{"ok":true,"room":"blue"}]"#),
            (r#"["rooms"]"#, r#"[{"ok":true,"rooms":[]}]"#),
            (r#"["whoami"]"#, &format!(r#"[{{"id":"{id}","ok":true,"server":"tokyo"}}]"#)),
            (r#"["frobnicate",{}]"#, r#"[{"error":"unknown event","ok":false}]"#),
        ] {
            say(&client, &format!("27{event}"));
            assert_eq!(heard(&client), [format!("437{want}")], "{event}");
        }
        say(&client, r#"2["frobnicate"]"#);
        say(&client, r#"2["join",5]"#);
        assert_eq!(heard(&client), [] as [&str; 0]);
    }

    #[test]
    fn messages_reach_members_alone_the_sender_too_and_the_answer_comes_last() {
        let (server, lines) = server();
        let (one, two) = (client(&server), client(&server));
        let id = one.sockets()[0].id().to_string();
        say(&one, r#"2["join","blue"]"#);
        say(&one, r#"21["message",{"room":"blue","text":"hi"}]"#);
        let message = |from: &str, room: &str, text: &str| {
            format!(r#"42["message",{{"at":1000,"from":"{from}","room":{room},"text":"{text}"}}]"#)
        };
        assert_eq!(heard(&one), [message(&id, r#""blue""#, "hi"), r#"431[{"ok":true}]"#.to_owned()]);
        assert_eq!(heard(&two), [] as [&str; 0]);
        // Who is no member may send all the same.
        say(&two, r#"2["message",{"room":"blue","text":"from outside"}]"#);
        assert_eq!((heard(&one).len(), heard(&two).len()), (1, 0));
        super::say(&server.of("/"), None, "server:x", "all").unwrap();
        assert_eq!(heard(&one), [message("server:x", "null", "all")]);
        assert_eq!(heard(&two), [message("server:x", "null", "all")]);
        one.handle(Time(1_000), Input::Abort(Reason::TransportClose));
        let lines = lines.lock().unwrap();
        let about: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&format!("[CLIENT] {id} "))).collect();
        assert_eq!(about, ["connected from 10.0.0.1", "joined blue", "disconnected: transport close"]);
    }
}
