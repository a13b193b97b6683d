//! The server that the official test suites and the benchmarks ask for, built on the library alone:
//! `conformance engine|socket|client|engine-client|bench [--port N] [--recovery] [--redis HOST:PORT]`.
//!
//! Each mode is what one suite expects of its server. One thread, except for `bench`: the suites start requests on several connections at
//! once and expect them to be taken in the order in which they were started.

use rill::{
    Ack, Args, ConnectError, Event, Events, Limits, Message, Offered, Options, Recovery, RedisOptions, RedisStreams,
    Server, Socket, Workers, runtime,
};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str =
    "usage: conformance engine|socket|client|engine-client|bench [--port N] [--recovery] [--redis HOST:PORT]";

/// What was asked for besides the mode.
struct Asked {
    port: u16,
    recovery: bool,
    redis: Option<(String, u16)>,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let asked = options(args);
    let server = asked.as_ref().and_then(|asked| {
        let mut redis = None;
        let server = server(&mode, asked.recovery, &mut |options| make(options, asked, &mut redis))?;
        Some((server, redis))
    });
    match (server, asked) {
        (Some((server, redis)), Some(asked)) => serve(server, redis, &mode, asked.port),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked = Asked { port: 3000, recovery: false, redis: None };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--port" => asked.port = args.next()?.parse().ok()?,
            "--recovery" => asked.recovery = true,
            "--redis" => {
                let (host, port) = args.next().and_then(|place| {
                    let (host, port) = place.rsplit_once(':')?;
                    Some((host.to_owned(), port.parse().ok()?))
                })?;
                asked.redis = Some((host, port));
            }
            _ => return None,
        }
    }
    Some(asked)
}

/// A server over the log that was asked for.
fn make(options: Options, asked: &Asked, redis: &mut Option<RedisStreams>) -> Server {
    // The suites break the protocol on purpose, and often.
    let options = Options { log: None, ..options };
    let Some((host, port)) = asked.redis.clone() else { return Server::in_memory(options) };
    let (server, streams) = Server::with_redis(options, RedisOptions { host, port, ..RedisOptions::default() });
    *redis = Some(streams);
    server
}

fn serve(server: Server, redis: Option<RedisStreams>, mode: &str, port: u16) -> ExitCode {
    let workers = match mode {
        "bench" => Workers::for_all_processors(),
        _ => Ok(Workers::default()),
    };
    let (runtime, workers) = match (runtime(), workers) {
        (Ok(runtime), Ok(workers)) => (runtime, workers),
        (Err(error), _) | (_, Err(error)) => return failed(&format!("can't start: {error}")),
    };
    runtime.block_on(async {
        let listener = match tokio::net::TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => listener,
            Err(error) => return failed(&format!("can't listen on 127.0.0.1:{port}: {error}")),
        };
        if let Some(redis) = redis {
            tokio::spawn(redis.run(server.clone(), Some(([127, 0, 0, 1], port).into())));
        }
        println!("[SERVER] conformance {mode} listens on 127.0.0.1:{port}");
        rill::run_on(workers, listener, server, std::future::pending()).await;
        ExitCode::SUCCESS
    })
}

fn failed(message: &str) -> ExitCode {
    eprintln!("[SERVER] {message}");
    ExitCode::FAILURE
}

/// Makes a server with these options, wherever its log is.
type Make<'a> = &'a mut dyn FnMut(Options) -> Server;

fn server(mode: &str, recovery: bool, make: Make<'_>) -> Option<Server> {
    match mode {
        "bench" => Some(bench(recovery, make)),
        "engine" => Some(engine(make)),
        "socket" => Some(socket(make)),
        "client" => Some(client(make)),
        "engine-client" => Some(engine_client(make)),
        _ => None,
    }
}

/// What `scripts/bench` measures, in the main namespace and in any that begins with `/n`: echo, acknowledge, broadcast, to all or to a room;
/// arguments come back byte for byte.
fn bench(recovery: bool, make: Make<'_>) -> Server {
    let server = make(Options { recovery: recovery.then(Recovery::default), ..Options::default() });
    server.of("/").handle(bench_events());
    server.of_rule(|name| name.starts_with("/n"), bench_events());
    server
}

