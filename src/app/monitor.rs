//! `/metrics` on a port of its own, for networks where strangers reach the other one.
//!
//! The same doors with the same bounds as everywhere, on a server that takes no clients.

use super::pages::Site;
use crate::limits::Limits;
use crate::server::{Log, Options, Server};
use std::future::pending;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves the metrics of `site` for ever, and nothing else.
pub async fn serve(listener: TcpListener, site: Arc<Site>, log: Log) {
    let options = Options {
        pages: Some(Arc::new(move |head| site.respond_with_metrics(head))),
        recovery: None,
        log: Some(log),
        limits: Limits { connections: 0, ..Limits::default() },
        ..Options::default()
    };
    crate::io::run(listener, Server::in_memory(options), pending()).await;
}
