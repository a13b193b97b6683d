//! A game lobby: a token at the door, tables with a bound on their players, and a start that all of them have to agree to.
//!
//! ```sh
//! cargo run --release --example lobby           # PORT=3000
//! ```
//!
//! Two clients like this one, in Node with socket.io-client, start a game:
//!
//! ```js
//! const socket = io("http://localhost:3000/chess", { auth: { name: "Ada", token: "let me play" } });
//! socket.on("connect_error", (error) => console.log(error.message, error.data));
//! socket.on("ready?", (players, answer) => answer(true));
//! socket.on("start", (players) => console.log("we play:", players));
//! socket.on("called off", (why) => console.log(why));
//! socket.emit("sit", 1, console.log);           // { ok: true, players: 1 }
//! ```

use rill::{ConnectError, Event, Handler, Namespace, Next, Options, Reason, Server, Socket, Workers};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// The games and their tables. Each game is a namespace, each table a room of it.
const GAMES: [(&str, usize); 2] = [("/chess", 2), ("/skat", 3)];
const TABLES: u64 = 100;
/// How long players have to say that they are ready.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> std::io::Result<()> {
    rill::runtime()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    // Who leaves the table is out of the game: there is nothing to recover.
    let server = Server::in_memory(Options { recovery: None, ..Options::default() });
    for (name, players) in GAMES {
        let game = server.of(name).handle(Game { players, tables: Mutex::default() });
        game.use_middleware(door);
    }
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("the lobby is on port {port}");
    rill::run_on(Workers::for_all_processors()?, listener, server, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}

/// Lets those in who have a name and the token. One that asks a database would keep `next` and decide later.
fn door(socket: &Socket, next: Next) {
    let auth: Value = serde_json::from_str(socket.auth()).unwrap_or_default();
    match (&auth["name"], auth["token"].as_str()) {
        (Value::String(name), Some("let me play")) if !name.is_empty() => {
            let _ = socket.set_data(json!(name));
            next.accept();
        }
        (_, Some("let me play")) => next.refuse(ConnectError::new("what is your name?")),
        _ => next.refuse(ConnectError::new("not invited").with_data(json!({"ask": "the host"}))),
    }
}

/// One game with its tables: who sits where.
struct Game {
    players: usize,
    tables: Mutex<HashMap<u64, Vec<Socket>>>,
}

impl Handler for Game {
    fn event(&self, socket: &Socket, event: Event<'_>) {
        let table = event.args.parse(0).ok();
        let seated = match (event.name, table) {
            ("sit", Some(table)) => self.sit(socket, table),
            _ => Err("sit(table), nothing else"),
        };
        let table = table.filter(|_| seated.is_ok());
        if let Some(ack) = event.ack {
            ack.send(seated.unwrap_or_else(|error| json!({"ok": false, "error": error})));
        }
        // After the answer, so that the last player knows that he sits when he is asked.
        if let Some(table) = table {
            self.ask(socket.namespace(), table);
        }
    }

    fn disconnect(&self, socket: &Socket, _: Reason) {
        self.tables().values_mut().for_each(|players| players.retain(|player| player != socket));
    }
}

impl Game {
    fn tables(&self) -> MutexGuard<'_, HashMap<u64, Vec<Socket>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Two clients may come at once, on two threads: the tables' lock decides who gets the last chair.
    fn sit(&self, socket: &Socket, table: u64) -> Result<Value, &'static str> {
        let mut tables = self.tables();
        if table >= TABLES || tables.values().any(|players| players.contains(socket)) {
            return Err("there is no such table, or you sit already");
        }
        let players = tables.entry(table).or_default();
        if players.len() >= self.players {
            return Err("the table is full");
        }
        socket.join(room(table)).map_err(|_| "try again")?;
        players.push(socket.clone());
        Ok(json!({"ok": true, "players": players.len()}))
    }

    /// Asks a full table; the game starts if all of them say yes in time.
    fn ask(&self, game: &Arc<Namespace>, table: u64) {
        let Some(players) = self.tables().get(&table).filter(|players| players.len() == self.players).cloned() else {
            return;
        };
        let names: Vec<Value> = players.iter().map(|player| (*player.data()).clone()).collect();
        let (then, everybody) = (game.clone(), players.len());
        let asked = game.to(room(table)).timeout(PATIENCE).emit_with_ack("ready?", json!(names), move |gathered| {
            let yes = gathered.answers.iter().filter(|answer| answer.value(0) == Some(json!(true))).count();
            let _ = match yes == everybody {
                true => then.to(room(table)).emit("start", json!(names)),
                false => then.to(room(table)).emit("called off", format!("{yes} of {everybody} were ready")),
            };
        });
        if let Err(error) = asked {
            eprintln!("table {table} could not be asked: {error}");
        }
    }
}

fn room(table: u64) -> String {
    format!("table {table}")
}
