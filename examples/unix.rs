//! A server on a Unix socket, behind a proxy on the same machine (nginx: `proxy_pass http://unix:/run/rill.sock;`), which says where its clients are.
//!
//! ```sh
//! SOCKET=/tmp/rill.sock cargo run --release --example unix
//! ```

use rill::{Events, Options, Server, Service};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::time::sleep;

/// The proxy, whose word about its clients is believed: only this machine's programs reach a Unix socket.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() -> std::io::Result<()> {
    rill::runtime()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let options = Options { trusts: Some(Arc::new(|peer| peer == PROXY)), ..Options::default() };
    let server = Server::in_memory(options);
    server.of("/").handle(Events::new().on("where am I", |socket, event| {
        if let Some(ack) = event.ack {
            ack.send(socket.handshake()["address"].clone());
        }
    }));
    let service = Service::begin(server);
    let path = std::env::var("SOCKET").unwrap_or_else(|_| "/tmp/rill.sock".to_owned());
    // One that another run has left.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    println!("the server is on {path}");
    let accepting = tokio::spawn(accept(listener, service.clone()));
    tokio::signal::ctrl_c().await?;
    accepting.abort();
    service.stop().await;
    std::fs::remove_file(&path)
}

async fn accept(listener: UnixListener, service: Service) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(service.serve_connection(stream, PROXY))),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
