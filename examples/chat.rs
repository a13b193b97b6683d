//! A chat: names, topics, who is typing. Whoever loses the connection comes back to what was said meanwhile.
//!
//! ```sh
//! cargo run --release --example chat            # PORT=3000
//! ```
//!
//! A client, in Node with socket.io-client:
//!
//! ```js
//! const socket = io("http://localhost:3000");
//! socket.onAny((...event) => console.log(...event));
//! await socket.emitWithAck("name", "Ada");      // { ok: true }
//! await socket.emitWithAck("join", "tea");      // { ok: true, here: ["Ada"] }
//! socket.emit("typing", "tea");                 // lost, if somebody is too busy to hear it
//! await socket.emitWithAck("say", "tea", "is it ready?");
//! socket.io.engine.close();                     // a cut: it comes back, and misses nothing
//! ```

use rill::{Event, Events, Options, Reason, Server, Socket, Workers};
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Answer = Result<Value, &'static str>;

fn main() -> std::io::Result<()> {
    rill::runtime()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let server = Server::in_memory(Options::default());
    server.of("/").handle(
        Events::new()
            .on_connect(back_or_new)
            .on("name", |socket, event| answer(event, |event| name(socket, event)))
            .on("join", |socket, event| answer(event, |event| join(socket, event)))
            .on("say", |socket, event| answer(event, |event| say(socket, event)))
            .on("typing", typing)
            .on_disconnect(gone),
    );
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("the chat is on port {port}");
    rill::run_on(Workers::for_all_processors()?, listener, server, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}

/// Carries an event out, and tells the client how it went, if it asked.
fn answer(mut event: Event<'_>, act: impl FnOnce(&Event<'_>) -> Answer) {
    let ack = event.ack.take();
    let answer = act(&event).unwrap_or_else(|error| json!({"ok": false, "error": error}));
    if let Some(ack) = ack {
        ack.send(answer);
    }
}

fn back_or_new(socket: &Socket) {
    // After a recovery name and topics are as they were.
    if socket.recovered() {
        tell_topics(socket, "back");
    }
}

fn name(socket: &Socket, event: &Event<'_>) -> Answer {
    let name = event.args.string(0).filter(|name| (1..=32).contains(&name.chars().count()));
    let name = name.ok_or("a name has 1 to 32 characters")?;
    socket.set_data(json!(name)).map_err(|_| "try again")?;
    Ok(json!({"ok": true}))
}

fn join(socket: &Socket, event: &Event<'_>) -> Answer {
    let topic = topic(event)?;
    if socket.data().is_null() {
        return Err("give your name first");
    }
    socket.join(topic.as_str()).map_err(|_| "no more topics")?;
    let _ = socket.to(topic.as_str()).emit("joined", json!({"topic": topic, "name": *socket.data()}));
    let here = socket.namespace().to(topic.as_str()).sockets();
    Ok(json!({"ok": true, "here": here.iter().map(|socket| (*socket.data()).clone()).collect::<Vec<Value>>()}))
}

fn say(socket: &Socket, event: &Event<'_>) -> Answer {
    let (topic, text) = (topic(event)?, event.args.string(1).ok_or("say what?")?);
    if !is_in(socket, &topic) {
        return Err("join the topic first");
    }
    // To all of them, the speaker too: so everybody sees the same order.
    let said = json!({"topic": topic, "name": *socket.data(), "text": text});
    socket.namespace().to(topic).emit("said", said).map_err(|_| "try again")?;
    Ok(json!({"ok": true}))
}

/// Worth nothing a moment later: volatile, so it is neither queued for the slow nor kept for those who are away.
fn typing(socket: &Socket, event: Event<'_>) {
    if let Some(topic) = topic(&event).ok().filter(|topic| is_in(socket, topic)) {
        let _ = socket.to(topic.as_str()).volatile().emit("typing", json!({"topic": topic, "name": *socket.data()}));
    }
}

fn gone(socket: &Socket, reason: Reason) {
    // A cut is no goodbye: most come back.
    tell_topics(socket, if reason.recoverable() { "away" } else { "left" });
}

fn tell_topics(socket: &Socket, what: &str) {
    for topic in socket.rooms().iter().skip(1) {
        let _ = socket.to(topic.clone()).emit(what, json!({"topic": topic.as_str(), "name": *socket.data()}));
    }
}

/// Topics have a sign before them, so that no topic is some client's own room.
fn topic(event: &Event<'_>) -> Result<String, &'static str> {
    let topic = event.args.string(0).filter(|topic| (1..=32).contains(&topic.chars().count()));
    topic.map(|topic| format!("#{}", topic.trim_start_matches('#'))).ok_or("a topic has 1 to 32 characters")
}

fn is_in(socket: &Socket, topic: &str) -> bool {
    socket.rooms().iter().any(|room| room.as_str() == topic)
}