fn bench_events() -> Events {
    Events::new()
        .on_connect(|socket| {
            let _ = socket.join("all");
        })
        .on("echo", |socket, event| match event.ack {
            Some(ack) => ack.send(event.args),
            None => emit(socket, "echo", event.args),
        })
        .on("broadcast", |socket, event| {
            let _ = socket.namespace().to("all").emit("broadcast", event.args);
        })
        .on("join", |socket, event| {
            if let Some(room) = event.args.string(0) {
                let _ = socket.join(room);
            }
            acknowledge(event.ack, ());
        })
        .on("room", |socket, event| {
            if let (Some(room), Some(args)) = (event.args.string(0), event.args.select(1)) {
                let _ = socket.namespace().to(room).emit("room", args);
            }
        })
}

/// Short heartbeats, as both protocol suites expect them.
fn short() -> Options {
    Options { ping_interval_ms: 300, ping_timeout_ms: 200, recovery: None, ..Options::default() }
}

/// The Engine.IO protocol suite: every message comes back.
fn engine(make: Make<'_>) -> Server {
    make(Options {
        path: "/engine.io/".to_owned(),
        engine: Some(Arc::new(|connection, message| match message {
            Message::Opened => {}
            Message::Text(text) => connection.send_text(text),
            Message::Binary(data) => connection.send_binary(data),
        })),
        ..short()
    })
}

/// The Socket.IO protocol suite.
fn socket(make: Make<'_>) -> Server {
    let limits = Limits { connect_ms: 1_000, ..Limits::default() };
    let server = make(Options { limits, ..short() });
    let greet = |socket: &Socket| emit(socket, "auth", auth(socket));
    server.of("/").handle(
        Events::new()
            .on_connect(greet)
            .on("message", |socket, event| emit(socket, "message-back", event.args))
            .on("message-with-ack", |_, event| acknowledge(event.ack, event.args)),
    );
    server.of("/custom").handle(Events::new().on_connect(greet));
    server
}

/// The suite of the engine.io client: small payloads, cookies, headers on demand.
fn engine_client(make: Make<'_>) -> Server {
    make(Options {
        path: "/engine.io/".to_owned(),
        ping_interval_ms: 500,
        limits: Limits { max_payload: 100, ..Limits::default() },
        offered: Offered { polling: true, websocket: true },
        recovery: None,
        allow_request: Some(Arc::new(|head| {
            let denied = rill::Query::parse(head.query()).get("deny").is_some();
            Box::pin(std::future::ready(!denied))
        })),
        initial_headers: Some(Arc::new(|_| {
            let cookies = ["1=1; Max-Age=86400", "2=2; Path=/; HttpOnly; Secure; SameSite=Strict", "3=3; Max-Age=0"];
            let expired = "4=4; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
            cookies.into_iter().chain([expired]).map(|cookie| ("Set-Cookie", cookie.to_owned())).collect()
        })),
        engine: Some(Arc::new(|connection, message| match message {
            Message::Opened => connection.send_text("hi"),
            Message::Text("give binary") => connection.send_binary(&[0, 1, 2, 3, 4]),
            Message::Text("give utf8") => connection.send_text("пойду спать всем спокойной ночи"),
            Message::Text("sendHeaders") => connection.send_text(&connection.post_headers().to_string()),
            Message::Text(text) => connection.send_text(text),
            Message::Binary(data) => connection.send_binary(data),
        })),
        ..Options::default()
    })
}

/// The suite of the socket.io client.
fn client(make: Make<'_>) -> Server {
    let server = make(Options {
        ping_interval_ms: 2_000,
        // One test wants a client that has received nothing to get a new id.
        recovery: Some(Recovery { without_offset: false, ..Recovery::default() }),
        // The delay makes the tests of a connect time-out certain.
        allow_request: Some(Arc::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                true
            })
        })),
        ..Options::default()
    });
    let main = server.of("/");
    main.use_middleware(|socket, next| match socket.connection().handshake.query().get("fail") {
        Some(fail) if !fail.is_empty() => next.refuse(ConnectError::new("Auth failed (main namespace)")),
        _ => next.accept(),
    });
    main.handle(client_events());
    server.of("/foo").handle(Events::new().on("getId", answer_id));
    server.of("/abc").handle(Events::new().on_connect(|socket| emit(socket, "handshake", socket.handshake())));
    server.of("/no").use_middleware(|_, next| next.refuse(ConnectError::new("Auth failed (custom namespace)")));
    for name in ["/asd", "/valid", "/timeout_socket"] {
        server.of(name).handle(());
    }
    server
}

