//! A server that speaks TLS itself, with tokio-rustls; the certificate and its key are PEM files.
//!
//! ```sh
//! CERT=cert.pem KEY=key.pem cargo run --release --example tls      # PORT=3443
//! ```

use rill::{Events, Options, Server, Service};
use std::io::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// For the TLS handshake: who is slower is no client.
const HANDSHAKE: Duration = Duration::from_secs(10);

fn main() -> std::io::Result<()> {
    rill::runtime()?.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let file = |name: &str| std::env::var(name).map_err(|_| Error::other(format!("{name} is not set")));
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file("CERT")?).map_err(Error::other)?.collect();
    let key = PrivateKeyDer::from_pem_file(file("KEY")?).map_err(Error::other)?;
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates.map_err(Error::other)?, key)
        .map_err(Error::other)?;
    // A WebSocket begins with HTTP/1.1.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));

    let server = Server::in_memory(Options::default());
    server.of("/").handle(Events::new().on("echo", |socket, event| {
        let _ = socket.emit("echo", event.args);
    }));
    let service = Service::begin(server);
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3443);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("TLS is on port {port}");
    let accepting = tokio::spawn(accept(listener, acceptor, service.clone()));
    tokio::signal::ctrl_c().await?;
    accepting.abort();
    service.stop().await;
    Ok(())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, service: Service) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, service) = (acceptor.clone(), service.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                service.serve_connection(stream, peer.ip()).await;
            }
        });
    }
}
