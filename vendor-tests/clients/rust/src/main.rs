//! The points with rust_socketio: `points blocking|async`. What it prints is told in ../../../harness/foreign.js.
//!
//! Both of its clients are driven in the same way: what they hear goes into a channel, under the name of its event.

use bytes::Bytes;
use futures_util::FutureExt;
use rust_socketio::{Event, Payload, TransportType, asynchronous, client};
use serde_json::{Value, json};
use std::env;
use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Heard = (String, Payload);

const LIMIT: Duration = Duration::from_secs(5);
/// In milliseconds, between the attempts to come back.
const DELAY: (u64, u64) = (50, 200);

/// Who opens connections: which of the two clients, over which transport.
struct Opener {
    runtime: Option<Runtime>,
    transport: String,
}

enum Client<'a> {
    Blocking(client::Client),
    Async(&'a Runtime, asynchronous::Client),
}

struct Connection<'a> {
    client: Client<'a>,
    heard: Receiver<Heard>,
}

fn main() -> Outcome<()> {
    let runtime = match env::args().nth(1).as_deref() {
        Some("blocking") => None,
        Some("async") => Some(Runtime::new()?),
        _ => return Err("usage: points blocking|async".into()),
    };
    let opener = Opener { runtime, transport: env::var("TRANSPORT")? };
    suite(&opener, &env::var("SUITE_URL")?)?;
    rooms(&opener, &env::var("ROOMS_URL")?)
}

fn suite(opener: &Opener, url: &str) -> Outcome<()> {
    let main = opener.open(url, "/")?;
    // Over polling its async client takes each piece of an answer for the whole of it.
    let broken = opener.runtime.is_some() && opener.transport == "polling";
    let long = "x".repeat(if broken { 1_000 } else { 100_000 });
    if broken {
        println!("note long answers: not understood");
    }
    for value in [
        json!(1),
        json!(-1.5),
        json!(true),
        json!(null),
        json!("кот てすと 😀"),
        json!({"a": [1, {"b": null}]}),
        json!(long),
    ] {
        equal(&main.ask("echo", value.clone())?, &value)?;
    }
    println!("ok acks");

    // With binary it can't ask: it sends what asks as if it were an answer.
    let bytes = Bytes::from_static(&[0, 1, 2, 254, 255]);
    main.emit("buffa", bytes)?;
    main.next("buffack", |_| true)?;
    main.emit("getbin", json!([]))?;
    // Whatever text stands beside the binary, here the offset, becomes part of the event's name.
    let heard = main.first(|name, _| name.starts_with("takebin"))?;
    match heard {
        (name, Payload::Binary(bytes)) if bytes[..] == b"asdfasdf"[..] => {
            println!("note binary: \"takebin\" is heard as {name:?}")
        }
        other => return Err(format!("{other:?}").into()),
    }
    println!("ok binary");

    // It hears an event that asks for an answer, and has no way to give one.
    println!("lacks asked");

    let foo = opener.open(url, "/foo")?;
    let (Value::String(id), Value::String(foo_id)) = (main.ask("getId", json!([]))?, foo.ask("getId", json!([]))?)
    else {
        return Err("ids that are no strings".into());
    };
    if id == foo_id || id.len() != 20 || foo_id.len() != 20 {
        return Err(format!("{id} and {foo_id} are no ids of two sessions").into());
    }
    println!("ok namespaces");

    let refused = opener.start(url, "/no")?;
    refused.next("error", |payload| format!("{payload:?}").contains("Auth failed (custom namespace)"))?;
    println!("ok refused");
    Ok(())
}

fn rooms(opener: &Opener, url: &str) -> Outcome<()> {
    let (mut one, two) = (opener.open(url, "/")?, opener.open(url, "/")?);
    for client in [&one, &two] {
        equal(&client.ask("join", json!("tea"))?, &json!({"ok": true, "room": "tea"}))?;
    }
    equal(&one.ask("message", json!({"room": "tea", "text": "hello"}))?, &json!({"ok": true}))?;
    let id = one.id()?;
    for client in [&one, &two] {
        let message = client.text("hello")?;
        equal(&message["from"], &id)?;
        equal(&message["room"], &json!("tea"))?;
    }
    two.ask("leave", json!("tea"))?;
    println!("type sendroom tea from the console");
    one.text("from the console")?;
    equal(&two.ask("rooms", json!([]))?["rooms"], &json!([]))?;
    if two.heard.try_iter().any(|(event, _)| event == "message") {
        return Err("who has left a room heard what was said there".into());
    }
    println!("ok rooms");

    for (point, away, back) in [("stop and start", "type stop", Some("type start")), ("kill", "kill", None)] {
        let former = one.id()?;
        while one.heard.try_recv().is_ok() {}
        println!("{away}");
        if let Some(back) = back {
            std::thread::sleep(Duration::from_millis(500)); // this client does not always tell that its connection has ended
            println!("{back}");
        }
        if point == "stop and start" && opener.runtime.is_none() && opener.transport == "polling" {
            // After a close packet the blocking client stays away, and only says so to whoever emits.
            if one.next("open", |_| true).is_err() {
                println!("note {point}: the application has to connect again");
                one = opener.open(url, "/")?;
            }
        } else {
            one.next("open", |_| true)?;
        }
        let recovered = one.id()? == former;
        println!("note {point}: {}", if recovered { "recovered" } else { "a new session" });
        if !recovered {
            equal(&one.ask("rooms", json!([]))?["rooms"], &json!([]))?;
            one.ask("join", json!("tea"))?;
        }
        one.ask("message", json!({"room": "tea", "text": point}))?;
        one.text(point)?;
        println!("ok {point}");
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(given: &T, wanted: &T) -> Outcome<()> {
    if given == wanted { Ok(()) } else { Err(format!("{given:?} instead of {wanted:?}").into()) }
}

impl Opener {
    /// A connection that is in its namespace.
    fn open(&self, url: &str, namespace: &str) -> Outcome<Connection<'_>> {
        let connection = self.start(url, namespace)?;
        connection.next("open", |_| true)?;
        Ok(connection)
    }

    fn start(&self, url: &str, namespace: &str) -> Outcome<Connection<'_>> {
        let transport = match self.transport.as_str() {
            "polling" => TransportType::Polling,
            "websocket" => TransportType::Websocket,
            _ => TransportType::WebsocketUpgrade,
        };
        let (tell, heard) = channel();
        let client = match &self.runtime {
            None => Client::Blocking(blocking(url, namespace, transport, &tell)?),
            Some(runtime) => Client::Async(runtime, runtime.block_on(awaited(url, namespace, transport, &tell))?),
        };
        Ok(Connection { client, heard })
    }
}