fn client_events() -> Events {
    Events::new()
        .on("hi", |socket, _| emit(socket, "hi", ()))
        .on("echo", |_, event| {
            let args = event.args.select(0).unwrap_or_default();
            acknowledge(event.ack, args);
        })
        .on("ack", |socket, _| {
            let asker = socket.clone();
            let _ = socket.emit_with_ack("ack", (), None, move |answer| {
                let expected =
                    |args: &Args| args.value(0) == Some(json!(5)) && args.value(1) == Some(json!({"test": true}));
                if answer.is_ok_and(|args| expected(&args)) {
                    emit(&asker, "got it", ());
                }
            });
        })
        .on("getAckDate", |socket, event| acknowledge(event.ack, date(socket)))
        .on("getDate", |socket, _| emit(socket, "takeDate", date(socket)))
        .on("getDateObj", |socket, _| emit(socket, "takeDateObj", json!({"date": date(socket)})))
        .on("getUtf8", |socket, _| {
            for text in ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"] {
                emit(socket, "takeUtf8", text);
            }
        })
        .on("false", |socket, _| emit(socket, "false", false))
        .on("doge", |socket, _| emit(socket, "doge", Args::new().with_binary(&b"asdfasdf"[..])))
        .on("getbin", |socket, _| emit(socket, "takebin", Args::new().with_binary(&b"asdfasdf"[..])))
        .on("buffa", |socket, event| emit_if(event.args.binary(0).is_some(), socket, "buffack"))
        .on("blob", |socket, event| {
            if event.args.binary(0).is_some() {
                emit(socket, "back", event.args);
            }
        })
        .on("jsonbuff", |socket, event| emit_if(is_greeting(&event.args), socket, "jsonbuff-ack"))
        .on("jsonblob", |socket, event| emit_if(is_greeting(&event.args), socket, "jsonblob-ack"))
        .on("abuff1", |socket, event| {
            let _ = socket.set_data(json!(u8::from(event.args.binary(0).is_some())));
        })
        .on("abuff2", |socket, event| {
            emit_if(*socket.data() == json!(1) && event.args.string(0).is_some(), socket, "abuff2-ack");
        })
        .on("blob1", |socket, _| {
            let _ = socket.set_data(json!("blob1"));
        })
        .on("blob2", |socket, _| {
            let _ = socket.set_data(json!("blob2"));
        })
        .on("blob3", |socket, _| emit_if(*socket.data() == json!("blob2"), socket, "blob3-ack"))
        .on("getHandshake", |socket, event| acknowledge(event.ack, socket.handshake()))
        .on("getId", answer_id)
}

fn answer_id(socket: &Socket, event: Event<'_>) {
    acknowledge(event.ack, socket.id().as_str());
}

/// A client that is gone does not miss anything: the suites never look.
fn emit(socket: &Socket, name: &str, args: impl Into<Args>) {
    let _ = socket.emit(name, args);
}

fn emit_if(condition: bool, socket: &Socket, name: &str) {
    if condition {
        emit(socket, name, ());
    }
}

fn acknowledge(ack: Option<Ack>, args: impl Into<Args>) {
    if let Some(ack) = ack {
        ack.send(args);
    }
}

fn auth(socket: &Socket) -> Value {
    serde_json::from_str(socket.auth()).unwrap_or_default()
}

fn date(socket: &Socket) -> String {
    socket.connection().server().now().iso()
}

/// `{hello: "lol", message: <binary>, goodbye: "gotcha"}`
fn is_greeting(args: &Args) -> bool {
    let Some(greeting) = args.value(0) else { return false };
    let binary = greeting.get("message").and_then(|message| message.get("_placeholder")) == Some(&json!(true));
    greeting.get("hello") == Some(&json!("lol")) && binary && greeting.get("goodbye") == Some(&json!("gotcha"))
}
