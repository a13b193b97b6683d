//! A client that behaves as the official one where recovery is concerned: it keeps `pid` and offset, takes any trailing string of an event
//! without ack id for its offset, and keeps events that come before the CONNECT.

use crate::codec::engine_packet::EnginePacket;
use crate::id::{Offset, Time};
use crate::proto::session::{GetAnswer, Input, Via};
use crate::server::client::connection::{Connection, Write};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

/// A connection as the client sees it.
pub struct Line {
    pub connection: Arc<Connection>,
    pub polling: bool,
    /// Written by the server, not yet arrived.
    pub coming: VecDeque<String>,
    parked: bool,
}

impl Line {
    pub fn new(connection: Arc<Connection>, polling: bool) -> Line {
        Line { connection, polling, coming: VecDeque::new(), parked: false }
    }

    pub fn send(&self, now: Time, packet: &str) {
        let decoded = crate::codec::engine_packet::decode(packet).unwrap();
        match self.polling {
            true => {
                self.connection.handle(now, Input::PostBegins);
                self.connection.handle(now, Input::Packet(Via::Polling, decoded));
                self.connection.handle(now, Input::PostEnds);
            }
            false => {
                self.connection.handle(now, Input::Packet(Via::WebSocket, decoded));
            }
        }
    }

    /// Moves what the server has written onto the line; false when it has hung up.
    pub fn pump(&mut self, now: Time) -> bool {
        loop {
            let (frames, open) = match self.polling {
                true => {
                    if !self.parked {
                        self.connection.handle(now, Input::Get);
                        self.parked = true;
                    }
                    match self.connection.poll_get(Waker::noop()) {
                        Some(GetAnswer::Packets(frames)) => {
                            self.parked = false;
                            (frames, true)
                        }
                        Some(GetAnswer::Refused(_)) => return false,
                        None => return true,
                    }
                }
                false => match self.connection.take_frames(0, None) {
                    Write::Frames(frames) if frames.is_empty() => return true,
                    Write::Frames(frames) => (frames, true),
                    Write::Last(frames) => (frames, false),
                    Write::Closed => return false,
                },
            };
            for frame in frames {
                self.connection.sent(frame.websocket().len());
                self.coming.push_back(String::from_utf8(frame.packet().to_vec()).unwrap());
            }
            if !open || self.coming.back().is_some_and(|packet| packet == "1") {
                return false;
            }
        }
    }

    /// The server notices that the client is gone.
    pub fn close(&self, now: Time) {
        match self.polling {
            true if self.parked => self.connection.handle(now, Input::GetAborted),
            true => self.connection.handle(now, Input::Packet(Via::Polling, EnginePacket::Close)),
            false => self.connection.handle(now, Input::SocketClosed(Via::WebSocket)),
        };
    }
}

/// What the application behind the client hears.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Connected {
        sid: String,
        pid: String,
        /// The session that the client had before.
        before: Option<String>,
    },
    /// A logged event.
    Logged(u64),
    /// A volatile or local event.
    Passing(u64),
    /// An event that asks for an acknowledgement.
    Asked(u64),
    /// The answer to an echo.
    Acked(u64),
    /// A ping, which was answered.
    Pinged,
    /// Removed from the namespace by the server.
    Removed,
}

/// The client's side of a namespace.
#[derive(Default)]
pub struct Peer {
    pub nsp: String,
    pub line: Option<Line>,
    pub connected: bool,
    pub pid: Option<String>,
    pub offset: Option<String>,
    pub early: Vec<Value>,
    /// Pings stay unanswered: a page that sleeps.
    pub asleep: bool,
}

impl Peer {
    /// One packet arrives.
    pub fn arrive(&mut self, now: Time) -> Result<Vec<Heard>, String> {
        let Some(packet) = self.line.as_mut().and_then(|line| line.coming.pop_front()) else { return Ok(Vec::new()) };
        match packet.split_at(1) {
            ("2", _) => {
                if let (false, Some(line)) = (self.asleep, &self.line) {
                    line.send(now, "3");
                    return Ok(vec![Heard::Pinged]);
                }
                Ok(Vec::new())
            }
            ("4", message) => self.message(message),
            _ => Ok(Vec::new()),
        }
    }

    fn message(&mut self, message: &str) -> Result<Vec<Heard>, String> {
        let (kind, rest) = message.split_at(1);
        let rest = match self.nsp.as_str() {
            "/" => rest,
            nsp => rest
                .strip_prefix(nsp)
                .and_then(|rest| rest.strip_prefix(','))
                .ok_or(format!("namespace of {message}"))?,
        };
        let json = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let id = rest.strip_suffix(json).unwrap_or("");
        let value: Value =
            if json.is_empty() { Value::Null } else { serde_json::from_str(json).map_err(|e| e.to_string())? };
        match (kind, id) {
            ("0", _) => self.connect(&value),
            ("1", _) => {
                self.connected = false;
                Ok(vec![Heard::Removed])
            }
            ("2", "") if !self.connected => {
                self.early.push(value);
                Ok(Vec::new())
            }
            ("2", "") => self.event(&value).map(|heard| vec![heard]),
            ("2", _) => Ok(vec![Heard::Asked(value[1].as_u64().unwrap_or(0))]),
            ("3", id) => Ok(vec![Heard::Acked(id.parse().unwrap_or(0))]),
            _ => Err(format!("unexpected packet {message}")),
        }
    }

    fn connect(&mut self, value: &Value) -> Result<Vec<Heard>, String> {
        let text = |key: &str| value[key].as_str().unwrap_or("").to_owned();
        let (sid, pid) = (text("sid"), text("pid"));
        self.connected = true;
        let before = self.pid.replace(pid.clone());
        let mut heard = vec![Heard::Connected { sid, pid, before }];
        for event in std::mem::take(&mut self.early) {
            heard.push(self.event(&event)?);
        }
        Ok(heard)
    }

    /// An event: `["logged" or "passing", n, offset]`.
    fn event(&mut self, value: &Value) -> Result<Heard, String> {
        let n = value[1].as_u64().unwrap_or(0);
        let last = value.as_array().and_then(|args| args.last()).and_then(Value::as_str);
        let offset = last.and_then(Offset::from_wire).ok_or(format!("no offset at the end of {value}"))?;
        self.offset = Some(offset.to_string());
        match value[0].as_str() {
            Some("logged") => Ok(Heard::Logged(n)),
            Some("passing") => Ok(Heard::Passing(n)),
            _ => Err(format!("unknown event {value}")),
        }
    }

    /// What the client sends to join, with its session.
    pub fn connect_packet(&self, offset: Option<&str>, pid: Option<&str>) -> String {
        let nsp = if self.nsp == "/" { String::new() } else { format!("{},", self.nsp) };
        let mut auth = serde_json::Map::new();
        if let Some(pid) = pid {
            auth.insert("pid".to_owned(), pid.into());
        }
        if let Some(offset) = offset {
            auth.insert("offset".to_owned(), offset.into());
        }
        format!("40{nsp}{}", Value::Object(auth))
    }
}
