//! A live dashboard: figures that any program puts into Redis with one XADD, in every browser at once.
//!
//! ```sh
//! redis-server &
//! scripts/client-files                                # the browser client, once
//! cargo run --release --example dashboard             # PORT=3000, REDIS=localhost:6379
//! examples/feed.sh                                    # in another terminal: this machine's load, each second
//! ```
//!
//! Open http://localhost:3000. Start a second dashboard with PORT=3001: it shows the same. Switch the network off and on: the
//! page catches up with every figure that it missed. The program that feeds it never hears of Rill.

use rill::operator::Client;
use rill::{Events, Head, Options, RedisOptions, Response, Server, Workers};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

const PAGE: &str = include_str!("dashboard.html");

fn main() -> std::io::Result<()> {
    rill::runtime()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let env = |name| std::env::var(name).unwrap_or_default();
    let port = env("PORT").parse().unwrap_or(3000);
    let address = env("REDIS");
    let (host, redis_port) = address.rsplit_once(':').unwrap_or(("localhost", "6379"));
    let place = RedisOptions {
        host: host.to_owned(),
        port: redis_port.parse().unwrap_or(6379),
        username: env("REDIS_USERNAME"),
        password: env("REDIS_PASSWORD"),
        ..RedisOptions::default()
    };
    let options = Options { pages: Some(pages()), ..Options::default() };
    let (server, redis) = Server::with_redis(options, place);
    server.of("/").handle(Events::new().on_connect(|socket| {
        // Figures go to this room: other clients of the namespace would not get them.
        let _ = socket.join("figures");
    }));
    tokio::spawn(redis.run(server.clone(), Some(([127, 0, 0, 1], port).into())));

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("the dashboard is on http://localhost:{port}");
    rill::run_on(Workers::for_all_processors()?, listener, server, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}

/// The page, and the official browser client as `scripts/client-files` has fetched it.
fn pages() -> rill::Pages {
    let folder = std::env::var_os("CLIENT_DIR");
    let (client, missing) = Client::find(folder.as_deref().map(Path::new));
    if let Some(missing) = missing {
        println!("{missing}");
    }
    Arc::new(move |head: &Head| match head.path() {
        "/" => Some(Response::new(200).header("Content-Type", "text/html; charset=utf-8").body(PAGE)),
        _ => client.respond(head),
    })
}
