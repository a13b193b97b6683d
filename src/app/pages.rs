//! The pages beside the protocol: health, readiness, metrics, the room page and the official browser client.

use super::backend::Backend;
use super::files::{Client, Page};
use super::report::Report;
use crate::codec::http::{Head, Response};
use crate::server::Server;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const PLAIN: &str = "text/plain; charset=utf-8";
/// The version is that of Prometheus' text format, which its scraper asks for.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the pages look at. The server is set once it is made, because it holds the pages.
#[derive(Default)]
pub struct Site {
    /// The server.
    pub server: OnceLock<Server>,
    /// Its log.
    pub backend: OnceLock<Backend>,
    /// The operator has asked it to stop.
    pub stopping: AtomicBool,
    /// The room page; hidden by `PAGE=0`.
    pub page: Page,
    /// No room page.
    pub hides_page: bool,
    /// No metrics here: they are served elsewhere, or nowhere.
    pub hides_metrics: bool,
    /// The official browser client.
    pub client: Client,
}

impl Site {
    /// The answer; `None`: no page has this path.
    #[must_use]
    pub fn respond(&self, head: &Head) -> Option<Response> {
        match head.path() {
            "/healthz" => text(200, PLAIN, "ok\n".to_owned()),
            "/readyz" if self.stopping.load(Ordering::Relaxed) => text(503, PLAIN, "stopping\n".to_owned()),
            "/readyz" => match self.trouble() {
                None => text(200, PLAIN, "ok\n".to_owned()),
                Some(trouble) => text(503, PLAIN, format!("{trouble}\n")),
            },
            "/metrics" if !self.hides_metrics => self.respond_with_metrics(head),
            _ => {
                let page = (!self.hides_page).then(|| self.page.respond(head)).flatten();
                page.or_else(|| self.client.respond(head))
            }
        }
    }

    /// As `respond`, of the metrics alone.
    #[must_use]
    pub fn respond_with_metrics(&self, head: &Head) -> Option<Response> {
        if head.path() == "/metrics" { text(200, PROMETHEUS, self.metrics()) } else { None }
    }

    /// Why the server can't do all that it should.
    fn trouble(&self) -> Option<&'static str> {
        match (self.server.get(), self.backend.get()) {
            (Some(_), Some(Backend::Redis(redis))) if !redis.status().connected => Some("Redis is away"),
            (Some(server), Some(Backend::Redis(_))) if !server.is_ready() => Some("the log is not read yet"),
            _ => None,
        }
    }

    fn metrics(&self) -> String {
        match (self.server.get(), self.backend.get()) {
            (Some(server), Some(backend)) => Report::gather(server, backend).prometheus(server.metrics()),
            _ => String::new(),
        }
    }
}

fn text(status: u16, kind: &'static str, body: String) -> Option<Response> {
    Some(Response::new(status).header("Content-Type", kind).header("Cache-Control", "no-store").body(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http;
    use crate::server::Options;
    use crate::server::log::memory::MemoryStreams;
    use std::sync::Arc;

    fn site(hides_page: bool, hides_metrics: bool) -> Site {
        let site = Site { hides_page, hides_metrics, ..Site::default() };
        let server = Server::in_memory(Options::default());
        let _ = site.backend.set(Backend::Memory(Arc::new(MemoryStreams::new(&server.options().limits))));
        let _ = site.server.set(server);
        site
    }

    fn head(path: &str) -> Head {
        http::parse(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(), 9).unwrap()
    }

    #[test]
    fn what_is_hidden_is_not_there_and_nothing_else_is_missing() {
        let all =
            ["/", "/page.css", "/page.js", "/page.svg", "/metrics", "/healthz", "/readyz", "/socket.io/socket.io.js"];
        let there =
            |site: &Site| all.into_iter().filter(|path| site.respond(&head(path)).is_some()).collect::<Vec<_>>();
        assert_eq!(there(&site(false, false)), all);
        assert_eq!(there(&site(true, false)), all[4..]);
        assert_eq!(there(&site(false, true)), [&all[..4], &all[5..]].concat());
        let alone = site(true, true);
        let metrics = |path| alone.respond_with_metrics(&head(path)).map(|response| response.status);
        assert_eq!(all.map(metrics), [None, None, None, None, Some(200), None, None, None]);
    }

    #[test]
    fn pages() {
        let site = site(false, false);
        let get = |path: &str| {
            site.respond(&head(path))
                .map(|response| (response.status, String::from_utf8(response.body.to_vec()).unwrap()))
        };
        assert_eq!(get("/healthz"), Some((200, "ok\n".to_owned())));
        assert_eq!(get("/readyz?verbose"), Some((200, "ok\n".to_owned())));
        assert!(get("/metrics").is_some_and(|(status, body)| status == 200 && body.contains("\nrill_connections 0\n")));
        assert!(get("/").is_some_and(|(status, body)| status == 200 && body.contains("/readyz")));
        assert!(get("/socket.io/socket.io.js").is_some_and(|(status, _)| status == 404));
        assert_eq!(get("/nothing"), None);
        assert_eq!(get("/socket.io/"), None);
        site.stopping.store(true, Ordering::Relaxed);
        assert_eq!(get("/readyz"), Some((503, "stopping\n".to_owned())));
        assert_eq!(get("/healthz"), Some((200, "ok\n".to_owned())));
    }
}
