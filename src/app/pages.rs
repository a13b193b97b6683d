//! The pages beside the protocol: health, readiness, metrics, and a word for who comes by with a browser.

use super::report::Report;
use crate::codec::http::{Head, Response};
use crate::server::Server;
use crate::server::memory::MemoryStreams;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const HOME: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Rill</title>\
<h1>Rill</h1><p>A Socket.IO server: connect a client to this address, path <code>/socket.io/</code>.</p>\
<p><a href=/healthz>health</a>, <a href=/readyz>readiness</a>, <a href=/metrics>metrics</a></p></html>\n";

/// What the pages look at. The server is set once it is made, because it holds the pages.
#[derive(Default)]
pub struct Site {
    /// The server.
    pub server: OnceLock<Server>,
    /// Its log.
    pub streams: OnceLock<Arc<MemoryStreams>>,
    /// The operator has asked it to stop.
    pub stopping: AtomicBool,
}

impl Site {
    /// The answer to a GET request; `None` is 404.
    #[must_use]
    pub fn respond(&self, head: &Head) -> Option<Response> {
        let text = |status, body: String| {
            Some(
                Response::new(status)
                    .header("Content-Type", "text/plain; charset=utf-8")
                    .header("Cache-Control", "no-store")
                    .body(body),
            )
        };
        match head.path() {
            "/healthz" => text(200, "ok\n".to_owned()),
            "/readyz" if self.stopping.load(Ordering::Relaxed) => text(503, "stopping\n".to_owned()),
            "/readyz" => text(200, "ok\n".to_owned()),
            "/metrics" => text(200, self.metrics()),
            "/" => Some(
                Response::new(200)
                    .header("Content-Type", "text/html; charset=utf-8")
                    .header("Content-Security-Policy", "default-src 'none'")
                    .body(HOME),
            ),
            _ => None,
        }
    }

    fn metrics(&self) -> String {
        match (self.server.get(), self.streams.get()) {
            (Some(server), Some(streams)) => Report::gather(server, streams).prometheus(server.metrics()),
            _ => String::new(),
        }
    }
}