const EVENTS: [Event; 3] = [Event::Connect, Event::Close, Event::Error];

fn blocking(url: &str, namespace: &str, transport: TransportType, tell: &Sender<Heard>) -> Outcome<client::Client> {
    let mut builder = client::ClientBuilder::new(url)
        .namespace(namespace)
        .transport_type(transport)
        .reconnect_on_disconnect(true)
        .reconnect_delay(DELAY.0, DELAY.1);
    for event in EVENTS {
        let (tell, name) = (tell.clone(), String::from(event.clone()));
        builder = builder.on(event, move |payload, _| drop(tell.send((name.clone(), payload))));
    }
    let tell = tell.clone();
    Ok(builder.on_any(move |event, payload, _| drop(tell.send((event.into(), payload)))).connect()?)
}

async fn awaited(
    url: &str,
    namespace: &str,
    transport: TransportType,
    tell: &Sender<Heard>,
) -> Outcome<asynchronous::Client> {
    let mut builder = asynchronous::ClientBuilder::new(url)
        .namespace(namespace)
        .transport_type(transport)
        .reconnect_on_disconnect(true)
        .reconnect_delay(DELAY.0, DELAY.1);
    for event in EVENTS {
        let (tell, name) = (tell.clone(), String::from(event.clone()));
        builder = builder.on(event, move |payload, _| {
            drop(tell.send((name.clone(), payload)));
            async {}.boxed()
        });
    }
    let tell = tell.clone();
    let builder = builder.on_any(move |event, payload, _| {
        drop(tell.send((event.into(), payload)));
        async {}.boxed()
    });
    Ok(builder.connect().await?)
}

impl Connection<'_> {
    fn emit(&self, event: &str, payload: impl Into<Payload>) -> Outcome<()> {
        match &self.client {
            Client::Blocking(client) => client.emit(event, payload)?,
            Client::Async(runtime, client) => runtime.block_on(client.emit(event, payload))?,
        }
        Ok(())
    }

    /// Emits, and gives whatever comes as an answer: text, and after it the binary that its placeholder stands for.
    fn answers(&self, event: &str, payload: impl Into<Payload>) -> Outcome<Receiver<Payload>> {
        let (tell, answers) = channel();
        match &self.client {
            Client::Blocking(client) => {
                client.emit_with_ack(event, payload, LIMIT, move |answer, _| drop(tell.send(answer)))?;
            }
            Client::Async(runtime, client) => {
                let told = move |answer, _: asynchronous::Client| {
                    drop(tell.send(answer));
                    async {}.boxed()
                };
                runtime.block_on(client.emit_with_ack(event, payload, LIMIT, told))?;
            }
        }
        Ok(answers)
    }

    /// The first argument of the answer.
    fn ask(&self, event: &str, argument: Value) -> Outcome<Value> {
        let answer = self.answers(event, argument)?.recv_timeout(LIMIT)?;
        let Payload::Text(arguments) = answer else { return Err(format!("{event}: {answer:?}").into()) };
        // Version 0.6 wraps the list of arguments into another one.
        match arguments.into_iter().next() {
            Some(Value::Array(arguments)) => Ok(arguments.into_iter().next().unwrap_or_default()),
            argument => Ok(argument.unwrap_or_default()),
        }
    }

    fn id(&self) -> Outcome<Value> {
        Ok(self.ask("whoami", json!([]))?["id"].clone())
    }

    fn next(&self, event: &str, wanted: impl Fn(&Payload) -> bool) -> Outcome<Payload> {
        self.first(|name, payload| name == event && wanted(payload))
            .map(|(_, payload)| payload)
            .map_err(|error| format!("{event}: {error}").into())
    }

    fn first(&self, wanted: impl Fn(&str, &Payload) -> bool) -> Outcome<Heard> {
        let end = Instant::now() + LIMIT;
        let mut others = Vec::new();
        loop {
            match self.heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((name, payload)) if wanted(&name, &payload) => return Ok((name, payload)),
                Ok(other) => others.push(other),
                Err(_) => return Err(format!("not heard, but {others:?}").into()),
            }
        }
    }

    /// The message with this text.
    fn text(&self, text: &str) -> Outcome<Value> {
        let message = |payload: &Payload| match payload {
            Payload::Text(arguments) => arguments.first().cloned().unwrap_or_default(),
            _ => Value::Null,
        };
        let payload = self.next("message", |payload| message(payload)["text"] == text)?;
        Ok(message(&payload))
    }
}
